"""The solver on a device, here on the CPU in torch operations: what holds of its answers and arguments."""

import dimod
import dimod.testing
import numpy as np
import pytest
import torch

from oracles import all_spins
from qpsbgd import NativeSampler, solve_ising, solve_qubo, solve_stream
from qpsbgd.problem import ising_problem, qubo_problem
from qpsbgd.solvers import NativeSolver, QuboSolver
from qpsbgd.solvers.device import solve
from qpsbgd.solvers.device.choose import device_of
from qpsbgd.solvers.device.fixed import exact_parts, fixed_couplings, scaled, tree_sum
from qpsbgd.solvers.device.streams import bits, read_keys
from qpsbgd.testing import check_solver

METHODS = ["descent", "tabu", "anneal", "exchange"]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def one_thread():
    """Small operations: more threads than one cost time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_problems(b, n, *, own=False, integers=False, seed=0):
    """Fields (b, n), and couplings that all share or of each problem's own, of which every entry counts."""
    rng = np.random.default_rng(seed)
    h, J = rng.normal(size=(b, n)), rng.normal(size=(b, n, n) if own else (n, n))
    return (np.rint(3 * h), np.rint(3 * J)) if integers else (h, J)


def layer_problems(b, n, rank, seed=0):
    """Rows of a layer: minimise s G'AG - 2 p'G with A of low rank."""
    rng = np.random.default_rng(seed)
    X, V = rng.normal(size=(rank, n)), rng.normal(size=(rank, b))
    p, A = V.T @ X / (rank * n**0.5), X.T @ X / (rank * n)
    signs = np.where(p >= 0, 1.0, -1.0)
    scales = np.abs(p).sum(axis=1) / np.einsum("bn,nm,bm->b", signs, A, signs)
    return -2 * p / scales[:, None], A


def solved(h, J, **options):
    tensors = (None if value is None else torch.from_numpy(value).to(DEVICE) for value in (h, J))
    sweeps = {} if options.get("method") == "descent" else {"num_sweeps": 6}
    return solve_ising(*tensors, device=DEVICE, **{"seed": 0, **sweeps, **options})


def assert_same(one, other):
    assert torch.equal(one.samples, other.samples)
    assert torch.equal(one.energies, other.energies)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("integers", [False, True])
def test_samples_are_minima_of_the_callers_numbers(method, own, integers):
    h, J = random_problems(3, 30, own=own, integers=integers)
    answer = solved(h, J, method=method, num_reads=4)
    problem = ising_problem(h, J)
    assert (answer.samples.dtype, answer.energies.dtype) == (torch.int8, torch.float64)
    assert answer.samples.device.type == answer.energies.device.type == DEVICE
    samples, energies = answer.samples.cpu().numpy(), answer.energies.cpu().numpy()
    assert np.abs(samples).min() == 1
    np.testing.assert_allclose(energies, problem.energies(samples), rtol=1e-12)
    assert not integers or (energies == problem.energies(samples)).all()
    assert (np.diff(energies) >= 0).all()
    for k in range(30):
        flipped = samples.copy()
        flipped[..., k] *= -1
        assert (problem.energies(flipped) >= energies - 1e-12 * np.abs(energies)).all()


@pytest.mark.parametrize("method", ["tabu", "anneal", "exchange"])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 11])
def test_small_problems_are_solved_to_the_minimum(n, own, method):
    h, J = random_problems(4, n, own=own, seed=n)
    states = all_spins(n)
    least = ising_problem(h, J).energies(np.broadcast_to(states, (4, *states.shape))).min(axis=1)
    answer = solved(h, J, method=method, num_reads=16, num_sweeps=20)
    np.testing.assert_allclose(answer.best_energies.cpu(), least, rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["float", "integer", "own"])
def test_answers_do_not_depend_on_the_rest_of_the_batch(method, kind, monkeypatch):
    h, J = random_problems(5, 14, own=kind == "own", integers=kind == "integer")
    h[3] *= 1e6  # fields of a neighbour are nothing to the others
    if kind == "own":
        J[4] = np.rint(J[4])
    options = {"method": method, "num_reads": 3, "num_sweeps": None if method == "descent" else 9}
    whole = solved(h, J, **options)
    solver = NativeSolver(**options, device=DEVICE)
    for first, last in ((0, 2), (2, 5), (3, 4)):
        part = solver.solve_part(
            ising_problem(h[first:last], J[first:last] if kind == "own" else J), seed=0, first_problem=first
        )
        np.testing.assert_array_equal(part.samples, whole.samples[first:last].cpu())
        np.testing.assert_array_equal(part.energies, whole.energies[first:last].cpu())
    for most in ("_MOST_SPINS", "_MOST_COUPLINGS"):
        monkeypatch.setattr(solve, most, 30)  # two reads of a problem at once
    assert_same(solved(h, J, **options), whole)


def test_other_seeds_problems_and_reads_have_other_random_numbers():
    h, J = np.zeros((2, 40)), random_problems(1, 40)[1]
    answer = solved(h, J, method="descent", num_reads=6, seed=3)
    other = solved(h, J, method="descent", num_reads=6, seed=4)
    states = torch.cat([answer.samples.flatten(0, 1), other.samples.flatten(0, 1)])
    assert len(states.unique(dim=0)) > 12
    assert_same(answer, solved(h, J, method="descent", num_reads=6, seed=3))


def test_torchs_own_random_numbers_are_left_alone():
    h, J = random_problems(2, 20)
    torch.manual_seed(1)
    first = solved(h, J, num_reads=2)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert_same(first, solved(h, J, num_reads=2))
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("method", ["tabu", "anneal"])
@pytest.mark.parametrize("kind", ["layer", "dense"])
def test_mean_energy_is_not_above_that_of_the_native_solver_at_equal_sweeps(method, kind):
    h, J = layer_problems(24, 96, 16) if kind == "layer" else random_problems(24, 96)
    sweeps = 5 if method == "tabu" else 30
    own = solved(h, J, method=method, num_sweeps=sweeps).energies.mean().item()
    native = solve_ising(h, J, method=method, num_sweeps=sweeps, seed=0).energies.mean()
    assert own < native + 5e-3 * abs(native)


def test_descent_is_as_good_as_the_native_one():
    h, J = layer_problems(60, 64, 16)
    own = solved(h, J, method="descent").energies.mean().item()
    assert own == pytest.approx(solve_ising(h, J, method="descent", seed=0).energies.mean(), rel=2e-2)


@pytest.mark.parametrize("method", METHODS)
def test_no_answer_is_above_its_initial_state(method):
    h, J = random_problems(4, 20, own=True)
    first = solved(h, J, method="tabu", num_reads=2, num_sweeps=30)
    again = solved(h, J, method=method, num_reads=2, initial_states=first.samples)
    assert (again.energies <= first.energies).all()
    one = solved(h, J, method=method, num_reads=2, initial_states=first.best_samples.cpu().numpy())
    assert (one.energies <= first.best_energies[:, None]).all()


def test_descent_starts_where_it_is_told_to():
    J = np.diag(np.ones(9), 1)
    start = np.tile([1, -1], 5)
    answer = solved(np.zeros(10), J, method="descent", num_reads=3, initial_states=start)
    assert (answer.samples.cpu().numpy() == start).all()


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.float16, torch.bfloat16, torch.float32])
def test_qubos_of_any_dtype_give_bits(dtype):
    Q = np.rint(2 * random_problems(1, 12, seed=5)[1])
    linear = np.arange(24.0).reshape(2, 12) - 10
    tensors = torch.from_numpy(Q).to(DEVICE, dtype), torch.from_numpy(linear)
    answer = solve_qubo(*tensors, device=DEVICE, seed=0, num_reads=3, num_sweeps=20)
    exact = solve_qubo(Q, linear, method="exact")
    assert set(answer.samples.unique().tolist()) == {0, 1}
    np.testing.assert_array_equal(answer.best_energies.cpu(), exact.best_energies)
    spins = 2 * answer.samples.cpu().numpy() - 1
    np.testing.assert_array_equal(answer.energies.cpu(), qubo_problem(Q, linear).energies(spins))


def test_what_is_no_tensor_is_solved_on_the_device_too():
    bqm = dimod.BinaryQuadraticModel({0: 1.0, 1: -2.0}, {(0, 1): -1.5}, 7.0, "SPIN")
    answer = solve_ising(bqm, device=DEVICE, seed=0)
    assert answer.best_energies.tolist() == [dimod.ExactSolver().sample(bqm).first.energy]
    assert solve_qubo({(0, 0): -1, (0, 1): 2}, device=DEVICE, seed=0).best_samples.tolist() == [[1, 0]]
    tensor = torch.tensor([[0.0, -1.0], [0.0, 0.0]], requires_grad=True)
    assert solve_ising({0: 1.0}, tensor, device=DEVICE, seed=0).best_samples.tolist() == [[-1, -1]]


@pytest.mark.parametrize("size", [1e-300, 1e-30, 1e30, 1e300])
def test_numbers_of_any_size_have_minima(size):
    h, J = random_problems(2, 12)
    least = solve_ising(h, J, method="exact").best_energies
    answer = solved(size * h, size * J, num_reads=3, num_sweeps=15)
    np.testing.assert_allclose(answer.best_energies.cpu(), size * least, rtol=1e-12)


def test_couplings_that_the_search_rounds_away_count_in_the_end():
    J = np.zeros((6, 6))
    J[0, 1], J[2, 3], J[4, 5] = -1e12, -1.0, 1e-6
    h = np.array([1.0, 0, 1e-3, 0, 1e-9, 0])
    answer = solved(h, J, method="descent", num_reads=20)
    assert (ising_problem(h, J).energies(answer.samples.cpu().numpy()) == answer.energies.cpu().numpy()).all()
    assert (answer.samples[..., 4] * answer.samples[..., 5] == -1).all()


def test_time_ends_a_search_between_sweeps():
    h, J = random_problems(2, 40)
    for method in ("tabu", "anneal", "exchange"):
        answer = solved(h, J, method=method, num_sweeps=None, time_limit=0.3, num_reads=2)
        assert answer.info["timing"]["sampling_ns"] < 3e9
        assert answer.info["sweeps"] > 0
        short = solved(h, J, method=method, num_sweeps=None, time_limit=1e-9)
        assert short.info["sweeps"] == 0
    assert solved(h, J, num_sweeps=2, time_limit=60.0).info["sweeps"] == 4


def test_long_annealing_within_a_time_runs_again_from_other_states():
    h, J = random_problems(1, 6)
    answer = solved(h, J, method="anneal", num_sweeps=None, time_limit=0.5)
    assert answer.info["sweeps"] > 100  # of the first run
    assert answer.best_energies.item() == pytest.approx(solve_ising(h, J, method="exact").best_energies[0])


def test_temperatures_are_those_of_the_caller():
    h, J = random_problems(1, 30)
    cold = solved(h, J, method="anneal", beta_range=(1e6, 1e6), num_sweeps=3, num_reads=3)
    assert cold.info["beta_range"] == pytest.approx((1e6, 1e6))
    descended = np.sort(solved(h, J, method="tabu", num_sweeps=1, num_reads=3).energies.cpu())
    assert np.abs(cold.energies.cpu().numpy() - descended).max() < 0.5 * np.abs(descended).max()
    assert solved(h, J, beta_range=(0.1, 1.0)).info["method"] == "anneal"


def test_metropolis_samples_have_the_probabilities_of_their_energies():
    """One sweep of long annealing at one temperature, from many states: Boltzmann's distribution."""
    from qpsbgd.solvers.device import moves
    from qpsbgd.solvers.device.fixed import fixed_fields
    from qpsbgd.solvers.device.reads import placed
    from qpsbgd.solvers.device.search import quantiles

    h, J = random_problems(1, 3, seed=2)
    problem, reads, beta = ising_problem(h, J), 20_000, 0.4
    sides = torch.from_numpy(J + J.T)[None]
    sides.diagonal(dim1=-2, dim2=-1).zero_()
    couplings = fixed_couplings(sides)
    own = fixed_fields(torch.from_numpy(h)[None], couplings.shifts).expand(1, reads, 3)
    keys = read_keys(1, 0, torch.zeros(1, reads, dtype=torch.int64), torch.arange(reads)[None])
    state = placed(couplings.values, own, torch.ones(1, reads, 3, dtype=torch.int8), keys)
    temperatures = torch.full((1, reads), 0.5 / beta * 2.0 ** int(couplings.shifts), dtype=torch.float32)
    for sweep in range(12):
        moves.anneal(state, sweep, temperatures, quantiles(torch.device("cpu")))
    states = all_spins(3)
    found = np.array([(state.spins[0].numpy() == one).all(axis=1).mean() for one in states])
    weights = np.exp(-beta * problem.energies(states[None])[0])
    np.testing.assert_allclose(found, weights / weights.sum(), atol=0.012)


def test_random_bits_are_uniform_and_independent():
    keys = read_keys(7, 1, torch.arange(4)[:, None], torch.arange(5)[None]).reshape(-1, 1)
    drawn = bits(keys, torch.arange(20_000), 8)
    assert len(keys.unique()) == 20
    counts = torch.bincount(drawn.flatten(), minlength=256).double()
    assert ((counts - counts.mean()).square() / counts.mean()).sum() < 256 + 5 * (2 * 256) ** 0.5
    centred = drawn.double() - 127.5
    correlations = torch.corrcoef(centred) - torch.eye(20)
    assert correlations.abs().max() < 5 / 20_000**0.5
    following = (centred[:, 1:] * centred[:, :-1]).mean(dim=1) / centred.var(dim=1)
    assert following.abs().max() < 5 / 20_000**0.5


def test_parts_of_a_matrix_are_exact_and_sums_have_one_order():
    generator = torch.Generator().manual_seed(0)
    M = torch.randn(2, 40, 40, generator=generator, dtype=torch.float64)
    M = M + M.mT
    rebuilt = sum(scaled(part, -shifts[:, None, None]) for part, shifts in exact_parts(M))
    assert torch.equal(rebuilt, M)
    x = torch.randn(7, 33, generator=generator, dtype=torch.float64)
    np.testing.assert_allclose(tree_sum(x), x.sum(dim=-1), atol=1e-13)
    assert torch.equal(tree_sum(x)[2:3], tree_sum(x[2:3]))


def test_integer_couplings_are_kept_without_rounding_in_int16():
    J = torch.from_numpy(random_problems(2, 20, own=True, integers=True)[1])
    M = J + J.mT
    M.diagonal(dim1=-2, dim2=-1).zero_()
    fixed = fixed_couplings(M / 4)
    assert fixed.values.dtype == torch.int16
    assert torch.equal(scaled(fixed.values.double(), -fixed.shifts[:, None, None]), M / 4)
    assert fixed_couplings(torch.cat([M / 4, M / 3])).values.dtype == torch.int32
    assert torch.equal(fixed_couplings(torch.cat([M / 4, M / 3])).norms[:2], fixed.norms)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "exact"}, "method must be 'auto', 'descent', 'anneal', 'tabu' or 'exchange' on a device"),
        ({"num_threads": 2}, "num_threads must be None on a device, but is 2"),
        ({"target_energy": -1.0}, "target_energy must be None on a device"),
        ({"num_best": 3}, "num_best must be None on a device"),
        ({"presolve": True}, "presolve must be 'auto' or False on a device"),
        ({"executor": object()}, "executor must be None on a device"),
        ({"progress": True}, "progress must be None on a device"),
        ({"method": "tabu", "beta_range": (1.0, 2.0)}, "beta_range is for methods 'anneal' and 'exchange'"),
        ({"method": "descent", "num_sweeps": 2}, "num_sweeps must be None for method 'descent'"),
        ({"device": "mps"}, "device must compute in float64, but is 'mps'"),
        ({"device": "nowhere"}, "device must be a device of torch, but is 'nowhere'"),
        ({"device": "cuda:77"}, "device is 'cuda:77', which is not there"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"initial_states": np.ones((2, 3, 5))}, r"initial_states has shape \(2, 3, 5\), expected \(2, 5\)"),
        ({"initial_states": np.zeros((2, 5))}, "initial_states must hold only -1 and 1"),
    ],
)
def test_what_a_device_cannot_do_is_refused_by_name(options, message):
    h, J = random_problems(2, 5)
    with pytest.raises(ValueError, match=message):
        solve_ising(torch.from_numpy(h), torch.from_numpy(J), **{"device": DEVICE, **options})


@pytest.mark.parametrize(
    ("h", "J", "error", "message"),
    [
        (np.ones((2, 4)), np.ones((5, 5)), ValueError, r"h has shape \(2, 4\) but J is for 5 spins"),
        (np.ones((2, 5)), np.ones((3, 5, 5)), ValueError, r"h has shape \(2, 5\) but J has 3 matrices"),
        (
            np.ones(5),
            np.ones((5, 4)),
            ValueError,
            r"J must have shape \(n, n\) or \(b, n, n\), but has shape",
        ),
        (np.ones((1, 1, 5)), np.ones((5, 5)), ValueError, r"h must have shape \(n,\) or \(b, n\)"),
        (np.ones(0), np.ones((0, 0)), ValueError, "J has shape .*at least one problem and one spin"),
        (np.array([np.nan, 1]), np.ones((2, 2)), ValueError, r"h of shape \(2,\) has nan at \(0,\)"),
        (np.ones(2), np.array([[0, np.inf], [0, 0]]), ValueError, r"J of shape \(2, 2\) has inf at \(0, 1\)"),
        (np.ones(2), np.full((2, 2), 1e308), ValueError, "h and J are too large: an energy overflows"),
        (np.ones(2), np.ones((2, 2), dtype=complex), TypeError, "J must hold real numbers"),
        (np.ones(2), np.full((2, 2), 2**60), ValueError, r"J has an integer of 2\*\*53 or more"),
        (np.ones(1), np.zeros((1, 1, 1, 1)), ValueError, r"J must have shape \(n, n\) or \(b, n, n\)"),
    ],
)
def test_bad_tensors_are_refused_by_name(h, J, error, message):
    with pytest.raises(error, match=message):
        solved(h, J)


def test_problems_that_no_kernel_holds_are_refused():
    with pytest.raises(ValueError, match="J is for 8193 spins, but a problem on a device may have 8192"):
        solve_ising(None, torch.zeros(1, 1).expand(8193, 8193), device=DEVICE)
    bqm = dimod.BinaryQuadraticModel(8193, "SPIN")
    with pytest.raises(ValueError, match="bqm is for 8193 spins"):
        NativeSampler(device=DEVICE).sample(bqm)


def test_sparse_problems_become_dense_on_a_device():
    J = torch.diag(torch.full((199,), -1.0), 1)
    start = {"initial_states": np.ones(200), "device": DEVICE, "num_sweeps": 1, "seed": 0}
    assert_same(solve_ising(None, J.to_sparse(), **start), solve_ising(None, J, **start))


def test_a_problem_is_solved_where_its_tensors_are():
    class Tensor:
        """What `device_of` looks at."""

        def __init__(self, kind, layout="torch.strided"):
            self.device, self.layout, self.is_sparse = torch.device(kind), layout, False
            self.detach = None

    assert device_of(None, None, Tensor("cuda")) == torch.device("cuda")
    assert device_of(None, Tensor("cuda"), np.ones(1)) == torch.device("cuda")
    assert device_of(None, Tensor("cpu"), Tensor("cpu")) is None
    assert device_of(None, Tensor("mps"), Tensor("mps")) is None
    assert device_of(None, Tensor("cuda"), Tensor("cuda", "torch.sparse_coo")) is None
    assert device_of("cpu", Tensor("cuda")) == "cpu"


def test_solutions_of_a_device_come_to_the_host():
    h, J = random_problems(2, 8)
    answer = solved(h, J, num_reads=2)
    host = answer.to_host()
    assert isinstance(host.samples, np.ndarray)
    assert host.to_host() is host
    np.testing.assert_array_equal(host.energies, answer.energies.cpu())
    assert repr(answer) == repr(host)
    assert answer._repr_html_() == host._repr_html_()
    assert answer.to_sampleset(1).first.energy == host.energies[1, 0]


def test_solver_with_a_device_is_a_solver():
    solver = NativeSolver(method="tabu", num_sweeps=5, num_reads=2, device=DEVICE)
    assert isinstance(solver, QuboSolver)
    check_solver(solver)


def test_stream_is_solved_on_a_device_but_on_no_executor():
    problems = [ising_problem(*random_problems(1, 9, seed=seed)) for seed in range(3)]
    solver = NativeSolver(method="tabu", num_sweeps=3, device=DEVICE)
    answers = list(solve_stream(problems, solver=solver, seed=0))
    expected = [solver.solve_part(problem, seed=0, first_problem=k) for k, problem in enumerate(problems)]
    for one, other in zip(answers, expected, strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)
    with pytest.raises(ValueError, match="executor must be None on a device"):
        solve_stream(problems, solver=solver, executor=object())


def test_sampler_with_a_device_is_a_sampler_of_dimods():
    sampler = NativeSampler(device=DEVICE)
    dimod.testing.assert_sampler_api(sampler)
    bqm = dimod.generators.gnp_random_bqm(14, 0.5, "BINARY", random_state=1)
    bqm.relabel_variables({k: f"x{k}" for k in range(14)})
    answer = sampler.sample(bqm, num_reads=5, num_sweeps=20, seed=1)
    dimod.testing.assert_response_energies(answer, bqm)
    assert answer.first.energy == pytest.approx(dimod.ExactSolver().sample(bqm).first.energy)
    assert answer.info["method"] == "tabu"
    sparse = dimod.BinaryQuadraticModel({}, {(k, k + 1): -1.0 for k in range(99)}, "SPIN")
    chain = sampler.sample(sparse, num_sweeps=10, seed=0, initial_states=dict.fromkeys(range(100), 1))
    assert chain.first.energy == -99
    with pytest.raises(ValueError, match="beta_schedule and the other rules of annealing must have"):
        sampler.sample(bqm, keep="last")
    assert sampler.sample(dimod.BinaryQuadraticModel("SPIN"), num_reads=2).record.energy.tolist() == [0, 0]


def test_interrupt_function_ends_a_search():
    bqm = dimod.generators.gnp_random_bqm(20, 0.5, "SPIN", random_state=1)
    calls = []
    answer = NativeSampler(device=DEVICE).sample(
        bqm, num_sweeps=10**9, seed=0, interrupt_function=lambda: calls.append(1) or len(calls) > 3
    )
    dimod.testing.assert_response_energies(answer, bqm)
    assert answer.info["sweeps"] == 3
