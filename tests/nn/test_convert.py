"""`to_binary` leaves out what it is told to, and `summary` shows what it did."""

import pytest
import torch
from torch import nn

from qpsbgd.nn import BinaryLinear, summary, to_binary


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


def test_summary_counts_what_a_file_holds():
    model = to_binary(net(), skip=["2"])
    found = summary(model)
    by_name = {weight.name: weight for weight in found.weights}
    assert [name for name, one in by_name.items() if one.binary] == ["0.weight", "1.0.weight", "1.2.weight"]
    assert by_name["0.weight"].packed_bytes == 4
    assert by_name["2.weight"].packed_bytes == by_name["2.weight"].num_bytes == 64
    assert found.num_bytes == sum(4 * parameter.numel() for parameter in model.parameters())
    assert found.binary_share == pytest.approx((32 + 64 + 64) / sum(p.numel() for p in model.parameters()))
    assert "1.0.weight" in str(found)


def test_summary_counts_ties_once_and_any_dtype():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)).to(torch.float64)
    model[1].weight = model[0].weight
    assert summary(model).num_bytes == 72
    assert summary(nn.ReLU()).binary_share == 0
    with pytest.raises(TypeError, match="model must be a"):
        summary([])
