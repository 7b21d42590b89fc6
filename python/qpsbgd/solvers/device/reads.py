"""What the moves change: spins and local fields of many reads, and the best states they have seen.

r reads share each of m matrices. All numbers are integers in units of the matrix (`fixed`). With local fields
``f = C s + h`` a flip of spin k changes the energy by ``-2 s_k f_k`` and the fields by ``-2 s_k C_k``. The
product ``s_k f_k`` is its gain. ``now`` counts gains since the search began.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Reads", "Rests", "placed"]


@dataclass
class Reads:
    """Reads that go in step.

    Attributes
    ----------
    couplings : int16 or int32 Tensor (m, n, n)
        C.
    own : int32 Tensor (m, r, n)
        h.
    fields : int32 Tensor (m, r, n)
        f.
    spins, best : int8 Tensor (m, r, n)
        s, and the best state so far.
    now, least : int64 Tensor (m, r)
        Half of what the energy has changed by since the search began, and the lowest so far.
    keys : int64 Tensor (m, r)
        Of each read's random numbers.
    """

    couplings: Tensor
    own: Tensor
    fields: Tensor
    spins: Tensor
    best: Tensor
    now: Tensor
    least: Tensor
    keys: Tensor

    def move_to(self, spins: Tensor) -> None:
        """Go to other states."""
        before = self.levels()
        self.spins.copy_(spins)
        self.fields.copy_(local_fields(self.couplings, self.own, self.spins))
        self.now.add_((self.levels() - before) >> 2)  # exact: a flip changes a level by four gains

    def levels(self) -> Tensor:
        """Twice the energies, ``s'(f + h)``."""
        return (self.spins * (self.fields.to(torch.int64) + self.own)).sum(dim=-1)


@dataclass
class Rests:
    """What tabu search remembers: flipped spins rest for some flips.

    Attributes
    ----------
    left : int32 Tensor (m, r, n)
        Flips that each spin still rests for.
    shortest, spread : int32 Tensor (m, r)
        A rest is the shortest, or up to spread - 1 longer.
    since : int64 Tensor (m, r)
        Flips since the best state was found.
    """

    left: Tensor
    shortest: Tensor
    spread: Tensor
    since: Tensor


def placed(couplings: Tensor, own: Tensor, spins: Tensor, keys: Tensor) -> Reads:
    """Return reads that begin at these spins; all tensors are contiguous, as the kernels need them.

    Examples
    --------
    >>> C = torch.tensor([[[0, 3], [3, 0]]], dtype=torch.int16)
    >>> h, spins = torch.tensor([[[1, -1]]], dtype=torch.int32), torch.tensor([[[1, -1]]], dtype=torch.int8)
    >>> placed(C, h, spins, torch.zeros(1, 1, dtype=torch.int64)).fields
    tensor([[[-2,  2]]], dtype=torch.int32)
    """
    couplings, own, spins, keys = (each.contiguous() for each in (couplings, own, spins, keys))
    zeros = torch.zeros(keys.shape, dtype=torch.int64, device=keys.device)
    fields = local_fields(couplings, own, spins)
    return Reads(couplings, own, fields, spins.clone(), spins.clone(), zeros, zeros.clone(), keys)


def local_fields(couplings: Tensor, own: Tensor, spins: Tensor) -> Tensor:
    """C s + h. Sums of integers below 2^53 are exact in float64, for which every device has a product."""
    products = torch.bmm(spins.to(torch.float64), couplings.to(torch.float64))
    return products.to(torch.int32).add_(own).contiguous()
