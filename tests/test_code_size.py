"""Functions and files stay small enough to be read at once."""

import ast
import re
from pathlib import Path

import pytest

import qpsbgd

PACKAGE = Path(qpsbgd.__file__).parent
REPOSITORY = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
MODULES = sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")])
SOURCES = [
    *MODULES,
    *sorted(
        path
        for folder in ("cpp", "tests", "benchmarks", "examples")
        for path in (REPOSITORY / folder).rglob("*")
        if path.suffix in (".py", ".cpp", ".hpp", ".inl")
    ),
]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
MOST_LINES_OF_A_FUNCTION = 60
MOST_LINES_OF_A_FILE = 500
REASON = re.compile(r"more than 500 lines because \w+", re.IGNORECASE)
"""The first ten lines of a longer file have to hold this."""


def lines_of_code(source: str, function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function from its first decorator on, but no docstring, blank or comment line.

    Lines of functions inside it count too.
    """
    first = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
    counted = set(range(first, function.end_lineno + 1))
    for node in ast.walk(function):
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and ast.get_docstring(node):
            counted -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    text = source.splitlines()
    strings = {
        line
        for node in ast.walk(function)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    return sum(
        1
        for line in counted
        if line in strings or (text[line - 1].strip() and not text[line - 1].strip().startswith("#"))
    )


def sizes(source: str) -> dict[str, int]:
    """Lines of code of every function and method, by its qualified name and line."""
    found = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = prefix
            if isinstance(child, (*FUNCTIONS, ast.ClassDef)):
                name = f"{prefix}{child.name}."
            if isinstance(child, FUNCTIONS):
                found[f"{name[:-1]}, line {child.lineno}"] = lines_of_code(source, child)
            visit(child, name)

    visit(ast.parse(source), "")
    return found


def name_of(path: Path) -> str:
    """The path in the package or in the repository."""
    return path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else REPOSITORY).as_posix()


def is_short_or_explained(text: str) -> bool:
    lines = text.splitlines()
    return len(lines) <= MOST_LINES_OF_A_FILE or REASON.search("\n".join(lines[:10])) is not None


def test_no_function_of_the_package_has_more_than_60_lines_of_code():
    found = {
        f"{name_of(path)}: {function}": size
        for path in MODULES
        for function, size in sizes(path.read_text(encoding="utf-8")).items()
    }
    long = [f"{name}: {size} lines" for name, size in found.items() if size > MOST_LINES_OF_A_FUNCTION]
    assert not long, "\n".join(long)


def test_no_file_has_more_than_500_lines_without_a_reason_in_its_head():
    long = [name_of(path) for path in SOURCES if not is_short_or_explained(path.read_text(encoding="utf-8"))]
    assert not long, "\n".join(long)


SAMPLE = '''
class Thing:
    """A class."""

    @staticmethod
    def method(x):
        """Not counted.

        Neither is this.
        """
        # nor this

        def inner():
            """Nor this."""
            return 1

        text = """
        # counted

        """
        return x + inner()
'''


def test_docstrings_blank_lines_and_comments_do_not_count():
    # @staticmethod, def, def inner, return 1, the four lines of text, return.
    assert sizes(SAMPLE) == {"Thing.method, line 6": 9, "Thing.method.inner, line 13": 2}


def test_long_function_is_found():
    assert sizes("\n".join(["def long():", *["    x = 1"] * 60])) == {"long, line 1": 61}


@pytest.mark.parametrize(
    ("head", "lines", "passes"),
    [
        ("", 500, True),
        ("", 501, False),
        ("# More than 500 lines because its table is one unit.\n", 500, True),
        ("\n" * 10 + "# More than 500 lines because its table is one unit.\n", 500, False),
        ("# More than 500 lines because\n", 500, False),
    ],
)
def test_long_file_passes_with_a_reason_only(head, lines, passes):
    assert is_short_or_explained(head + "x = 1\n" * lines) == passes
