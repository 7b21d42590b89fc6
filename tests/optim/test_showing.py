"""Optimizers, diagnostics and summaries show themselves, as text and as HTML."""

import re
from html.parser import HTMLParser

import pytest
import torch
from torch import nn

from qpsbgd import QPSBGD
from qpsbgd.baselines import BinaryConnect, Bop, ProxQuant, SignSGD
from qpsbgd.diagnostics import Diagnostics, QuboRecorder
from qpsbgd.nn import BinaryLinear, summary, to_recorded


def train(model, optimizer, steps=2):
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(16, 4)).square().mean().backward()
        optimizer.step()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(BinaryLinear(4, 8), nn.BatchNorm1d(8), BinaryLinear(8, 2))


class Tables(HTMLParser):
    """Cells of HTML, and a check that every tag is closed in turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.cells = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def test_an_optimizer_shows_weights_options_that_were_chosen_and_how_far_it_is(model):
    optimizer = QPSBGD(model.parameters(), lr=0.03)
    assert repr(optimizer) == (
        "QPSBGD(2 binary weights of 48 entries, 2 others by Adam; lr=0.03, memory='error-feedback'; 0 steps)"
    )
    train(model, optimizer)
    assert repr(optimizer).endswith("; 2 steps, 20 QUBOs)")
    optimizer = QPSBGD(model.parameters(), memory=None, kappa=2.0, seed=3)
    assert "; lr=0.01, memory=None, kappa=2.0, seed=3; " in repr(optimizer)


def test_every_group_has_a_line_with_options_of_its_own(model):
    groups = [
        {"params": model[0].parameters(), "domain": "mask"},
        {"params": [model[1].weight, model[2].weight], "lr": 0.2},
    ]
    optimizer = QPSBGD(groups, lr=torch.tensor(0.5), memory=None)
    assert repr(optimizer).splitlines() == [
        "QPSBGD(",
        "  1 binary weights of 32 entries, 0 others by Adam; lr=0.5, memory=None, domain='mask'; 0 steps",
        "  1 binary weights of 16 entries, 1 others by Adam; lr=0.2, memory=None; 0 steps",
        ")",
    ]


def test_real_weights_are_called_real():
    model = to_recorded(nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)))
    assert "1 real weights of 12 entries, 3 others by Adam" in repr(QPSBGD(model.parameters()))


@pytest.mark.parametrize("baseline", [BinaryConnect, Bop, ProxQuant, SignSGD])
def test_baselines_show_themselves_too(model, baseline):
    more = {"total_steps": 10} if baseline is ProxQuant else {}
    optimizer = baseline(model.parameters(), **more)
    assert repr(optimizer).startswith(f"{baseline.__name__}(2 binary weights of 48 entries")
    assert baseline.__name__ in optimizer._repr_html_()


def test_html_of_an_optimizer_has_every_option_of_every_group(model):
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "domain": "mask"}]
    optimizer = QPSBGD(groups, lr=0.1)
    cells = Tables(optimizer._repr_html_()).cells
    rows = {cells[k]: cells[k + 1 : k + 3] for k in range(0, len(cells), 3)}
    assert rows["domain"] == ["'spin'", "'mask'"]
    assert rows["lr"] == ["0.1", "0.1"]
    assert {"kappa", "scale", "memory", "other_lr", "clip"} <= rows.keys()
    assert "params" not in rows


def test_diagnostics_and_recorder_show_what_they_have_seen(model):
    optimizer = QPSBGD(model.parameters())
    data = (torch.randn(32, 4), torch.randn(32, 2))
    with (
        Diagnostics(model, optimizer, nn.functional.mse_loss, data, gap_rows=0) as diagnostics,
        QuboRecorder(optimizer, model[0].weight, rows=[1], steps=[1, 5]) as recorder,
    ):
        assert repr(diagnostics) == "Diagnostics(2 layers, 0 steps observed; CDP unknown)"
        assert Tables(diagnostics._repr_html_()).cells[0] == "layer"
        train(model, optimizer)
    assert re.fullmatch(
        r"Diagnostics\(2 layers, 2 steps observed; CDP 0\.weight: [01]\.\d{3}, 2\.weight: [01]\.\d{3}\)",
        repr(diagnostics),
    )
    cells = Tables(diagnostics._repr_html_()).cells
    assert {"0.weight", "2.weight"} <= set(cells)
    assert repr(recorder) == "QuboRecorder(rows [1] of 8 x 4, steps [1, 5]; 1 matrices kept)"


def test_html_of_a_summary_has_the_cells_of_its_table(model):
    found = summary(model)
    cells = [cell for cell in Tables(found._repr_html_()).cells if cell]
    assert cells == [cell for cell in re.split(r" {2,}|\n", str(found)) if cell]


def test_names_of_a_model_cannot_be_markup():
    model = nn.Sequential()
    model.add_module("<b>", BinaryLinear(2, 2))
    assert "<b>" not in summary(model)._repr_html_()
    assert "&lt;b&gt;" in summary(model)._repr_html_()
