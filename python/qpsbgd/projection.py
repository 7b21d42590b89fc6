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

import os
import warnings
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qpsbgd import _core
from qpsbgd.gram import gram_matrices, row_chunks, weighted_grams
from qpsbgd.problem import IsingProblem, Solutions, check_finite
from qpsbgd.published import project_published
from qpsbgd.solvers.protocol import QuboSolver
from qpsbgd.solvers.requests import Request, answer_requests
from qpsbgd.validation import DOMAINS, check_choice, check_nonnegative, check_scale, check_seed

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

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Doubles: TypeAlias = npt.NDArray[np.float64]
Spins: TypeAlias = npt.NDArray[np.int8]
Solver: TypeAlias = QuboSolver | Literal["native"]
ArrayT = TypeVar("ArrayT", npt.NDArray[Any], Tensor)

SOLVERS = ("auto", "native", "neal", "qpu")
OBJECTIVES = ("quadratic", "published")

_NATIVE_DTYPES = (torch.float32, torch.float64)
_AUTO_ROUNDS = 2
_LARGEST_FIELD = 1e6
"""Fields are cut at this multiple of what already decides a spin, so that they never overflow."""


def project(
    V: ArrayT,
    X: ArrayT,
    *,
    memory: ArrayT | None = None,
    slopes: ArrayT | None = None,
    scale: str | float = "relative",
    kappa: float = 1.0,
    domain: str = "spin",
    objective: str = "quadratic",
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
        The size s_j that a step is taken to have: ``kappa ‖p‖₁ / (σ'Aσ)`` with σ = sign(p); fitted in turn
        with G; the paper's literal form; or the number given, for every row.
    kappa : float
        Factor of the relative scale, at least 0; 0 gives exactly sign(p).
    domain : {"spin", "mask"}
        G in {-1, +1}, or G in {0, sign(p)}.
    objective : {"quadratic", "published"}
        The QUBO above, or for comparison ``Σ_i (sign(x_i'G_j) - v_ij)²`` as in the code published with the
        paper, where V is the gradient with respect to the output of the activation after the layer: see
        `qpsbgd.published`. It has no memory, scale, kappa, domain or solver.
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
    n, d = x.shape
    gram: Floats
    fields: Floats
    gram, fields = _core.gram_and_weight_gradient(x, v, 1.0 / (n * d), d**-0.5 / n, torch.get_num_threads())
    if extra is not None:
        fields = fields + extra
    first_seed = _fresh_seed() if seed is None else check_seed(seed)
    parts = []
    for rows in [slice(None)] if weights is None else row_chunks(v.shape[1], d):
        parts.append(
            project_gradient(
                fields[rows],
                gram if weights is None else weighted_grams([(x, weights[:, rows])], n),
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
    work = projection_requests(
        P, gram, scale=scale, kappa=kappa, domain=domain, solver=solver, seed=seed, num_samples=num_samples
    )
    return answer_requests([work], solver)[0]


def projection_requests(
    P: Floats,
    gram: Floats,
    *,
    scale: str | float = "relative",
    kappa: float = 1.0,
    domain: str = "spin",
    solver: Solver = "native",
    seed: int = 0,
    num_samples: int | None = None,
) -> Generator[Request, Solutions, Spins]:
    """As `project_gradient`, for `answer_requests`: asks for solutions where it needs them.

    What an optimizer calls, so that layers can be solved at the same time.
    """
    if isinstance(solver, str) and scale != "raw":
        return _native_spins(P, gram, scale, kappa, domain)
    check_finite("gradient", P)
    check_finite("gram", gram)
    if scale == "raw":
        if num_samples is None:
            raise ValueError("num_samples is needed with scale 'raw'")
        P, gram = raw_form(P, gram, num_samples)
        scale = 1.0
    if isinstance(solver, str):
        return _native_spins(P, gram, scale, 1.0, domain)
    factor = kappa if isinstance(scale, str) else scale
    signs = np.where(P >= 0, 1, -1).astype(np.int8)
    spins = signs
    if factor > 0 or scale == "auto":
        spins = yield from _project_with(solver, P, gram, signs, scale, kappa, domain, seed)
    # Nothing is known of a weight without input and gradient, nor of a row without any gradient.
    unknown = (P == 0) & ((_diagonal(gram) == 0) | ~np.any(P, axis=1, keepdims=True))
    return np.where(unknown, 0, spins).astype(np.int8)


def native_step(
    gradient: Floats,
    gram: Floats,
    *,
    residual: Floats | None = None,
    keep_residual: bool = False,
    scale: str | float = "relative",
    kappa: float = 1.0,
    domain: str = "spin",
) -> tuple[Spins, Floats | None]:
    """Project ``p = gradient + residual`` with the built-in solver, in one pass over the layer.

    Parameters
    ----------
    gradient, residual : float32 or float64 arrays (m, d)
        The gradient, and what the last step left behind, if anything.
    gram : array (d, d) of the same dtype
        ``A = (a²/n) X'X``, fastest as `gram_matrix` returns it.
    keep_residual : bool
        Return also what this step leaves behind, as `error_feedback`.
    scale, kappa, domain
        As in `project_gradient`, but for ``"raw"``.

    Returns
    -------
    int8 array (m, d), and array (m, d) or None
        The binary step G, and the next residual.

    Raises
    ------
    ValueError
        If the sum of gradient and residual, or gram, is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> native_step(np.array([[3.0, -1.0]]), np.eye(2), keep_residual=True)
    (array([[ 1, -1]], dtype=int8), array([[1., 1.]]))
    """
    G, left, finite = _core.project_rows(
        gram,
        gradient,
        residual=residual,
        keep_residual=keep_residual,
        scale=scale if isinstance(scale, str) else "fixed",
        kappa=kappa if isinstance(scale, str) else scale,
        domain=domain,
        num_threads=torch.get_num_threads(),
    )
    if not finite:
        check_finite("gradient", gradient if residual is None else gradient + residual)
        check_finite("gram", gram)
    return G, left


def move_weights(weight: Tensor, step: Tensor, lr: float, clip: float) -> None:
    """``W <- clip(W - lr G, -clip, clip)`` in place and in one pass, for an int8 step.

    Parameters
    ----------
    weight : Tensor (m, d)
        Changed as an in-place operation of torch would.
    step : int8 Tensor (m, d)
        The binary step G, on the same device.
    lr, clip : float
        Size of the step, and bound of the weights.

    Examples
    --------
    >>> import torch
    >>> weight = torch.tensor([[0.5, -0.9]])
    >>> move_weights(weight, torch.tensor([[1, 1]], dtype=torch.int8), lr=0.25, clip=1.0)
    >>> weight
    tensor([[ 0.2500, -1.0000]])
    """
    if weight.device.type != "cpu" or weight.dtype not in _NATIVE_DTYPES or not weight.is_contiguous():
        weight.add_(step.to(weight.dtype), alpha=-lr)
        weight.clamp_(-clip, clip)
        return
    _core.move_weights(weight.detach().numpy(), step.numpy(), lr, clip, torch.get_num_threads())
    # Autograd refuses to use a tensor that was written to after it was saved.
    torch.autograd.graph.increment_version(weight)


def gram_matrix(inputs: Sequence[Floats]) -> Floats:
    """Return ``A = (a²/n) X'X`` of all `inputs` (n_i, d) together, n = sum of n_i, a = 1/sqrt(d).

    Examples
    --------
    >>> import numpy as np
    >>> gram_matrix([np.ones((2, 4))])[0, :2]
    array([0.25, 0.25])
    """
    return gram_matrices(([x] for x in inputs), sum(len(x) for x in inputs))[0]


def objective(G: npt.NDArray[Any], P: Floats, gram: Floats, scales: Floats) -> Doubles:
    """Return ``s_j G_j'AG_j - 2 p_j'G_j`` of every row (m,), in float64.

    Examples
    --------
    >>> import numpy as np
    >>> objective(np.array([[1, -1]]), np.array([[0.5, 0.5]]), np.eye(2), np.array([3.0]))
    array([6.])
    """
    g = G.astype(np.float64)
    curvature = np.einsum("md,md->m", _times(g, gram), g)
    linear = np.einsum("md,md->m", P.astype(np.float64), g)
    return cast(Doubles, scales * curvature - 2.0 * linear)


def row_problems(
    P: Floats, gram: Floats, scales: Floats, *, domain: str = "spin", starts: Spins | None = None
) -> IsingProblem:
    """Write the rows as one batch of Ising problems that share the Gram matrix as couplings.

    The energy of row j is its objective over its scale, ``G'AG - 2 p_j'G / s_j``; in the mask domain
    the spins G' stand for G = (σ + G') / 2 with σ = sign(p_j).

    Parameters
    ----------
    P : array (m, d)
        Gradient plus memory.
    gram : array (d, d) or (m, d, d)
        Couplings A, shared or one matrix a row.
    scales : array (m,)
        Positive scales s_j.
    domain : {"spin", "mask"}
        What G may be.
    starts : int8 array (m, d), optional
        Spins to start from; sign(p) if not given.

    Examples
    --------
    >>> import numpy as np
    >>> problem = row_problems(np.array([[0.5, 0.5]]), np.eye(2), np.array([2.0]))
    >>> problem.energies([[[1, 1]]])
    array([[1.]])
    """
    p = P.astype(np.float64) / np.asarray(scales, dtype=np.float64)[:, None]
    # A field above the sum of its couplings decides its spin; beyond that only its sign matters.
    limit = _LARGEST_FIELD * max(float(np.abs(gram).sum(axis=-1, dtype=np.float64).max()), 1e-300)
    p = np.clip(p, -limit, limit)
    signs = np.where(P >= 0, 1.0, -1.0)
    first = (signs if starts is None else starts).astype(np.int8)[:, None, :]
    couplings = np.ascontiguousarray(gram)
    if domain == "spin":
        return IsingProblem(-2.0 * p, couplings, np.zeros(len(p)), initial_states=first)
    pull = _times(signs, gram)
    offset = 0.25 * np.einsum("md,md->m", pull, signs) - np.einsum("md,md->m", p, signs)
    return IsingProblem(0.5 * pull - p, couplings, offset, 0.25, initial_states=first)


def error_feedback(p: Tensor, G: Tensor) -> Tensor:
    """Return what a step leaves for the next one, ``p - max(0, mean_k p_k G_k) G``, row by row.

    Parameters
    ----------
    p, G : Tensor (m, d)
        Gradient plus memory, and its projection.

    Examples
    --------
    >>> import torch
    >>> error_feedback(torch.tensor([[3.0, -1.0]]), torch.tensor([[1.0, -1.0]]))
    tensor([[1., 1.]])
    """
    step = (p * G).mean(dim=1, keepdim=True).clamp_(min=0)
    return p - step * G


def average(state: Tensor, value: Tensor, step: int, decay: float = 0.9) -> tuple[Tensor, Tensor]:
    """Update a running mean that starts at zero; return its next state, and that corrected for the start.

    Parameters
    ----------
    state, value : Tensor of one shape
        The next state is ``decay state + (1 - decay) value``.
    step : int
        Number of this update, from 1.
    decay : float
        Weight of the past.

    Examples
    --------
    >>> import torch
    >>> average(torch.zeros(1), torch.tensor([2.0]), step=1, decay=0.5)
    (tensor([1.]), tensor([2.]))
    """
    state = state.lerp(value, 1.0 - decay)
    return state, state / (1.0 - decay**step)


def resolve_solver(solver: Any) -> Solver:
    """Return what a `solver=` argument means: "native", or an object with ``solve(problem, *, seed)``.

    "auto" is "native", unless the environment has ``QPSBGD_SOLVER=qpu`` and a D-Wave token is configured;
    "neal" is simulated annealing from dwave-samplers; "qpu" is a `QPUSolver` with its defaults, which opens
    nothing yet. A `dimod.Sampler` gets one model a row, one with a QPU's topology many rows at once.

    Raises
    ------
    ValueError
        If the name is unknown.
    QPUConfigError
        If "qpu" is chosen and no token is configured.
    TypeError
        If an object is neither a `QuboSolver` nor a `dimod.Sampler`.
    ImportError
        If "neal" or "qpu" is chosen and what it needs is not installed.

    Examples
    --------
    >>> resolve_solver("auto")
    'native'
    """
    if isinstance(solver, str) and solver == "auto":
        return _automatic_solver()
    if isinstance(solver, str) and solver == "native":
        return "native"
    if isinstance(solver, str) and solver == "qpu":
        from qpsbgd.solvers.qpu import QPUSolver
        from qpsbgd.solvers.qpu.config import require_token

        chosen = QPUSolver()
        require_token({})
        return chosen
    if isinstance(solver, str) and solver == "neal":
        try:
            from dwave.samplers import SimulatedAnnealingSampler
        except ImportError as error:
            raise ImportError("solver 'neal' needs dwave-samplers: pip install qpsbgd[ocean]") from error
        solver = SimulatedAnnealingSampler()
    if isinstance(solver, str):
        raise ValueError(
            f"Invalid solver: {solver!r} (expected one of {SOLVERS}, a dimod.Sampler, or a QuboSolver)"
        )
    if isinstance(solver, QuboSolver):
        return solver
    import dimod

    if isinstance(solver, dimod.Structured) and "topology" in getattr(solver, "properties", {}):
        from qpsbgd.solvers.qpu import QPUSolver

        return QPUSolver(solver)
    if isinstance(solver, dimod.Sampler):
        from qpsbgd.solvers.dimod_solver import DimodSolver

        return DimodSolver(solver)
    raise TypeError(
        f"solver must be one of {SOLVERS}, a dimod.Sampler or have solve(problem, *, seed), "
        f"but is {type(solver).__name__}"
    )


def _automatic_solver() -> Solver:
    """Choose the native solver, or the QPU where the environment asks for it and a token is configured."""
    asked = os.environ.get("QPSBGD_SOLVER", "native")
    if asked not in ("native", "qpu"):
        raise ValueError(f"QPSBGD_SOLVER is {asked!r}, expected 'native' or 'qpu'")
    if asked == "native":
        return "native"
    from qpsbgd.solvers.qpu import QPUConfigError

    try:
        return resolve_solver("qpu")
    except (ImportError, QPUConfigError) as error:
        warnings.warn(f"QPSBGD_SOLVER is 'qpu', but {error}; using the native solver", stacklevel=4)
        return "native"


def to_host(tensor: Tensor, dtype: torch.dtype) -> Floats:
    """Make a tensor a contiguous numpy array of `dtype`, without a copy where it is one already."""
    return cast(Floats, tensor.detach().to("cpu", dtype).contiguous().numpy())


def _fresh_seed() -> int:
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])


def raw_form(P: Floats, gram: Floats, num_samples: int) -> tuple[Floats, Floats]:
    """Fields and couplings of the paper's ``min ‖v - G'U‖²`` with U_k = x_k / ‖x_k‖².

    With D = diag(1/‖x_k‖²) they are D X'V/n = D p / a and D X'X D/n, and ‖x_k‖² = n A_kk / a². Zero input
    columns have U_k = 0.

    Examples
    --------
    >>> import numpy as np
    >>> raw_form(np.ones((1, 2)), np.eye(2), num_samples=2)[1]
    array([[0.125, 0.   ],
           [0.   , 0.125]])
    """
    d = gram.shape[-1]
    squares = num_samples * d * _diagonal(gram).astype(np.float64)
    inverse = np.divide(1.0, squares, out=np.zeros_like(squares), where=squares > 0)
    fields = P * (inverse * d**0.5)
    couplings = gram * (inverse[..., :, None] * inverse[..., None, :] * d)
    return fields.astype(P.dtype), couplings.astype(P.dtype)


def _project_with(
    solver: QuboSolver,
    P: Floats,
    gram: Floats,
    signs: Spins,
    scale: str | float,
    kappa: float,
    domain: str,
    seed: int,
) -> Generator[Request, Solutions, Spins]:
    """All rows through one `QuboSolver`, keeping for each row the better of sign(p) and the answer."""
    # Rows are compared at |p| of about 1: the binary step does not depend on a common factor of p and s.
    size = np.abs(P).max(axis=1).astype(np.float64)
    p = P / np.where(size > 0, size, 1.0)[:, None]
    curvature = np.einsum("md,md->m", _times(signs, gram), signs)
    ones = np.divide(np.abs(p).sum(axis=1), curvature, out=np.zeros(len(p)), where=curvature > 0)
    if not isinstance(scale, str):
        scales = scale / np.where(size > 0, size, 1.0)
    else:
        scales = ones if scale == "auto" else kappa * ones
    rows = np.flatnonzero((size > 0) & (scales > 0))
    spins = signs.copy()
    if not len(rows):
        return spins
    active, p, s = signs[rows], p[rows], scales[rows]
    if gram.ndim == 3:
        gram = gram[rows]
    for rounds in range(_AUTO_ROUNDS if scale == "auto" else 1, 0, -1):
        problem = row_problems(p, gram, s, domain=domain, starts=active)
        solutions = yield Request(problem, seed, rounds)
        active = _better_rows(solver, solutions, p, gram, s, active, domain)
        if scale == "auto":
            G = _as_step(active, p, domain).astype(np.float64)
            curvature = np.einsum("md,md->m", _times(G, gram), G)
            fitted = np.divide(np.einsum("md,md->m", p, G), curvature, out=s.copy(), where=curvature > 0)
            s = np.where(fitted > 0, fitted, s)
    spins[rows] = _as_step(active, p, domain)
    return spins


def _better_rows(
    solver: QuboSolver,
    solutions: Solutions,
    p: Doubles,
    gram: Floats,
    scales: Doubles,
    starts: Spins,
    domain: str,
) -> Spins:
    """Spins of every row: the solver's best, or the start where that is not better in float64."""
    found = np.asarray(solutions.best_samples)
    if found.shape != starts.shape:
        raise ValueError(
            f"solver {type(solver).__name__} returned samples of shape {found.shape}, expected {starts.shape}"
        )
    found = found.astype(np.int8)
    before = objective(_as_step(starts, p, domain), p, gram, scales)
    after = objective(_as_step(found, p, domain), p, gram, scales)
    return np.where((after < before)[:, None], found, starts)


def _times(spins: npt.NDArray[Any], gram: Floats) -> Doubles:
    """G_j'A of every row (m, d), in float64, for a shared A (d, d) or one a row (m, d, d)."""
    A = gram.astype(np.float64)
    return cast(Doubles, spins @ A if A.ndim == 2 else (spins[:, None, :] @ A)[:, 0])


def _diagonal(gram: Floats) -> Floats:
    """Diagonal of one matrix (d,), or of every matrix (m, d)."""
    return np.diagonal(gram, axis1=-2, axis2=-1)


def _native_spins(P: Floats, gram: Floats, scale: str | float, kappa: float, domain: str) -> Spins:
    """Project with the built-in solver, whose rows share a Gram matrix or have one each."""
    if gram.ndim == 2:
        return native_step(P, gram, scale=scale, kappa=kappa, domain=domain)[0]
    rows = [
        native_step(p[None], A, scale=scale, kappa=kappa, domain=domain)[0]
        for p, A in zip(P, gram, strict=True)
    ]
    return np.concatenate(rows)


def _as_step(spins: Spins, p: Floats, domain: str) -> Spins:
    """Turn spins into the step G that they stand for."""
    if domain == "spin":
        return spins
    signs = np.where(p >= 0, 1, -1).astype(np.int8)
    return ((signs + spins) // 2).astype(np.int8)


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
    double = any(value.dtype in (np.float64, torch.float64) for value in named.values())
    arrays: dict[str, Floats] = {}
    for name, value in named.items():
        if isinstance(value, Tensor):
            if value.is_complex():
                raise TypeError(f"{name} must hold real numbers, but its dtype is {value.dtype}")
            array = to_host(value, torch.float64 if double else torch.float32)
        else:
            if value.dtype.kind not in "fiub":
                raise TypeError(f"{name} must hold real numbers, but its dtype is {value.dtype}")
            array = np.ascontiguousarray(value, dtype=np.float64 if double else np.float32)
        check_finite(name, array)
        arrays[name] = array
    return arrays["V"], arrays["X"], arrays.get("memory"), arrays.get("slopes")
