from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

_Real = TypeVar("_Real", np.float32, np.float64)

def build_info() -> dict[str, Any]: ...
def parse_number_lines(
    text: bytes,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64], int]: ...
def gram(X: npt.NDArray[_Real], scale: float, num_threads: int) -> npt.NDArray[_Real]: ...
def weight_gradient(
    X: npt.NDArray[_Real], V: npt.NDArray[_Real], scale: float, num_threads: int
) -> npt.NDArray[_Real]: ...
def gram_and_weight_gradient(
    X: npt.NDArray[_Real],
    V: npt.NDArray[_Real],
    gram_scale: float,
    gradient_scale: float,
    num_threads: int,
) -> tuple[npt.NDArray[_Real], npt.NDArray[_Real]]: ...
def fill_couplings(
    J: npt.NDArray[_Real],
    rows: npt.NDArray[np.int32],
    columns: npt.NDArray[np.int32],
    values: npt.NDArray[_Real],
) -> None: ...
def project_rows(
    A: npt.NDArray[_Real],
    P: npt.NDArray[_Real],
    *,
    residual: npt.NDArray[_Real] | None = None,
    keep_residual: bool = False,
    scale: str,
    kappa: float,
    domain: str,
    num_threads: int,
) -> tuple[npt.NDArray[np.int8], npt.NDArray[_Real] | None, bool]: ...
def project_rows_by_inputs(
    X: npt.NDArray[_Real],
    P: npt.NDArray[_Real],
    *,
    A: npt.NDArray[_Real] | None = None,
    residual: npt.NDArray[_Real] | None = None,
    keep_residual: bool = False,
    gram_scale: float,
    scale: str,
    kappa: float,
    domain: str,
    num_threads: int,
) -> tuple[npt.NDArray[np.int8], npt.NDArray[_Real] | None, bool]: ...
def running_mean(
    values: npt.NDArray[_Real],
    past: npt.NDArray[_Real] | None = None,
    *,
    weight: float,
    correction: float,
    num_threads: int,
) -> tuple[npt.NDArray[_Real], npt.NDArray[_Real]]: ...
def move_weights(
    W: npt.NDArray[_Real], G: npt.NDArray[np.int8], lr: float, clip: float, num_threads: int
) -> None: ...
def packed_product(
    bits: npt.NDArray[np.uint32], inputs: npt.NDArray[np.float32], num_threads: int
) -> npt.NDArray[np.float32]: ...

class _ExtensionType(type): ...  # pybind11's metaclass

class SolveOptions(metaclass=_ExtensionType):
    def __init__(
        self,
        *,
        method: str = "auto",
        num_reads: int = 1,
        num_sweeps: int | None = None,
        beta_range: tuple[float, float] | None = None,
        time_limit: float | None = None,
        seed: int = 0,
        num_threads: int = 1,
        first_problem: int = 0,
        interrupt_function: Callable[[], object] | None = None,
        target_energies: Sequence[float] = (),
        num_best: int = 0,
        progress: Callable[[float, npt.NDArray[np.float64]], object] | None = None,
        betas: Sequence[float] | None = None,
        gibbs: bool = False,
        random_order: bool = False,
        keep_last: bool = False,
        presolve: str = "off",
    ) -> None: ...

def solve_dense(
    h: npt.NDArray[np.float64],
    J: npt.NDArray[np.floating[Any]],
    offset: npt.NDArray[np.float64],
    coupling_scale: float,
    initial_states: npt.NDArray[np.int8] | None,
    options: SolveOptions,
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64], dict[str, Any]]: ...
def solve_sparse(
    h: npt.NDArray[np.float64],
    indptr: npt.NDArray[np.int64],
    indices: npt.NDArray[np.int32],
    data: npt.NDArray[np.floating[Any]],
    offset: npt.NDArray[np.float64],
    coupling_scale: float,
    initial_states: npt.NDArray[np.int8] | None,
    options: SolveOptions,
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64], dict[str, Any]]: ...
