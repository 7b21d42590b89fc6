"""Recurrent layers record the inputs of both products; test_recorded_layers.py tests what all layers keep."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.rnn import pack_sequence

from qpsbgd import QPSBGD
from qpsbgd.capture import attach
from qpsbgd.nn import RealWeight, to_recorded

LAYERS = {"LSTM": (nn.LSTM, nn.LSTMCell), "GRU": (nn.GRU, nn.GRUCell), "RNN": (nn.RNN, nn.RNNCell)}


def recorded(layer, x, hx=None):
    """X (n, d) of every marked weight, after one backward pass."""
    captures = {name: attach(p) for name, p in layer.named_parameters() if isinstance(p, RealWeight)}
    output = layer(x, hx)[0]
    (output if isinstance(output, torch.Tensor) else output.data).square().sum().backward()
    return {name: torch.cat([r.inputs for r in capture.records]) for name, capture in captures.items()}


def hidden_states(cell, steps, state):
    """What a loop over cells multiplies by weight_hh, step by step; steps are inputs (batch, d)."""
    hidden = []
    for x in steps:
        state = tuple(part[: len(x)] for part in state) if isinstance(state, tuple) else state[: len(x)]
        hidden.append(state[0] if isinstance(state, tuple) else state)
        state = cell(x, state)
    return hidden


def cell_of(kind, layer, number, reverse=False):
    suffix = f"_l{number}" + ("_reverse" if reverse else "")
    width = getattr(layer, f"weight_ih{suffix}").shape[1]
    cell = LAYERS[kind][1](width, layer.hidden_size, dtype=torch.float64)
    cell.load_state_dict({name: getattr(layer, name + suffix) for name in cell.state_dict()})
    return cell


def first_state(kind, batch):
    parts = tuple(torch.randn(1, batch, 3, dtype=torch.float64) for _ in range(2))
    return parts if kind == "LSTM" else parts[0]


def of_cell(state):
    return tuple(part[0] for part in state) if isinstance(state, tuple) else state[0]


@pytest.mark.parametrize("kind", LAYERS)
def test_hidden_weights_record_the_states_that_a_loop_of_cells_multiplies(kind):
    torch.manual_seed(0)
    layer, x = to_recorded(LAYERS[kind][0](4, 3).double()), torch.randn(5, 2, 4, dtype=torch.float64)
    state = first_state(kind, 2)
    seen = recorded(layer, x, state)
    expected = hidden_states(cell_of(kind, layer, 0), x, of_cell(state))
    torch.testing.assert_close(seen["weight_hh_l0"], torch.cat(expected))
    assert torch.equal(seen["weight_ih_l0"], x.flatten(0, 1))


@pytest.mark.parametrize("kind", LAYERS)
def test_both_directions_of_packed_sequences_record_their_own_states(kind):
    torch.manual_seed(0)
    layer = to_recorded(LAYERS[kind][0](4, 3, bidirectional=True).double())
    sequences = [torch.randn(length, 4, dtype=torch.float64) for length in (5, 2, 2, 1)]
    packed = pack_sequence(sequences)
    state = tuple(torch.randn(2, 4, 3, dtype=torch.float64) for _ in range(2))
    seen = recorded(layer, packed, state if kind == "LSTM" else state[0])
    assert torch.equal(seen["weight_ih_l0_reverse"], packed.data)
    for direction, name in enumerate(("weight_hh_l0", "weight_hh_l0_reverse")):
        cell = cell_of(kind, layer, 0, reverse=direction == 1)
        rows = []
        for number, sequence in enumerate(sequences):  # one by one, so that nothing is packed here
            own = tuple(part[direction, number : number + 1] for part in state)
            steps = sequence.flip(0) if direction else sequence
            states = hidden_states(cell, steps[:, None], own if kind == "LSTM" else own[0])
            rows.append(torch.cat(states[::-1] if direction else states))
        torch.testing.assert_close(seen[name], pack_sequence(rows).data)


def test_second_layer_records_the_outputs_of_the_first():
    torch.manual_seed(0)
    layer = to_recorded(nn.GRU(4, 3, num_layers=2, batch_first=True, bidirectional=True))
    first = nn.GRU(4, 3, batch_first=True, bidirectional=True)
    first.load_state_dict({name: value for name, value in layer.state_dict().items() if "_l0" in name})
    x = torch.randn(2, 5, 4)
    assert torch.equal(recorded(layer, x)["weight_ih_l1"], first(x)[0].flatten(0, 1))


def test_outputs_that_are_written_to_leave_the_recorded_states_alone():
    layer = to_recorded(nn.GRU(4, 3, dtype=torch.float64))  # of which torch needs no outputs for gradients
    capture = attach(layer.weight_hh_l0)
    output, _ = layer(torch.randn(5, 2, 4, dtype=torch.float64))
    expected = output.detach()[:-1].clone()
    loss = output.sum()
    output.detach().zero_()
    loss.backward()
    assert torch.equal(capture.records[0].inputs[2:], expected.flatten(0, 1))
    assert not capture.records[0].overwritten


def test_projection_and_computed_weights_stay_plain():
    layer = to_recorded(nn.LSTM(4, 3, proj_size=2))
    assert not isinstance(layer.weight_hr_l0, RealWeight)
    layer = to_recorded(prune.l1_unstructured(nn.GRU(4, 3), "weight_hh_l0", 0.3))
    assert not isinstance(layer.weight_hh_l0_orig, RealWeight)
    optimizer = QPSBGD(layer.parameters())
    layer(torch.randn(5, 2, 4))[0].sum().backward()
    optimizer.step()
    assert optimizer.num_qubos == 9


def test_names_objects_and_hooks_stay():
    layer = nn.LSTM(4, 3, num_layers=2, bidirectional=True)
    names, parameters, called = list(layer.state_dict()), list(map(id, layer.parameters())), []
    layer.register_forward_hook(lambda *_: called.append(1))
    to_recorded(layer)
    assert list(layer.state_dict()) == names
    assert list(map(id, layer.parameters())) == parameters
    layer(torch.ones(5, 2, 4))
    assert called == [1]
    marked = {name for name, p in copy.deepcopy(layer).double().named_parameters() if type(p) is RealWeight}
    assert marked == {name for name in names if name.startswith("weight")}


@pytest.mark.filterwarnings("ignore")  # torch warns about its own compiler
def test_compiled_and_plain_networks_train_alike():
    torch._dynamo.reset()
    results = []
    for backend in (None, "eager"):
        torch.manual_seed(0)
        layer = to_recorded(nn.GRU(4, 3, dtype=torch.float64))
        optimizer = QPSBGD(layer.parameters())
        called = layer if backend is None else torch.compile(layer, backend=backend)
        for x in torch.randn(3, 5, 2, 4, dtype=torch.float64):
            optimizer.zero_grad()
            called(x)[0].square().sum().backward()
            optimizer.step()
        assert optimizer.num_qubos == 3 * 18
        results.append(list(layer.parameters()))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_autocast_computes_the_same_bits():
    results = []
    for convert in (lambda layer: layer, to_recorded):
        torch.manual_seed(0)
        layer = convert(nn.LSTM(4, 3))
        optimizer = QPSBGD(layer.parameters()) if convert is to_recorded else None
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output, _ = layer(torch.randn(5, 2, 4))
        output.float().square().sum().backward()
        results.append([output.detach(), *(p.grad.clone() for p in layer.parameters())])
        if optimizer is not None:
            optimizer.step()
            assert optimizer.num_qubos == 24
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_loop_of_cells_steps_as_the_layer():
    torch.manual_seed(0)
    layer = nn.LSTM(4, 3, dtype=torch.float64)
    cell = cell_of("LSTM", layer, 0)
    x = torch.randn(5, 2, 4, dtype=torch.float64)
    for module in (to_recorded(layer), to_recorded(cell)):
        optimizer = QPSBGD(module.parameters())
        if module is layer:
            output = layer(x)[0]
        else:
            state, outputs = (torch.zeros(2, 3, dtype=torch.float64),) * 2, []
            for step in x:
                state = cell(step, state)
                outputs.append(state[0])
            output = torch.stack(outputs)
        output.square().sum().backward()
        optimizer.step()
        assert optimizer.num_qubos == 24
    for one, other in zip(layer.parameters(), cell.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_recurrent_network_learns_more_than_by_signs():
    # The running sum of the inputs, which are far from independent: A has something to say.
    losses = {}
    for kappa in (0.0, 4.0):
        torch.manual_seed(0)
        net = to_recorded(nn.ModuleList([nn.GRU(6, 16), nn.Linear(16, 1)]))
        optimizer = QPSBGD(net.parameters(), lr=0.1, kappa=kappa, other_lr=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=60)
        mix = torch.randn(6, 6)
        for _ in range(60):
            x = (1 + torch.randn(10, 64, 6)) @ mix
            optimizer.zero_grad()
            loss = (net[1](net[0](x)[0])[..., 0] - 0.1 * x.sum(-1).cumsum(0).tanh()).square().mean()
            loss.backward()
            optimizer.step()
            schedule.step()
        losses[kappa] = loss.item()
    assert losses[4.0] < losses[0.0] < 1.0
