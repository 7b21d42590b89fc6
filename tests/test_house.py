"""The picture of the house shows every room, and every import between rooms, as the sources have them."""

import re
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="reads TOML, which needs Python 3.11")


@pytest.fixture(scope="module")
def shown():
    import house

    return (house.ROOT / "docs" / "images" / "house.svg").read_text(encoding="utf-8")


def test_picture_shows_the_imports_of_the_sources(shown):
    import house

    edges = house.imports()
    assert {
        ("optim", "step"),
        ("solvers", "bindings"),
        ("search", "kernels"),
        ("bindings", "include"),
    } <= set(edges)
    assert set(re.findall(r'data-from="(\w+)" data-to="(\w+)"', shown)) == set(edges), (
        "run benchmarks/house.py"
    )


def test_every_room_has_a_place_and_imports_from_below_only(shown):
    import house

    plan = house.Plan()
    folders = {path.name for path in (house.ROOT / "cpp" / "src").iterdir()}
    assert {room for storey in house.CPP_STOREYS for room in storey} == folders | {"bindings", "include"}
    assert set(house.PURPOSES) == set(plan.level)
    assert set(re.findall(r'class="name">(\w+)<', shown)) == set(plan.level)
    assert all(plan.level[start] < plan.level[end] for start, end in house.imports())


def test_rooms_of_a_storey_lie_side_by_side():
    import house

    plan = house.Plan()
    for room, level in plan.level.items():
        assert plan.left[room] >= 0
        assert plan.left[room] + plan.width[room] <= house.WIDTH
        for other, same in plan.level.items():
            if same == level and plan.left[other] > plan.left[room]:
                assert plan.left[other] > plan.left[room] + plan.width[room]
