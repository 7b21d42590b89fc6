"""The gradient of the loss over all training samples; the model stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

__all__ = ["Data", "LossFunction", "full_gradient"]

Data = Sequence[Tensor] | Iterable[Sequence[Tensor]]
LossFunction = Callable[[Any, Tensor], Tensor]


def full_gradient(
    model: nn.Module, loss_fn: LossFunction, data: Data, names: Iterable[str] | None = None
) -> dict[str, Tensor]:
    """Compute the gradient of the mean loss over `data`, leaving the model as it is.

    The model runs in the mode it is in, but without dropout. These stay as they were: gradients (``.grad``),
    captures, running statistics of batch norm and other buffers, torch's random state. The model's own
    forward hooks do run. In training mode batch norm uses the statistics of each batch of `data`, so batches
    should be large.

    Parameters
    ----------
    model : torch.nn.Module
        Called with all tensors of a batch but the last one.
    loss_fn : callable
        ``loss_fn(model(*inputs), target)``, a mean over the samples of a batch.
    data : sequence of tensors ``(*inputs, target)``, or iterable of such sequences
        All samples at once, or in batches (a DataLoader), which count by the length of their targets.
    names : iterable of str, optional
        Names of the parameters; all that require gradients, if not given.

    Returns
    -------
    dict
        Name -> gradient, in the shape of the parameter; zero where the loss does not depend on it.

    Raises
    ------
    ValueError
        If there are no data, a name is unknown, or the loss is not one number.

    Examples
    --------
    >>> model = nn.Linear(2, 1, bias=False)
    >>> x, y = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.zeros(2, 1)
    >>> full_gradient(model, lambda output, target: (output - target).mean(), (x, y))
    {'weight': tensor([[2., 3.]])}
    """
    model = getattr(model, "_orig_mod", model)  # compiling does not pay for a call now and then
    parameters = dict(model.named_parameters())
    wanted = [name for name, p in parameters.items() if p.requires_grad] if names is None else list(names)
    unknown = sorted(set(wanted) - set(parameters))
    if unknown:
        raise ValueError(f"names {unknown} are no parameters of the model")
    # The leaves share the parameters' memory, but have no captures, hooks or .grad. Buffers are copied.
    leaves = {name: p.detach().requires_grad_(name in wanted) for name, p in parameters.items()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    devices = {tensor.device.index for tensor in parameters.values() if tensor.device.type == "cuda"}
    total = {name: torch.zeros_like(leaves[name], requires_grad=False) for name in wanted}
    count = 0
    with torch.random.fork_rng(sorted(devices)), torch.enable_grad(), _without_dropout(model):
        for *inputs, target in _batches(data):
            loss = loss_fn(functional_call(model, {**leaves, **buffers}, tuple(inputs)), target)
            if loss.numel() != 1:
                raise ValueError(f"loss_fn returned shape {tuple(loss.shape)}, expected one number")
            gradients = torch.autograd.grad(loss, [leaves[name] for name in wanted], allow_unused=True)
            for name, gradient in zip(wanted, gradients, strict=True):
                if gradient is not None:
                    total[name].add_(gradient, alpha=len(target))
            count += len(target)
    if count == 0:
        raise ValueError("data holds no samples")
    return {name: gradient.div_(count) for name, gradient in total.items()}


def _batches(data: Data) -> Iterable[Sequence[Tensor]]:
    if isinstance(data, Sequence) and all(isinstance(part, Tensor) for part in data):
        return [data] if data else []
    return data  # type: ignore[return-value]


@contextmanager
def _without_dropout(model: nn.Module) -> Iterator[None]:
    active = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.training
    ]
    try:
        for module in active:
            module.training = False
        yield
    finally:
        for module in active:
            module.training = True
