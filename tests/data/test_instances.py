"""Instance files: what they say, what the solver is given, and what a sample is worth."""

import itertools
import json

import numpy as np
import pytest

from qpsbgd.data.instances import BestKnown, best_known, read_instance
from qpsbgd.problem import ising_problem, qubo_problem


def every_state(n: int, low: int) -> np.ndarray:
    return np.array(list(itertools.product((low, 1), repeat=n)), dtype=np.int8)


def write_random(path, n: int, lines: int, *, diagonal: bool) -> np.ndarray:
    """Write a file of random lines, places repeated on purpose; returns its symmetric matrix."""
    random = np.random.default_rng(n + lines)
    matrix = np.zeros((n, n))
    text = [f"{n} {lines}"]
    while len(text) <= lines:
        i, j, value = *random.integers(0, n, 2), random.integers(-9, 10)
        if i == j and not diagonal:
            continue
        matrix[i, j] += value
        if i != j:
            matrix[j, i] += value
        text.append(f"{i + 1} {j + 1} {value}")
    path.write_text("\n".join(text) + "\n")
    return matrix


def test_qubo_counts_off_diagonal_lines_twice(tmp_path):
    path = tmp_path / "small.sparse"
    path.write_text("2 2\n1 1 -3\n1 2 5\n")
    instance = read_instance(path)
    assert (instance.kind, instance.sense, instance.n, instance.name) == ("qubo", "min", 2, "small")
    assert instance.value([[0, 0], [1, 0], [0, 1], [1, 1]]).tolist() == [0, -3, 0, 7]


def test_maxcut_counts_edges_between_the_sides(tmp_path):
    path = tmp_path / "path.txt"
    path.write_text("3 2\n1 2 4\n2 3 -1\n")
    instance = read_instance(path)
    assert (instance.kind, instance.sense) == ("maxcut", "max")
    assert instance.value([[1, 1, 1], [1, -1, -1], [1, -1, 1]]).tolist() == [0, 4, 3]


@pytest.mark.parametrize(("n", "lines"), [(6, 15), (6, 4)])
def test_qubo_value_is_the_quadratic_form(tmp_path, n, lines):
    matrix = write_random(tmp_path / "random.sparse", n, lines, diagonal=True)
    bits = every_state(n, 0)
    expected = np.einsum("bi,ij,bj->b", bits, matrix, bits)
    np.testing.assert_array_equal(read_instance(tmp_path / "random.sparse").value(bits), expected)


def with_unused_variables(path, n: int) -> None:
    """Enlarge the problem so that the solver is given a sparse matrix."""
    header, rest = path.read_text().split("\n", 1)
    path.write_text(f"{n} {header.split()[1]}\n{rest}")


@pytest.mark.parametrize("sparse", [False, True])
def test_qubo_arguments_give_the_same_energies(tmp_path, sparse):
    path = tmp_path / "random.sparse"
    write_random(path, 6, 12, diagonal=True)
    if sparse:
        with_unused_variables(path, 100)
    instance = read_instance(path)
    bits = np.zeros((64, instance.n), dtype=np.int8)
    bits[:, :6] = every_state(6, 0)
    matrix = instance.solver_arguments()["Q"]
    assert hasattr(matrix, "tocsr") == sparse
    energies = qubo_problem(matrix).energies(2 * bits[None].astype(np.int8) - 1)[0]
    np.testing.assert_allclose(energies, instance.value(bits))


@pytest.mark.parametrize("sparse", [False, True])
def test_lower_maxcut_energy_is_a_larger_cut(tmp_path, sparse):
    path = tmp_path / "random.txt"
    write_random(path, 6, 12, diagonal=False)
    if sparse:
        with_unused_variables(path, 100)
    instance = read_instance(path)
    spins = np.ones((64, instance.n), dtype=np.int8)
    spins[:, :6] = every_state(6, -1)
    arguments = instance.solver_arguments()
    assert hasattr(arguments["J"], "tocsr") == sparse
    energies = ising_problem(arguments["h"], arguments["J"]).energies(spins[None])[0]
    np.testing.assert_allclose((instance.values.sum() - energies) / 2, instance.value(spins))


def test_loop_in_a_graph_is_never_cut(tmp_path):
    (tmp_path / "loop.txt").write_text("2 2\n1 1 7\n1 2 1\n")
    instance = read_instance(tmp_path / "loop.txt")
    assert instance.value([1, -1]) == 1
    assert np.trace(instance.solver_arguments()["J"]) == 0


def test_kind_can_be_said_when_the_ending_does_not(tmp_path):
    path = tmp_path / "G0"
    path.write_text("2 1\n1 2 1\n")
    with pytest.raises(ValueError, match="G0 has no ending"):
        read_instance(path)
    assert read_instance(path, "maxcut").kind == "maxcut"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "x.txt is empty"),
        ("3\n", "line 1: found '3'"),
        ("a b\n", "line 1: found 'a b'"),
        ("0 0\n", "line 1"),
        ("3 2\n1 2 1\n", "1 lines after its header, which announces 2"),
        ("3 1\n1 4 1\n", "line 2: found '1 4 1', expected two indices of 1..3"),
        ("3 1\n0 1 1\n", "line 2"),
        ("3 1\n\n1\n", "line 3: found '1'"),
        ("3 1\n1 2 x\n", "line 2"),
        ("3 1\n1 2 nan\n", "line 2"),
        ("3 1\n1 2 1 1\n", "line 2"),
        ("3 1\n1.5 2 1\n", "line 2"),
    ],
)
def test_malformed_file_is_refused_with_its_line(tmp_path, text, place):
    (tmp_path / "x.txt").write_text(text)
    with pytest.raises(ValueError, match=r"x\.txt") as caught:
        read_instance(tmp_path / "x.txt")
    assert place in str(caught.value)


def test_samples_of_another_size_are_refused(tmp_path):
    (tmp_path / "x.txt").write_text("3 1\n1 2 1\n")
    with pytest.raises(ValueError, match=r"shape \(2,\), but x has 3 variables"):
        read_instance(tmp_path / "x.txt").value([1, 1])


def test_best_known_is_found_above_the_file(tmp_path):
    table = {"instances": {"family/a.txt": {"best_known": 12, "status": "proven"}}}
    (tmp_path / "best_known.json").write_text(json.dumps(table))
    (tmp_path / "family").mkdir()
    assert best_known(tmp_path / "family" / "a.txt") == BestKnown(12.0, "proven")
    assert best_known(tmp_path / "family" / "b.txt") is None


def test_damaged_table_is_named(tmp_path):
    (tmp_path / "best_known.json").write_text("{")
    with pytest.raises(ValueError, match=r"best_known\.json is not a table"):
        best_known(tmp_path / "a.txt")


def test_gap_is_relative_to_the_best():
    assert BestKnown(100.0, "").gap(99.0) == pytest.approx(0.01)
    assert BestKnown(0.0, "").gap(3.0) == 3.0


@pytest.mark.parametrize("family", ["beasley", "gka", "be", "gset", "rudy", "ising"])
def test_every_public_file_is_read(data_folder, family):
    paths = sorted((data_folder / "qubo" / family).iterdir())
    assert paths
    for path in paths:
        instance = read_instance(path)
        known = best_known(path)
        assert known is not None
        assert instance.kind == ("qubo" if family in ("beasley", "gka", "be") else "maxcut")
        assert instance.value(np.ones(instance.n)) == (
            0 if instance.kind == "maxcut" else instance.solver_arguments()["Q"].sum()
        )
