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
# Processes of pytest: each takes up to 2 GiB.
WORKERS := $(shell $(PYTHON) -c 'import os; print(min(4, os.cpu_count() or 1))')

CPP_FILES := $(shell find cpp -name '*.cpp' -o -name '*.hpp' -o -name '*.inl')
# libFuzzer names what the fuzz targets define.
CPP_UNITS := $(filter-out cpp/fuzz/%,$(filter %.cpp,$(CPP_FILES)))
# Folders count as sources, so that a deleted file is noticed too.
PACKAGE_SOURCES := CMakeLists.txt pyproject.toml .ci/index_readme.md LICENSE \
  $(shell find cpp/include cpp/src cpp/bindings python/qpsbgd -name __pycache__ -prune -o -print)

.PHONY: site demo test lowest lint bench wheel clean package native ctest neon sanitize sanitize-address sanitized-python fuzz soak

demo: $(STAMPS)/package
	$(BIN)/qpsbgd demo

test: ctest neon $(STAMPS)/test
	$(BIN)/pytest tests --pyargs qpsbgd --doctest-modules -n $(WORKERS) --dist worksteal

lint: $(STAMPS)/package $(STAMPS)/lint native
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/stubtest qpsbgd._core
	$(BIN)/basedpyright --level error
	$(BIN)/lint-imports --no-logo
	$(BIN)/clang-format --dry-run -Werror $(CPP_FILES)
	@for unit in $(CPP_UNITS); do grep -q "$$unit" $(NATIVE)/compile_commands.json && echo "$$unit"; done \
	  | xargs -P $(JOBS) -n 1 $(BIN)/clang-tidy --quiet -p $(NATIVE)

bench: $(STAMPS)/package $(STAMPS)/bench
	@mkdir -p build
	$(BIN)/pytest benchmarks --short --quiet --benchmark-columns=median,rounds --benchmark-json=build/benchmarks.json
	$(BIN)/python benchmarks/report.py build/benchmarks.json

# The source archive and the wheel in dist/, repaired, checked, and used in a fresh environment without a compiler.
wheel:
	PYTHON=$(PYTHON) .ci/check_wheel

# The Python tests with the lowest versions that pyproject.toml declares: needs Python 3.10 as PYTHON.
lowest:
	PYTHON=$(PYTHON) .ci/lowest

# These pages and all docstrings as a site; a broken link or docstring is an error.
site: $(STAMPS)/package $(STAMPS)/docs
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html -c docs . build/site

clean:
	rm -rf build dist $(VENV)

package: $(STAMPS)/package

# The library and its tests without Python; the bindings are only configured, which gives clang-tidy their flags.
native: $(STAMPS)/build
	@$(BIN)/cmake -S . -B $(NATIVE) -G Ninja -DCMAKE_MAKE_PROGRAM="$(abspath $(BIN))/ninja" \
	  -DCMAKE_BUILD_TYPE=Release -DQPSBGD_WERROR=$(WERROR) -DPython_EXECUTABLE="$(abspath $(BIN))/python" \
	  -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)"
	@if grep -q test_solve.cpp $(NATIVE)/compile_commands.json; then \
	  $(BIN)/cmake --build $(NATIVE) --target qpsbgd_tests qpsbgd_answers $(addprefix qpsbgd_fuzz_,$(FUZZ_TARGETS)); \
	else \
	  $(BIN)/cmake --build $(NATIVE) --target qpsbgd_native; \
	fi

ctest: native
	@if grep -q test_solve.cpp $(NATIVE)/compile_commands.json; then \
	  $(BIN)/ctest --test-dir $(NATIVE) --output-on-failure --no-tests=error -j $(JOBS); \
	  if [ "$$(uname -m)" = x86_64 ]; then $(BIN)/python .ci/baseline.py $(NATIVE); fi; \
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

# The C++ tests and the kept inputs of the fuzz targets under sanitizers, and random calls of the extension.
sanitize: sanitized-python sanitize-address $(STAMPS)/build
	@export PATH="$(abspath $(BIN)):$$PATH" && cmake --preset tsan && cmake --build --preset tsan --target qpsbgd_tests
	@for target in $(FUZZ_TARGETS); do build/asan+ubsan/qpsbgd_fuzz_$$target cpp/fuzz/corpus/$$target || exit 1; done
	build/tsan/qpsbgd_tests --gtest_brief=1 --gtest_filter='*Threads*:*Solve*:*Hubs*:*Population*:*Project*'
	QPSBGD_FUZZ_CALLS=$(or $(FUZZ_CALLS),6000) $(WITH_SANITIZERS) $(BIN)/pytest tests/test_fuzz_api.py -q

# The part of it that finds most in the shortest time.
sanitize-address: $(STAMPS)/build
	@export PATH="$(abspath $(BIN)):$$PATH" && cmake --preset asan+ubsan && \
	  cmake --build --preset asan+ubsan --target qpsbgd_tests
	build/asan+ubsan/qpsbgd_tests --gtest_brief=1

# The package with an extension that looks for errors of memory and undefined behaviour.
WITH_SANITIZERS = PYTHONPATH=build/sanitized ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 \
  LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so) $$(g++ -print-file-name=libstdc++.so)"
sanitized-python: $(STAMPS)/build $(STAMPS)/test
	@export PATH="$(abspath $(BIN)):$$PATH" && cmake --preset asan+ubsan -DQPSBGD_PYTHON=ON \
	  -DPython_EXECUTABLE="$(abspath $(BIN))/python" -Dpybind11_DIR="$$(python -m pybind11 --cmakedir)" \
	  -DSKBUILD_PROJECT_VERSION=0 && cmake --build --preset asan+ubsan
	rm -rf build/sanitized && mkdir -p build/sanitized && cp -r python/qpsbgd build/sanitized/
	rm -f build/sanitized/qpsbgd/_core*.so && cp build/asan+ubsan/_core*.so build/sanitized/qpsbgd/

# libFuzzer on the native entries, then long random calls of the package and mutated files: `make fuzz FUZZ_SECONDS=60`.
FUZZ_TARGETS := project solve text
FUZZ_CXX := $(firstword $(shell command -v clang++ clang++-19 clang++-18 clang++-17 clang++-16 clang++-15 clang++-14) clang++)
FUZZ_SECONDS := 600
fuzz: sanitized-python
	@export PATH="$(abspath $(BIN)):$$PATH" && cmake --preset fuzz -DCMAKE_CXX_COMPILER=$(FUZZ_CXX) && cmake --build --preset fuzz
	@for target in $(FUZZ_TARGETS); do \
	  mkdir -p build/fuzz/corpus/$$target && ASAN_OPTIONS=allocator_may_return_null=1 \
	  build/fuzz/qpsbgd_fuzz_$$target -max_total_time=$$(($(FUZZ_SECONDS) / 3)) -max_len=2048 -timeout=10 -print_final_stats=1 \
	    -artifact_prefix=build/fuzz/$$target- build/fuzz/corpus/$$target cpp/fuzz/corpus/$$target || exit 1; \
	done
	QPSBGD_FUZZ_CALLS=20000 $(WITH_SANITIZERS) $(BIN)/pytest tests/test_fuzz_api.py -q
	QPSBGD_FUZZ_MUTATIONS=2000 $(BIN)/pytest tests/data/test_hostile_files.py tests/experiments/test_hostile_records.py -q

# The long form of tests/faults: interrupts, kills, random sequences of a training loop, then everything over and over.
SOAK_SECONDS := 600
soak: $(STAMPS)/test
	QPSBGD_INTERRUPTS=100 QPSBGD_KILLS=30 QPSBGD_SEQUENCES=200 QPSBGD_SOAK_SECONDS=$(SOAK_SECONDS) \
	  $(BIN)/pytest tests/faults tests/optim/test_stateful.py -q -s --durations=5

# A stamp is older than its sources exactly when something has to be installed again.
$(STAMPS)/venv:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet 'pip>=25.1'
	@mkdir -p $(@D) && touch $@

$(STAMPS)/build $(STAMPS)/test $(STAMPS)/lint $(STAMPS)/bench $(STAMPS)/docs: $(STAMPS)/%: pyproject.toml constraints.txt | $(STAMPS)/venv
	$(PIP_INSTALL) $(if $(wildcard $@),--quiet) --group $*
	@touch $@

# The build tree under build/ is kept, so only what changed is compiled again.
$(STAMPS)/package: constraints.txt $(PACKAGE_SOURCES) | $(STAMPS)/build
	$(PIP_INSTALL) $(if $(wildcard $@),--quiet) --no-build-isolation -C cmake.define.QPSBGD_WERROR=$(WERROR) '.[demo]'
	@touch $@
# The package comes before the tools, so that torch is resolved with its own requirements.
$(STAMPS)/test $(STAMPS)/lint $(STAMPS)/bench $(STAMPS)/docs: | $(STAMPS)/package
