"""What an import of the package may load, and which modules may import which."""

import ast
import graphlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import qpsbgd

PACKAGE = Path(qpsbgd.__file__).parent
LEFT_ALONE = [
    "torch._dynamo",
    "torch._inductor",
    "dwave.system",
    "sklearn",
    "matplotlib",
    "scipy",
    "dimod",
    "neal",
    "networkx",
    "tensorboard",
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


@pytest.fixture(scope="module", params=["qpsbgd", "qpsbgd.cli", "qpsbgd.report"])
def modules_after_import(request) -> set[str]:
    return modules_after(f"import {request.param}")


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


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(path: Path) -> Iterator[str]:
    """Yield the modules of the package that a module imports, those of functions and for types left out."""

    def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
        for statement in body:
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
                continue
            yield statement
            for part in ("body", "orelse", "handlers", "finalbody"):
                yield from statements(getattr(statement, part, []))

    for statement in statements(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names if alias.name in MODULES)
        elif isinstance(statement, ast.ImportFrom) and statement.module in MODULES:
            submodules = [f"{statement.module}.{alias.name}" for alias in statement.names]
            found = [name for name in submodules if name in MODULES]
            yield from found
            # `from qpsbgd import _core` and `... import __version__` take nothing that the package imports.
            own = {f"{statement.module}.{name}" for name in ("_core", "__version__")}
            if set(submodules) - set(found) - own:
                yield statement.module


def test_no_module_imports_itself_by_way_of_others():
    graph = {name: set(imports_of(path)) - {name} for name, path in MODULES.items()}
    assert graph["qpsbgd.diagnostics.watch"] >= {"qpsbgd.diagnostics.summary", "qpsbgd.optim"}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which shows the circle


def test_data_imports_nothing_else_of_the_package():
    data = {name for name in MODULES if name.split(".")[:2] == ["qpsbgd", "data"]}
    assert "qpsbgd.data.files" in data
    used = {(name, other) for name in data for other in imports_of(MODULES[name])}
    assert {pair for pair in used if pair[1] not in data} == set()


def test_earlier_paths_are_for_users_only():
    earlier = {name for name, path in MODULES.items() if path.read_text().startswith('"""Earlier path of')}
    assert "qpsbgd.layer_qubos" in earlier
    used = {(name, other) for name, path in MODULES.items() for other in imports_of(path) if other in earlier}
    assert used == {("qpsbgd", "qpsbgd.residual")}  # a public name of the package itself
