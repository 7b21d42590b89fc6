"""The lowest versions that are declared are those that `make lowest` tests with."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REQUIREMENT = re.compile(r"^([\w-]+)(?:\[[\w,]+\])?>=([\d.]+)")


def name_of(text: str) -> str:
    return text.replace("_", "-").lower()


def without_zeros(version: str) -> str:
    return re.sub(r"(\.0)+$", "", version)


@pytest.fixture(scope="module")
def project():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tested() -> dict[str, str]:
    pins = (ROOT / ".ci" / "lowest.txt").read_text(encoding="utf-8").split()
    return {name_of(name): version for name, version in (pin.split("==") for pin in pins)}


def declared(project) -> list[str]:
    groups = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    groups.append(project["dependency-groups"]["test"])
    return [text for group in groups for text in group if not text.startswith("qpsbgd[")]


def test_every_declared_version_is_tested(project, tested):
    found = dict(match.groups() for text in declared(project) if (match := REQUIREMENT.match(text)))
    assert len(found) == len({re.split(r"[>\[]", text)[0] for text in declared(project)})
    other = {
        name: (version, tested.get(name_of(name)))
        for name, version in found.items()
        if without_zeros(tested.get(name_of(name), "none")) != without_zeros(version)
    }
    assert other == {}, "run: .ci/lowest --resolve, and raise what cannot be resolved"


def test_one_package_has_one_lowest_version(project):
    project["dependency-groups"]["cibuildwheel"] = project["tool"]["cibuildwheel"]["test-requires"]
    groups = [*project["project"]["optional-dependencies"].values(), *project["dependency-groups"].values()]
    versions: dict[str, set[str]] = {}
    for group in groups:
        for text in group:
            if isinstance(text, str) and (match := REQUIREMENT.match(text)):
                versions.setdefault(name_of(match[1]), set()).add(match[2])
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}
