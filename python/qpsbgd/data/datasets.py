"""The data sets of the experiments: from scikit-learn, from a data folder, or downloaded on first use.

The data folder is the argument `data_dir`, else ``$QPSBGD_DATA``, else ``$XDG_CACHE_HOME/qpsbgd`` or
``~/.cache/qpsbgd``. Files lie in it as `FILES` names them (``mnist/train-images-idx3-ubyte.gz``, ...).
"""

from __future__ import annotations

import gzip
import io
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qpsbgd.data.download import RemoteFile, fetch
from qpsbgd.data.reading import BrokenFileError, parsing, read_bounded, shown
from qpsbgd.extras import needed_for

__all__ = [
    "FILES",
    "Dataset",
    "adult",
    "data_folder",
    "digits",
    "load",
    "mnist",
    "mnist_pair",
    "validation_split",
]

_MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_LIBSVM = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/binary/"


def _mnist_file(name: str, size: int, sha256: str) -> RemoteFile:
    return RemoteFile(tuple(mirror + name for mirror in _MNIST_MIRRORS), sha256, size)


FILES: Mapping[str, RemoteFile] = {
    "mnist/train-images-idx3-ubyte.gz": _mnist_file(
        "train-images-idx3-ubyte.gz",
        9912422,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    "mnist/train-labels-idx1-ubyte.gz": _mnist_file(
        "train-labels-idx1-ubyte.gz",
        28881,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    "mnist/t10k-images-idx3-ubyte.gz": _mnist_file(
        "t10k-images-idx3-ubyte.gz",
        1648877,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    "mnist/t10k-labels-idx1-ubyte.gz": _mnist_file(
        "t10k-labels-idx1-ubyte.gz",
        4542,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    "adult/a1a": RemoteFile(
        (_LIBSVM + "a1a",), "eb54c45f1bdb51286f803dd092eb8202b44637a858fc6c4e533a2d64a0d94b4e", 114818
    ),
    "adult/a1a.t": RemoteFile(
        (_LIBSVM + "a1a.t",), "0212d0c4a3996fe6fb6a0ab54033d9f4fa4b60369b6e3bb141821d9ffc40c04d", 2215057
    ),
}
"""Every file that can be downloaded: path below the data folder -> mirrors, SHA-256, size in bytes."""

_MAX_BYTES = 1 << 30
"""What a file may have, and what may be unpacked from it; MNIST unpacks to 47 MB."""
_ADULT_FEATURES = 123
_DIGITS_SPLIT_SEED = 0
_DIGITS_TEST_FRACTION = 0.2


@dataclass(frozen=True)
class Dataset:
    """A classification data set in memory, split into training and test samples.

    Attributes
    ----------
    name : str
        Name that `load` knows it by.
    x_train, x_test : float32 array (N, d)
        One sample a row; images are flattened row by row and have values in [0, 1].
    y_train, y_test : int64 array (N,)
        Classes 0 .. num_classes - 1.
    num_classes : int
        Number of classes.

    Examples
    --------
    >>> data = load("digits")
    >>> data.x_train.shape, data.x_test.shape, data.num_classes
    ((1438, 64), (359, 64), 10)
    """

    name: str
    x_train: npt.NDArray[np.float32]
    y_train: npt.NDArray[np.int64]
    x_test: npt.NDArray[np.float32]
    y_test: npt.NDArray[np.int64]
    num_classes: int


def data_folder(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder that data files are read from and downloaded to.

    Parameters
    ----------
    data_dir : path, optional
        The folder itself; without it ``$QPSBGD_DATA`` counts, then the user's cache folder.

    Returns
    -------
    Path
        The folder, which need not exist yet.

    Examples
    --------
    >>> data_folder("somewhere").name
    'somewhere'
    """
    chosen = data_dir if data_dir is not None else os.environ.get("QPSBGD_DATA")
    if chosen:
        return Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "qpsbgd"


def load(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Load a data set by its name.

    Parameters
    ----------
    name : str
        ``"digits"``, ``"mnist"``, ``"adult"``, or for the two digits A and B ``"mnist-pairs-AB"``; reduced to
        S x S pixels ``"mnist-SxS"`` and ``"mnist-pairs-AB-SxS"``.
    data_dir : path, optional
        Data folder, see `data_folder`.

    Returns
    -------
    Dataset
        Training and test samples.

    Raises
    ------
    ValueError
        If there is no data set of that name, or a file does not hold what it should.
    OSError
        If a file is missing and cannot be downloaded, or cannot be read.

    Examples
    --------
    >>> load("digits").name
    'digits'
    """
    if name == "digits":
        return digits()
    full = re.fullmatch(r"mnist(?:-([0-9]+)x\1)?", name)
    if full is not None:
        return mnist(data_dir, int(full[1] or 28))
    if name == "adult":
        return adult(data_dir)
    pair = re.fullmatch(r"mnist-pairs-([0-9])([0-9])(?:-([0-9]+)x\3)?", name)
    if pair is not None:
        return mnist_pair(int(pair[1]), int(pair[2]), int(pair[3] or 28), data_dir=data_dir)
    raise ValueError(f"name is {name!r}, expected 'digits', 'mnist', 'adult' or 'mnist-pairs-AB'")


def digits() -> Dataset:
    """Return scikit-learn's 8x8 digits: 1797 images of 64 pixels, a fifth of each class for the test.

    The split is stratified and fixed (seed 0), so that results of different days can be compared.

    Returns
    -------
    Dataset
        1438 training and 359 test images, values in [0, 1].

    Raises
    ------
    ModuleNotFoundError
        If scikit-learn is not installed.

    Examples
    --------
    >>> digits().x_test.dtype
    dtype('float32')
    """
    with needed_for("the digits data set", "scikit-learn", "datasets"):
        from sklearn.datasets import load_digits
    images, labels = load_digits(return_X_y=True)
    x = (images / 16.0).astype(np.float32)
    y = labels.astype(np.int64)
    test = _stratified_choice(y, _DIGITS_TEST_FRACTION, _DIGITS_SPLIT_SEED)
    return Dataset("digits", x[~test], y[~test], x[test], y[test], 10)


def validation_split(data: Dataset, fraction: float = 1 / 6, seed: int = 0) -> Dataset:
    """Hold out training samples of every class to choose settings by; the test samples are not in the result.

    Parameters
    ----------
    data : Dataset
        The data set.
    fraction : float
        Share of each class that is held out, between 0 and 1.
    seed : int
        Fixes which.

    Returns
    -------
    Dataset
        Held-out samples as ``x_test, y_test``, and the other training samples.

    Raises
    ------
    ValueError
        If `fraction` is not between 0 and 1.

    Examples
    --------
    >>> split = validation_split(digits())
    >>> len(split.x_train), len(split.x_test)
    (1199, 239)
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction is {fraction}, expected a number between 0 and 1")
    held = _stratified_choice(data.y_train, fraction, seed)
    return Dataset(
        data.name,
        data.x_train[~held],
        data.y_train[~held],
        data.x_train[held],
        data.y_train[held],
        data.num_classes,
    )


def _stratified_choice(labels: npt.NDArray[np.int64], fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Choose `fraction` of the samples of each class: a mask of the samples' shape."""
    random = np.random.default_rng(seed)
    chosen = np.zeros(labels.shape, dtype=np.bool_)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        chosen[random.permutation(members)[: round(fraction * members.size)]] = True
    return chosen


def mnist(
    data_dir: str | os.PathLike[str] | None = None,
    size: int = 28,
    *,
    files: Mapping[str, RemoteFile] = FILES,
) -> Dataset:
    """Load MNIST: 60000 training and 10000 test images of handwritten digits.

    Parameters
    ----------
    data_dir : path, optional
        Data folder, see `data_folder`; missing files are downloaded into it.
    size : {28, 8, 4}
        Edge of the images in pixels. The smaller sizes pad the image to 32x32 and average squares of it.
    files : mapping
        Mirrors and checksums to use instead of `FILES`.

    Returns
    -------
    Dataset
        Inputs of size * size pixels in [0, 1], classes 0 to 9.

    Raises
    ------
    ValueError
        If `size` is not one of the three, or a file is not an idx file of the right kind; the message names
        it.
    OSError
        If a file is missing and cannot be downloaded, or fails its checksum.

    Examples
    --------
    ``mnist()`` gives all images. A copy of one's own, here of a single image, is named with its checksum:

    >>> import gzip, hashlib, tempfile
    >>> image = gzip.compress(bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 28, 0, 0, 0, 28]) + bytes(784))
    >>> label = gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 1, 7]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = {}
    ...     for name in FILES:
    ...         content, source = image if "images" in name else label, Path(folder) / name.replace("/", "-")
    ...         _ = source.write_bytes(content)
    ...         digest = hashlib.sha256(content).hexdigest()
    ...         files[name] = RemoteFile((source.as_uri(),), digest, len(content))
    ...     data = mnist(folder, size=8, files=files)
    >>> data.x_train.shape, data.y_train.tolist()
    ((1, 64), [7])
    """
    if size not in (28, 8, 4):
        raise ValueError(f"size is {size}, expected 28, 8 or 4")
    folder = data_folder(data_dir) / "mnist"

    def images(part: str) -> npt.NDArray[np.float32]:
        name = f"{part}-images-idx3-ubyte.gz"
        path = fetch(files[f"mnist/{name}"], folder / name)
        pixels = _read_idx(path, dimensions=3)
        if len(pixels) == 0 or pixels.shape[1:] != (28, 28):
            raise BrokenFileError(path, f"is corrupt: its shape is {pixels.shape}, expected (N, 28, 28)")
        return _shrink(pixels.reshape(len(pixels), -1).astype(np.float32) / np.float32(255.0), size)

    def labels(part: str) -> npt.NDArray[np.int64]:
        name = f"{part}-labels-idx1-ubyte.gz"
        path = fetch(files[f"mnist/{name}"], folder / name)
        classes = _read_idx(path, dimensions=1)
        if classes.max(initial=0) > 9:
            raise BrokenFileError(path, f"is corrupt: it has the label {classes.max()}, expected 0..9")
        return classes.astype(np.int64)

    name = "mnist" if size == 28 else f"mnist-{size}x{size}"
    data = Dataset(name, images("train"), labels("train"), images("t10k"), labels("t10k"), 10)
    for part, x, y in (("train", data.x_train, data.y_train), ("t10k", data.x_test, data.y_test)):
        if len(x) != len(y):
            raise BrokenFileError(folder, f"has {len(x)} {part} images but {len(y)} {part} labels")
    return data


def _read_idx(path: Path, *, dimensions: int) -> npt.NDArray[np.uint8]:
    """Read a gzipped idx file of unsigned bytes with that many dimensions."""
    packed = read_bounded(path, _MAX_BYTES)
    with parsing(path, "is corrupt"), gzip.open(io.BytesIO(packed)) as file:
        header = file.read(4 + 4 * dimensions)
        expected_magic = 0x0800 + dimensions
        magic = int.from_bytes(header[:4], "big")
        if len(header) < 4 + 4 * dimensions or magic != expected_magic:
            raise ValueError(f"its magic number is {magic}, expected {expected_magic}")
        shape = tuple(int(extent) for extent in np.frombuffer(header, ">u4", count=dimensions, offset=4))
        size = math.prod(shape)  # of Python's integers, which do not wrap
        if size > _MAX_BYTES:
            raise ValueError(f"its header states the shape {shape}, expected at most {_MAX_BYTES:,} bytes")
        # One byte too many is enough to know: a small file may unpack to any size.
        content = file.read(size + 1)
        if len(content) != size:
            many = "more than " if len(content) > size else ""
            raise ValueError(f"{many}{min(len(content), size)} bytes of data for shape {shape}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def mnist_pair(
    first: int,
    second: int,
    size: int = 28,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    files: Mapping[str, RemoteFile] = FILES,
) -> Dataset:
    """Load the MNIST images of two digits, as two classes and at a chosen resolution.

    Parameters
    ----------
    first, second : int
        The two digits, 0 to 9; `first` becomes class 0 and `second` class 1.
    size : {28, 8, 4}
        Edge of the images in pixels. The smaller sizes pad the image to 32x32 and average squares of it.
    data_dir, files
        As for `mnist`.

    Returns
    -------
    Dataset
        Inputs of size * size pixels in [0, 1].

    Raises
    ------
    ValueError
        If the digits are not two different ones, or `size` is not one of the three; also as for `mnist`.
    OSError
        As `mnist`.

    Examples
    --------
    ``mnist_pair(3, 8)`` gives threes as class 0 and eights as class 1.

    >>> mnist_pair(3, 3)
    Traceback (most recent call last):
    ValueError: first and second are 3 and 3, expected two different digits 0..9
    """
    if not (first in range(10) and second in range(10) and first != second):
        raise ValueError(f"first and second are {first} and {second}, expected two different digits 0..9")
    data = mnist(data_dir, size, files=files)
    train = np.isin(data.y_train, (first, second))
    test = np.isin(data.y_test, (first, second))
    return Dataset(
        f"mnist-pairs-{first}{second}" + ("" if size == 28 else f"-{size}x{size}"),
        data.x_train[train],
        (data.y_train[train] == second).astype(np.int64),
        data.x_test[test],
        (data.y_test[test] == second).astype(np.int64),
        2,
    )


def _shrink(images: npt.NDArray[np.float32], size: int) -> npt.NDArray[np.float32]:
    """Average 28x28 images, padded to 32x32, over squares so that size x size pixels are left."""
    if size == 28:
        return images
    padded = np.pad(images.reshape(-1, 28, 28), ((0, 0), (2, 2), (2, 2)))
    block = 32 // size
    means: npt.NDArray[np.float32] = padded.reshape(-1, size, block, size, block).mean(axis=(2, 4))
    return means.reshape(-1, size * size)


def adult(
    data_dir: str | os.PathLike[str] | None = None, *, files: Mapping[str, RemoteFile] = FILES
) -> Dataset:
    """Load Adult (census income) in its a1a form: 123 binary features, does a person earn over 50000.

    Parameters
    ----------
    data_dir : path, optional
        Data folder, see `data_folder`; missing files are downloaded into it.
    files : mapping
        Mirrors and checksums to use instead of `FILES`.

    Returns
    -------
    Dataset
        1605 training and 30956 test samples; class 1 is the label +1.

    Raises
    ------
    ValueError
        If a line of a file is not svmlight text; the message names file and line.
    OSError
        If a file is missing and cannot be downloaded, or fails its checksum.

    Examples
    --------
    ``adult()`` gives all samples. A copy of one's own, here of a single line, is named with its checksum:

    >>> import hashlib, tempfile
    >>> line = b"+1 3:1 123:1" + bytes([10])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     source = Path(folder) / "source"
    ...     _ = source.write_bytes(line)
    ...     one = RemoteFile((source.as_uri(),), hashlib.sha256(line).hexdigest(), len(line))
    ...     data = adult(folder, files={"adult/a1a": one, "adult/a1a.t": one})
    >>> data.x_train.shape, data.y_train.tolist()
    ((1, 123), [1])
    """
    folder = data_folder(data_dir) / "adult"
    x_train, y_train = _read_svmlight(fetch(files["adult/a1a"], folder / "a1a"), _ADULT_FEATURES)
    x_test, y_test = _read_svmlight(fetch(files["adult/a1a.t"], folder / "a1a.t"), _ADULT_FEATURES)
    return Dataset("adult", x_train, y_train, x_test, y_test, 2)


def _read_svmlight(path: Path, features: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Read lines ``label index:value ...`` with labels -1 and +1 and indices from 1 to `features`."""
    lines = read_bounded(path, _MAX_BYTES).decode("ascii", errors="replace").splitlines()
    if 4 * len(lines) * features > _MAX_BYTES:
        raise BrokenFileError(
            path, f"has {len(lines)} lines, whose samples need more than {_MAX_BYTES:,} bytes"
        )
    x = np.zeros((len(lines), features), dtype=np.float32)
    y = np.zeros(len(lines), dtype=np.int64)
    for row, line in enumerate(lines):
        label, *pairs = line.split() or [""]
        if label not in ("-1", "+1"):
            raise BrokenFileError(path, f", line {row + 1}: the label is {shown(label)}, expected -1 or +1")
        y[row] = label == "+1"
        for pair in pairs:
            column, value = _feature(pair, features)
            if not math.isfinite(value):
                expected = f"index:value with an index of 1..{features} and a finite value"
                raise BrokenFileError(path, f", line {row + 1}: found {shown(pair)}, expected {expected}")
            x[row, column] = value
    return x, y


def _feature(pair: str, features: int) -> tuple[int, float]:
    """Read ``index:value``: the column from 0 and the value, NaN where the text is malformed."""
    match = re.fullmatch(r"([0-9]{1,9}):([-+.0-9eE]{1,40})", pair)
    if match is None or not 1 <= int(match[1]) <= features:
        return 0, math.nan
    try:
        value = float(match[2])
    except ValueError:
        return 0, math.nan
    return int(match[1]) - 1, value if abs(value) <= float(np.finfo(np.float32).max) else math.nan
