"""The text that a package index shows is the README without what an index cannot show."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)\s]*)\)|(?:src|href)=[\"']([^\"']*)|^\[[^\]]+\]: *(\S+)", re.MULTILINE)


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("index_readme", ROOT / ".ci" / "index_readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def relative_links(text: str) -> list[str]:
    return [link for found in LINK.findall(text) for link in found if link and not re.match(r"\w+:", link)]


def test_index_is_given_the_text_that_is_made_of_the_readme(maker):
    assert 'readme = ".ci/index_readme.md"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    made = maker.index_text((ROOT / "README.md").read_text(encoding="utf-8"))
    assert maker.TARGET.read_text(encoding="utf-8") == made, "run: python .ci/index_readme.py"


def test_no_link_of_it_is_relative(maker):
    text = maker.TARGET.read_text(encoding="utf-8")
    assert "](https://arxiv.org/" in text
    assert relative_links(text) == []


def test_relative_links_are_found():
    text = '![a](docs/a.png) [b](b.md#c) [c](#d) <img src="e.png"> [f](https://f.org)\n[g]: h.md\n'
    assert relative_links(text) == ["docs/a.png", "b.md#c", "#d", "e.png", "h.md"]


def test_sections_are_those_of_the_readme_and_nothing_unpublished_is_promised(maker):
    readme, text = ((path).read_text(encoding="utf-8") for path in (ROOT / "README.md", maker.TARGET))
    assert re.findall(r"^## .*", text, re.MULTILINE) == re.findall(r"^## .*", readme, re.MULTILINE)
    for untrue in ("in this folder", "pip install .", "pip install '.", "make demo", "published"):
        assert untrue not in text
