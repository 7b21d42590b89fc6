"""A solver sees a whole step before it works on any of it, and hooks see every projection."""

import pytest
import torch
from torch import nn

from qpsbgd.nn import Activated, BinaryConv2d, BinaryLinear
from qpsbgd.optim import QPSBGD
from qpsbgd.problem import Solutions
from qpsbgd.step import gram


class Clerk:
    """An asynchronous solver that writes down what it is asked, and answers with the starts."""

    def __init__(self, budget=10**6):
        self.log = []
        self.budget = budget

    def solve(self, problem, *, seed):
        raise AssertionError("asked for an answer at once")

    def check_budget(self, problems):
        rows = sum(problem.num_problems for problem in problems)
        self.log.append(("check", rows))
        if rows > self.budget:
            raise RuntimeError(f"{rows} rows are above the budget of {self.budget}")

    def submit(self, problem, *, seed):
        self.log.append(("submit", problem.num_problems))
        return Answer(self.log, problem)


class Answer:
    def __init__(self, log, problem):
        self.log, self.problem = log, problem

    def result(self):
        self.log.append(("await", self.problem.num_problems))
        starts = self.problem.initial_states
        return Solutions.of(self.problem, starts)

    def cancel(self):
        pass


def groups_of_channels():
    return BinaryConv2d(8, 12, 2, groups=4), (6, 8, 3, 3)


def chunks_of_rows():
    return Activated(BinaryLinear(8, 12), nn.Tanh()), (6, 8)


def two_layers():
    return nn.Sequential(BinaryLinear(8, 5), nn.Tanh(), BinaryLinear(5, 7)), (6, 8)


CASES = {
    "channel groups": (groups_of_channels, {}, 4),
    "channel groups, projected": (groups_of_channels, {"variant": "projected"}, 4),
    "chunks": (chunks_of_rows, {"jacobian": "post-activation"}, 6),
    "layers": (two_layers, {}, 2),
    "layers, projected": (two_layers, {"variant": "projected", "majorizer": "softmax"}, 2),
    "layers, momentum": (two_layers, {"memory": "momentum"}, 2),
    "layers, raw": (two_layers, {"scale": "raw"}, 2),
}


@pytest.fixture(params=CASES)
def case(request, monkeypatch):
    monkeypatch.setattr(gram, "_CHUNK_ELEMENTS", 2 * 8 * 8)  # two rows a chunk
    torch.manual_seed(0)
    build, options, submissions = CASES[request.param]
    model, shape = build()
    return model, torch.randn(shape), options, submissions


def step(model, x, optimizer):
    model(x).square().mean().backward()
    optimizer.step()


def test_everything_is_counted_then_submitted_then_awaited(case):
    model, x, options, submissions = case
    solver = Clerk()
    optimizer = QPSBGD(model.parameters(), solver=solver, **options)
    step(model, x, optimizer)
    assert [kind for kind, _ in solver.log] == ["check"] + ["submit"] * submissions + ["await"] * submissions
    assert solver.log[0] == ("check", 12)
    assert sum(rows for kind, rows in solver.log if kind == "submit") == 12


def test_step_above_the_budget_submits_nothing_and_changes_nothing(case):
    model, x, options, _ = case
    solver = Clerk(budget=11)
    optimizer = QPSBGD(model.parameters(), solver=solver, **options)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with pytest.raises(RuntimeError, match="12 rows are above the budget of 11"):
        step(model, x, optimizer)
    assert solver.log == [("check", 12)]
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    assert not any(optimizer.state[parameter] for parameter in model.parameters())


def test_both_rounds_of_a_fitted_scale_are_counted():
    torch.manual_seed(0)
    model, shape = groups_of_channels()
    solver = Clerk()
    step(model, torch.randn(shape), QPSBGD(model.parameters(), solver=solver, scale="auto"))
    assert [kind for kind, _ in solver.log].count("check") == 1
    assert solver.log[0] == ("check", 24)
    assert [kind for kind, _ in solver.log[1:5]] == ["submit"] * 4


@pytest.mark.parametrize("solver", ["native", "clerk"])
def test_hooks_see_all_rows_before_any_weight_moves(case, solver):
    model, x, options, _ = case
    optimizer = QPSBGD(model.parameters(), solver=Clerk() if solver == "clerk" else solver, **options)
    before = {parameter: parameter.detach().clone() for parameter in model.parameters()}
    shown = []

    def look(projection):
        assert all(torch.equal(parameter, old) for parameter, old in before.items())
        shown.append(projection)

    optimizer.register_projection_hook(look)
    step(model, x, optimizer)
    assert sum(len(projection.G) for projection in shown) == 12
    for weight in before:
        rows = [range(len(weight))[one.rows] for one in shown if one.weight is weight]
        assert sorted(row for part in rows for row in part) == list(range(len(weight)))
        moved = torch.cat([one.G for one in shown if one.weight is weight]).view(weight.shape)
        old = before[weight]
        if options.get("variant") == "projected":
            signs = torch.where(old >= 0, 1.0, -1.0)
            assert torch.equal(weight, signs - 2 * moved)
        else:
            torch.testing.assert_close(weight, (old - 0.01 * moved).clamp(-1, 1))


def test_hook_that_raises_leaves_everything_as_it_was(case):
    model, x, options, _ = case
    optimizer = QPSBGD(model.parameters(), **options)
    before = [parameter.detach().clone() for parameter in model.parameters()]

    def refuse(projection):
        raise LookupError("no")

    handle = optimizer.register_projection_hook(refuse)
    with pytest.raises(LookupError):
        step(model, x, optimizer)
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    assert optimizer.num_qubos == 0
    handle.remove()
    optimizer.step()  # the gradient and its samples are still there
    assert optimizer.num_qubos == 12
