"""The model of growth: costs of rings, constants that are found again, and what bounds a step."""

import pytest

import growth
from growth import Machine

MACHINE = Machine(2e-11, 4e-11, 2e-11, 1e-10, 1e-9, 1e-10, 3e-5, 5e-6, 12.5e9)


def test_one_rank_sends_nothing_and_a_ring_sends_each_byte_twice():
    alone = growth.step_parts(MACHINE, 256, 512, 512, 1)
    assert sum(alone[part] for part in alone if part.startswith("traffic")) == 0
    free = Machine(*[0.0] * 7, 0.0, 1.0)
    for ranks in (2, 8, 1000):
        parts = growth.step_parts(free, 256, 64, 10, ranks)
        share = (ranks - 1) / ranks
        assert parts["traffic of A"] == pytest.approx(2 * share * 4 * 64 * 65 / 2)
        assert parts["traffic of gradients"] == pytest.approx(2 * share * 4 * 64 * 10)
        assert parts["traffic of steps"] == pytest.approx(share * 64 * 10 / 8)


def test_constants_are_found_again_from_points_that_they_made():
    points = []
    for n, d, m in growth.MEASURED:
        parts = growth.step_parts(MACHINE, n, d, m, 1)
        points.append(
            {"n": n, "d": d, "m": m, "A": parts["A"], "rows": parts["rows"], "weights": parts["weights"]}
        )
    network = [(size, growth.ring(MACHINE, size, 2, 2)) for size in (64, 1 << 16, 1 << 24)]
    found = growth.fit(points, network)
    for name in (
        "gram",
        "gram_far",
        "row_entry",
        "row_far",
        "row_input",
        "weight",
        "call",
        "latency",
        "bandwidth",
    ):
        assert getattr(found, name) == pytest.approx(getattr(MACHINE, name), rel=1e-6), name
    assert max(map(abs, growth.errors(points, network))) < 1e-6


def test_more_ranks_help_wide_layers_until_traffic_bounds_them():
    useful = [growth.best_ranks(MACHINE, 4096, width, width) for width in (128, 1024, 16384)]
    assert useful == sorted(useful)
    assert useful[-1] > 8
    assert growth.bound_by(MACHINE, 4096, 16384, 16384, 1) in ("A", "rows")
    assert growth.bound_by(MACHINE, 4096, 16384, 16384, 4096).startswith("traffic")
    no_network = Machine(*[1e-11] * 7, 0.0, 1e30)
    assert growth.best_ranks(no_network, 4096, 4096, 4096) >= 512
