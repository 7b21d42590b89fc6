"""What `import qpsbgd` may cost, and how little the native core knows of Python's world."""

import importlib.util
import subprocess
import sys

import pytest

LEFT_ALONE = [
    "torch._dynamo",
    "torch._inductor",
    "dwave.system",
    "sklearn",
    "matplotlib",
    "scipy",
    "dimod",
    "neal",
]


def modules_after(code: str) -> set[str]:
    """Names of all modules that a fresh interpreter has loaded after running `code`."""
    listing = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(listing.stdout.split())


@pytest.fixture(scope="module")
def modules_after_import() -> set[str]:
    return modules_after("import qpsbgd")


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_import_leaves_heavy_module_alone(modules_after_import, name):
    assert "qpsbgd" in modules_after_import
    assert name not in modules_after_import


@pytest.mark.parametrize("name", ["torch", "dimod"])
def test_native_core_alone_does_not_load(name):
    core = importlib.util.find_spec("qpsbgd._core")
    load_core_without_its_package = (
        "import importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('_core', {core.origin!r})\n"
        "spec.loader.exec_module(importlib.util.module_from_spec(spec))"
    )
    modules = modules_after(load_core_without_its_package)
    assert "importlib.util" in modules
    assert name not in modules
