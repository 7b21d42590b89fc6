"""What an import of the package may load, and which modules may import which."""

import ast
import graphlib
import importlib
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


@pytest.mark.parametrize(
    ("code", "unused"),
    [
        ("import qpsbgd", ["torch", "dimod", "numpy"]),
        ("import qpsbgd.cli", ["torch", "dimod", "numpy"]),
        (
            "from qpsbgd import solve_ising\nsolve_ising([0.5, 0.5], [[0.0, 1.0], [0.0, 0.0]])",
            ["torch", "dimod"],
        ),
        ("from qpsbgd import binary_least_squares\nbinary_least_squares([[1.0]], [2.0])", ["torch", "dimod"]),
        ("from qpsbgd import NativeSampler\nNativeSampler().sample_qubo({(0, 1): -1.0})", ["torch"]),
        ("from qpsbgd.solvers import NativeSolver, QuboSolver", ["torch", "dimod"]),
        ("from qpsbgd.cli import main\nassert main(['--version']) == 0", ["torch", "dimod", "numpy"]),
        ("from qpsbgd.cli import main\nassert main(['solve', '--help']) == 0", ["torch", "dimod", "numpy"]),
        ("from qpsbgd.cli import main\nassert main(['solve', {file!r}]) == 0", ["torch", "dimod"]),
    ],
)
def test_solver_and_its_command_line_load_no_torch(code, unused, tmp_path):
    file = tmp_path / "triangle.rud"
    file.write_text("3 3\n1 2 1\n2 3 1\n1 3 1\n")
    modules = modules_after(code.format(file=str(file)) if "{file" in code else code)
    assert "qpsbgd" in modules
    assert modules.isdisjoint(unused)


def run_without(missing: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter that finds neither `missing` nor what is inside of it."""
    blocked = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {missing!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
    )
    return subprocess.run([sys.executable, "-c", blocked + code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("missing", "extra", "code"),
    [
        ("torch", "torch", "from qpsbgd import QPSBGD"),
        ("torch", "torch", "from qpsbgd import project"),
        ("torch", "torch", "import qpsbgd.nn"),
        ("torch", "torch", "import qpsbgd; qpsbgd.nn"),
        ("torch", "torch", "from qpsbgd.baselines import Bop"),
        ("torch", "torch", "from qpsbgd.diagnostics import Diagnostics"),
        ("torch", "torch", "import qpsbgd.experiments"),
        ("dimod", "ocean", "from qpsbgd import NativeSampler"),
        ("dimod", "ocean", "from qpsbgd.solvers import DimodSolver"),
        ("dimod", "ocean", "from qpsbgd.problem import ising_problem\nising_problem([1], [[0]]).to_bqm()"),
        ("dimod", "qpu", "from qpsbgd.solvers import QPUSolver"),
        ("dwave", "ocean", "from qpsbgd.solvers.resolve import resolve_solver\nresolve_solver('neal')"),
        ("sklearn", "datasets", "from qpsbgd.data.datasets import digits\ndigits()"),
        ("networkx", "datasets", "from qpsbgd.data.graphs import karate\nkarate()"),
        ("matplotlib", "plots", "from qpsbgd.data.pictures import new_figure\nnew_figure(1, 1)"),
        ("tqdm", "progress", "from qpsbgd import solve_ising\nsolve_ising([1], [[0]], progress=True)"),
    ],
)
def test_missing_part_is_told_with_the_extra_that_installs_it(missing, extra, code):
    ended = run_without(missing, code)
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: ")
    assert last.endswith(f": pip install 'qpsbgd[{extra}]'")


@pytest.mark.parametrize("missing", ["torch", "dimod"])
@pytest.mark.parametrize(
    "code",
    [
        "from qpsbgd import solve_qubo\nassert solve_qubo([[-1.0]]).best_energies == -1",
        "from qpsbgd.cli import main\nassert main(['info']) == 0",
        "from qpsbgd.solvers.resolve import resolve_solver\n"
        "try:\n    resolve_solver(object())\nexcept TypeError:\n    pass",
    ],
)
def test_solver_works_without(missing, code):
    ended = run_without(missing, code)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("command", [["demo"], ["train", "digits"], ["report", "."]])
def test_command_that_trains_says_that_torch_is_missing(command):
    ended = run_without("torch", f"import sys\nfrom qpsbgd.cli import main\nsys.exit(main({command!r}))")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("qpsbgd: error: ")
    assert "pip install 'qpsbgd[" in line


def test_names_are_those_that_a_user_types():
    for package in ("qpsbgd", "qpsbgd.solvers"):
        module = importlib.import_module(package)
        assert set(module.__all__) <= set(dir(module))
        assert {"Any", "files", "TYPE_CHECKING"}.isdisjoint(dir(module))
        assert all(getattr(module, name) is not None for name in dir(module))
        with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
            _ = module.nothing
    assert "NativeSampler" in dir(qpsbgd)
    assert {"DimodSolver", "QPUSolver"} <= set(dir(qpsbgd.solvers))


def packages() -> list[str]:
    """Every package that says what is public in it, but the program, whose modules are its commands."""
    named = [name for name, path in MODULES.items() if path.name == "__init__.py" and name != "qpsbgd.cli"]
    return [name for name in named if "__all__ = " in MODULES[name].read_text(encoding="utf-8")]


def test_packages_list_their_public_names_only():
    assert {"qpsbgd.nn", "qpsbgd.data", "qpsbgd.solvers.qpu"} <= set(packages())
    modules = {name: importlib.import_module(name) for name in packages()}
    listed = {name: set(dir(module)) - set(module.__all__) for name, module in modules.items()}
    # These are found at the top, too, though an import of everything leaves them out.
    assert listed.pop("qpsbgd") == {"data", "experiments", "optim"}
    assert {name: more for name, more in listed.items() if more} == {}
    assert {"datasets", "graphs", "instances"} == set(dir(modules["qpsbgd.data"]))


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
    data = {name for name in MODULES if name.split(".")[:2] == ["qpsbgd", "data"]} | {"qpsbgd.extras"}
    assert "qpsbgd.data.files" in data
    used = {(name, other) for name in data for other in imports_of(MODULES[name])}
    assert {pair for pair in used if pair[1] not in data} == set()


def test_earlier_paths_are_for_users_only():
    earlier = {name for name, path in MODULES.items() if path.read_text().startswith('"""Earlier path of')}
    assert "qpsbgd.layer_qubos" in earlier
    used = {(name, other) for name, path in MODULES.items() for other in imports_of(path) if other in earlier}
    assert used == set()
