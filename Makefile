# What a fresh machine needs: Python 3.11 or newer, a C++20 compiler and make. Everything else, cmake and ninja
# included, comes as Python wheels into .venv at the versions of constraints.txt.
PYTHON ?= python3
# Compiler warnings are errors where the package is tested; `make test WERROR=OFF` for a compiler that warns more.
WERROR := OFF
lint test bench: WERROR := ON

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
NATIVE := build/ctest
PIP_INSTALL = $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
JOBS := $(shell $(PYTHON) -c 'import os; print(os.cpu_count() or 1)')

CPP_FILES := $(shell find cpp -name '*.cpp' -o -name '*.hpp' -o -name '*.inl')
CPP_UNITS := $(filter %.cpp,$(CPP_FILES))
# Folders count as sources, so that a deleted file is noticed too.
PACKAGE_SOURCES := CMakeLists.txt pyproject.toml README.md LICENSE \
  $(shell find cpp/include cpp/src cpp/bindings python/qpsbgd -name __pycache__ -prune -o -print)

.PHONY: demo test lint bench wheel clean package native ctest neon

demo: $(STAMPS)/package
	$(BIN)/qpsbgd demo

test: ctest neon $(STAMPS)/test
	$(BIN)/pytest tests --pyargs qpsbgd --doctest-modules

lint: $(STAMPS)/package $(STAMPS)/lint native
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/clang-format --dry-run -Werror $(CPP_FILES)
	@for unit in $(CPP_UNITS); do grep -q "$$unit" $(NATIVE)/compile_commands.json && echo "$$unit"; done \
	  | xargs -P $(JOBS) -n 1 $(BIN)/clang-tidy --quiet -p $(NATIVE)

bench: $(STAMPS)/package $(STAMPS)/bench
	@mkdir -p build
	$(BIN)/pytest benchmarks --short --quiet --benchmark-columns=median,rounds --benchmark-json=build/benchmarks.json
	$(BIN)/python benchmarks/report.py build/benchmarks.json

wheel: $(STAMPS)/build
	$(BIN)/python -m pip wheel --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

clean:
	rm -rf build dist $(VENV)

package: $(STAMPS)/package

# The library and its tests without Python; the bindings are only configured, which gives clang-tidy their flags.
native: $(STAMPS)/build
	@$(BIN)/cmake -S . -B $(NATIVE) -G Ninja -DCMAKE_MAKE_PROGRAM="$(abspath $(BIN))/ninja" \
	  -DCMAKE_BUILD_TYPE=Release -DQPSBGD_WERROR=$(WERROR) -DPython_EXECUTABLE="$(abspath $(BIN))/python" \
	  -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)"
	@if grep -q test_solve.cpp $(NATIVE)/compile_commands.json; then \
	  $(BIN)/cmake --build $(NATIVE) --target qpsbgd_tests qpsbgd_answers; \
	else \
	  $(BIN)/cmake --build $(NATIVE) --target qpsbgd_native; \
	fi

ctest: native
	@if grep -q test_solve.cpp $(NATIVE)/compile_commands.json; then \
	  $(BIN)/ctest --test-dir $(NATIVE) --output-on-failure --no-tests=error -j $(JOBS); \
	else \
	  echo "*** THE C++ TESTS ARE LEFT OUT: CMake found no GoogleTest (on Debian: apt-get install libgtest-dev) ***"; \
	fi

# The C++ tests once more, for aarch64 under user-mode emulation.
neon: $(STAMPS)/build
	@if command -v aarch64-linux-gnu-g++ qemu-aarch64-static >/dev/null; then \
	  $(BIN)/cmake -S . -B build/neon -G Ninja -DCMAKE_MAKE_PROGRAM="$(abspath $(BIN))/ninja" \
	    --toolchain cmake/aarch64-linux-gnu.cmake -DQPSBGD_PYTHON=OFF -DQPSBGD_WERROR=$(WERROR) && \
	  $(BIN)/cmake --build build/neon && \
	  $(BIN)/ctest --test-dir build/neon --output-on-failure --no-tests=error -j $(JOBS); \
	else \
	  echo "*** THE NEON TESTS ARE LEFT OUT: they need g++-aarch64-linux-gnu and qemu-user-static ***"; \
	fi

# A stamp is older than its sources exactly when something has to be installed again.
$(STAMPS)/venv:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet 'pip>=25.1'
	@mkdir -p $(@D) && touch $@

$(STAMPS)/build $(STAMPS)/test $(STAMPS)/lint $(STAMPS)/bench: $(STAMPS)/%: pyproject.toml constraints.txt | $(STAMPS)/venv
	$(PIP_INSTALL) $(if $(wildcard $@),--quiet) --group $*
	@touch $@

# The build tree under build/ is kept, so only what changed is compiled again.
$(STAMPS)/package: constraints.txt $(PACKAGE_SOURCES) | $(STAMPS)/build
	$(PIP_INSTALL) $(if $(wildcard $@),--quiet) --no-build-isolation -C cmake.define.QPSBGD_WERROR=$(WERROR) '.[demo]'
	@touch $@
# The package comes before the tools, so that torch is resolved with its own requirements.
$(STAMPS)/test $(STAMPS)/lint $(STAMPS)/bench: | $(STAMPS)/package
