"""Data sets: what they hold, and how their files come to the disk over a real local HTTP server."""

import contextlib
import gzip
import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from qpsbgd import datasets
from qpsbgd.data.download import DownloadError, RemoteFile, fetch

CONTENT = bytes(range(256)) * 1200  # several chunks


@dataclass
class Behaviour:
    """How the server answers for one path, and which Range headers it was asked with."""

    content: bytes = CONTENT
    honours_range: bool = True
    breaks_after: int | None = None
    status: int = 200
    wrong_range_start: bool = False
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def server():
    """Start a server; returns a function (behaviour) -> URL."""
    behaviours: dict[str, Behaviour] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            behaviour = behaviours[self.path]
            asked = self.headers.get("Range")
            behaviour.ranges.append(asked)
            if behaviour.status != 200:
                self.send_error(behaviour.status)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and behaviour.honours_range else 0
            if start >= len(behaviour.content):
                self.send_error(416)
                return
            body = behaviour.content[start:]
            self.send_response(206 if start else 200)
            if start:
                shown = start + behaviour.wrong_range_start
                total = len(behaviour.content)
                self.send_header("Content-Range", f"bytes {shown}-{total - 1}/{total}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body if behaviour.breaks_after is None else body[: behaviour.breaks_after])

        def log_message(self, *_arguments):
            pass

    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def serve(behaviour: Behaviour) -> str:
        path = f"/{len(behaviours)}"
        behaviours[path] = behaviour
        return f"http://127.0.0.1:{http_server.server_port}{path}"

    yield serve
    http_server.shutdown()
    http_server.server_close()
    thread.join()


def remote(*urls: str, content: bytes = CONTENT) -> RemoteFile:
    return RemoteFile(urls, hashlib.sha256(content).hexdigest(), len(content))


def leave_partial(target, content: bytes) -> None:
    target.with_name(target.name + ".part").write_bytes(content)


def only_entry(folder) -> str:
    (entry,) = folder.iterdir()
    return entry.name


def test_download_gives_the_file_and_leaves_nothing_else(server, tmp_path):
    target = tmp_path / "file"
    assert fetch(remote(server(Behaviour())), target) == target
    assert target.read_bytes() == CONTENT
    assert only_entry(tmp_path) == "file"


def test_present_file_is_not_downloaded_again(server, tmp_path):
    behaviour = Behaviour()
    source = remote(server(behaviour))
    fetch(source, tmp_path / "file")
    fetch(source, tmp_path / "file")
    assert len(behaviour.ranges) == 1


def test_partial_download_is_resumed_where_it_ended(server, tmp_path):
    behaviour = Behaviour()
    leave_partial(tmp_path / "file", CONTENT[:1000])
    assert fetch(remote(server(behaviour)), tmp_path / "file").read_bytes() == CONTENT
    assert behaviour.ranges == ["bytes=1000-"]


def test_server_without_ranges_restarts_the_download(server, tmp_path):
    leave_partial(tmp_path / "file", b"x" * 1000)
    source = remote(server(Behaviour(honours_range=False)))
    assert fetch(source, tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "stale", [b"x" * 1000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 5)], ids=["short", "whole", "overlong"]
)
def test_stale_partial_is_thrown_away(server, tmp_path, stale):
    leave_partial(tmp_path / "file", stale)
    assert fetch(remote(server(Behaviour())), tmp_path / "file").read_bytes() == CONTENT


def test_complete_partial_needs_no_server(tmp_path):
    leave_partial(tmp_path / "file", CONTENT)
    assert fetch(remote("http://127.0.0.1:9/unused"), tmp_path / "file").read_bytes() == CONTENT


def test_range_that_does_not_continue_the_partial_is_not_used(server, tmp_path):
    leave_partial(tmp_path / "file", CONTENT[:1000])
    source = remote(server(Behaviour(wrong_range_start=True)))
    assert fetch(source, tmp_path / "file").read_bytes() == CONTENT


def test_broken_transfer_is_continued(server, tmp_path):
    behaviour = Behaviour(breaks_after=len(CONTENT) // 2)
    assert fetch(remote(server(behaviour)), tmp_path / "file").read_bytes() == CONTENT
    assert behaviour.ranges == [None, f"bytes={len(CONTENT) // 2}-"]


def test_server_that_always_breaks_is_given_up_but_its_bytes_are_kept(server, tmp_path):
    source = remote(server(Behaviour(breaks_after=100)))
    with pytest.raises(DownloadError, match="ended after 300 of"):
        fetch(source, tmp_path / "file")
    assert (tmp_path / "file.part").read_bytes() == CONTENT[:300]


def test_wrong_content_is_refused(server, tmp_path):
    source = remote(server(Behaviour(content=b"y" * len(CONTENT))))
    with pytest.raises(DownloadError, match=r"cannot download file: .*sha256 is .*expected"):
        fetch(source, tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_too_long_content_is_refused(server, tmp_path):
    source = remote(server(Behaviour(content=CONTENT * 2)))
    with pytest.raises(DownloadError, match=f"expected {len(CONTENT)}"):
        fetch(source, tmp_path / "file")


def test_second_mirror_is_asked_when_the_first_has_no_file(server, tmp_path):
    missing, present = Behaviour(status=404), Behaviour()
    assert fetch(remote(server(missing), server(present)), tmp_path / "file").read_bytes() == CONTENT
    assert len(missing.ranges) == len(present.ranges) == 1


def test_second_mirror_is_asked_when_the_first_has_another_file(server, tmp_path):
    source = remote(server(Behaviour(content=b"not the file")), server(Behaviour()))
    assert fetch(source, tmp_path / "file").read_bytes() == CONTENT


def test_error_names_every_mirror_and_its_reason(server, tmp_path):
    first, second = server(Behaviour(status=404)), server(Behaviour(status=503))
    with pytest.raises(DownloadError) as caught:
        fetch(remote(first, second), tmp_path / "file")
    assert f"{first}: HTTP 404" in str(caught.value)
    assert f"{second}: HTTP 503" in str(caught.value)


def test_silent_server_is_given_up_after_the_timeout(tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/file"
        with pytest.raises(DownloadError, match="timed out"):
            fetch(remote(url), tmp_path / "file", timeout=0.1)


def test_corrupt_file_on_disk_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"y" * len(CONTENT))
    with pytest.raises(DownloadError, match=r"file is corrupt: its sha256 is .*delete it"):
        fetch(remote("http://127.0.0.1:9/unused"), tmp_path / "file")


def test_simultaneous_downloads_all_get_the_file(server, tmp_path):
    behaviour = Behaviour()
    source = remote(server(behaviour))
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(fetch(source, tmp_path / "file").read_bytes()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [CONTENT] * 4
    assert len(behaviour.ranges) == 1


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
