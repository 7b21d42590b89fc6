"""What people look at of solutions tells the numbers, and whole batches do not flood the screen."""

import numpy as np
import pytest

from qpsbgd import Solutions, solve_ising, solve_qubo


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return solve_ising(rng.normal(size=(9, 30)), rng.normal(size=(30, 30)), num_reads=3, seed=0)


def test_text_is_one_short_line_with_the_sizes(batch):
    text = repr(batch)
    assert text.startswith("Solutions(problems=9, reads=3, spins=30, method='tabu', best_energies=[")
    assert f"{batch.best_energies[0]:.8g}" in text
    assert len(text) < 200
    assert "\n" not in text


def test_html_has_a_row_for_the_first_problems_and_is_escaped(batch):
    page = batch._repr_html_()
    assert page.count("<tr>") == 7
    assert "and 4 more" in page
    odd = Solutions(batch.samples, batch.energies, {"method": "<script>"})
    assert "<script>" not in odd._repr_html_()


@pytest.mark.parametrize("solve", [solve_ising, solve_qubo])
def test_sample_set_has_the_energies_of_its_samples(solve):
    dimod = pytest.importorskip("dimod")
    J = np.triu(np.random.default_rng(1).normal(size=(12, 12)), 1)
    solutions = solve(*((None, J) if solve is solve_ising else (J,)), num_reads=4, seed=0)
    labels = [f"v{i}" for i in range(12)]
    found = solutions.to_sampleset(labels=labels)
    terms = {(labels[i], labels[j]): J[i, j] for i in range(12) for j in range(i + 1, 12)}
    if solve is solve_ising:
        model = dimod.BinaryQuadraticModel.from_ising({}, terms)
    else:
        model = dimod.BinaryQuadraticModel.from_qubo(terms)
    assert found.vartype == model.vartype
    assert np.allclose(model.energies(found), found.record.energy)
    assert np.allclose(found.record.energy, solutions.energies[0])
    assert found.info["method"] == solutions.info["method"]
    with pytest.raises(ValueError, match="labels has 2 names, but there are 12 variables"):
        solutions.to_sampleset(labels="ab")


def test_bits_that_are_all_one_are_still_bits():
    assert solve_qubo([[-1.0]], seed=0).to_sampleset().vartype.name == "BINARY"
    assert solve_ising([-1.0], [[0.0]], seed=0).to_sampleset().vartype.name == "SPIN"


def test_data_frame_has_a_row_a_read(batch):
    pytest.importorskip("pandas")
    frame = batch.to_dataframe()
    assert frame.shape == (27, 31)
    assert np.array_equal(frame["energy"].to_numpy(), batch.energies.ravel())
    assert np.array_equal(frame.loc[(4, 2)].to_numpy()[1:], batch.samples[4, 2])


def test_trace_is_drawn_where_it_was_kept(batch):
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match="there is no trace"):
        batch.plot_trace()
    solutions = solve_ising(None, np.random.default_rng(2).normal(size=(200, 200)), time_limit=0.05, seed=0)
    (line,) = solutions.plot_trace().lines
    assert list(zip(*line.get_data(), strict=True)) == [tuple(point) for point in solutions.info["trace"][0]]
