"""Exact neuron re-solve: a finisher of trained networks with sign activations and binary weights.

The loss of training sample i depends on a neuron only through its output a_i, which is +1 or -1. So with
all else fixed the training loss is linear in the outputs of that neuron::

    loss = const + sum over i of D_i [a_i = +1],     D_i = loss_i(a_i = +1) - loss_i(a_i = -1)

The neuron has weights w in {-1, +1}^d and a threshold θ: a_i = +1 where z_i = w'x_i / sqrt(d) >= θ. The
search flips single bits of w while that lowers the relaxed loss
``sum of D_i clamp((z_i - θ) / (2 τ σ) + ½, 0, 1)``, σ = std of z. A change is kept only if it lowers the loss
itself, so the training loss never goes up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from qpsbgd.nn import BinaryActivation, BinaryLinear, Scale

__all__ = [
    "PassReport",
    "SignLayer",
    "SignNet",
    "flip_output",
    "fold",
    "refit_output",
    "resolve",
    "resolve_neuron",
]

_THRESHOLDS = 13
_THRESHOLD_SPAN = 0.6
"""Thresholds tried: evenly spaced around the old one, up to so many standard deviations of z away."""
_NEWTON_STEPS = 8
_RIDGE = 1e-4


@dataclass
class SignLayer:
    """A hidden layer with its batch norm folded in: ``a = +1 where X w' / sqrt(d) >= threshold, else -1``.

    Attributes
    ----------
    weights : float Tensor (m, d)
        -1 and +1.
    thresholds : float Tensor (m,)
        Of every neuron.
    """

    weights: Tensor
    thresholds: Tensor

    def outputs(self, inputs: Tensor) -> Tensor:
        """Compute the activations (n, m) in {-1, +1} of inputs (n, d)."""
        z = inputs @ self.weights.T / self.weights.shape[1] ** 0.5
        return _as_signs(z >= self.thresholds)


@dataclass
class SignNet:
    """A classifier of binary weights and sign activations; `fold` makes one.

    Attributes
    ----------
    hidden : list of SignLayer
        From the inputs on.
    last : float Tensor (c, m)
        -1 and +1.
    scale : float
        Factor of the last layer's product.
    bias : float Tensor (c,)
        Added to the scores.
    """

    hidden: list[SignLayer]
    last: Tensor
    scale: float
    bias: Tensor

    def scores(self, inputs: Tensor) -> Tensor:
        """Compute the class scores (n, c) of inputs (n, d)."""
        return self._last_scores(self.features(inputs))

    def features(self, inputs: Tensor) -> Tensor:
        """Compute the outputs (n, m) of the last hidden layer."""
        for layer in self.hidden:
            inputs = layer.outputs(inputs)
        return inputs

    def loss(self, inputs: Tensor, labels: Tensor) -> float:
        """Mean cross-entropy."""
        return float(nn.functional.cross_entropy(self.scores(inputs), labels))

    def accuracy(self, inputs: Tensor, labels: Tensor) -> float:
        """Fraction of samples classified correctly."""
        return float((self.scores(inputs).argmax(dim=1) == labels).double().mean())

    def _last_scores(self, activations: Tensor) -> Tensor:
        return self.scale * (activations @ self.last.T) + self.bias


class PassReport(NamedTuple):
    """What one pass of `resolve` did."""

    loss: float
    """Mean training loss after it."""
    neurons_changed: int
    """Neurons that got other weights or another threshold."""
    bits_changed: int
    """Weights that are different from before."""


@torch.no_grad()
def fold(model: nn.Sequential) -> SignNet:
    """Fold batch norms and output scale of a trained network into thresholds and one factor.

    Parameters
    ----------
    model : torch.nn.Sequential
        ``BinaryLinear, BatchNorm1d, BinaryActivation`` for each hidden layer, then ``BinaryLinear, Scale``.

    Returns
    -------
    SignNet
        With the scores that the model gives in evaluation mode, up to rounding.

    Raises
    ------
    TypeError
        If the model is made of other layers.

    Examples
    --------
    >>> layers = BinaryLinear(4, 3), nn.BatchNorm1d(3), BinaryActivation(), BinaryLinear(3, 2), Scale(2.0)
    >>> model, x = nn.Sequential(*layers).eval(), torch.randn(8, 4)
    >>> bool(torch.allclose(fold(model).scores(x), model(x)))
    True
    """
    layers = list(model)
    kinds = [(BinaryLinear, nn.BatchNorm1d, BinaryActivation)] * ((len(layers) - 2) // 3)
    expected = [kind for triple in kinds for kind in triple] + [BinaryLinear, Scale]
    if len(layers) != len(expected) or not all(map(isinstance, layers, expected)):
        found = ", ".join(type(layer).__name__ for layer in layers)
        raise TypeError(
            "model must be BinaryLinear, BatchNorm1d, BinaryActivation for each hidden layer, then "
            f"BinaryLinear, Scale, but is {found}"
        )
    hidden = [_fold_layer(*pair) for pair in zip(layers[:-2:3], layers[1:-2:3], strict=True)]
    last, factor = cast(BinaryLinear, layers[-2]), float(cast(Scale, layers[-1]).scale)
    bias = torch.zeros(last.out_features) if last.bias is None else last.bias.detach()
    return SignNet(hidden, _as_signs(last.weight >= 0), factor * last.in_features**-0.5, factor * bias)


def _fold_layer(linear: Any, norm: Any) -> SignLayer:
    if norm.running_mean is None or norm.weight is None:
        raise TypeError("batch norm must have running statistics and learnable parameters")
    deviation = (norm.running_var + norm.eps).sqrt()
    bias = torch.zeros_like(deviation) if linear.bias is None else linear.bias
    # weight (z + bias - mean) / deviation + shift >= 0, solved for z; a negative weight turns the neuron.
    threshold = norm.running_mean - bias - norm.bias * deviation / norm.weight
    turn = _as_signs(norm.weight >= 0)
    constant = torch.where(norm.bias >= 0, -torch.inf, torch.inf)
    threshold = torch.where(norm.weight == 0, constant, threshold * turn)
    return SignLayer(_as_signs(linear.weight >= 0) * turn[:, None], threshold)


@torch.no_grad()
def resolve(
    net: SignNet,
    inputs: Tensor,
    labels: Tensor,
    *,
    passes: int = 2,
    tau: float = 0.1,
    last_flips: int = 0,
) -> list[PassReport]:
    """Re-solve every hidden neuron in turn on all training samples, in place; the loss never goes up.

    Parameters
    ----------
    net : SignNet
        As `fold` returns it; changed in place.
    inputs : float Tensor (n, d)
        Training inputs, normalised as they were in training.
    labels : int64 Tensor (n,)
        Their classes.
    passes : int
        Number of passes over all neurons, layer by layer. Each pass ends with a new fit of the output's scale
        and bias.
    tau : float
        Width τ of the relaxed loss.
    last_flips : int
        Each pass also flips up to so many weights of the last layer, the one that lowers the loss most first.

    Returns
    -------
    list of PassReport
        One per pass.

    Raises
    ------
    ValueError
        If shapes do not fit the network, or a number is out of range.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = torch.randn(64, 4, generator=generator)
    >>> net = SignNet([SignLayer(torch.ones(3, 4), torch.zeros(3))], torch.ones(2, 3), 1.0, torch.zeros(2))
    >>> first = net.loss(x, (x[:, 0] > 0).long())
    >>> resolve(net, x, (x[:, 0] > 0).long(), last_flips=3)[-1].loss < first
    True
    """
    expected = net.hidden[0].weights.shape[1]
    if inputs.ndim != 2 or inputs.shape[1] != expected:
        raise ValueError(f"inputs has shape {tuple(inputs.shape)}, expected (n, {expected})")
    if labels.shape != inputs.shape[:1]:
        raise ValueError(f"labels has shape {tuple(labels.shape)}, expected ({len(inputs)},)")
    if passes < 1 or last_flips < 0 or not tau > 0:
        raise ValueError(
            f"passes is {passes}, last_flips {last_flips} and tau {tau}; expected at least 1, 0 and above 0"
        )
    refit_output(net, net.features(inputs), labels)
    reports = []
    for _ in range(passes):
        neurons = bits = 0
        x = inputs
        for number, layer in enumerate(net.hidden):
            outputs = layer.outputs(x)
            for j in range(len(layer.weights)):
                D = _loss_differences(net, number, outputs, j, labels)
                found = resolve_neuron(
                    x, D, layer.weights[j], float(layer.thresholds[j]), outputs[:, j] > 0, tau=tau
                )
                if found is not None:
                    weights, threshold, on = found
                    neurons += 1
                    bits += int((weights != layer.weights[j]).sum())
                    layer.weights[j], layer.thresholds[j] = weights, threshold
                    outputs[:, j] = _as_signs(on)
            x = outputs
        bits += flip_output(net, x, labels, last_flips)
        refit_output(net, x, labels)
        loss = float(nn.functional.cross_entropy(net._last_scores(x), labels))
        reports.append(PassReport(loss, neurons, bits))
    return reports


def _loss_differences(net: SignNet, number: int, outputs: Tensor, j: int, labels: Tensor) -> Tensor:
    """D (n,): loss of every sample with neuron j of a layer at +1, less that with it at -1."""
    losses = []
    if number == len(net.hidden) - 1:
        own = net.scale * net.last[:, j]
        rest = net._last_scores(outputs) - outputs[:, j, None] * own
        losses = [
            nn.functional.cross_entropy(rest + sign * own, labels, reduction="none") for sign in (1, -1)
        ]
    else:
        following = net.hidden[number + 1]
        own = following.weights[:, j] / following.weights.shape[1] ** 0.5
        z = outputs @ following.weights.T / following.weights.shape[1] ** 0.5
        rest = z - outputs[:, j, None] * own
        for sign in (1, -1):
            a = _as_signs(rest + sign * own >= following.thresholds)
            for layer in net.hidden[number + 2 :]:
                a = layer.outputs(a)
            losses.append(nn.functional.cross_entropy(net._last_scores(a), labels, reduction="none"))
    return losses[0] - losses[1]


def resolve_neuron(
    inputs: Tensor, D: Tensor, weights: Tensor, threshold: float, on: Tensor, *, tau: float = 0.1
) -> tuple[Tensor, float, Tensor] | None:
    """Search weights and threshold of one neuron that lower ``sum of D_i over the samples where it is on``.

    Parameters
    ----------
    inputs : float Tensor (n, d)
        Inputs of the neuron.
    D : float Tensor (n,)
        Loss of each sample with the neuron on (+1), minus its loss with the neuron off (-1).
    weights, threshold : float Tensor (d,) of -1 and +1, float
        Where the search starts.
    on : bool Tensor (n,)
        Where the neuron is on now.
    tau : float
        Width of the relaxed loss.

    Returns
    -------
    (weights, threshold, on) or None
        None if nothing better was found.

    Examples
    --------
    >>> x = torch.tensor([[1.0, -2.0], [-1.0, 2.0], [2.0, 1.0], [-2.0, -1.0]])
    >>> start = torch.tensor([1.0, 1.0])
    >>> resolve_neuron(x, torch.tensor([1.0, -1.0, 1.0, -1.0]), start, 0.0, x @ start >= 0)[0]
    tensor([-1.,  1.])
    """
    before = float(D @ on.to(D.dtype))
    columns = (inputs * (2 / len(weights) ** 0.5)).T.contiguous()
    z = inputs @ weights / len(weights) ** 0.5
    centre = threshold if abs(threshold) < torch.inf else float(z.median())
    slope = 1 / (2 * tau * float(z.std().clamp_min(1e-12)))
    weights = weights.clone()

    def relaxed(z: Tensor) -> float:
        return float(D @ (z - centre).mul_(slope).add_(0.5).clamp_(0, 1))

    best = relaxed(z)
    improved = True
    while improved:
        improved = False
        for k in range(len(weights)):
            flipped = z - columns[k] * weights[k]
            value = relaxed(flipped)
            if value < best - 1e-6 * abs(best):
                best, z, improved = value, flipped, True
                weights[k] = -weights[k]
    offsets = torch.linspace(-_THRESHOLD_SPAN, _THRESHOLD_SPAN, _THRESHOLDS, dtype=z.dtype)
    thresholds = centre + float(z.std()) * offsets
    sums = torch.stack([D @ (z >= one).to(D.dtype) for one in thresholds])
    lowest = int(sums.argmin())
    if float(sums[lowest]) >= before:
        return None
    return weights, float(thresholds[lowest]), z >= thresholds[lowest]


@torch.no_grad()
def refit_output(net: SignNet, activations: Tensor, labels: Tensor) -> None:
    """Fit scale and bias of the output by Newton's method, in place; the loss never goes up.

    The cross-entropy is convex in both together.

    Parameters
    ----------
    net : SignNet
        Changed in place.
    activations : float Tensor (n, m)
        Outputs of the last hidden layer on the training samples.
    labels : int64 Tensor (n,)
        Their classes.

    Examples
    --------
    >>> net = SignNet([], torch.tensor([[1.0], [-1.0]]), 1.0, torch.zeros(2))
    >>> refit_output(net, torch.tensor([[1.0], [1.0], [1.0], [-1.0]]), torch.tensor([0, 0, 1, 1]))
    >>> torch.softmax(net.scores(torch.tensor([[1.0]])), dim=1)[0, 1].round(decimals=2)
    tensor(0.3300)
    """
    sums = activations @ net.last.T
    n, c = sums.shape
    targets = nn.functional.one_hot(labels, c).to(sums.dtype)
    values = torch.cat([torch.tensor([net.scale], dtype=sums.dtype), net.bias.to(sums.dtype)])

    def loss(values: Tensor) -> float:
        return float(nn.functional.cross_entropy(values[0] * sums + values[1:], labels))

    current = loss(values)
    for _ in range(_NEWTON_STEPS):
        p = torch.softmax(values[0] * sums + values[1:], dim=1)
        error = p - targets
        gradient = torch.cat([(error * sums).sum()[None], error.sum(dim=0)]) / n
        weighted = p * sums
        mean = weighted.sum(dim=1)
        hessian = torch.empty(c + 1, c + 1, dtype=sums.dtype)
        hessian[0, 0] = ((weighted * sums).sum(dim=1) - mean.square()).mean()
        hessian[0, 1:] = hessian[1:, 0] = (weighted - mean[:, None] * p).mean(dim=0)
        hessian[1:, 1:] = torch.diag(p.mean(dim=0)) - p.T @ p / n
        step = torch.linalg.solve(hessian + _RIDGE * torch.eye(c + 1, dtype=sums.dtype), gradient)
        after = loss(values - step)
        while after > current and float(step.abs().max()) > 1e-6:
            step /= 4
            after = loss(values - step)
        if after >= current:
            break
        values, current = values - step, after
    net.scale, net.bias = float(values[0]), values[1:].clone()


@torch.no_grad()
def flip_output(net: SignNet, activations: Tensor, labels: Tensor, most: int) -> int:
    """Flip weights of the last layer, each time the one that lowers the loss most, in place.

    Flipping weight (c, j) moves score c of sample i by δ = -2 scale last_cj a_ij, one of two numbers, and its
    loss by log(1 + p_ic (exp δ - 1)) - δ [label is c]. So all flips need two matrices and one product.

    Parameters
    ----------
    net, activations, labels
        As for `refit_output`.
    most : int
        Number of flips after which to stop.

    Returns
    -------
    int
        Number of flips: fewer than `most` if none lowers the loss any more.

    Examples
    --------
    >>> net = SignNet([], torch.tensor([[1.0], [1.0]]), 1.0, torch.zeros(2))
    >>> flip_output(net, torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0]), most=5)
    1
    >>> net.last.tolist()
    [[-1.0], [1.0]]
    """
    scores = net._last_scores(activations)
    own = nn.functional.one_hot(labels, len(net.last)).to(scores.dtype)
    positive = (activations > 0).to(scores.dtype)
    for flip in range(most):
        p = torch.softmax(scores, dim=1)
        up, down = (
            torch.log1p(p * torch.expm1(torch.tensor(move, dtype=p.dtype))) - move * own
            for move in (2 * net.scale, -2 * net.scale)
        )
        # Where last_cj a_ij = -1 the score goes up, where it is +1 it goes down.
        difference = positive.T @ (down - up)
        change = torch.where(
            net.last > 0,
            (difference + up.sum(dim=0)).T,
            (down.sum(dim=0) - difference).T,
        )
        lowest = int(change.argmin())
        if not float(change.flatten()[lowest]) < -1e-6 * len(labels):
            return flip
        c, j = divmod(lowest, net.last.shape[1])
        scores[:, c] -= 2 * net.scale * net.last[c, j] * activations[:, j]
        net.last[c, j] = -net.last[c, j]
    return most


def _as_signs(condition: Tensor) -> Tensor:
    """+1 where the condition holds, else -1, in float32."""
    return condition.to(torch.float32).mul_(2).sub_(1)
