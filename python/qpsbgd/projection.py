"""From a layer's gradient and inputs to the binary step G: Gram matrix, scale, QUBO, solver.

Notation, for one layer with inputs X (n, d), a = 1/sqrt(d) and per-sample gradients V (n, m) with
respect to Z = a X B':

    g = (a/n) V'X       (m, d)   weight gradient, exactly autograd's ``W.grad``
    A = (a²/n) X'X      (d, d)   Gram matrix, shared by all m rows
    p = g + memory      (m, d)

Row j solves ``min over G_j of s_j G'AG - 2 p_j'G`` over G_j in {-1,+1}^d (or sign(p_j) times {0,1}^d with
``domain="mask"``), which is, times s_j and up to a constant, the squared distance of s_j a X G_j to v_j.

With post-activation Jacobians, row j's samples are weighted by the slopes ``D_j = diag(φ'(z_j))`` of the
activation behind the layer: ``A_j = (a²/n) X' D_j² X``. Each row then has its own couplings; p is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from qpsbgd import _core
from qpsbgd.extras import needed_for

with needed_for("qpsbgd.project", "torch", "torch"):
    import torch
    from torch import Tensor

from qpsbgd.problem import check_finite
from qpsbgd.problem.arrays import contiguous, real_array
from qpsbgd.problem.checks import DOMAINS, Domain, check_choice, check_nonnegative, check_scale, check_seed
from qpsbgd.solvers.requests import answer_requests
from qpsbgd.solvers.resolve import Solver, resolve_solver
from qpsbgd.step.arrays import Floats, Spins, to_host
from qpsbgd.step.gram import gram_matrix, row_chunks, weighted_grams
from qpsbgd.step.memory import average, error_feedback
from qpsbgd.step.published import project_published
from qpsbgd.step.rows import native_step, objective, project_rows, raw_form, row_problems
from qpsbgd.step.weights import move_weights
from qpsbgd.step.wide import by_inputs, first_by_inputs, native_step_by_inputs

__all__ = [
    "average",
    "error_feedback",
    "gram_matrix",
    "move_weights",
    "native_step",
    "objective",
    "project",
    "project_gradient",
    "projection_requests",
    "raw_form",
    "resolve_solver",
    "row_problems",
]

projection_requests = project_rows
"""Earlier name of `qpsbgd.step.rows.project_rows`."""

ArrayT = TypeVar("ArrayT", npt.NDArray[Any], Tensor)

OBJECTIVES = ("quadratic", "published")


def project(
    V: ArrayT,
    X: ArrayT,
    *,
    memory: ArrayT | None = None,
    slopes: ArrayT | None = None,
    scale: Literal["relative", "auto", "raw"] | float = "relative",
    kappa: float = 1.0,
    domain: Domain = "spin",
    objective: Literal["quadratic", "published"] = "quadratic",
    solver: Any = "native",
    seed: int | None = None,
) -> ArrayT:
    """Project one layer's gradient onto ±1, by one QUBO for every output neuron.

    Parameters
    ----------
    V : torch.Tensor or numpy array (n, m) of floating-point numbers
        Per-sample gradients of the loss with respect to the layer's output Z = a X B', a = 1/sqrt(d): n
        times what autograd gives for a mean-reduced loss.
    X : same kind as V, (n, d)
        Layer inputs.
    memory : same kind as V, (m, d), optional
        Added to the gradient ``g = (a/n) V'X``, such as the residual of `error_feedback`.
    slopes : same kind as V, (n, m), optional
        Derivative φ'(Z) of the activation behind the layer, for post-activation Jacobians: row j's Gram
        matrix is ``(a²/n) X' diag(slopes_j²) X``. V stays the gradient with respect to Z.
    scale : {"relative", "auto", "raw"} or float
        The length s_j of step that the QUBO assumes: ``kappa ‖p‖₁ / (σ'Aσ)`` with σ = sign(p); fitted in turn
        with G; the paper's literal form; or the number given, for every row.
    kappa : float
        Factor of the relative scale, at least 0; 0 gives exactly sign(p).
    domain : {"spin", "mask"}
        G in {-1, +1}, or G in {0, sign(p)}.
    objective : {"quadratic", "published"}
        The QUBO above, or for comparison ``Σ_i (sign(x_i'G_j) - v_ij)²`` as in the code published with the
        paper, where V is the gradient with respect to the output of the activation after the layer: see
        `qpsbgd.step.published`. It has no memory, scale, kappa, domain or solver.
    solver : {"native", "auto", "neal", "qpu"}, dimod.Sampler or QuboSolver
        The built-in greedy descent from sign(p), or what solves the Ising problems instead.
    seed : int, optional
        0 <= seed < 2**64, for solvers that draw random numbers. Fresh if not given.

    Returns
    -------
    torch.Tensor or numpy array (m, d)
        -1, 0 or +1 in the dtype and on the device of V. It is 0 where nothing is known: where the input
        column and p are both zero, in rows whose p is all zero, and by choice in the mask domain. The
        objective of each row is never above that of sign(p).

    Notes
    -----
    The built-in solver descends by the matrix A (d, d), or by X itself where there are few samples for so
    many inputs: d >= 2048 and n <= d / 24, or n <= d / 8 where A would take a GiB. Then no matrix is made.

    Raises
    ------
    TypeError
        If an array is of the wrong kind or does not hold real numbers.
    ValueError
        If shapes do not fit together, a value is not finite or an option is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> V, X = rng.normal(size=(8, 2)), rng.normal(size=(8, 5))
    >>> project(V, X).shape
    (2, 5)
    >>> bool(np.all(project(V, X, kappa=0.0) == np.sign(V.T @ X)))
    True
    """
    if scale == "step":
        raise ValueError(
            "scale 'step' is the learning rate of an optimizer, which project does not have: "
            "pass that number as scale"
        )
    check_scale(scale)
    if not isinstance(scale, str) and scale == 0:
        raise ValueError("scale must be a positive number, but is 0")
    check_nonnegative("kappa", kappa)
    check_choice("domain", domain, DOMAINS)
    check_choice("objective", objective, OBJECTIVES)
    if objective == "published":
        _check_published(memory, slopes, {"scale": scale, "kappa": kappa, "domain": domain, "solver": solver})
        y, x, _, _ = _host_arrays(V, X, None, None)
        return _like(V, project_published(y, x))
    chosen = resolve_solver(solver)
    v, x, extra, weights = _host_arrays(V, X, memory, slopes)
    n = len(x)
    native = isinstance(chosen, str) and scale != "raw"
    if native and weights is None and by_inputs(n, x.shape[1], x.itemsize):
        return _like(V, _project_by_inputs(v, x, extra, scale, kappa, domain))
    gram, fields = _gram_and_fields(v, x, extra, shared=weights is None)
    if native and gram is not None and first_by_inputs(n, x.shape[1]):
        _check_overflow("X", "gram matrix", np.diagonal(gram))
        return _like(V, _by_inputs(fields, x, gram, scale, kappa, domain))
    first_seed = _fresh_seed() if seed is None else check_seed(seed)
    parts = []
    for rows, A in _matrices(x, gram, weights):
        # The largest entry of X'X is on its diagonal.
        names = "X" if weights is None else "X and slopes"
        _check_overflow(names, "gram matrix", np.diagonal(A, axis1=-2, axis2=-1))
        parts.append(
            project_gradient(
                fields[rows],
                A,
                scale=scale if isinstance(scale, str) else float(scale),
                kappa=float(kappa),
                domain=domain,
                solver=chosen,
                seed=(first_seed + (rows.start or 0)) % 2**64,
                num_samples=n,
            )
        )
    spins = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return _like(V, spins)


def _project_by_inputs(
    v: Floats, x: Floats, memory: Floats | None, scale: str | float, kappa: float, domain: str
) -> Spins:
    """Project a layer that is much wider than it has samples."""
    fields = _gram_and_fields(v, x, memory, shared=False)[1]
    with np.errstate(over="ignore"):
        _check_overflow("X", "gram matrix", np.einsum("ni,ni->i", x, x))
    return _by_inputs(fields, x, None, scale, kappa, domain)


def _by_inputs(
    fields: Floats, x: Floats, gram: Floats | None, scale: str | float, kappa: float, domain: str
) -> Spins:
    chosen = scale if isinstance(scale, str) else float(scale)
    return native_step_by_inputs(fields, x, gram=gram, scale=chosen, kappa=float(kappa), domain=domain)[0]


def _gram_and_fields(
    v: Floats, x: Floats, memory: Floats | None, *, shared: bool
) -> tuple[Floats | None, Floats]:
    """Return A (d, d), if the rows share it, and p (m, d)."""
    n, d = x.shape
    threads = torch.get_num_threads()
    gram: Floats | None = None
    fields: Floats
    if shared:
        gram, fields = _core.gram_and_weight_gradient(x, v, 1.0 / (n * d), d**-0.5 / n, threads)
    else:
        fields = _core.weight_gradient(x, v, d**-0.5 / n, threads)
    _check_overflow("V and X", "gradient", fields)
    if memory is not None:
        fields = fields + memory
        _check_overflow("memory", "sum with the gradient", fields)
    return gram, fields


def _matrices(x: Floats, gram: Floats | None, slopes: Floats | None) -> Iterator[tuple[slice, Floats]]:
    """Give rows and their Gram matrices: all with one, or chunks of rows with a matrix for each."""
    if gram is not None:
        yield slice(None), gram
    if slopes is not None:
        for rows in row_chunks(slopes.shape[1], x.shape[1]):
            yield rows, weighted_grams([(x, slopes[:, rows])], len(x))


def _check_overflow(names: str, made: str, values: Floats) -> None:
    """Raise a ValueError if what was made of finite arguments is not finite."""
    if not np.isfinite(values).all():
        raise ValueError(f"{names} must be smaller: the {made} overflows {values.dtype}")


def _like(V: ArrayT, spins: Spins) -> ArrayT:
    """Give spins the kind, dtype and device of V."""
    if isinstance(V, Tensor):
        return torch.from_numpy(spins).to(device=V.device, dtype=V.dtype)
    return spins.astype(V.dtype)


def _check_published(memory: Any, slopes: Any, options: Mapping[str, Any]) -> None:
    """Refuse options that mean nothing to the published objective, rather than pass over them."""
    for name, value in (("memory", memory), ("slopes", slopes)):
        if value is not None:
            raise ValueError(f"{name} has no meaning with objective 'published'")
    meant = {"scale": ("relative",), "kappa": (1.0,), "domain": ("spin",), "solver": ("native", "auto")}
    for name, value in options.items():
        if value not in meant[name]:
            raise ValueError(f"{name} {value!r} has no meaning with objective 'published'")


def project_gradient(
    P: Floats,
    gram: Floats,
    *,
    scale: str | float = "relative",
    kappa: float = 1.0,
    domain: str = "spin",
    solver: Solver = "native",
    seed: int = 0,
    num_samples: int | None = None,
) -> Spins:
    """Project fields and a Gram matrix that are already there.

    Parameters
    ----------
    P : float32 or float64 array (m, d)
        Gradient plus memory.
    gram : array (d, d) or (m, d, d) of the dtype of P
        ``A = (a²/n) X'X``, or one matrix a row.
    scale : {"relative", "auto", "raw"} or float
        As in `project`; a float may be 0, which gives sign(p).
    kappa, domain : float, str
        As in `project`.
    solver : "native" or QuboSolver
        As `resolve_solver` returns it.
    seed : int
        Seed of the solver.
    num_samples : int, optional
        The n of the Gram matrix, needed by ``scale="raw"``.

    Returns
    -------
    int8 array (m, d)
        The binary step G.

    Raises
    ------
    ValueError
        If P or gram is not finite, or `num_samples` is missing.

    Examples
    --------
    >>> import numpy as np
    >>> project_gradient(np.array([[0.3, -0.1]]), np.eye(2))
    array([[ 1, -1]], dtype=int8)
    """
    work = project_rows(
        P, gram, scale=scale, kappa=kappa, domain=domain, solver=solver, seed=seed, num_samples=num_samples
    )
    return answer_requests([work], solver)[0]


def _fresh_seed() -> int:
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])


def _host_arrays(
    V: Any, X: Any, memory: Any, slopes: Any
) -> tuple[Floats, Floats, Floats | None, Floats | None]:
    """Check kinds, dtypes and shapes of the arguments of `project`; contiguous arrays of one dtype."""
    kind = Tensor if isinstance(V, Tensor) else np.ndarray
    given = {"V": V, "X": X, "memory": memory, "slopes": slopes}
    named = {name: value for name, value in given.items() if value is not None or name in ("V", "X")}
    for name, value in named.items():
        if not isinstance(value, kind):
            raise TypeError(
                f"{name} must be a torch.Tensor or a numpy array, of the same kind as V, "
                f"but is {type(value).__name__}"
            )
        if value.ndim != 2 or 0 in value.shape:
            raise ValueError(f"{name} must be a non-empty matrix, but has shape {tuple(value.shape)}")
    n, m = V.shape
    if X.shape[0] != n:
        raise ValueError(f"X has shape {tuple(X.shape)} but V has shape {(n, m)}; their rows are the samples")
    if memory is not None and tuple(memory.shape) != (m, X.shape[1]):
        raise ValueError(f"memory has shape {tuple(memory.shape)}, expected {(m, X.shape[1])}")
    if slopes is not None and tuple(slopes.shape) != (n, m):
        raise ValueError(f"slopes has shape {tuple(slopes.shape)}, expected {(n, m)}")
    floating = V.is_floating_point() if isinstance(V, Tensor) else np.issubdtype(V.dtype, np.floating)
    if not floating:
        raise TypeError(f"V must hold floating-point numbers, but its dtype is {V.dtype}")
    reals = {name: _real(name, value) for name, value in named.items()}
    double = any(value.dtype in (np.float64, torch.float64) for value in reals.values())
    arrays: dict[str, Floats] = {}
    for name, value in reals.items():
        if isinstance(value, Tensor):
            array = to_host(value, torch.float64 if double else torch.float32)
        else:
            array = contiguous(name, value, np.float64 if double else np.float32)
        check_finite(name, array)
        arrays[name] = array
    return arrays["V"], arrays["X"], arrays.get("memory"), arrays.get("slopes")


def _real(name: str, value: Any) -> Any:
    """Return an array of float32 or float64, or a tensor of floating-point numbers; nothing is lost."""
    if not isinstance(value, Tensor):
        return real_array(name, value)
    if value.layout != torch.strided:
        raise TypeError(f"{name} must be a dense tensor, but its layout is {value.layout}")
    if value.is_complex():
        raise TypeError(f"{name} must hold real numbers, but its dtype is {value.dtype}")
    if value.is_floating_point():
        return value
    return torch.from_numpy(real_array(name, value.detach().cpu().numpy()))
