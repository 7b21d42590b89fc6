"""Every public instance with the default arguments of `solve_qubo` and `solve_ising`: gap and time.

The solver is called with growing time limits until it reaches the best known value; the first limit that
suffices is noted as its time.
"""

import json

import pytest

from harness import data_folder, record_facts
from qpsbgd import solve_ising, solve_qubo
from qpsbgd.data.instances import Instance, best_known, read_instance

EXACT_FAMILIES = ("beasley", "gka", "be", "rudy", "ising")
GSET_BEST = ("G1", "G6", "G11", "G43", "G48")
LARGEST_GAP = 0.02  # a solver that stays further away is broken, not slow


def instance_names(families: tuple[str, ...]) -> list[str]:
    """Paths below qubo/ that the table of best-known values lists; none without a data folder."""
    try:
        table = json.loads((data_folder() / "qubo" / "best_known.json").read_text(encoding="utf-8"))
    except pytest.skip.Exception:
        return []
    return [name for name in table["instances"] if name.split("/")[0] in families]


def gset_names() -> list[object]:
    return [
        pytest.param(name, marks=[] if name[5:-4] in GSET_BEST else pytest.mark.full)
        for name in instance_names(("gset",))
    ]


def solve_within(instance: Instance, seconds: float) -> float:
    solve = solve_qubo if instance.kind == "qubo" else solve_ising
    samples = solve(**instance.solver_arguments(), seed=0, num_threads=1, time_limit=seconds).best_samples
    return float(instance.value(samples[0]))


def first_sufficient(instance: Instance, target: float, limits: list[float]) -> tuple[float, float]:
    """(value, time limit) of the first limit that reaches the target, else of the last."""
    value = 0.0
    for limit in limits:
        value = solve_within(instance, limit)
        if value == target:
            return value, limit
    return value, limits[-1]


def measure(benchmark, name: str, limits: list[float]) -> None:
    path = data_folder() / "qubo" / name
    instance, known = read_instance(path), best_known(path)
    assert known is not None
    value, seconds = benchmark.pedantic(first_sufficient, args=(instance, known.value, limits))
    gap = known.gap(value)
    beyond = value < known.value if instance.sense == "min" else value > known.value
    assert not (beyond and "proven" in known.status), f"{value} is better than the proven {known.value}"
    assert gap <= LARGEST_GAP or beyond
    family, file = name.split("/")
    record_facts(
        benchmark,
        f"instances, {family}",
        instance=file.rsplit(".", 1)[0],
        n=instance.n,
        energy=value,
        best_known=known.value,
        gap=gap,
        seconds=seconds,
    )


@pytest.mark.benchmark(group="instances")
@pytest.mark.parametrize("name", instance_names(EXACT_FAMILIES))
def test_instance(benchmark, mode, name):
    measure(benchmark, name, mode.choose([0.02, 0.1, 0.5, 1.0], [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0]))


@pytest.mark.benchmark(group="instances")
@pytest.mark.parametrize("name", gset_names())
def test_gset(benchmark, mode, name):
    measure(benchmark, name, mode.choose([0.5, 2.0, 5.0], [0.5, 1.0, 2.0, 5.0, 10.0, 20.0]))
