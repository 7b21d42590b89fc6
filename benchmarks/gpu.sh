#!/bin/sh
# Builds, checks and measures the step and the solver on a device, on a bare machine with a CUDA GPU, in under six minutes.
# It needs torch, triton, numpy, cmake, a C++ compiler and pybind11, and asks no network. The last thing that it
# prints is one table. With --smoke the program runs on the CPU, for a look whether it runs.
#
#   sh benchmarks/gpu.sh
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
build=build/gpu
jobs=$(getconf _NPROCESSORS_ONLN)

echo "== build"
generator=""
command -v ninja >/dev/null && generator="-G Ninja"
# shellcheck disable=SC2086 # two words
cmake -S . -B "$build" $generator -DCMAKE_BUILD_TYPE=Release -DQPSBGD_PYTHON=ON -DQPSBGD_TESTS=OFF \
    -DPython_EXECUTABLE="$(command -v "$python")" -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" \
    -DSKBUILD_PROJECT_VERSION="$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -1)" >/dev/null
cmake --build "$build" --parallel "$jobs" --target _core >"$build/log" 2>&1 || { tail -40 "$build/log"; exit 1; }
site=$build/site
rm -rf "$site" && mkdir -p "$site"
cp -R python/qpsbgd "$site"
rm -f "$site"/qpsbgd/_core*.so
cp "$(find "$build" -name '_core*.so' -not -path '*/site/*' | head -1)" "$site/qpsbgd"
export PYTHONPATH="$PWD/$site:$PWD/benchmarks${PYTHONPATH:+:$PYTHONPATH}"
"$python" -m qpsbgd info

echo "== check"
if "$python" -c "import pytest, hypothesis" 2>/dev/null; then
    "$python" -m pytest -q -p no:cacheprovider -W default tests/step tests/optim/test_device_step.py \
        tests/solvers/test_device_kernels.py tests/solvers/test_device_solver.py benchmarks/test_gpu.py || echo "!! some checks failed"
else
    echo "pytest and hypothesis are not installed: the checks are left out"
fi

echo "== measure"
"$python" benchmarks/gpu.py "$@"
