"""From tensors to a checked batch on a device; the counterpart of `qpsbgd.problem.build`.

After this page a batch is in float64, apart from its couplings, which keep their dtype. Problems over bits
are problems over spins, with couplings Q / 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qpsbgd.problem.arrays import is_tensor, real_array
from qpsbgd.problem.build import ising_problem, qubo_problem
from qpsbgd.problem.checks import NotFiniteError
from qpsbgd.problem.foreign import vector_of_dict
from qpsbgd.problem.ising import CSRCouplings, IsingProblem
from qpsbgd.solvers.device.choose import check_width
from qpsbgd.solvers.device.fixed import tree_sum

__all__ = ["TensorBatch", "batch_of", "checked_device", "ising_batch", "qubo_batch"]

_MOST_ENERGY = 2.0**1020
_EXACT_IN_FLOAT64 = 2**53


@dataclass(frozen=True)
class TensorBatch:
    """Minimise ``coupling_scale * s'Js + h's + offset``, as `qpsbgd.problem.IsingProblem`, on a device.

    Attributes
    ----------
    h : float64 Tensor (b, n)
    J : Tensor (n, n) or (b, n, n) of real numbers
    offset : float64 Tensor (b,)
    coupling_scale : float
    binary : bool
    initial_states : int8 Tensor (b, 1 or reads, n), or None
    """

    h: Tensor
    J: Tensor
    offset: Tensor
    coupling_scale: float = 1.0
    binary: bool = False
    initial_states: Tensor | None = None

    def rows(self, chosen: slice) -> TensorBatch:
        """Return the chosen problems as a batch of their own."""
        J = self.J if self.J.dim() == 2 else self.J[chosen]
        starts = None if self.initial_states is None else self.initial_states[chosen]
        return replace(self, h=self.h[chosen], J=J, offset=self.offset[chosen], initial_states=starts)

    def couplings(self) -> Tensor:
        """Return ``coupling_scale (J + J')`` with zeros on the diagonal, float64 (1 or b, n, n)."""
        J = self.J if self.J.dim() == 3 else self.J[None]
        doubles = J.to(torch.float64)
        both = (doubles + doubles.mT).mul_(self.coupling_scale)
        both.diagonal(dim1=-2, dim2=-1).zero_()
        return both

    def constants(self) -> Tensor:
        """Return what every state's energy has: the offset, and what the diagonal adds up to; (b,)."""
        diagonal = self.J.diagonal(dim1=-2, dim2=-1).to(torch.float64)
        return self.offset + self.coupling_scale * tree_sum(diagonal)


def checked_device(device: Any) -> torch.device:
    """Return the device; raise unless there is one of this name, and it computes in float64.

    Examples
    --------
    >>> checked_device("cpu")
    device(type='cpu')
    >>> checked_device("mps")
    Traceback (most recent call last):
    ...
    ValueError: device must compute in float64, but is 'mps'
    """
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be a device of torch, but is {device!r}: {error}") from None
    if chosen.type in ("mps", "meta"):
        raise ValueError(f"device must compute in float64, but is {device!r}")
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device is {device!r}, which is not there: {error}") from None
    return chosen


def ising_batch(h: Any, J: Any, device: torch.device, *, initial_states: Any, num_reads: int) -> TensorBatch:
    """Check fields and couplings, as `qpsbgd.problem.ising_problem`, and bring them to the device.

    Examples
    --------
    >>> batch = ising_batch(None, torch.eye(2), torch.device("cpu"), initial_states=None, num_reads=1)
    >>> batch.h, batch.constants()
    (tensor([[0., 0.]], dtype=torch.float64), tensor([2.], dtype=torch.float64))
    """
    if not _is_dense_tensor(J):
        return batch_of(ising_problem(h, J, initial_states=initial_states, num_reads=num_reads), device)
    couplings = _couplings("J", J, device)
    n = couplings.shape[-1]
    fields = torch.zeros(1, n, dtype=torch.float64, device=device) if h is None else _rows("h", h, n, device)
    b = _number_of_problems("J", couplings, "h", fields)
    _check_energies("h and J", fields, couplings)
    starts = _initial_states(initial_states, b, n, num_reads, (-1, 1), device)
    offset = torch.zeros(b, dtype=torch.float64, device=device)
    return TensorBatch(fields.expand(b, n), _shared(couplings, b), offset, initial_states=starts)


def qubo_batch(
    Q: Any, linear: Any, device: torch.device, *, initial_states: Any, num_reads: int
) -> TensorBatch:
    """Check a batch of QUBOs, as `qpsbgd.problem.qubo_problem`, and bring it to the device in spins.

    Examples
    --------
    >>> Q = torch.tensor([[-1.0, 2.0], [0.0, -1.0]])
    >>> qubo_batch(Q, None, torch.device("cpu"), initial_states=None, num_reads=1).offset
    tensor([0.], dtype=torch.float64)
    """
    if not _is_dense_tensor(Q):
        return batch_of(qubo_problem(Q, linear, initial_states=initial_states, num_reads=num_reads), device)
    couplings = _couplings("Q", Q, device)
    n = couplings.shape[-1]
    given = torch.zeros(1, n, dtype=torch.float64, device=device)
    given = given if linear is None else _rows("linear", linear, n, device)
    b = _number_of_problems("Q", couplings, "linear", given)
    _check_energies("Q" if linear is None else "Q and linear", given, couplings)
    doubles = (couplings if couplings.dim() == 3 else couplings[None]).to(torch.float64)
    sums = tree_sum(doubles) + tree_sum(doubles.mT)
    fields = 0.25 * sums + 0.5 * given
    offset = 0.125 * tree_sum(sums) + 0.5 * tree_sum(given)
    starts = _initial_states(initial_states, b, n, num_reads, (0, 1), device)
    if starts is not None:
        starts = 2 * starts - 1
    return TensorBatch(fields.expand(b, n), _shared(couplings, b), offset.expand(b), 0.25, True, starts)


def batch_of(problem: IsingProblem, device: torch.device) -> TensorBatch:
    """Bring a batch of the host to a device.

    Examples
    --------
    >>> batch_of(ising_problem([1.0], [[0.0]]), torch.device("cpu")).h
    tensor([[1.]], dtype=torch.float64)
    """
    check_width("J", problem.num_spins)
    J, starts = problem.J, problem.initial_states
    if isinstance(J, CSRCouplings):
        rows, columns, values = J.triplets()
        J = np.zeros((J.n, J.n), dtype=values.dtype)
        np.add.at(J, (rows, columns), values)

    def there(array: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    return TensorBatch(
        there(problem.h),
        there(J),
        there(problem.offset),
        problem.coupling_scale,
        problem.binary,
        None if starts is None else there(starts),
    )


def _is_dense_tensor(value: Any) -> bool:
    return is_tensor(value) and str(value.layout) == "torch.strided"


def _real(name: str, value: Any, n: int | None, device: torch.device) -> Tensor:
    """Return finite real numbers as a tensor on the device; integers as they are."""
    if isinstance(value, Mapping):
        value = vector_of_dict(name, value, n)
    if _is_dense_tensor(value):
        tensor: Tensor = value.detach().to(device).resolve_conj().resolve_neg()
    else:
        tensor = torch.from_numpy(np.ascontiguousarray(real_array(name, value))).to(device)
    if tensor.is_complex() or tensor.is_quantized:
        raise TypeError(f"{name} must hold real numbers, but its dtype is {tensor.dtype}")
    if tensor.numel() == 0:
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}; at least one problem and one spin are needed"
        )
    wide = not tensor.is_floating_point() and tensor.element_size() == 8
    if wide and bool((tensor.to(torch.float64).abs() >= _EXACT_IN_FLOAT64).any()):
        raise ValueError(f"{name} has an integer of 2**53 or more, which float64 may not hold exactly")
    if tensor.is_floating_point() and tensor.element_size() == 1:
        tensor = tensor.to(torch.float32)  # these have no operations
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        where = tuple(tensor.isfinite().logical_not().nonzero()[0].tolist())
        raise NotFiniteError(
            f"{name} of shape {tuple(tensor.shape)} has {tensor[where].item()} at {where}, "
            "not a finite number"
        )
    return tensor


def _couplings(name: str, value: Any, device: torch.device) -> Tensor:
    shape = tuple(value.shape)
    if len(shape) not in (2, 3) or shape[-1] != shape[-2]:
        raise ValueError(f"{name} must have shape (n, n) or (b, n, n), but has shape {shape}")
    check_width(name, shape[-1])
    return _real(name, value, None, device)


def _rows(name: str, value: Any, n: int, device: torch.device) -> Tensor:
    rows = _real(name, value, n, device).to(torch.float64)
    if rows.dim() not in (1, 2):
        raise ValueError(f"{name} must have shape (n,) or (b, n), but has shape {tuple(rows.shape)}")
    return rows if rows.dim() == 2 else rows[None]


def _number_of_problems(name: str, couplings: Tensor, other: str, rows: Tensor) -> int:
    shape, n = tuple(rows.shape), couplings.shape[-1]
    if shape[1] != n:
        raise ValueError(f"{other} has shape {shape} but {name} is for {n} spins")
    matrices = 1 if couplings.dim() == 2 else len(couplings)
    if matrices != 1 and shape[0] not in (1, matrices):
        raise ValueError(f"{other} has shape {shape} but {name} has {matrices} matrices")
    return max(matrices, shape[0])


def _shared(couplings: Tensor, b: int) -> Tensor:
    return couplings if couplings.dim() == 2 or len(couplings) == b > 1 else couplings[0]


def _check_energies(names: str, rows: Tensor, couplings: Tensor) -> None:
    """Raise unless every energy, and every sum on the way to it, is a float64 number."""
    values = couplings.to(torch.float64).abs()
    sizes = rows.abs()
    if float(sizes.max()) * rows.shape[1] + float(values.max()) * couplings.shape[-1] ** 2 < _MOST_ENERGY:
        return  # nearly always
    sums = sizes.sum(dim=1) + values.sum(dim=(-2, -1))
    worst = int(sums.argmax())
    if not float(sums[worst]) < _MOST_ENERGY:
        raise ValueError(
            f"{names} are too large: an energy overflows float64 "
            f"(problem {worst} adds up to {float(sums[worst]):g})"
        )


def _initial_states(
    value: Any, b: int, n: int, num_reads: int, allowed: tuple[int, int], device: torch.device
) -> Tensor | None:
    if value is None:
        return None
    states = _real("initial_states", value, n, device)
    shape = tuple(states.shape)
    if shape == (n,):
        states = states.expand(b, n)
    if tuple(states.shape) == (b, n):
        states = states[:, None, :].expand(b, num_reads, n)
    if tuple(states.shape) != (b, num_reads, n):
        raise ValueError(f"initial_states has shape {shape}, expected ({b}, {n}) or ({b}, {num_reads}, {n})")
    low, high = allowed
    if not bool(((states == low) | (states == high)).all()):
        raise ValueError(f"initial_states must hold only {low} and {high}")
    return states.to(torch.int8)
