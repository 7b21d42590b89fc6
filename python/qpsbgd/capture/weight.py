"""The weights whose layers record their inputs: latent binary weights, and real ones."""

from __future__ import annotations

import weakref
from typing import Any, cast

import torch
from torch import Tensor, nn

from qpsbgd.capture.operands import LatentValues

__all__ = [
    "BinaryWeight",
    "RealWeight",
    "as_binary_weight",
    "as_real_weight",
    "is_binary",
    "is_captured",
    "relax",
]

CAPTURE_ATTRIBUTE = "_qpsbgd_capture"
_RELAXED = "_qpsbgd_relaxed_by"


class BinaryWeight(LatentValues, nn.Parameter):
    """A latent real weight that its layer uses as ``sign(weight)``.

    Optimizers tell binary weights from all other parameters by this type. The type survives
    ``copy.deepcopy``, pickling and ``Module.to``. A `qpsbgd.capture.Capture` stays with the original.

    Parameters
    ----------
    data : Tensor of floating-point numbers
        Latent values, usually in [-1, 1].
    requires_grad : bool
        As in `torch.nn.Parameter`.

    Raises
    ------
    TypeError
        If `data` is no floating-point tensor.

    Examples
    --------
    >>> import copy, torch
    >>> weight = BinaryWeight(torch.tensor([[0.5, -0.2]]))
    >>> type(copy.deepcopy(weight)).__name__
    'BinaryWeight'
    """

    __deepcopy__ = nn.Parameter.__deepcopy__

    def __new__(cls, data: Tensor, requires_grad: bool = True) -> BinaryWeight:
        """Make a parameter that shares the memory of `data`."""
        return torch.Tensor._make_subclass(cls, _values(data), requires_grad)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Pickle values and attributes, without an attached capture."""
        return _rebuild, (self.data, self.requires_grad, _attributes(self))


class RealWeight(nn.Parameter):
    """A weight that its layer uses as it is, and whose layer records its inputs for an optimizer.

    It differs from a plain parameter by its type alone, by which `qpsbgd.QPSBGD` knows it. The type survives
    ``copy.deepcopy``, pickling and ``Module.to``.

    Parameters
    ----------
    data : Tensor of floating-point numbers
        Values.
    requires_grad : bool
        As in `torch.nn.Parameter`.

    Raises
    ------
    TypeError
        If `data` is no floating-point tensor.

    Examples
    --------
    >>> import copy, torch
    >>> weight = RealWeight(torch.tensor([[0.5, -0.2]]))
    >>> type(copy.deepcopy(weight)).__name__, type(weight + 1).__name__
    ('RealWeight', 'Tensor')
    """

    def __new__(cls, data: Tensor, requires_grad: bool = True) -> RealWeight:
        """Make a parameter that shares the memory of `data`."""
        return torch.Tensor._make_subclass(cls, _values(data), requires_grad)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Pickle values and attributes, without an attached capture."""
        return _rebuild_real, (self.data, self.requires_grad, _attributes(self))


def _values(data: Any) -> Tensor:
    if not isinstance(data, Tensor) or not data.is_floating_point():
        came = data.dtype if isinstance(data, Tensor) else type(data).__name__
        raise TypeError(f"data must be a floating-point tensor, but is {came}")
    return data.detach()


def _attributes(weight: Tensor) -> dict[str, Any]:
    own = (CAPTURE_ATTRIBUTE, _RELAXED)
    return {name: value for name, value in weight.__dict__.items() if name not in own}


def _rebuild(data: Tensor, requires_grad: bool, attributes: dict[str, Any]) -> BinaryWeight:
    weight = BinaryWeight(data, requires_grad)
    weight.__dict__.update(attributes)
    return weight


def _rebuild_real(data: Tensor, requires_grad: bool, attributes: dict[str, Any]) -> RealWeight:
    weight = RealWeight(data, requires_grad)
    weight.__dict__.update(attributes)
    return weight


# Files hold these names, so they must not move. With them torch.load(..., weights_only=True) reads a weight.
_rebuild.__module__ = _rebuild_real.__module__ = "qpsbgd.capture"
torch.serialization.add_safe_globals([_rebuild, _rebuild_real])


def as_binary_weight(parameter: nn.Parameter) -> BinaryWeight:
    """Mark `parameter` as a latent binary weight, in place, so that ties and references to it hold.

    Parameters
    ----------
    parameter : torch.nn.Parameter
        A plain parameter, or a `BinaryWeight`, which is returned as it is.

    Raises
    ------
    TypeError
        If `parameter` is no plain floating-point parameter.

    Examples
    --------
    >>> import torch
    >>> parameter = torch.nn.Parameter(torch.ones(2, 3))
    >>> as_binary_weight(parameter) is parameter
    True
    """
    return cast(BinaryWeight, _marked(parameter, BinaryWeight))


def as_real_weight(parameter: nn.Parameter) -> RealWeight:
    """Mark `parameter` as a real weight whose layer records its inputs, in place.

    Parameters
    ----------
    parameter : torch.nn.Parameter
        A plain parameter, or a `RealWeight`, which is returned as it is.

    Raises
    ------
    TypeError
        If `parameter` is no plain floating-point parameter.

    Examples
    --------
    >>> import torch
    >>> parameter = torch.nn.Parameter(torch.ones(2, 3))
    >>> as_real_weight(parameter) is parameter
    True
    """
    return cast(RealWeight, _marked(parameter, RealWeight))


def _marked(parameter: nn.Parameter, kind: type[nn.Parameter]) -> nn.Parameter:
    if isinstance(parameter, kind):
        return parameter
    if type(parameter) is not nn.Parameter or not parameter.is_floating_point():
        raise TypeError(
            "parameter must be a plain floating-point torch.nn.Parameter, "
            f"but is {type(parameter).__name__} of {getattr(parameter, 'dtype', 'no dtype')}"
        )
    # The object stays the same, so tied weights stay tied. Torch's lazy parameters do it in this way.
    parameter.__class__ = kind
    return parameter


def is_binary(parameter: Tensor) -> bool:
    """Tell whether `parameter` is a `BinaryWeight`.

    It is what ``isinstance`` says, without the check of torch's parameters, which takes microseconds.

    Examples
    --------
    >>> import torch
    >>> is_binary(BinaryWeight(torch.ones(1, 2))), is_binary(torch.nn.Parameter(torch.ones(1)))
    (True, False)
    """
    return issubclass(type(parameter), BinaryWeight)


def is_captured(parameter: Tensor) -> bool:
    """Tell whether the layers of `parameter` record their inputs: it is a `BinaryWeight` or a `RealWeight`.

    Examples
    --------
    >>> import torch
    >>> is_captured(RealWeight(torch.ones(1, 2))), is_captured(torch.nn.Parameter(torch.ones(1)))
    (True, False)
    """
    return issubclass(type(parameter), (BinaryWeight, RealWeight))


def relax(parameter: BinaryWeight, owner: object) -> None:
    """Let layers in training mode use the real weight itself, not its sign, as long as `owner` lives.

    Nothing is recorded then. In evaluation mode the layer uses the sign as always.

    Parameters
    ----------
    parameter : BinaryWeight
        The weight of a `qpsbgd.nn` layer.
    owner : object
        Whoever wants it so, usually an optimizer; it must allow weak references.

    Examples
    --------
    >>> import torch
    >>> from qpsbgd.nn import BinaryLinear
    >>> layer = BinaryLinear(1, 1)
    >>> _ = layer.weight.data.fill_(0.25)
    >>> optimizer = torch.optim.SGD([layer.weight])
    >>> relax(layer.weight, optimizer)
    >>> layer(torch.ones(1, 1)).item(), layer.eval()(torch.ones(1, 1)).item()
    (0.25, 1.0)
    """
    setattr(parameter, _RELAXED, weakref.ref(owner))


def is_relaxed(weight: Tensor) -> bool:
    """Tell whether layers in training mode use the real values of `weight`; see `relax`."""
    owner = getattr(weight, _RELAXED, None)
    return owner is not None and owner() is not None
