"""Problems as users hold them: dicts, dimod models, torch tensors, sparse matrices of any format."""

import dimod
import numpy as np
import pytest
import scipy.sparse
import torch

from qpsbgd import NativeSampler, solve_ising, solve_qubo
from qpsbgd.problem import ising_problem, qubo_problem

N = 9


def matrix(seed=0, n=N, density=1.0):
    rng = np.random.default_rng(seed)
    return rng.integers(-8, 9, (n, n)) * (rng.random((n, n)) < density)


def as_dict(Q):
    return {(int(i), int(j)): Q[i, j] for i, j in zip(*np.nonzero(Q), strict=True)}


def large(seed=0):
    """One that stays sparse as a dict."""
    return matrix(seed, n=120, density=0.02)


DENSE = {
    "longdouble": lambda Q: Q.astype(np.longdouble),
    "float16": lambda Q: Q.astype(np.float16),
    "list": lambda Q: Q.tolist(),
    "tensor": lambda Q: torch.tensor(Q),
    "bfloat16": lambda Q: torch.tensor(Q, dtype=torch.bfloat16),
    "half": lambda Q: torch.tensor(Q, dtype=torch.float16),
    "requires-grad": lambda Q: torch.tensor(Q, dtype=torch.float32, requires_grad=True),
    "transposed": lambda Q: torch.tensor(Q.T.copy()).T,
    "negated": lambda Q: (
        torch.complex(torch.zeros(Q.shape), torch.tensor(-Q, dtype=torch.float32)).conj().imag
    ),
}
SPARSE = {
    **{
        name: getattr(scipy.sparse, f"{name}_array")
        for name in ("csr", "csc", "coo", "dia", "bsr", "lil", "dok")
    },
    "longdouble": lambda Q: scipy.sparse.csr_array(Q.astype(np.longdouble)),
    "tensor-coo": lambda Q: torch.tensor(Q, dtype=torch.float64).to_sparse(),
    "tensor-csr": lambda Q: torch.tensor(Q, dtype=torch.float64).to_sparse_csr(),
    "tensor-bfloat16": lambda Q: torch.tensor(Q, dtype=torch.bfloat16).to_sparse(),
    "tensor-grad": lambda Q: torch.tensor(Q, dtype=torch.float64).to_sparse().requires_grad_(),
    "dict": as_dict,
}


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support", "ignore:Constructing a DIA matrix")
@pytest.mark.parametrize("kind", [*DENSE, *SPARSE])
def test_every_kind_of_matrix_has_the_same_energies(kind):
    for Q in (matrix(), large()):
        n = len(Q)
        given = (DENSE | SPARSE)[kind](Q)
        linear = np.arange(n) - 3.0
        bits = np.random.default_rng(1).integers(0, 2, (1, 4, n)).astype(np.int8)
        problem = qubo_problem(given, linear)
        expected = np.einsum("brn,brn->br", bits @ Q, bits) + bits @ linear
        np.testing.assert_array_equal(problem.energies(2 * bits - 1), expected)
        spins = ising_problem(linear, given)
        np.testing.assert_array_equal(
            spins.energies(2 * bits - 1), ising_problem(linear, Q).energies(2 * bits - 1)
        )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("sparse", [False, True])
def test_tensors_of_a_gpu_are_read(sparse):
    Q = torch.tensor(matrix(), dtype=torch.float32, device="cuda")
    answer = solve_qubo(Q.to_sparse() if sparse else Q, seed=0)
    assert answer.best_energies[0] == solve_qubo(matrix(), seed=0).best_energies[0]


@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
def test_model_is_solved_in_the_order_of_its_numbers(vartype):
    bqm = dimod.BinaryQuadraticModel(
        {3: 1.0, 1: -2.0, 0: 0.5, 2: 0.25}, {(3, 0): -1.5, (1, 2): 2.0}, 7.0, vartype
    )
    least = dimod.ExactSolver().sample(bqm).first.energy
    bits, spins = solve_qubo(bqm, seed=0), solve_ising(bqm, seed=0)
    assert bits.best_energies[0] == spins.best_energies[0] == solve_ising(None, bqm).best_energies[0] == least
    for answer, wanted in ((bits, dimod.BINARY), (spins, dimod.SPIN)):
        same = bqm.change_vartype(wanted, inplace=False)
        assert same.energy((answer.best_samples[0], [0, 1, 2, 3])) == least


def test_small_dicts_of_coefficients():
    assert solve_qubo({(0, 0): -1}).best_samples.tolist() == [[1]]
    answer = solve_ising({0: 0.5}, {(0, 1): -1, (1, 2): 1})
    assert (answer.best_samples.tolist(), answer.best_energies.tolist()) == ([[-1, -1, 1]], [-2.5])
    assert solve_ising({4: 1.0}, {(0, 1): 1.0}).samples.shape == (1, 1, 5)
    assert solve_ising(np.ones((2, 3)), {(0, 1): 1.0}).samples.shape == (2, 1, 3)
    assert solve_qubo({(0, 1): -2.0}, {0: 1.0, 1: 0.5}).best_energies.tolist() == [-0.5]


def test_without_fields():
    assert solve_ising(None, [[0, 1], [0, 0]]).best_energies.tolist() == [-1.0]
    assert solve_ising(None, -np.ones((2, 3, 3))).best_energies.tolist() == [-9.0, -9.0]


def test_an_answer_is_a_state_to_start_from():
    Q = matrix(n=40)
    first = solve_qubo(Q, num_sweeps=1, method="tabu", seed=0)
    again = solve_qubo(Q, initial_states=first.best_samples[0], method="descent", num_reads=3, seed=0)
    assert np.all(again.energies <= first.best_energies[0])
    tensor = torch.tensor(first.best_samples[0])
    np.testing.assert_array_equal(
        solve_qubo(Q, initial_states=tensor, method="descent", num_reads=3, seed=0).samples, again.samples
    )


BQM = dimod.BinaryQuadraticModel({"a": -1.0}, {("a", "b"): 2.0}, "BINARY")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: solve_qubo({("a", "b"): 1}), "Q must be of variables 0, 1, .*NativeSampler"),
        (lambda: solve_qubo({(0, -1): 1}), "Q must be of variables 0, 1, .*-1"),
        (lambda: solve_qubo(BQM), "Q must be of variables 0, 1, .*'a'.*NativeSampler"),
        (
            lambda: solve_qubo(dimod.BinaryQuadraticModel({1: 1.0, 2: 1.0}, {}, "SPIN")),
            "Q must be of variables 0",
        ),
        (
            lambda: solve_qubo(dimod.ConstrainedQuadraticModel()),
            "Q is a ConstrainedQuadraticModel.*cqm_to_bqm",
        ),
        (lambda: solve_ising(dimod.QuadraticModel()), "h is a QuadraticModel"),
        (lambda: solve_ising([1.0], BQM), "h must be None where J is a model"),
        (lambda: solve_qubo(BQM, [1.0]), "linear must be None where Q is a model"),
        (lambda: solve_ising([1.0]), "J must be given"),
    ],
)
def test_what_cannot_be_solved_says_what_to_call(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_the_sampler_named_takes_any_labels():
    assert NativeSampler().sample(BQM).first.sample == {"a": 1, "b": 0}
    assert NativeSampler().sample_qubo({("a", "a"): -1}).first.sample == {"a": 1}
