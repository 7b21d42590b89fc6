"""The networks of the experiments, as data that can build them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from qpsbgd.nn import BinaryActivation, BinaryConv2d, BinaryGCNConv, BinaryLinear, BinaryWeight, Scale

__all__ = ["Activation", "Cnn", "Gcn", "Mlp", "Network", "activation", "draw_weights"]

_INITIAL_WEIGHT = 0.1

_ModuleT = TypeVar("_ModuleT", bound=nn.Module)
Activation = Literal["sign", "relu", "hardtanh"]


class Network(Protocol):
    """What a task needs to know of a network; its text form names it in reports."""

    @property
    def inputs(self) -> int:
        """Number of input features."""

    @property
    def outputs(self) -> int:
        """Number of classes."""

    def build(self, generator: torch.Generator) -> nn.Module:
        """Build it with weights drawn from `generator`: float (n, inputs) to class scores (n, outputs)."""


@dataclass(frozen=True)
class Mlp:
    """A chain of binary layers with batch norm and an activation between them, and a scale at the end.

    Attributes
    ----------
    widths : tuple of int
        Number of inputs, of neurons in each hidden layer, and of classes.
    activation : {"sign", "relu", "hardtanh"}
        What follows each hidden layer's batch norm.
    residual : bool
        Add its input to the output of every hidden layer that has as many neurons as inputs.

    Examples
    --------
    >>> str(Mlp((64, 256, 10), "sign"))
    '64-256-10 sign'
    >>> str(Mlp((64, 32, 32, 32, 10), "relu", residual=True))
    '64-3x32-10 relu residual'
    >>> Mlp((4, 3, 2), "sign").build(torch.Generator().manual_seed(0))(torch.ones(5, 4)).shape
    torch.Size([5, 2])
    """

    widths: tuple[int, ...]
    activation: Activation
    residual: bool = False

    @property
    def inputs(self) -> int:
        """Number of input features."""
        return self.widths[0]

    @property
    def outputs(self) -> int:
        """Number of classes."""
        return self.widths[-1]

    def __str__(self) -> str:
        *_, last = self.widths
        hidden = self.widths[1:-1]
        if len(hidden) > 2 and len(set(hidden)) == 1:
            middle = [f"{len(hidden)}x{hidden[0]}"]
        else:
            middle = [str(width) for width in hidden]
        text = f"{'-'.join([str(self.inputs), *middle, str(last)])} {self.activation}"
        return f"{text} residual" if self.residual else text

    def build(self, generator: torch.Generator) -> nn.Sequential:
        """Build the network with latent weights drawn from U(-0.1, 0.1)."""
        *hidden, last = zip(self.widths, self.widths[1:], strict=False)
        layers: list[nn.Module] = []
        for inputs, outputs in hidden:
            block = [BinaryLinear(inputs, outputs), nn.BatchNorm1d(outputs), activation(self.activation)]
            if self.residual and inputs == outputs:
                layers.append(_Residual(*block))
            else:
                layers += block
        return draw_weights(nn.Sequential(*layers, BinaryLinear(*last), Scale()), generator)


class _Residual(nn.Sequential):
    def forward(self, inputs: Tensor) -> Tensor:
        outputs = inputs
        for layer in self:
            outputs = layer(outputs)
        return inputs + outputs


@dataclass(frozen=True)
class Cnn:
    """Binary convolutions, each with max pooling, batch norm and an activation, and a binary linear layer.

    Attributes
    ----------
    size : int
        Edge of the square images, which come flattened and with one channel.
    channels : tuple of int
        Output channels of each convolution.
    outputs : int
        Number of classes.
    kernel : int
        Edge of the kernels; odd. Padding keeps the size of the images, pooling halves it.
    activation : {"sign", "relu", "hardtanh"}
        What follows each batch norm.

    Examples
    --------
    >>> network = Cnn(8, (4, 6), 10)
    >>> str(network), network.inputs
    ('8x8-4-6-10 conv5 relu', 64)
    >>> network.build(torch.Generator().manual_seed(0))(torch.ones(5, 64)).shape
    torch.Size([5, 10])
    """

    size: int
    channels: tuple[int, ...]
    outputs: int
    kernel: int = 5
    activation: Activation = "relu"

    @property
    def inputs(self) -> int:
        """Number of pixels."""
        return self.size**2

    def __str__(self) -> str:
        widths = "-".join(map(str, (*self.channels, self.outputs)))
        return f"{self.size}x{self.size}-{widths} conv{self.kernel} {self.activation}"

    def build(self, generator: torch.Generator) -> nn.Sequential:
        """Build the network with latent weights drawn from U(-0.1, 0.1)."""
        layers: list[nn.Module] = [nn.Unflatten(1, (1, self.size, self.size))]
        for inputs, outputs in zip((1, *self.channels), self.channels, strict=False):
            layers += [
                BinaryConv2d(inputs, outputs, self.kernel, padding="same"),
                nn.MaxPool2d(2),
                nn.BatchNorm2d(outputs),
                activation(self.activation),
            ]
        left = self.size // 2 ** len(self.channels)
        layers += [nn.Flatten(), BinaryLinear(self.channels[-1] * left**2, self.outputs), Scale()]
        return draw_weights(nn.Sequential(*layers), generator)


@dataclass(frozen=True)
class Gcn:
    """Binary graph convolutions with batch norm and an activation between them, and a scale at the end.

    It is for training on one graph: the layers keep its normalised adjacency.

    Attributes
    ----------
    widths : tuple of int
        Number of features of a node, of neurons in each hidden layer, and of classes.
    activation : {"sign", "relu", "hardtanh"}
        What follows each hidden layer's batch norm.
    dropout : float
        Share of the features and of each hidden layer's activations that a training step leaves out. Only
        without it are ÂX and its Gram matrix the same in every step.

    Examples
    --------
    >>> network = Gcn((4, 3, 2))
    >>> str(network)
    'gcn 4-3-2 hardtanh'
    >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    >>> network.build(torch.Generator().manual_seed(0))(torch.ones(3, 4), path).shape
    torch.Size([3, 2])
    """

    widths: tuple[int, ...]
    activation: Activation = "hardtanh"
    dropout: float = 0.0

    @property
    def inputs(self) -> int:
        """Number of features of a node."""
        return self.widths[0]

    @property
    def outputs(self) -> int:
        """Number of classes."""
        return self.widths[-1]

    def __str__(self) -> str:
        text = f"gcn {'-'.join(map(str, self.widths))} {self.activation}"
        return f"{text} dropout {self.dropout:g}" if self.dropout else text

    def build(self, generator: torch.Generator) -> nn.Module:
        """Build it with weights drawn from U(-0.1, 0.1): (features, edge_index) to scores of all nodes."""
        return draw_weights(_GraphNetwork(self), generator)


class _GraphNetwork(nn.Module):
    def __init__(self, network: Gcn) -> None:
        super().__init__()
        pairs = list(zip(network.widths, network.widths[1:], strict=False))
        self.convolutions = nn.ModuleList(BinaryGCNConv(*pair, cached=True) for pair in pairs)
        self.between = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm1d(outputs), activation(network.activation), nn.Dropout(network.dropout)
            )
            for _, outputs in pairs[:-1]
        )
        self.dropout = network.dropout
        self.scale = Scale()

    def forward(self, features: Tensor, edge_index: Tensor) -> Tensor:
        x = features
        if self.dropout and self.training:
            x = nn.functional.dropout(x, self.dropout)
        for convolution, between in zip(self.convolutions, self.between, strict=False):
            x = between(convolution(x, edge_index))
        return cast(Tensor, self.scale(self.convolutions[-1](x, edge_index)))


def activation(name: Activation) -> nn.Module:
    """Make the activation of that name.

    Raises
    ------
    ValueError
        If there is none.
    """
    kinds: dict[str, type[nn.Module]] = {"sign": BinaryActivation, "relu": nn.ReLU, "hardtanh": nn.Hardtanh}
    if name not in kinds:
        raise ValueError(f"activation is {name!r}, expected one of {', '.join(kinds)}")
    return kinds[name]()


def draw_weights(model: _ModuleT, generator: torch.Generator) -> _ModuleT:
    """Draw the latent weights of all binary layers from U(-0.1, 0.1); return the model."""
    with torch.no_grad():
        for parameter in model.parameters():
            if isinstance(parameter, BinaryWeight):
                parameter.uniform_(-_INITIAL_WEIGHT, _INITIAL_WEIGHT, generator=generator)
    return model
