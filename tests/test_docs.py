"""README and pages tell what is there: their programs run, links lead somewhere, what they name exists."""

import importlib
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SITE = ROOT / "docs" / "contents.md"  # what only the site shows
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if page != SITE),
]
WRITTEN = [page for page in PAGES if page.name != "benchmarks.md"]  # that one is a program's output
HISTORY = ROOT / "CHANGELOG.md"  # it may name what is gone

PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANY_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\((?!\w+:)([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
DOTTED = re.compile(r"(?<![\w./])qpsbgd(?:\.[A-Za-z_]\w*)+")
PATH = re.compile(r"(?<![\w/~.$])\.?\w[\w.-]*(?:/[\w.-]+)+/?|(?<![\w/])\w+\.(?:py|cpp|hpp|inl|toml|txt|md)\b")
WORD = re.compile(r"[A-Za-z_]\w*")

FOLDERS = [ROOT, ROOT / "python" / "qpsbgd", ROOT / "cpp" / "src", ROOT / "cpp", ROOT / "cpp" / "include"]
"""Where paths in the pages begin."""
MADE = (".venv", "build", "dist")
"""Folders that commands make."""
SOURCES = (
    "python cpp examples benchmarks tests cmake .ci .github Makefile pyproject.toml CMakeLists.txt "
    "CMakePresets.json"
)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def code_of(page: Path) -> list[str]:
    """What a page shows as code: inline, and blocks of any language."""
    text = text_of(page)
    return ANY_BLOCK.findall(text) + INLINE_CODE.findall(ANY_BLOCK.sub("", text))


def for_each(pages):
    return pytest.mark.parametrize("page", pages, ids=[page.name for page in pages])


# ----------------------------------------------------------------------------------------------------
# Programs

BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in [*PAGES, HISTORY]
    for number, block in enumerate(PYTHON_BLOCK.findall(text_of(page)), start=1)
]


LEAST_ACCURACY = {"load_graph(": 0.9, "digits()": 0.9}
"""What the program that has this part prints last."""


@pytest.mark.parametrize("block", BLOCKS)
def test_program_of_a_page_runs_by_itself(block, tmp_path):
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # idle OpenMP threads spin: no gain for small layers
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    for part, least in LEAST_ACCURACY.items():
        assert part not in block or float(finished.stdout.split()[-1]) > least


def test_readme_has_a_training_and_a_solver_example():
    blocks = PYTHON_BLOCK.findall(text_of(ROOT / "README.md"))
    assert any("QPSBGD(" in block and len(block.splitlines()) <= 20 for block in blocks)
    assert any("solve_ising(" in block and len(block.splitlines()) <= 6 for block in blocks)


# ----------------------------------------------------------------------------------------------------
# Links


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = ANY_BLOCK.sub("", text_of(page))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in HEADING.findall(text)}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in LINK.findall(text_of(page)):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@for_each([*PAGES, HISTORY])
def test_links_lead_to_files_and_headings(page):
    assert broken_links(page) == []


def test_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A b\n[x](#a-b) [y](#c) [z](none.md) [w](page.md#a-b) [v](https://example.org)\n")
    assert broken_links(page) == ["#c", "none.md"]


def test_index_leads_to_every_page():
    links = {(ROOT / "docs" / link).resolve() for link in LINK.findall(text_of(ROOT / "docs" / "index.md"))}
    assert {*PAGES, HISTORY} - links == {ROOT / "docs" / "index.md"}


def test_index_has_each_page_once():
    index = text_of(ROOT / "docs" / "index.md")
    table = [line for line in index.partition("\n## ")[0].splitlines() if line.startswith("| [")]
    links = [link for line in table for link in LINK.findall(line)]
    assert len(links) > 20
    assert sorted(links) == sorted(set(links))


def test_site_leads_to_every_page():
    listed = {(SITE.parent / line).with_suffix(".md").resolve() for line in text_of(SITE).split()}
    assert {*PAGES, HISTORY, *(ROOT / "docs" / "reference").glob("*.md")} <= listed


# ----------------------------------------------------------------------------------------------------
# Names and paths


def is_missing(name: str) -> bool:
    """Whether ``qpsbgd.x.y`` is neither a module nor an attribute of one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return True
            found = getattr(found, part)
        return False
    return True


@for_each([*PAGES, HISTORY])
def test_modules_and_attributes_exist(page):
    assert [name for code in code_of(page) for name in DOTTED.findall(code) if is_missing(name)] == []


def test_missing_attribute_is_found():
    assert not is_missing("qpsbgd.step.rule.StepRule.work")
    assert is_missing("qpsbgd.step.rule.StepRules")
    assert is_missing("qpsbgd.stepp")


def is_wrong_path(path: str) -> bool:
    """Whether a path leads to nothing, although it begins in the repository or has the ending of a source."""
    parts = Path(path).parts
    if parts[0] in MADE:
        return False
    is_source = Path(path).suffix in (".py", ".cpp", ".hpp", ".inl")
    if len(parts) == 1:
        searched = [file for name in ("python", "cpp", "examples") for file in (ROOT / name).rglob(path)]
        return is_source and not searched
    begins = [folder for folder in FOLDERS if (folder / parts[0]).is_dir()]
    wanted = Path(path[: path.index("NAME")].rpartition("/")[0]) if "NAME" in path else Path(path)
    return (is_source or bool(begins)) and not any((folder / wanted).exists() for folder in begins)


@for_each(PAGES)
def test_paths_of_the_repository_exist(page):
    inline = INLINE_CODE.findall(ANY_BLOCK.sub("", text_of(page)))
    drawings = [block for block in ANY_BLOCK.findall(text_of(page)) if block.startswith("```text")]
    found = [path for code in inline + drawings for path in PATH.findall(code)]
    assert [path for path in found if is_wrong_path(path)] == []


@pytest.mark.parametrize(
    ("wrong", "paths"),
    [
        (True, "python/qpsbgd/optim.py solvers/none.py search/none/NAME.cpp none.hpp batch/none.cpp"),
        (False, "solvers/NAME.py cpp/tests/ batch/rules.cpp train_digits.py runs/report.html .venv/bin/x"),
    ],
)
def test_wrong_paths_are_found(wrong, paths):
    assert [is_wrong_path(path) for path in paths.split()] == [wrong] * len(paths.split())


@pytest.fixture(scope="module")
def known_words() -> set[str]:
    """Every word of the sources, and torch's names."""
    files = [
        file
        for name in SOURCES.split()
        for file in ([ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*"))
        if file.is_file() and file.suffix not in (".pyc", ".pt", ".so") and file.name != Path(__file__).name
        if "corpus" not in file.parts  # bytes for the fuzz targets
    ]
    words = {word for file in files for word in WORD.findall(file.read_text(encoding="utf-8"))}
    import torch

    for namespace in (torch, torch.nn, torch.autograd, torch.distributed, torch.nn.parallel, torch.amp):
        words |= set(dir(namespace))
    return words | set(dir(torch.optim.lr_scheduler)) | {part for file in files for part in file.parts}


@for_each([page for page in PAGES if page.name != "coming-from.md"])  # which names what others have
def test_names_in_code_occur_in_the_sources(page, known_words):
    """A class, function, option or kernel that was renamed keeps its old name in no page."""
    inline = INLINE_CODE.findall(ANY_BLOCK.sub("", text_of(page)))
    found = {word for code in inline for word in WORD.findall(PATH.sub("", code)) if len(word) > 3}
    assert sorted(found - known_words) == []


# ----------------------------------------------------------------------------------------------------
# The drawing of the house, and paragraphs


def test_drawing_of_the_house_shows_the_layers_of_the_import_contract():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    contract = tomllib.loads(text_of(ROOT / "pyproject.toml"))["tool"]["importlinter"]["contracts"][0]
    (drawing,) = [
        block for block in ANY_BLOCK.findall(text_of(ROOT / "docs" / "architecture.md")) if "cli" in block
    ]
    lines = drawing.splitlines()

    def height(room: str) -> int:
        (place,) = [place for place, line in enumerate(lines) if re.search(rf"[│┤] {room}  ", line)]
        return place

    layers = [list(map(height, layer.split(" | "))) for layer in contract["layers"] if layer != "__main__"]
    assert all(max(upper) < min(lower) for upper, lower in itertools.pairwise(layers))


def long_paragraphs(text: str) -> list[str]:
    """Paragraphs and list items of more than five lines, by their first lines."""
    found: list[list[str]] = [[]]
    for line in ANY_BLOCK.sub("", text).splitlines():
        starts = (
            not line.strip() or line.startswith(("|", "#", "- ", "    ", "!")) or re.match(r"\d+\. ", line)
        )
        if starts:
            found.append([])
        if line.strip() and not line.startswith(("|", "#", "    ")):
            found[-1].append(line)
    return [lines[0] for lines in found if len(lines) > 5]


@for_each(WRITTEN)
def test_no_paragraph_has_more_than_five_lines(page):
    assert long_paragraphs(text_of(page)) == []


def test_long_paragraph_is_found():
    assert long_paragraphs("a\n" * 5 + "\n- b\n  b\n" * 3 + "c\n" * 4) == ["- b"]
