"""Diagnostics against closed forms and brute force."""

import copy
import gc
import json
import sys
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from oracles import all_spins, best_row_step, row_objective
from qpsbgd.baselines import BinaryConnect
from qpsbgd.capture import BinaryWeight, attach
from qpsbgd.diagnostics import NOTE, Diagnostics, cdp, cosine, full_gradient, qubo_gap, sign_agreement
from qpsbgd.nn import BinaryLinear
from qpsbgd.optim import QPSBGD
from qpsbgd.problem import ising_problem, qubo_problem
from qpsbgd.projection import project_gradient, row_problems
from qpsbgd.solvers.native import NativeSolver, solve_ising
from training import Shuffler, Spy, batches, small_net, states_equal, train

# Pure functions

FLOATS = st.floats(-10, 10, width=32)


@given(arrays(np.float64, (3, 2, 4), elements=FLOATS), arrays(np.float64, (2, 4), elements=FLOATS))
def test_cdp_counts_the_steps_of_a_row_that_descend(steps, gradient):
    for row, value in enumerate(cdp(steps, gradient)):
        if not gradient[row].any():
            assert np.isnan(value)
        else:
            assert value == np.mean([step[row] @ gradient[row] > 0 for step in steps])


@given(arrays(np.float64, (3, 2, 2), elements=FLOATS), arrays(np.float64, (3, 2, 2), elements=FLOATS))
def test_sign_agreement_counts_equal_signs_where_the_full_gradient_has_one(batches, gradients):
    result = sign_agreement(batches, gradients)
    for where in np.ndindex(2, 2):
        pairs = [(b[where], g[where]) for b, g in zip(batches, gradients, strict=True) if g[where] != 0]
        if not pairs:
            assert np.isnan(result[where])
        else:
            assert result[where] == pytest.approx(np.mean([np.sign(b) == np.sign(g) for b, g in pairs]))


def test_cdp_and_sign_agreement_of_gaussian_gradients_have_their_closed_forms():
    # g = ∇ + noise, ∇ = 1: a coordinate has SP = Φ(1/noise), and ⟨g, ∇⟩ is normal: mean d, std noise √d.
    rng = np.random.default_rng(0)
    d, noise, k = 9, 2.0, 20_000
    full = np.ones((1, d))
    batches = full + noise * rng.normal(size=(k, 1, d))

    def normal_cdf(x):
        return float(torch.special.ndtr(torch.tensor(x)))

    assert sign_agreement(batches, full).mean() == pytest.approx(normal_cdf(1 / noise), abs=0.005)
    assert cdp(batches, full)[0] == pytest.approx(normal_cdf(np.sqrt(d) / noise), abs=0.01)


def test_cdp_and_sign_agreement_differ_for_one_large_and_many_small_coordinates():
    full = [[10.0, 1.0, 1.0, 1.0]]
    batch = [[1.0, -1.0, -1.0, -1.0]]
    assert cdp(np.sign(batch), full)[0] == 1.0
    assert sign_agreement(batch, full).mean() == 0.25


def test_cdp_takes_tensors_that_need_gradients():
    steps = torch.ones(2, 3, 4, requires_grad=True)
    assert cdp(steps, torch.ones(3, 4, dtype=torch.bfloat16)).tolist() == [1.0, 1.0, 1.0]


@given(arrays(np.float64, (3, 4), elements=FLOATS), arrays(np.float64, (3, 4), elements=FLOATS))
def test_cosine_is_that_of_torch(steps, gradients):
    expected = torch.cosine_similarity(torch.tensor(steps), torch.tensor(gradients), dim=1, eps=1e-300)
    zero = ~steps.any(axis=1) | ~gradients.any(axis=1)
    result = cosine(steps, gradients)
    assert np.array_equal(np.isnan(result), zero)
    np.testing.assert_allclose(result[~zero], expected.numpy()[~zero], atol=1e-6)


def test_cosine_does_not_underflow():
    assert cosine([1e-200, 0.0], [1e-200, 1e-200]) == pytest.approx(0.5**0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cdp(np.ones(3), np.ones(3)), r"steps must have shape \(k, m, d\) or \(m, d\).*\(3,\)"),
        (
            lambda: cdp(np.ones((2, 3)), np.ones((3, 2))),
            r"full_gradient has shape \(3, 2\), expected \(2, 3\)",
        ),
        (lambda: sign_agreement(np.full((1, 1, 2), np.nan), np.ones((1, 2))), r"batch_gradients of shape"),
        (lambda: cosine(np.ones(3), np.ones(2)), r"steps has shape \(3,\) but full_gradient has \(2,\)"),
    ],
)
def test_bad_arrays_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# The QUBO gap


def random_rows(d=6, m=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(10, d))
    return rng.normal(size=(m, d)), X.T @ X / (10 * d), rng.uniform(0.1, 1.0, size=m)


@pytest.mark.parametrize("domain", ["spin", "mask"])
def test_qubo_gap_of_a_row_is_what_brute_force_finds(domain):
    P, gram, scales = random_rows()
    problem = row_problems(P, gram, scales, domain=domain)
    samples = np.where(np.random.default_rng(1).normal(size=P.shape) > 0, 1, -1)
    gap = qubo_gap(problem, samples)
    signs = np.where(P >= 0, 1, -1)
    for j, (p, scale) in enumerate(zip(P, scales, strict=True)):
        step = samples[j] if domain == "spin" else (signs[j] + samples[j]) // 2
        best = row_objective(best_row_step(p, gram, scale, domain), p, gram, scale)
        expected = (row_objective(step, p, gram, scale) - best) / scale
        assert gap.absolute[j] == pytest.approx(expected)
        steps = all_spins(6) if domain == "spin" else (signs[j] + all_spins(6)) // 2
        mean = np.mean([row_objective(one, p, gram, scale) for one in steps])
        assert gap.relative[j] == pytest.approx(expected * scale / (mean - best))
    assert gap.proven


def test_relative_gap_does_not_depend_on_unit_and_constant():
    h, J = np.random.default_rng(2).normal(size=5), np.triu(np.random.default_rng(3).normal(size=(5, 5)), 1)
    samples = [[1, -1, 1, -1, 1]]
    plain = qubo_gap(ising_problem(h, J), samples).relative
    shifted = qubo_gap(ising_problem(1000 * h, 1000 * (J + 7 * np.eye(5))), samples).relative
    np.testing.assert_allclose(shifted, plain, rtol=1e-9)


def test_relative_gap_of_all_states_is_one_in_the_mean():
    h, J = np.random.default_rng(2).normal(size=5), np.random.default_rng(3).normal(size=(5, 5))
    states = all_spins(5)
    problem = ising_problem(np.tile(h, (32, 1)), J)
    assert qubo_gap(problem, states).relative.mean() == pytest.approx(1.0)


def test_gap_is_zero_at_the_optimum_and_where_all_states_are_equal():
    h, J = np.random.default_rng(2).normal(size=(4, 8)), np.random.default_rng(3).normal(size=(8, 8))
    best = solve_ising(h, J, method="exact").best_samples
    assert not qubo_gap(ising_problem(h, J), best).absolute.any()
    assert qubo_gap(ising_problem(np.zeros(3), np.eye(3)), [[1, -1, 1]]).relative.tolist() == [0.0]


def test_gap_counts_the_given_samples_where_the_reference_is_worse():
    problem = ising_problem(np.random.default_rng(2).normal(size=(4, 30)), np.zeros((30, 30)))
    best = np.where(problem.h > 0, -1, 1)
    gap = qubo_gap(problem, best, reference=Shuffler())
    assert not gap.relative.any()
    assert not gap.proven
    assert np.array_equal(gap.best_samples, best)


def test_gap_takes_problems_of_bits_and_sparse_ones():
    from scipy.sparse import csr_matrix

    Q = np.random.default_rng(4).normal(size=(6, 6))
    samples = np.ones((1, 6), dtype=int)
    dense, sparse = qubo_gap(qubo_problem(Q), samples), qubo_gap(qubo_problem(csr_matrix(Q)), samples)
    energies = [x @ Q @ x for x in (all_spins(6) + 1) // 2]
    expected = (Q.sum() - min(energies)) / (np.mean(energies) - min(energies))
    assert dense.relative[0] == pytest.approx(expected)
    assert sparse.relative[0] == pytest.approx(expected)


def test_default_reference_is_no_worse_than_a_descent_on_larger_problems():
    P, gram, scales = random_rows(d=60, m=8)
    problem = row_problems(P, gram, scales)
    descent = NativeSolver(method="descent").solve(problem, seed=0).best_samples
    gap = qubo_gap(problem, descent)
    assert np.all(gap.relative >= 0)
    assert not gap.proven


@pytest.mark.parametrize(
    ("samples", "message"),
    [([[1, 1, 1]], r"samples has shape \(1, 3\), expected \(1, 2\)"), ([[0, 1]], "only -1 and \\+1")],
)
def test_gap_refuses_samples_that_are_no_answer(samples, message):
    with pytest.raises(ValueError, match=message):
        qubo_gap(ising_problem([1.0, 0.0], np.zeros((2, 2))), samples, reference=Spy())


# The full gradient


def cross_entropy(output, target):
    return nn.functional.cross_entropy(output, target)


def whole(count=6):
    """The samples of all batches as one."""
    xs, ys = zip(*batches(count), strict=True)
    return torch.cat(xs), torch.cat(ys)


def net_with_dropout():
    model = small_net()
    return nn.Sequential(model[:3], nn.Dropout(0.4), model[3:])


def test_full_gradient_is_that_of_backward():
    model, (x, y) = small_net(), whole()
    cross_entropy(model(x), y).backward()
    gradients = full_gradient(model, cross_entropy, (x, y))
    assert gradients.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad)


def test_batches_count_by_their_length():
    layer = BinaryLinear(6, 3)
    x, y = whole()
    parts = list(zip(x.split(40), y.split(40), strict=True))
    whole_gradient = full_gradient(layer, cross_entropy, (x, y))["weight"]
    torch.testing.assert_close(full_gradient(layer, cross_entropy, parts)["weight"], whole_gradient)


def test_full_gradient_leaves_model_and_random_state_as_they_are():
    model, (x, y) = net_with_dropout(), whole()
    captures = [attach(p) for p in model.parameters() if isinstance(p, BinaryWeight)]
    cross_entropy(model(x[:8]), y[:8]).backward()
    before = copy.deepcopy(model.state_dict())
    gradients = [p.grad.clone() for p in model.parameters()]
    modes = [module.training for module in model.modules()]
    randomness = torch.get_rng_state()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 32, shuffle=True)
    full_gradient(model, cross_entropy, loader)
    assert torch.equal(torch.get_rng_state(), randomness)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(torch.equal(g, p.grad) for g, p in zip(gradients, model.parameters(), strict=True))
    assert [module.training for module in model.modules()] == modes
    assert all(len(capture.records) == 1 for capture in captures)


def test_full_gradient_is_taken_without_dropout():
    model, (x, y) = net_with_dropout(), whole()
    plain = nn.Sequential(model[0], nn.Identity(), model[2])
    one, other = (full_gradient(net, cross_entropy, (x, y)) for net in (model, plain))
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_full_gradient_works_on_a_compiled_model():
    model, data = small_net(), whole()
    compiled = torch.compile(model, backend="eager")
    expected = full_gradient(model, cross_entropy, data)["0.weight"]
    assert torch.equal(full_gradient(compiled, cross_entropy, data)["0.weight"], expected)


@pytest.mark.parametrize(
    ("loss", "data", "names", "message"),
    [
        (cross_entropy, [], None, "no samples"),
        (cross_entropy, whole(1), ["5.weight"], r"\['5.weight'\] are no parameters"),
        (lambda output, target: output, whole(1), None, r"shape \(16, 3\), expected one number"),
    ],
)
def test_full_gradient_refuses_bad_arguments(loss, data, names, message):
    with pytest.raises(ValueError, match=message):
        full_gradient(small_net(), loss, data, names)


# The callback


def watched_training(make_optimizer, count=6, **options):
    """Diagnostics of a training of the small network; its weights and gradients before every step."""
    model, data = small_net(), whole(count)
    optimizer = make_optimizer(model.parameters())
    with Diagnostics(model, optimizer, cross_entropy, data, **options) as diagnostics:
        train(model, optimizer, batches(count))
    return model, diagnostics


OPTIMIZERS = {
    "qpsbgd": QPSBGD,
    "momentum": lambda p: QPSBGD(p, memory="momentum", scale="auto"),
    "raw": lambda p: QPSBGD(p, memory=None, scale="raw"),
    "mask": lambda p: QPSBGD(p, domain="mask", solver=NativeSolver(num_reads=2)),
    "adam": BinaryConnect,
    "torch": lambda p: torch.optim.SGD(p, lr=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_does_not_notice_that_it_is_watched(name):
    watched, diagnostics = watched_training(OPTIMIZERS[name])
    alone = small_net()
    train(alone, OPTIMIZERS[name](alone.parameters()), batches(6))
    assert states_equal(watched, alone)
    assert len(diagnostics.records) == 12


def test_dropout_draws_the_same_numbers_when_watched():
    states = []
    for watch in (True, False):
        torch.manual_seed(3)
        model = net_with_dropout()
        optimizer = QPSBGD(model.parameters())
        if watch:
            Diagnostics(model, optimizer, cross_entropy, whole())
        train(model, optimizer, batches(4))
        states.append(model)
    assert states_equal(*states)


def test_figures_of_a_training_are_those_of_a_loop_by_hand():
    model, data = small_net(), whole()
    optimizer = QPSBGD(model.parameters(), lr=0.03)
    diagnostics = Diagnostics(model, optimizer, cross_entropy, data)
    weight, steps, plain, batch_gradients, fulls = model[0].weight, [], [], [], []

    def keep(projection):
        if projection.weight is weight:
            steps.append(projection.G.clone())
            g = projection.gradient.numpy()
            plain.append(torch.from_numpy(project_gradient(g, projection.A)))

    optimizer.register_projection_hook(keep)
    flipped = []
    for x, y in batches(6):
        twin = copy.deepcopy(model)
        twin.zero_grad()
        cross_entropy(twin(data[0]), data[1]).backward()
        fulls.append(twin[0].weight.grad)
        before = weight.detach().clone()
        train(model, optimizer, [(x, y)])
        batch_gradients.append(weight.grad.clone())
        flipped.append(float(((before >= 0) != (weight >= 0)).float().mean()))
    steps, plain, batch_gradients, fulls = map(torch.stack, (steps, plain, batch_gradients, fulls))
    assert not torch.equal(steps, plain)
    for of, kind in (("step", steps), ("projection", plain), ("sign", batch_gradients.sign())):
        np.testing.assert_array_equal(diagnostics.cdp(of)["0.weight"], cdp(kind, fulls))
    np.testing.assert_array_equal(
        diagnostics.sign_agreement()["0.weight"], sign_agreement(batch_gradients, fulls)
    )
    records = [record for record in diagnostics.records if record.layer == "0.weight"]
    assert [record.flipped for record in records] == pytest.approx(flipped)
    assert [record.cosine for record in records] == pytest.approx(
        cosine(steps.flatten(1), fulls.flatten(1)), abs=1e-6
    )
    summary = diagnostics.summary()[0]
    assert summary.cdp == pytest.approx(cdp(plain, fulls).mean())
    assert summary.rows_above_half == np.mean(cdp(plain, fulls) > 0.5)
    assert summary.step_cdp == pytest.approx(cdp(steps, fulls).mean())
    assert summary.layer_cdp == cdp(plain.reshape(6, 1, -1), fulls.reshape(6, 1, -1))[0]
    assert summary.sp == pytest.approx(sign_agreement(batch_gradients, fulls).mean())


def test_projection_of_the_full_gradient_itself_always_descends():
    # sG'AG - 2p'G is never above its value at sign(p), (1 - 2)‖p‖₁, so p'G > 0.
    model, data = small_net(), whole()
    optimizer = QPSBGD(model.parameters(), memory=None)
    with Diagnostics(model, optimizer, cross_entropy, data) as diagnostics:
        train(model, optimizer, [data] * 4)
    for summary in diagnostics.summary():
        assert summary.cdp == summary.step_cdp == summary.sign_cdp == summary.sp == summary.layer_cdp == 1.0


def test_step_of_any_other_optimizer_is_the_change_of_the_weights():
    model, data = small_net(), whole()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with Diagnostics(model, optimizer, cross_entropy, data) as diagnostics:
        train(model, optimizer, [data])
    assert [record.cosine for record in diagnostics.records] == pytest.approx([1.0, 1.0], abs=1e-5)
    # (The first layer has rows whose full gradient is zero but for rounding.)
    assert diagnostics.records[1].step_rows_descending == 1.0
    assert [(record.rows_descending, record.gap) for record in diagnostics.records] == [(None, None)] * 2


def test_projected_variant_is_seen_by_the_change_of_the_weights():
    """No step of it is a projection of the gradient, whatever projection hooks are shown."""
    model, data = small_net(), whole()
    optimizer = QPSBGD(model.parameters(), variant="projected")
    before = [model[layer].weight.detach().clone() for layer in (0, 3)]
    full = full_gradient(model, cross_entropy, data)
    with Diagnostics(model, optimizer, cross_entropy, data) as diagnostics:
        train(model, optimizer, [data])
    assert [(one.rows_descending, one.gap) for one in diagnostics.records] == [(None, None)] * 2
    for record, layer, weight in zip(diagnostics.records, (0, 3), before, strict=True):
        step = (weight - model[layer].weight).flatten()
        expected = cosine(step.detach(), full[f"{layer}.weight"].flatten())
        np.testing.assert_allclose(np.nan if record.cosine is None else record.cosine, expected, atol=1e-6)
    assert any(record.flipped for record in diagnostics.records)


def test_maximizing_optimizer_is_compared_with_the_gradient_that_it_ascends():
    model, data = small_net(), whole()
    optimizer = QPSBGD(model.parameters(), maximize=True)
    with Diagnostics(model, optimizer, cross_entropy, data) as diagnostics:
        train(model, optimizer, [data])
    assert [record.rows_descending for record in diagnostics.records] == [1.0, 1.0]


@pytest.mark.parametrize(("solver", "is_zero"), [(NativeSolver(method="exact"), True), (Shuffler(), False)])
@pytest.mark.parametrize("domain", ["spin", "mask"])
@pytest.mark.parametrize("scale", ["relative", 0.2, "raw"])
def test_gap_is_zero_for_an_exact_solver_alone(solver, is_zero, domain, scale):
    _, diagnostics = watched_training(
        lambda p: QPSBGD(p, memory=None, solver=solver, domain=domain, scale=scale), count=2, gap_rows=8
    )
    gaps = [record.gap for record in diagnostics.records]
    assert (max(gaps) < 1e-6) == is_zero
    assert all(record.gap_proven for record in diagnostics.records)


def test_every_second_step_is_observed():
    _, diagnostics = watched_training(QPSBGD, count=5, every=2)
    assert [record.step for record in diagnostics.records] == [0, 0, 2, 2, 4, 4]
    assert diagnostics.step == 5


def test_layers_without_a_gradient_are_left_out():
    model, data = small_net(), whole()
    model[0].weight.requires_grad_(False)
    optimizer = BinaryConnect(model.parameters())
    with Diagnostics(model, optimizer, cross_entropy, data) as diagnostics:
        train(model, optimizer, batches(1))
    assert [summary.layer for summary in diagnostics.summary()] == ["3.weight"]


def test_coordinates_behind_a_dead_input_are_unknown():
    model, (x, y) = small_net(), whole()
    x = x.clone()
    x[:, 2] = 0.0
    optimizer = QPSBGD(model.parameters())
    with Diagnostics(model, optimizer, cross_entropy, (x, y)) as diagnostics:
        train(model, optimizer, [(x[:16], y[:16])])
    unknown = np.isnan(diagnostics.sign_agreement()["0.weight"])
    assert unknown[:, 2].all()
    assert not unknown[:, [0, 1, 3, 4, 5]].any()


def test_nothing_is_left_after_remove():
    model, data = small_net(), whole()
    optimizer = QPSBGD(model.parameters())
    diagnostics = Diagnostics(model, optimizer, cross_entropy, data)
    train(model, optimizer, batches(1))
    diagnostics.remove()
    train(model, optimizer, batches(1))
    assert len(diagnostics.records) == 2
    reference = weakref.ref(diagnostics)
    del diagnostics
    gc.collect()
    assert reference() is None


def test_failed_step_is_not_observed():
    model, data = small_net(), whole()
    optimizer = QPSBGD(model.parameters())
    with Diagnostics(model, optimizer, cross_entropy, data) as diagnostics:
        cross_entropy(model(data[0]), data[1]).backward()
        model[3].weight.grad[0, 0] = torch.nan
        with pytest.raises(ValueError, match="not finite"):
            optimizer.step()
        train(model, optimizer, batches(1))
    assert len(diagnostics.records) == 2


def test_watched_optimizer_can_be_copied_without_its_watcher():
    model, data = small_net(), whole()
    optimizer = QPSBGD(model.parameters())
    with Diagnostics(model, optimizer, cross_entropy, data) as diagnostics:
        twin, copied = copy.deepcopy((model, optimizer))
        train(twin, copied, batches(1))
    assert diagnostics.records == []


def test_file_holds_records_and_note_and_no_nan(tmp_path):
    _, diagnostics = watched_training(QPSBGD, count=2)
    diagnostics.write(tmp_path / "out" / "diagnostics.json")
    content = json.loads((tmp_path / "out" / "diagnostics.json").read_text(encoding="utf-8"))
    assert content["note"] == NOTE
    assert [record["step"] for record in content["records"]] == [0, 0, 1, 1]
    assert content["rows"]["0.weight"]["cdp"] == diagnostics.cdp()["0.weight"].tolist()
    sp = np.nanmean(diagnostics.sign_agreement()["0.weight"], axis=1)
    assert content["rows"]["0.weight"]["sp"] == pytest.approx(sp.tolist())


def test_table_says_that_cdp_and_sp_are_different_quantities():
    _, diagnostics = watched_training(QPSBGD, count=1)
    table = diagnostics.table()
    assert NOTE in table
    assert "different quantities" in " ".join(NOTE.split())
    assert len({line.count("|") for line in table.splitlines() if line.startswith("|")}) == 1


class Writer:
    """Keeps what a SummaryWriter would get."""

    def __init__(self):
        self.scalars, self.texts = [], []

    def add_scalar(self, tag, value, step):
        self.scalars.append((tag, value, step))

    def add_text(self, tag, text):
        self.texts.append(text)


def test_writer_gets_every_figure_and_the_note():
    writer = Writer()
    _, diagnostics = watched_training(QPSBGD, count=2, writer=writer)
    record = diagnostics.records[0]
    assert ("diagnostics/cosine/0.weight", record.cosine, 0) in writer.scalars
    assert ("diagnostics/gap/3.weight", diagnostics.records[1].gap, 0) in writer.scalars
    assert writer.texts == [NOTE]


def test_log_dir_gets_an_event_file(tmp_path):
    pytest.importorskip("tensorboard")
    watched_training(QPSBGD, count=1, log_dir=tmp_path / "log")
    (file,) = (tmp_path / "log").iterdir()
    assert b"diagnostics/cosine/0.weight" in file.read_bytes()


def test_log_dir_without_tensorboard_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ModuleNotFoundError, match=r"qpsbgd\[tensorboard\]"):
        watched_training(QPSBGD, log_dir=tmp_path)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"every": 0}, ValueError, "every must be at least 1, but is 0"),
        ({"every": 1.0}, TypeError, "every must be an integer"),
        ({"gap_rows": -1}, ValueError, "gap_rows must be at least 0, but is -1"),
        ({"writer": Writer(), "log_dir": "x"}, ValueError, "not both"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        watched_training(QPSBGD, **options)


def test_cdp_of_something_else_is_refused():
    _, diagnostics = watched_training(QPSBGD, count=1)
    with pytest.raises(ValueError, match="Invalid of: 'weights'"):
        diagnostics.cdp("weights")


def test_optimizer_of_another_model_is_refused():
    with pytest.raises(ValueError, match="steps no binary weight of the model"):
        Diagnostics(small_net(), QPSBGD(small_net().parameters()), cross_entropy, whole())
