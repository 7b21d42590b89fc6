"""What the data sets hold, and which files are refused."""

import gzip
import hashlib

import numpy as np
import pytest

from file_server import Behaviour, remote
from qpsbgd.data import datasets
from qpsbgd.data.download import RemoteFile


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(extent.to_bytes(4, "big") for extent in array.shape)
    return gzip.compress(header + array.tobytes())


def tiny_mnist(server, **changed: bytes) -> dict[str, RemoteFile]:
    """File table of 20 training and 10 test images, some files replaced."""
    random = np.random.default_rng(0)
    contents = {
        "train-images-idx3-ubyte.gz": idx(random.integers(0, 256, (20, 28, 28), dtype=np.uint8)),
        "train-labels-idx1-ubyte.gz": idx(np.arange(20, dtype=np.uint8) % 10),
        "t10k-images-idx3-ubyte.gz": idx(random.integers(0, 256, (10, 28, 28), dtype=np.uint8)),
        "t10k-labels-idx1-ubyte.gz": idx(np.arange(10, dtype=np.uint8)),
        **{name.replace("_", "-") + "-ubyte.gz": content for name, content in changed.items()},
    }
    return {
        f"mnist/{name}": remote(server(Behaviour(content)), content=content)
        for name, content in contents.items()
    }


def test_mnist_is_downloaded_into_the_data_folder(server, tmp_path):
    data = datasets.mnist(tmp_path, files=tiny_mnist(server))
    assert data.x_train.shape == (20, 784)
    assert data.x_test.shape == (10, 784)
    assert data.y_test.tolist() == list(range(10))
    assert len(list((tmp_path / "mnist").iterdir())) == 4


def test_smaller_mnist_has_the_means_of_squares(server, tmp_path):
    files = tiny_mnist(server)
    large, small = (datasets.mnist(tmp_path, size, files=files) for size in (28, 8))
    assert (small.name, small.x_test.shape) == ("mnist-8x8", (10, 64))
    pixels = large.x_train[3].reshape(28, 28)
    assert small.x_train[3].reshape(8, 8)[2, 5] == pytest.approx(pixels[6:10, 18:22].mean(), rel=1e-5)
    with pytest.raises(ValueError, match="size is 7, expected 28, 8 or 4"):
        datasets.mnist(tmp_path, 7, files=files)


def test_data_folder_is_argument_then_environment_then_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("QPSBGD_DATA", str(tmp_path / "environment"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert datasets.data_folder(tmp_path / "argument") == tmp_path / "argument"
    assert datasets.data_folder() == tmp_path / "environment"
    monkeypatch.delenv("QPSBGD_DATA")
    assert datasets.data_folder() == tmp_path / "cache" / "qpsbgd"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert datasets.data_folder() == tmp_path / ".cache" / "qpsbgd"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"not gzip", "corrupt"),
        (gzip.compress(b"\0\0\x08\x03"), "magic number"),
        (idx(np.arange(20, dtype=np.uint8))[:-9], "corrupt"),
        (gzip.compress(gzip.decompress(idx(np.arange(20, dtype=np.uint8)))[:-1]), "19 bytes of data"),
    ],
    ids=["no gzip", "wrong kind", "cut", "too few labels"],
)
def test_corrupt_idx_file_is_named(server, tmp_path, content, reason):
    files = tiny_mnist(server, train_labels_idx1=content)
    with pytest.raises(ValueError, match=f"train-labels-idx1-ubyte.gz is corrupt.*{reason}|{reason}"):
        datasets.mnist(tmp_path, files=files)


def test_different_numbers_of_images_and_labels_are_refused(server, tmp_path):
    files = tiny_mnist(server, train_labels_idx1=idx(np.zeros(19, dtype=np.uint8)))
    with pytest.raises(ValueError, match="20 train images but 19 train labels"):
        datasets.mnist(tmp_path, files=files)


@pytest.mark.parametrize("size", [28, 8, 4])
def test_pair_keeps_two_digits_at_the_chosen_size(server, tmp_path, size):
    data = datasets.mnist_pair(1, 7, size, data_dir=tmp_path, files=tiny_mnist(server))
    assert data.x_train.shape == (4, size * size)
    assert data.y_test.tolist() == [0, 1]
    assert data.num_classes == 2


def test_shrunk_image_keeps_its_total_brightness(server, tmp_path):
    files = tiny_mnist(server)
    large, small = (datasets.mnist_pair(0, 2, size, data_dir=tmp_path, files=files) for size in (28, 8))
    np.testing.assert_allclose(small.x_train.sum(1) * 16, large.x_train.sum(1), rtol=1e-5)


@pytest.mark.parametrize("arguments", [(1, 1), (1, 10), (-1, 2), (0, 2, 7)])
def test_impossible_pair_is_refused(arguments, tmp_path):
    with pytest.raises(ValueError, match="expected"):
        datasets.mnist_pair(*arguments, data_dir=tmp_path)


def adult_files(server, train: str, test: str) -> dict[str, RemoteFile]:
    return {
        name: remote(server(Behaviour(text.encode())), content=text.encode())
        for name, text in (("adult/a1a", train), ("adult/a1a.t", test))
    }


def test_adult_lines_become_rows(server, tmp_path):
    data = datasets.adult(tmp_path, files=adult_files(server, "-1 3:1 123:1 \n+1 1:0.5\n", "-1 \n"))
    assert data.x_train.shape == (2, 123)
    assert np.argwhere(data.x_train).tolist() == [[0, 2], [0, 122], [1, 0]]
    assert data.x_train[1, 0] == 0.5
    assert data.y_train.tolist() == [0, 1]
    assert data.x_test.shape == (1, 123)


@pytest.mark.parametrize("line", ["2 1:1", "-1 0:1", "-1 124:1", "-1 1", "-1 1:x", ""])
def test_malformed_adult_line_is_named(server, tmp_path, line):
    with pytest.raises(ValueError, match="a1a, line 2"):
        datasets.adult(tmp_path, files=adult_files(server, f"-1 1:1\n{line}\n", "-1 1:1\n"))


def test_digits_split_is_fixed_and_stratified():
    data = datasets.digits()
    assert (len(data.x_train), len(data.x_test)) == (1438, 359)
    fractions = np.bincount(data.y_test) / (np.bincount(data.y_test) + np.bincount(data.y_train))
    np.testing.assert_allclose(fractions, 0.2, atol=0.003)
    np.testing.assert_array_equal(data.x_test, datasets.load("digits").x_test)
    assert hashlib.sha256(data.y_test.tobytes()).hexdigest()[:12] == "bfc50f70029d"


def test_unknown_name_is_refused():
    with pytest.raises(ValueError, match="name is 'cifar'"):
        datasets.load("cifar")


@pytest.mark.parametrize(
    ("name", "train", "test", "classes"),
    [
        ("mnist", (60000, 784), (10000, 784), 10),
        ("mnist-8x8", (60000, 64), (10000, 64), 10),
        ("mnist-pairs-02", (11881, 784), (2012, 784), 2),
        ("adult", (1605, 123), (30956, 123), 2),
    ],
)
def test_real_files_have_their_published_shapes(data_folder, name, train, test, classes):
    data = datasets.load(name, data_folder)
    assert (data.x_train.shape, data.x_test.shape, data.num_classes) == (train, test, classes)
    assert data.x_train.dtype == np.float32
    assert data.y_train.dtype == np.int64
    assert set(data.y_train) == set(data.y_test) == set(range(classes))


def test_validation_split_holds_out_a_share_of_every_class_and_no_test_sample():
    data = datasets.digits()
    split = datasets.validation_split(data, 0.25, seed=1)
    assert len(split.x_train) + len(split.x_test) == len(data.x_train)
    for label in range(10):
        held, all_of_it = (split.y_test == label).sum(), (data.y_train == label).sum()
        assert held == round(0.25 * all_of_it)
    rows = {row.tobytes() for row in data.x_train}
    assert all(row.tobytes() in rows for row in split.x_test)
    assert not np.array_equal(split.x_test, datasets.validation_split(data, 0.25, seed=2).x_test)
    with pytest.raises(ValueError, match="fraction is 1"):
        datasets.validation_split(data, 1.0)


@pytest.mark.parametrize("size", [4, 8])
def test_pairs_of_reduced_images_have_names(data_folder, size):
    data = datasets.load(f"mnist-pairs-17-{size}x{size}", data_folder)
    assert data.x_train.shape[1] == size**2
    assert data.name == f"mnist-pairs-17-{size}x{size}"
