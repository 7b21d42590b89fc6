"""Processes that share the rows of layers, or vote, take the step that they should."""

import os
import signal

import numpy as np
import pytest
import torch
from torch import distributed, nn
from torch.distributed.algorithms.ddp_comm_hooks.debugging_hooks import noop_hook
from torch.distributed.tensor import Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from process_groups import assert_equal_weights, bytes_sent, in_processes, weights
from qpsbgd.nn import Activated, BinaryConv2d, BinaryLinear
from qpsbgd.optim import QPSBGD
from qpsbgd.optim.agreement import fingerprint
from qpsbgd.optim.bits import decode_step, encode_step
from qpsbgd.optim.parallel import Team, chosen
from qpsbgd.problem import Solutions
from qpsbgd.solvers import NativeSolver
from qpsbgd.step.memory import error_feedback
from qpsbgd.step.processes import Processes, Share
from qpsbgd.step.triangles import pack_symmetric, packed_size, unpack_symmetric

SIZES = (5, 0, 11)
ALL = sum(SIZES)


def two_layers():
    return nn.Sequential(BinaryLinear(6, 5), nn.Tanh(), BinaryLinear(5, 3))


def fewer_rows_than_processes():
    return nn.Sequential(BinaryLinear(6, 2), nn.Tanh(), BinaryLinear(2, 3))


def channel_groups():
    return nn.Sequential(
        nn.Unflatten(1, (2, 3, 1)),
        BinaryConv2d(2, 4, (2, 1), groups=2),
        nn.Tanh(),
        nn.Flatten(),
        BinaryLinear(8, 3),
    )


def slopes():
    return nn.Sequential(Activated(BinaryLinear(6, 5), nn.Tanh()), BinaryLinear(5, 3))


def frozen():
    model = two_layers()
    model[0].weight.requires_grad_(False)
    return model


def with_bias():
    return nn.Sequential(BinaryLinear(6, 4), nn.Tanh(), BinaryLinear(4, 3), nn.Linear(3, 3))


ANNEAL = NativeSolver(method="anneal", num_reads=2, num_sweeps=4, num_threads=1)
CASES = {
    "error feedback": (two_layers, {}),
    "fewer rows than processes": (fewer_rows_than_processes, {}),
    "channel groups": (channel_groups, {}),
    "channel groups with momentum": (channel_groups, {"memory": "momentum"}),
    "post-activation": (slopes, {"jacobian": "post-activation"}),
    "momentum": (two_layers, {"memory": "momentum"}),
    "no memory": (two_layers, {"memory": None}),
    "mask": (two_layers, {"domain": "mask"}),
    "fitted scale": (two_layers, {"scale": "auto"}),
    "raw": (two_layers, {"scale": "raw"}),
    "projected": (two_layers, {"variant": "projected"}),
    "projected channel groups": (channel_groups, {"variant": "projected"}),
    "kept matrices": (two_layers, {"gram_every": 2}),
    "random solver": (two_layers, {"solver": ANNEAL}),
    "random solver of channel groups": (channel_groups, {"solver": ANNEAL}),
    "random solver of projected steps": (two_layers, {"solver": ANNEAL, "variant": "projected"}),
    "frozen weight": (frozen, {}),
    "other parameters": (with_bias, {}),
}


def made(case):
    torch.manual_seed(5)
    model = CASES[case][0]().double()
    return model, QPSBGD(model.parameters(), **CASES[case][1], parallelism="rows")


def batch_of(step, count=ALL):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(count, 6, generator=generator).double()
    x[:, 4] = 0.0  # an input of which nothing is known
    return x, (x[:, :3] + 0.3 * x[:, 3:]).sin()


def part_of(tensor, rank, sizes=SIZES):
    return tensor[sum(sizes[:rank]) : sum(sizes[: rank + 1])]


def backward(model, x, y, whole):
    """Gradients of this part, whose mean over the processes is that of the whole batch."""
    loss = (model(x) - y).square().sum()
    size = distributed.get_world_size() if distributed.is_initialized() else 1
    (loss * size / whole).backward()


def trained(case, rank=None, steps=3):
    """Weights after every step."""
    model, optimizer = made(case)
    seen = []
    for step in range(steps):
        x, y = batch_of(step)
        optimizer.zero_grad()
        backward(model, *((x, y) if rank is None else (part_of(x, rank), part_of(y, rank))), len(x))
        optimizer.step()
        seen.extend(weights(model))
    return seen


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Weights after every step, of every case in every process."""
    found, errors = in_processes(
        tmp_path_factory.mktemp("shared"), lambda rank: {case: trained(case, rank) for case in CASES}, size=3
    )
    assert errors == [None] * 3
    return found


@pytest.mark.parametrize("case", CASES)
def test_shared_rows_are_those_of_one_process_after_every_step(shared, case):
    assert_equal_weights([found[case] for found in shared])
    for one, alone in zip(shared[0][case], trained(case), strict=True):
        assert one == pytest.approx(alone, abs=1e-9)


def test_every_row_is_solved_by_one_process(tmp_path):
    class Counting(NativeSolver):
        rows = 0

        def solve(self, problem, *, seed):
            Counting.rows += problem.num_problems
            return super().solve(problem, seed=seed)

        def solve_part(self, problem, *, seed, first_problem):
            Counting.rows += problem.num_problems
            return super().solve_part(problem, seed=seed, first_problem=first_problem)

    def counted(rank):
        torch.manual_seed(5)
        model = two_layers().double()
        optimizer = QPSBGD(model.parameters(), solver=Counting(method="descent"), parallelism="rows")
        x, y = batch_of(0)
        backward(model, x, y, len(x))
        optimizer.step()
        return Counting.rows, optimizer.num_qubos

    found, errors = in_processes(tmp_path, counted)
    assert errors == [None, None]
    assert [rows for rows, _ in found] == [3, 5]  # of 5 and 3
    assert {total for _, total in found} == {8}


# Votes


def test_votes_are_the_majority_of_what_each_process_would_do(tmp_path):
    sizes_of_steps = [(4, 6, 0, 5), (4, 2, 3, 5), (4, 6, 0, 5)]

    def voted(rank):
        torch.manual_seed(5)
        model, own = two_layers().double(), two_layers().double()
        own.load_state_dict(model.state_dict())
        optimizer = QPSBGD(model.parameters(), parallelism="vote", lr=0.25)
        alone = QPSBGD(own.parameters(), process_group="independent", lr=0.25)
        wrapped = DistributedDataParallel(model)
        wrapped.register_comm_hook(None, noop_hook)
        alone_p, right, draws = [], True, 0
        alone.register_projection_hook(lambda shown: alone_p.append((shown.p, shown.G)))
        for step, sizes in enumerate(sizes_of_steps):
            x, y = (part_of(values, rank, sizes) for values in batch_of(step, sum(sizes)))
            before = [parameter.detach().clone() for parameter in model.parameters()]
            optimizer.zero_grad()
            (wrapped(x) - y).square().sum().backward()
            optimizer.step()
            alone.zero_grad()
            alone_p.clear()
            (own(x) - y).square().sum().backward()
            alone.step()
            for number, weight in enumerate(model.parameters()):
                total = torch.zeros_like(weight)
                if len(x):
                    total += alone_p[number][1]
                distributed.all_reduce(total)
                G = total.sign()
                right &= torch.equal(weight, (before[number] - 0.25 * G).clamp(-1, 1))
                draws += int((G == 0).any(dim=0).sum()) - (number == 0)  # of its input 4 nothing is known
                if len(x):
                    left = error_feedback(alone_p[number][0], G)
                    right &= torch.equal(optimizer.state[weight]["residual"], left)
                    alone.state[list(own.parameters())[number]]["residual"] = left
            own.load_state_dict(model.state_dict())
        return right, draws, weights(model)

    found, errors = in_processes(tmp_path, voted, size=4)
    assert errors == [None] * 4
    assert [right for right, *_ in found] == [True] * 4
    assert all(draws > 0 for _, draws, _ in found)
    assert_equal_weights([after for *_, after in found])


# What goes wrong


class Unsure:
    """Answers with spins that nothing determines, as a device does; fails where it is told to."""

    fails = False

    def solve(self, problem, *, seed):
        if self.fails:
            raise OSError("the device is away")
        rng = np.random.default_rng()
        shape = (problem.num_problems, 1, problem.num_spins)
        spins = rng.choice(np.array([-1, 1], np.int8), shape)
        return Solutions.of(problem, spins)


def test_errors_of_one_process_are_raised_in_all_and_change_nothing(tmp_path):
    def attempts(rank):
        torch.manual_seed(5)
        model = nn.Sequential(BinaryLinear(12, 8), nn.Tanh(), BinaryLinear(8, 3))
        solver = Unsure()

        def hook(projection):
            raise KeyError("hook")

        before = weights(model)
        found = {}
        for name, options in ATTEMPTS.items():
            fresh = QPSBGD(model.parameters(), **options(rank, solver))
            if name == "hook" and rank == 1:
                fresh.register_projection_hook(hook)
            solver.fails = name == "solver" and rank == 1
            fresh.zero_grad()
            model(torch.randn(5, 12)).square().mean().backward()
            if name in ("vote", "skip") and rank == 1:
                model[0].weight.grad[0, 0] = torch.nan
            try:
                fresh.step()
                found[name] = f"skipped {fresh.num_skipped}"
            except Exception as error:
                found[name] = f"{type(error).__name__}: {error}"
            assert all((one == two).all() for one, two in zip(before, weights(model), strict=True))
        # And after an error all go on, with answers that no other process could have found.
        solver.fails = False
        last = QPSBGD(model.parameters(), solver=solver, parallelism="rows")
        for _ in range(3):
            last.zero_grad()
            model(torch.randn(5, 12)).square().mean().backward()
            last.step()
        return found, weights(model)

    found, errors = in_processes(tmp_path, attempts)
    assert errors == [None, None]
    others, own = (messages for messages, _ in found)
    assert own["solver"] == "OSError: the device is away"
    assert others["solver"] == "RuntimeError: process 1 could not take the step; its own error says why"
    nan = "the gradient of the parameter of shape (8, 12) is not finite in step 1: nan at (0, 0)"
    elsewhere = "another process could not take the step; its own error says why"
    assert own["vote"].startswith(f"NotFiniteError: {nan}")
    assert others["vote"] == f"NotFiniteElsewhereError: {elsewhere}"
    assert own["skip"] == others["skip"] == "skipped 1"
    assert all("differ in their options" in messages["options"] for messages in (others, own))
    assert own["hook"].startswith("KeyError")
    assert "process 1 could not take the step" in others["hook"]
    assert_equal_weights([after for _, after in found])


ATTEMPTS = {
    "solver": lambda rank, solver: {"solver": solver, "parallelism": "rows"},
    "vote": lambda rank, solver: {"parallelism": "vote"},
    "skip": lambda rank, solver: {"parallelism": "vote", "nonfinite": "skip"},
    "options": lambda rank, solver: {"gram_every": 1 + rank},
    "hook": lambda rank, solver: {},
}


def test_when_a_process_dies_the_others_get_an_error_and_keep_their_weights(tmp_path):
    class Dies(NativeSolver):
        def solve_part(self, problem, *, seed, first_problem):  # what rank 0 is not asked
            if distributed.get_rank() == 2 and Dies.step == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().solve_part(problem, seed=seed, first_problem=first_problem)

    def mourning(rank):
        torch.manual_seed(5)
        model = two_layers().double()
        optimizer = QPSBGD(model.parameters(), solver=Dies(method="descent"), parallelism="rows")
        before = None
        for step in range(4):
            Dies.step = step
            x, y = batch_of(step)
            optimizer.zero_grad()
            backward(model, x, y, len(x))
            before = weights(model)
            try:
                optimizer.step()
            except Exception as error:
                same = all((one == two).all() for one, two in zip(before, weights(model), strict=True))
                return step, isinstance(error, RuntimeError), same
        return None

    found, errors = in_processes(tmp_path, mourning, size=3, limit=30, lost=(2,))
    assert errors == [None, None]
    assert found == [(2, True, True)] * 2


def test_sharded_parameters_are_refused_by_name(tmp_path):
    def sharded(rank):
        mesh = distributed.init_device_mesh("cpu", (2,))
        model = nn.Sequential(BinaryLinear(6, 4), nn.Linear(4, 2))
        model[1].weight = nn.Parameter(distribute_tensor(model[1].weight.detach(), mesh, [Shard(0)]))
        QPSBGD(model.named_parameters())

    _, errors = in_processes(tmp_path, sharded)
    assert all("TypeError: params: '1.weight' of shape (2, 4) is a DTensor" in error for error in errors)


def test_bad_parallelism_is_refused():
    with pytest.raises(ValueError, match="parallelism"):
        QPSBGD([BinaryLinear(2, 2).weight], parallelism="columns")
    with pytest.raises(ValueError, match="parallelism 'vote' has no meaning with variant 'projected'"):
        QPSBGD([BinaryLinear(2, 2).weight], parallelism="vote", variant="projected")


# Traffic


def test_traffic_of_a_step_is_what_the_page_states(tmp_path):
    m, d = 96, 256
    matrix, gradient, bits = 4 * d * (d + 1) // 2, 4 * m * d, m * d // 8

    def sent(optimizer, model):
        """Bytes that this process sends in its second step."""
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.randn(64, d)).square().mean().backward()
            distributed.barrier()  # nothing is under way any more
            before = bytes_sent()
            optimizer.step()
            distributed.barrier()
        return bytes_sent() - before

    def counted(rank):
        torch.manual_seed(rank)
        found = {}
        for name, options in TRAFFIC.items():
            layer = BinaryLinear(d, m)
            torch.manual_seed(5)
            with torch.no_grad():
                layer.weight.copy_(torch.rand(m, d))
            torch.manual_seed(rank)
            model = DistributedDataParallel(layer) if name == "behind DistributedDataParallel" else layer
            found[name] = sent(QPSBGD(layer.parameters(), **options), model)
        return found

    found, errors = in_processes(tmp_path, counted)
    assert errors == [None, None]
    expected = {
        "rows": matrix + gradient + bits // 2,
        "replicated": matrix + gradient,
        "kept": gradient + bits // 2,
        "vote": bits,
        "behind DistributedDataParallel": matrix + bits // 2,
    }
    for of_process in found:
        for name, least in expected.items():
            assert least <= of_process[name] <= least + 2000, name


TRAFFIC = {
    "rows": {"parallelism": "rows"},
    "replicated": {"parallelism": "replicated"},
    "kept": {"parallelism": "rows", "gram_every": 2},
    "vote": {"parallelism": "vote"},
    "behind DistributedDataParallel": {"parallelism": "rows"},
}


# Parts


@pytest.mark.parametrize("d", [1, 2, 5, 8])
def test_packed_matrices_come_back(d):
    matrices = torch.randn(3, d, d)
    matrices = matrices + matrices.mT
    packed = pack_symmetric(matrices)
    assert packed.shape == (3, packed_size(d))
    assert torch.equal(unpack_symmetric(packed, d), matrices)


@pytest.mark.parametrize("zeros", ["none", "lines", "entries"])
def test_encoded_steps_come_back_one_behind_the_other(zeros):
    rng = np.random.default_rng(0)
    steps = [rng.choice(np.array([-1, 1], np.int8), shape) for shape in ((3, 7), (0, 7), (9, 13))]
    for step in steps:
        if zeros == "lines":
            step[:, 2] = step[1:2] = 0
        elif zeros == "entries":
            step[rng.random(step.shape) < 0.3] = 0
    data, start = b"".join(map(encode_step, steps)), 0
    for step in steps:
        found, start = decode_step(data, start, step.shape)
        assert (found == step).all()
    assert start == len(data)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shares_are_all_rows_once(size):
    for rows in (slice(0, 2), slice(3, 20)):
        parts = [Share(rank, size).of(rows) for rank in range(size)]
        numbers = [row for part in parts for row in range(part.start, part.stop)]
        assert numbers == list(range(rows.start, rows.stop))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_fingerprints_tell_places_and_last_bits_apart(dtype):
    values = torch.randn(70_000).to(dtype)
    swapped, changed = values.clone(), values.clone()
    swapped[[3, 69_000]] = values[[69_000, 3]]
    changed[66_000] = torch.nextafter(changed[66_000], torch.tensor(9.0, dtype=dtype))
    assert fingerprint(values) == fingerprint(values.clone())
    assert len({int(fingerprint(one)) for one in (values, swapped, changed)}) == 3


def test_rows_are_shared_by_default_where_it_is_worth_it_and_changes_nothing():
    large, small = torch.empty(100, 8192), torch.empty(10, 64)
    assert chosen("auto", "native", [small, large], 2) == "rows"
    assert chosen("auto", NativeSolver(), [large], 2) == "rows"
    assert chosen("auto", "native", [small], 2) == "replicated"
    for width, size, expected in ((1024, 2, "replicated"), (1024, 8, "rows"), (2048, 2, "rows")):
        assert chosen("auto", "native", [torch.empty(4, width)], size) == expected
    assert chosen("auto", Unsure(), [large], 2) == "replicated"
    assert chosen("rows", Unsure(), [small], 2) == "rows"
    assert Team(Processes(), "rows").share == Share()
