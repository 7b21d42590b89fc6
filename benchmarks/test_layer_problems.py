"""Row problems of one layer, end to end: what a solver reaches, and in what time per row.

Ours climbs a ladder of budgets over all rows, averaged over seeds. A peer answers the first rows; its time
per row is the mean over them. The report compares on the rows that the peer answered.
"""

import numpy as np
import pytest

from harness import (
    FULL_PEERS,
    LADDERS,
    LAYERS,
    PEERS,
    Layer,
    Mode,
    Peer,
    Rung,
    model_of_row,
    need,
    per_mode,
    record,
    repeat_seeded,
    solve_layer,
    solve_rows,
)


def run_ladder(benchmark, mode: Mode, layer: Layer, rung: Rung) -> None:
    # Small budgets scatter more and cost less: more seeds, so that their mean energy is known well.
    small = (rung.num_sweeps or 1000) * rung.num_reads <= 32
    rounds = mode.choose(3, 7) * (10 if small else 1)
    answers = repeat_seeded(benchmark, lambda seed: solve_layer(layer, rung, seed), rounds)
    energies = np.mean([layer.energies(spins) for spins in answers], axis=0)
    assert energies.mean() < layer.sanity_bound
    record(
        benchmark,
        workload=layer.name,
        solver=f"qpsbgd {rung.method}",
        budget=rung.budget,
        rows=layer.m,
        energies=energies,
    )


def run_peer(benchmark, layer: Layer, peer: Peer, rows: int) -> None:
    need(peer.module)
    rows = max(1, rows // 4) if peer.slow else rows
    assert all(len(model_of_row(layer, row).bqm) == layer.d for row in range(rows))  # made here, not timed
    spins = benchmark.pedantic(solve_rows, args=(peer, layer, rows))
    energies = layer.energies(spins)
    assert (energies < layer.random_energy).all()
    record(
        benchmark,
        workload=layer.name,
        solver=peer.name,
        budget=peer.budget,
        peer=True,
        rows=rows,
        energies=energies,
    )


@pytest.mark.benchmark(group="W1")
@pytest.mark.parametrize("rung", LADDERS["W1"], ids=str)
def test_w1_qpsbgd(benchmark, mode, rung):
    run_ladder(benchmark, mode, LAYERS["W1"], rung)


@pytest.mark.benchmark(group="W1")
@pytest.mark.parametrize("peer", per_mode(PEERS["W1"], FULL_PEERS["W1"]))
def test_w1_peer(benchmark, mode, peer):
    run_peer(benchmark, LAYERS["W1"], peer, mode.choose(16, 128))


@pytest.mark.benchmark(group="W2")
@pytest.mark.parametrize("rung", LADDERS["W2"], ids=str)
def test_w2_qpsbgd(benchmark, mode, rung):
    run_ladder(benchmark, mode, LAYERS["W2"], rung)


@pytest.mark.benchmark(group="W2")
@pytest.mark.parametrize("peer", per_mode(PEERS["W2"], FULL_PEERS["W2"]))
def test_w2_peer(benchmark, mode, peer):
    run_peer(benchmark, LAYERS["W2"], peer, mode.choose(8, 32))
