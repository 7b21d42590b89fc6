"""From a layer's X and V to couplings and fields: ours beside NumPy, BLAS called directly, and torch."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg.blas
import torch

from harness import record
from qpsbgd import _core

Arrays = tuple[np.ndarray, ...]


def signs(samples: int, d: int) -> np.ndarray:
    return np.random.default_rng(0).choice([-1.0, 1.0], size=(samples, d)).astype(np.float32)


def reals(samples: int, d: int, m: int) -> Arrays:
    random = np.random.default_rng(0)
    return (
        random.normal(size=(samples, d)).astype(np.float32),
        random.normal(size=(samples, m)).astype(np.float32),
    )


def with_torch(function: Callable[..., Arrays]) -> Callable[..., Arrays]:
    """The function on tensors that share the arrays' memory, as a training step holds them."""

    def call(*arrays: np.ndarray) -> Arrays:
        return tuple(result.numpy() for result in function(*map(torch.from_numpy, arrays)))

    return call


def products(X, V):
    """A and the fields; NumPy sees X.T @ X and calls the symmetric product."""
    return X.T @ X / X.shape[0], -2.0 / X.shape[0] * (V.T @ X)


def blas(X: np.ndarray, V: np.ndarray) -> Arrays:
    """Symmetric and general product with the factors inside; then the other triangle."""
    scale = 1.0 / X.shape[0]
    lower = scipy.linalg.blas.ssyrk(scale, X.T)
    A = np.triu(lower)
    A += np.triu(lower, 1).T
    return A, scipy.linalg.blas.sgemm(-2.0 * scale, X.T, V.T, trans_b=True).T


GRAMS: dict[str, Callable[..., Arrays]] = {
    "qpsbgd gram": lambda X: (_core.gram(X, 1.0, 1),),
    "numpy": lambda X: (X.T @ X,),
    "torch": with_torch(lambda X: (X.T @ X,)),
}
ASSEMBLIES: dict[str, Callable[..., Arrays]] = {
    "qpsbgd assembly": lambda X, V: _core.gram_and_weight_gradient(X, V, 1.0 / len(X), -2.0 / len(X), 1),
    "numpy": products,
    "scipy syrk + gemm": blas,
    "torch": with_torch(products),
}


def measure(benchmark, workload: str, solver: str, function, arrays: Arrays, expected: Arrays) -> None:
    results = function(*arrays)
    for result, correct in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, correct, rtol=1e-4, atol=1e-4 * np.abs(correct).max())
    benchmark.pedantic(function, args=arrays, rounds=200, warmup_rounds=20)
    record(
        benchmark,
        workload=workload,
        solver=solver,
        peer=not solver.startswith("qpsbgd"),
        unit="call",
        equal_energy=False,
    )


@pytest.mark.benchmark(group="gram of ±1 inputs")
@pytest.mark.parametrize("solver", GRAMS)
def test_gram_of_signs(benchmark, solver):
    X = signs(512, 784)
    expected = X.astype(np.float64).T @ X
    np.testing.assert_array_equal(GRAMS[solver](X)[0], expected)  # integers: nothing may be rounded
    measure(benchmark, "Gram, ±1, 784x512", solver, GRAMS[solver], (X,), (expected,))


@pytest.mark.benchmark(group="assembly")
@pytest.mark.parametrize("solver", ASSEMBLIES)
def test_assembly_of_real_inputs(benchmark, solver):
    X, V = reals(128, 784, 256)
    expected = products(X.astype(np.float64), V.astype(np.float64))
    measure(benchmark, "assembly, 784x128x256", solver, ASSEMBLIES[solver], (X, V), expected)
