"""Factorise a matrix into signs and atoms: X ~ C D, every row of C in {-1, +1}.

    python examples/binary_factorisation.py                          # patches of scikit-learn's digits
    python examples/binary_factorisation.py --mnist --atoms 8 16 20  # patches of MNIST, in $QPSBGD_DATA
    python examples/binary_factorisation.py --layer                  # the weights of a trained layer

A row then takes one bit an atom. `BinaryDictionary` is a scikit-learn estimator that alternates two exact
steps: the signs of every row by `binary_least_squares`, proven up to 20 atoms, and the atoms by linear least
squares. Beside it, with as many atoms: signs found greedily, real codes by PCA, and sparse codes by
MiniBatchDictionaryLearning.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.decomposition import PCA, MiniBatchDictionaryLearning
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

from qpsbgd import binary_least_squares

Floats = npt.NDArray[np.float64]


class BinaryDictionary(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Dictionary learning with codes of -1 and +1: X ~ mean + C components.

    Parameters
    ----------
    n_components : int
        Atoms. Codes are proven optimal up to 20.
    max_iter : int
        Rounds of both steps at most.
    tol : float
        Stops where a round lowers the squared error by less than this part of it.
    encoder : {"exact", "greedy"}
        "greedy" flips single signs from the sign of the projection while that helps.
    random_state : int, RandomState or None
        Draws the first codes' rotation and the solver's seed.
    """

    def __init__(
        self,
        n_components: int = 8,
        *,
        max_iter: int = 30,
        tol: float = 1e-4,
        encoder: str = "exact",
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.max_iter = max_iter
        self.tol = tol
        self.encoder = encoder
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> BinaryDictionary:
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        random = check_random_state(self.random_state)
        self.mean_ = X.mean(axis=0)
        centred = X - self.mean_
        self._seed = int(random.randint(2**31))
        codes = self._first_codes(centred, random)
        errors: list[float] = []
        for _ in range(self.max_iter):
            self.components_ = np.linalg.lstsq(codes, centred, rcond=None)[0]
            codes = self._encode(centred)
            errors.append(float(((centred - codes @ self.components_) ** 2).sum()))
            if len(errors) > 1 and errors[-2] - errors[-1] <= self.tol * errors[-2]:
                break
        self.n_iter_ = len(errors)
        self.reconstruction_err_ = errors[-1]
        return self

    def transform(self, X: Any) -> Floats:
        check_is_fitted(self)
        return self._encode(validate_data(self, X, dtype=np.float64, reset=False) - self.mean_)

    def inverse_transform(self, codes: Any) -> Floats:
        check_is_fitted(self)
        decoded: Floats = np.asarray(codes, dtype=np.float64) @ self.components_ + self.mean_
        return decoded

    @property
    def _n_features_out(self) -> int:
        return int(self.components_.shape[0])

    def _first_codes(self, centred: Floats, random: np.random.RandomState) -> Floats:
        """Signs of randomly rotated principal components, as iterative quantisation (Gong, 2011) begins."""
        rank = min(self.n_components, *centred.shape)
        components = np.linalg.svd(centred, full_matrices=False)[2][:rank]
        rotation = np.linalg.qr(random.normal(size=(self.n_components, self.n_components)))[0][:rank]
        return np.where(centred @ components.T @ rotation >= 0, 1.0, -1.0)

    def _encode(self, centred: Floats) -> Floats:
        if self.encoder == "greedy":
            answer = binary_least_squares(
                self.components_.T, centred.T, method="descent", num_sweeps=None, seed=self._seed
            )
        else:
            answer = binary_least_squares(self.components_.T, centred.T, seed=self._seed)
        return np.ascontiguousarray(answer.G.T)


def patches(images: Floats, size: int, count: int) -> Floats:
    """Random square patches (count, size²) of images (n, side, side)."""
    random = np.random.default_rng(0)
    side = images.shape[1] - size + 1
    chosen = random.integers(0, len(images), count)
    rows, columns = random.integers(0, side, (2, count))
    return np.stack(
        [images[i, r : r + size, c : c + size].ravel() for i, r, c in zip(chosen, rows, columns, strict=True)]
    ).astype(np.float64)


def digit_patches() -> Floats:
    from sklearn.datasets import load_digits

    return patches(load_digits().images, 6, 1500)


def mnist_patches() -> Floats:
    from qpsbgd.data.datasets import mnist

    return patches(np.asarray(mnist().x_train, dtype=np.float64).reshape(-1, 28, 28), 8, 5000)


def layer_weights() -> Floats:
    """The first weights (64, 64) of a multilayer perceptron trained on digits."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    data = load_digits()
    network = MLPClassifier((64,), max_iter=60, random_state=0, early_stopping=True)
    return np.asarray(network.fit(data.data / 16, data.target).coefs_[0].T, dtype=np.float64)


def unexplained(X: Floats, model: Any) -> float:
    """Part of the variance that the model leaves."""
    if isinstance(model, MiniBatchDictionaryLearning):
        rest = X - X.mean(axis=0) - model.transform(X - X.mean(axis=0)) @ model.components_
    else:
        rest = X - model.inverse_transform(model.transform(X))
    return float((rest**2).sum() / ((X - X.mean(axis=0)) ** 2).sum())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mnist", action="store_true", help="patches of MNIST instead of the digits")
    parser.add_argument("--layer", action="store_true", help="weights of a layer instead")
    parser.add_argument("--atoms", nargs="+", type=int, default=[8, 12], metavar="K")
    arguments = parser.parse_args()
    X = layer_weights() if arguments.layer else mnist_patches() if arguments.mnist else digit_patches()
    print(f"{len(X)} rows of {X.shape[1]} numbers; the part of their variance that is left over")
    print(f"{'atoms':>5}{'exact signs':>14}{'greedy signs':>14}{'PCA':>10}{'5 sparse reals':>16}")
    for atoms in arguments.atoms:
        models = [
            BinaryDictionary(atoms, random_state=0).fit(X),
            BinaryDictionary(atoms, encoder="greedy", random_state=0).fit(X),
            PCA(min(atoms, *X.shape), random_state=0).fit(X),
            MiniBatchDictionaryLearning(
                atoms, transform_algorithm="omp", transform_n_nonzero_coefs=5, random_state=0
            ).fit(X - X.mean(axis=0)),
        ]
        left = [unexplained(X, model) for model in models]
        print(f"{atoms:5}{left[0]:14.4f}{left[1]:14.4f}{left[2]:10.4f}{left[3]:16.4f}")


if __name__ == "__main__":
    main()
