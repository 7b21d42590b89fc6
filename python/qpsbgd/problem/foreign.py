"""What users hold besides arrays: dicts of coefficients, dimod models, torch tensors.

Nothing here imports dimod or torch: whoever passes such an object has done so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from qpsbgd.problem.arrays import is_tensor, real_array
from qpsbgd.problem.ising import CSRCouplings
from qpsbgd.problem.memory import check_memory

__all__ = [
    "is_model",
    "is_sparse_tensor",
    "matrix_of_dict",
    "model_parts",
    "tensor_triplets",
    "vector_of_dict",
]

_OTHER_LABELS = "variables of other names are for NativeSampler().sample_qubo, .sample_ising or .sample"
_MOST = 2**31 - 1
_DENSE = 64
"""Variables up to which a dict becomes a dense matrix whatever its density."""


def vector_of_dict(name: str, value: Mapping[Any, Any], n: int | None) -> npt.NDArray[Any]:
    """Linear coefficients {i: value} as an array of `n`, or of as many as the largest index asks for.

    Examples
    --------
    >>> vector_of_dict("h", {0: 1, 2: -1.5}, None)
    array([ 1. ,  0. , -1.5])
    """
    keys = list(value)
    _check_indices(name, keys)
    size = n if n is not None else 1 + max(keys, default=-1)
    if keys and max(keys) >= size:
        raise ValueError(f"{name} has the key {max(keys)} but there are only {size} variables")
    array = np.zeros(size)
    array[keys] = real_array(f"the values of {name}", list(value.values()))
    return array


def matrix_of_dict(name: str, value: Mapping[Any, Any], n: int | None) -> npt.NDArray[Any] | CSRCouplings:
    """Coefficients {(i, j): value} as a matrix of `n` variables, or of as many as the largest index asks for.

    Dense up to 64 variables and from an eighth of all pairs on, in compressed rows otherwise.

    Examples
    --------
    >>> matrix_of_dict("Q", {(0, 0): -1, (0, 1): 2}, None)
    array([[-1.,  2.],
           [ 0.,  0.]])
    """
    for key in value:
        if not (isinstance(key, tuple) and len(key) == 2):
            raise TypeError(f"{name} must have pairs (i, j) as keys, but has {key!r}")
    keys = [index for key in value for index in key]
    _check_indices(name, keys)
    size = n if n is not None else 1 + max(keys, default=-1)
    if size == 0:
        raise ValueError(f"{name} is empty; at least one variable is needed")
    if keys and max(keys) >= size:
        raise ValueError(f"{name} has the index {max(keys)} but there are only {size} variables")
    if size > _MOST:
        raise ValueError(f"{name} has the index {size - 1}, but at most {_MOST} variables are possible")
    check_memory(f"{name} and fields of {size} variables", 40 * size)
    ends = np.array(keys, dtype=np.int64).reshape(-1, 2)
    values = real_array(f"the values of {name}", list(value.values())).astype(np.float64)
    if size <= _DENSE or 8 * len(values) >= size * (size - 1) / 2:
        matrix = np.zeros((size, size))
        np.add.at(matrix, (ends[:, 0], ends[:, 1]), values)
        return matrix
    return CSRCouplings.of_triplets(size, ends[:, 0], ends[:, 1], values)


def _check_indices(name: str, keys: list[Any]) -> None:
    for key in keys:
        if isinstance(key, bool) or not isinstance(key, (int, np.integer)) or key < 0:
            raise TypeError(f"{name} must be of variables 0, 1, ..., n - 1, but has {key!r}; {_OTHER_LABELS}")


def is_model(value: Any) -> bool:
    """Whether `value` is one of dimod's models."""
    return hasattr(value, "variables") and (hasattr(value, "quadratic") or hasattr(value, "constraints"))


def model_parts(
    name: str, model: Any, binary: bool
) -> tuple[npt.NDArray[Any], dict[tuple[int, int], float], float]:
    """Linear coefficients, interactions and offset of a dimod model with variables 0..n-1, in that order.

    Parameters
    ----------
    binary : bool
        Whether to have them over bits; over spins otherwise.
    """
    kind = type(model).__name__
    if not hasattr(model, "to_numpy_vectors"):
        raise TypeError(
            f"{name} is a {kind}, but only a BinaryQuadraticModel can be solved; convert it first, as with "
            "dimod.cqm_to_bqm"
        )
    wanted = "BINARY" if binary else "SPIN"
    if model.vartype.name != wanted:
        model = model.change_vartype(wanted, inplace=False)
    labels = list(model.variables)
    if not labels:
        raise ValueError(f"{name} has no variables; at least one is needed")
    _check_indices(name, labels)
    if set(labels) != set(range(len(labels))):
        raise TypeError(
            f"{name} must be of variables 0, 1, ..., n - 1, but has {labels[:5]}...; {_OTHER_LABELS}"
        )
    linear = np.array([float(model.linear[label]) for label in range(len(labels))])
    quadratic = {(int(u), int(v)): float(bias) for (u, v), bias in model.quadratic.items()}
    return linear, quadratic, float(model.offset)


def is_sparse_tensor(value: Any) -> bool:
    """Whether `value` is a torch tensor of a sparse layout."""
    return is_tensor(value) and str(value.layout) != "torch.strided"


def tensor_triplets(name: str, value: Any) -> CSRCouplings:
    """Return a sparse torch tensor (n, n), of any sparse layout and device, in compressed rows.

    Repeated entries are kept: they add up.
    """
    shape = tuple(value.shape)
    if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
        raise ValueError(f"sparse {name} must have shape (n, n), but has shape {shape}")
    tensor = value.detach().to_sparse_coo().coalesce().cpu()
    rows, columns = tensor.indices().numpy()
    values = np.ascontiguousarray(real_array(name, tensor.values()))
    return CSRCouplings.of_triplets(shape[0], rows, columns, values)
