"""Averages are under way while layers are projected, and a process that fails keeps no other one waiting."""

import time
from datetime import timedelta
from typing import ClassVar

import pytest
import torch
from torch import distributed, nn

from process_groups import assert_equal_weights, in_processes, weights
from qpsbgd.nn import Activated, BinaryLinear
from qpsbgd.optim import QPSBGD
from qpsbgd.solvers import NativeSolver
from qpsbgd.step import inputs, processes


def three_layers():
    torch.manual_seed(5)
    layers = [BinaryLinear(6, 5, bias=True), nn.Tanh(), BinaryLinear(5, 4), nn.Tanh(), BinaryLinear(4, 3)]
    return nn.Sequential(*layers).double()


def slopes():
    torch.manual_seed(5)
    layers = [Activated(BinaryLinear(6, 5), nn.Tanh()), Activated(BinaryLinear(5, 3), nn.Tanh())]
    return nn.Sequential(*layers).double()


def batch_of(step, rank):
    x = torch.randn(12, 6, generator=torch.Generator().manual_seed(step)).double()
    return x[6 * rank : 6 * rank + 6]


def one_step(model, optimizer, step, rank):
    optimizer.zero_grad()
    model(batch_of(step, rank)).square().mean().backward()
    optimizer.step()


# --- order


class Noted(NativeSolver):
    """Takes note of the layers that it solves."""

    events: ClassVar[list[str]] = []

    def solve(self, problem, *, seed):
        Noted.events.append("solve")
        return super().solve(problem, seed=seed)

    def solve_part(self, problem, *, seed, first_problem):
        Noted.events.append("solve")
        return super().solve_part(problem, seed=seed, first_problem=first_problem)


class NotedWork:
    def __init__(self, work, size):
        self.work, self.size = work, size

    def wait(self):
        Noted.events.append(f"wait for {self.size}")
        self.work.wait()


def in_order(rank):
    plain = processes.Processes.sum_later

    def sum_later(self, tensor):
        Noted.events.append("send")
        return NotedWork(plain(self, tensor), len(tensor) - 2)

    processes.Processes.sum_later = sum_later
    processes._BUCKET_BYTES = 1  # each tensor is a message of its own
    found = {}
    for awaited in ("late", "early"):
        model = three_layers()
        optimizer = QPSBGD(model.parameters(), parallelism="rows", solver=Noted(method="descent"))
        if awaited == "early":
            optimizer._averaged = awaited_at_once(optimizer)
        Noted.events.clear()
        one_step(model, optimizer, 0, rank)
        found[awaited] = list(Noted.events), weights(model)
    return found


def awaited_at_once(optimizer):
    plain = optimizer._averaged

    def averaged(*arguments):
        updates = plain(*arguments)
        for promise in optimizer._promised.values():
            promise.mean()
        for layer in optimizer._inputs.values():
            layer._asked_grams.mean()
        return updates

    return averaged


def test_a_layer_is_projected_while_those_behind_it_are_under_way(tmp_path):
    found, errors = in_processes(tmp_path, in_order)
    assert errors == [None, None]
    for of_process in found:
        events, after = of_process["late"]
        layers = [(5 * 6, 6 * 7 // 2), (4 * 5, 5 * 6 // 2), (3 * 4, 4 * 5 // 2)]
        behind = [f"wait for {size}" for layer in layers for size in layer]
        expected = ["send"] * 7 + ["wait for 5"]  # the bias is awaited first
        for layer in range(3):
            expected += [*behind[2 * layer : 2 * layer + 2], "solve"]
        assert events == expected
        early, at_once = of_process["early"]
        assert early.index("solve") > early.index(behind[-1])
        assert all((one == two).all() for one, two in zip(after, at_once, strict=True))
    assert_equal_weights([of_process["late"][1] for of_process in found])


# --- failures


class Failing(NativeSolver):
    fails = False

    def solve(self, problem, *, seed):
        if Failing.fails:
            raise OSError("the device is away")
        return super().solve(problem, seed=seed)

    def solve_part(self, problem, *, seed, first_problem):
        self.solve(problem, seed=seed)
        return super().solve_part(problem, seed=seed, first_problem=first_problem)


def no_memory(*_arguments):
    raise MemoryError("no room for the Gram matrix")


FAILURES = {
    "solver between two averages": (slopes, {"jacobian": "post-activation", "solver": Failing()}),
    "own matrix": (three_layers, {}),
    "own matrix of a chunk": (slopes, {"jacobian": "post-activation"}),
    "own factors": (three_layers, {"variant": "projected"}),
}


def failing_once(rank):
    found = {}
    for name, (make, options) in FAILURES.items():
        model = make()
        optimizer = QPSBGD(model.parameters(), parallelism="rows", **options)
        before, begin = weights(model), time.perf_counter()
        with pytest.MonkeyPatch.context() as patch:
            if rank == 1 and "matrix" in name:
                patch.setattr(inputs, "weighted_grams" if "chunk" in name else "gram_matrices", no_memory)
            elif rank == 1 and "factors" in name:
                patch.setattr(inputs, "_products", no_memory)
            patch.setattr(Failing, "fails", rank == 1)
            try:
                one_step(model, optimizer, 0, rank)
                told = "nothing"
            except Exception as error:
                told = f"{type(error).__name__}: {error}"
        unchanged = all((one == two).all() for one, two in zip(before, weights(model), strict=True))
        seconds = time.perf_counter() - begin
        one_step(model, optimizer, 1, rank)
        found[name] = told, unchanged, seconds, weights(model)
    return found


def test_failure_of_one_process_is_told_to_those_that_wait_for_its_average(tmp_path):
    found, errors = in_processes(tmp_path, failing_once)
    assert errors == [None, None]
    for name in FAILURES:
        (other, *_), (own, *_) = found[0][name], found[1][name]
        assert own.startswith("OSError" if "solver" in name else "MemoryError"), own
        assert "could not take the step; its own error says why" in other
        for of_process in found:
            _, unchanged, seconds, _ = of_process[name]
            assert unchanged, name
            assert seconds < 30, name  # a timeout takes 60
        assert_equal_weights([of_process[name][-1] for of_process in found])


def test_process_that_does_not_answer_is_waited_for_once(tmp_path):
    def late(rank):
        group = distributed.new_group(timeout=timedelta(seconds=2))
        model = three_layers()
        optimizer = QPSBGD(model.parameters(), process_group=group)
        before, begin = weights(model), time.perf_counter()
        if rank == 1:
            optimizer._averaged = lambda *_arguments: time.sleep(6)
        try:
            one_step(model, optimizer, 0, rank)
        except Exception as error:
            unchanged = all((one == two).all() for one, two in zip(before, weights(model), strict=True))
            return type(error).__name__, unchanged, time.perf_counter() - begin
        return None

    found, errors = in_processes(tmp_path, late)
    assert errors[0] is None
    name, unchanged, seconds = found[0]
    assert name == "LostProcessError"
    assert unchanged
    assert 1.5 < seconds < 5.0


# --- steps that are skipped


def test_processes_that_share_rows_skip_the_same_steps(tmp_path):
    """Whatever is not finite, in whichever process: its gradient, its inputs alone, or both."""

    def nan(x):
        return x.clone().index_fill_(0, torch.tensor([0]), torch.nan)

    def huge(x):  # the gradients of a saturated layer are 0, and A is infinite
        return torch.full_like(x, 1e200)

    spoiled = {1: (1, nan), 3: (0, huge), 4: (1, huge)}

    def batch(step, rank):
        parts = [batch_of(step, number) for number in range(2)]
        if step in spoiled:
            at, spoil = spoiled[step]
            parts[at] = spoil(parts[at])
        return torch.cat(parts) if rank is None else parts[rank]

    def skipping(rank=None, **options):
        model = three_layers()
        optimizer = QPSBGD(model.parameters(), nonfinite="skip", **options)
        for step in range(7):
            optimizer.zero_grad()
            model(batch(step, rank)).square().mean().backward()
            optimizer.step()
        states = [optimizer.state[parameter] for parameter in model.parameters()]
        kept = [value.numpy() for state in states for value in state.values() if torch.is_tensor(value)]
        return weights(model), kept, (optimizer.num_skipped, optimizer.param_groups[0]["step"])

    cases = ({}, {"memory": "momentum"}, {"gram_every": 2}, {"variant": "projected"})
    found, errors = in_processes(
        tmp_path, lambda rank: [skipping(rank, parallelism="rows", **options) for options in cases]
    )
    assert errors == [None, None]
    for options, *of_processes in zip(cases, *found, strict=True):
        alone, _, counts = skipping(**options)
        assert [told for *_, told in of_processes] == [counts] * 2
        assert counts == (3, 4), options
        assert_equal_weights([after for after, *_ in of_processes])
        assert_equal_weights([kept for _, kept, _ in of_processes])
        for one, other in zip(of_processes[0][0], alone, strict=True):
            assert one == pytest.approx(other, abs=1e-9)
