"""Networks of the experiments."""

import torch

from qpsbgd.experiments.networks import Mlp


def test_network_of_many_equal_layers_is_named_briefly_and_built_with_residuals():
    network = Mlp((6, *[8] * 31, 2), "hardtanh", residual=True)
    assert str(network) == "6-31x8-2 hardtanh residual"
    model = network.build(torch.Generator().manual_seed(0))
    output = model(torch.randn(5, 6))
    assert output.shape == (5, 2)
    assert model[3](torch.zeros(5, 8)).shape == (5, 8)
    inner = torch.nn.Sequential(*model[3]).eval()
    x = torch.randn(5, 8)
    torch.testing.assert_close(model[3].eval()(x), x + inner(x))
