"""`Diagnostics` on trainings: its figures against a loop by hand, and the training does not notice it."""

import copy
import gc
import json
import sys
import weakref

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from qpsbgd.baselines import BinaryConnect
from qpsbgd.diagnostics import NOTE, Diagnostics, cdp, cosine, full_gradient, sign_agreement
from qpsbgd.optim import QPSBGD
from qpsbgd.projection import project_gradient
from qpsbgd.solvers.native import NativeSolver
from training import Shuffler, batches, net_with_dropout, small_net, states_equal, train, whole


def test_cdp_takes_tensors_that_need_gradients():
    steps = torch.ones(2, 3, 4, requires_grad=True)
    assert cdp(steps, torch.ones(3, 4, dtype=torch.bfloat16)).tolist() == [1.0, 1.0, 1.0]


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
