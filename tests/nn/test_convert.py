"""`to_binary` leaves out what it is told to, and `summary` shows what it did."""

import pytest
import torch
from torch import nn

from qpsbgd.nn import BinaryLinear, summary, to_binary, to_recorded


def net():
    block = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    return nn.Sequential(nn.Linear(4, 8), block, nn.Linear(8, 2))


@pytest.mark.parametrize(
    ("skip", "plain"),
    [
        ([], []),
        (["0"], ["0"]),
        (("0", "2"), ["0", "2"]),
        ({"1"}, ["1.0", "1.2"]),
        (["1.2"], ["1.2"]),
        ([""], ["0", "1.0", "1.2", "2"]),
    ],
)
def test_named_modules_stay_plain_with_all_inside(skip, plain):
    model = to_binary(net(), skip=skip)
    kinds = {name: type(layer) for name, layer in model.named_modules()}
    assert sorted(name for name, kind in kinds.items() if kind is nn.Linear) == plain
    assert sum(kind is BinaryLinear for kind in kinds.values()) == 4 - len(plain)


def test_name_of_no_module_is_an_error_with_those_near_it():
    model = net()
    with pytest.raises(ValueError, match=r"skip names '1\.3', which is no module; near are '1\.[012]'"):
        to_binary(model, skip=["1.3"])
    assert not any(isinstance(layer, BinaryLinear) for layer in model.modules())
    with pytest.raises(TypeError, match="skip must be a collection of names, but is the text '0'"):
        to_binary(model, skip="0")


def test_weight_shared_with_a_skipped_layer_is_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    with pytest.raises(ValueError, match="shares its weight with '1'"):
        to_binary(model, skip=["1"])
    assert type(model[0].weight) is nn.Parameter


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.convolution = nn.Conv1d(3, 4, 3)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 2)


def test_layers_that_stay_real_are_named():
    with pytest.warns(UserWarning, match="stay real") as caught:
        model = to_binary(Mixed())
    assert [str(one.message) for one in caught] == [
        "layers without a binary form stay real: attention (MultiheadAttention), convolution (Conv1d); "
        "name them in skip= if that is meant"
    ]
    assert caught[0].filename == __file__
    assert type(model.head) is BinaryLinear


@pytest.mark.parametrize(
    "layer",
    [nn.Conv3d(1, 1, 1), nn.ConvTranspose2d(1, 1, 1), nn.LSTM(2, 2), nn.GRUCell(2, 2), nn.Bilinear(2, 2, 2)],
)
def test_every_kind_of_layer_that_stays_real_is_named(layer):
    with pytest.warns(UserWarning, match=rf"stay real: module \({type(layer).__name__}\)"):
        to_binary(layer)


def test_nothing_is_said_of_layers_that_were_named_or_recorded():
    model = to_binary(Mixed(), skip=["attention", "convolution"])
    assert type(model.convolution) is nn.Conv1d
    to_binary(nn.Sequential(to_recorded(nn.Conv1d(2, 2, 2)), nn.BatchNorm1d(2)))


def test_summary_counts_ties_once_and_any_dtype():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)).to(torch.float64)
    model[1].weight = model[0].weight
    assert summary(model).num_bytes == 72
    assert summary(nn.ReLU()).binary_share == 0
    with pytest.raises(TypeError, match="model must be a"):
        summary([])
