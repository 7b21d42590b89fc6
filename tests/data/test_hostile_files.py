"""Files that are broken on purpose: one kind of error that names the file, in bounded time and memory."""

import gzip
import hashlib
import io
import json
import os
import time
import tracemalloc
import warnings
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest

from mutations import mutated_bytes, mutated_json, mutated_text, mutations, zip_of
from qpsbgd.data.datasets import adult, mnist
from qpsbgd.data.download import RemoteFile
from qpsbgd.data.graphs import planetoid
from qpsbgd.data.instances import MAX_VARIABLES, best_known, read_instance
from qpsbgd.data.reading import BrokenFileError, read_bounded

MEGABYTE = 1 << 20


@contextmanager
def bounded(megabytes: float, seconds: float = 5.0):
    """Fail if the block asks for more memory than that at once, or takes longer."""
    tracemalloc.start()
    started = time.monotonic()
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < megabytes * MEGABYTE
    assert time.monotonic() - started < seconds


def outcome(read, path) -> str:
    """Read a file; it is read or refused, with its name on one line."""
    refusal = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read()
    except BrokenFileError as error:
        refusal = str(error)
    if refusal is None:
        return "read"
    assert str(path) in refusal
    assert len(refusal) < 600 + len(str(path))
    assert refusal.replace(str(path), "").isprintable()
    return "refused"


# idx files in gzip


def idx(shape, content: bytes = b"", kind: int = 8) -> bytes:
    return bytes([0, 0, kind, len(shape)]) + b"".join(extent.to_bytes(4, "big") for extent in shape) + content


def mnist_files(folder, **changed: bytes) -> dict[str, RemoteFile]:
    """Write the four files, some of them changed, with the checksums of what is written."""
    table = {}
    (folder / "mnist").mkdir(exist_ok=True)
    for part, count in (("train", 12), ("t10k", 3)):
        contents = {
            f"{part}-images-idx3-ubyte.gz": gzip.compress(idx((count, 28, 28), bytes(count * 784)), 1),
            f"{part}-labels-idx1-ubyte.gz": gzip.compress(
                idx((count,), bytes(range(count % 10)) + b"\0" * 9)
            ),
        }
        contents[f"{part}-labels-idx1-ubyte.gz"] = gzip.compress(idx((count,), bytes(count)))
        for name, usual in contents.items():
            content = changed.get(name.split("-idx")[0].replace("-", "_"), usual)
            (folder / "mnist" / name).write_bytes(content)
            table[f"mnist/{name}"] = RemoteFile((), hashlib.sha256(content).hexdigest(), len(content))
    return table


def test_mutated_idx_files_are_read_or_refused(tmp_path):
    good = gzip.compress(idx((12, 28, 28), bytes(12 * 784)), 1)
    unpacked = gzip.decompress(good)
    seen = set()
    for seed in mutations(80):
        with bounded(20):
            broken = (
                mutated_bytes(good, seed) if seed % 2 else gzip.compress(mutated_bytes(unpacked, seed), 1)
            )
            files = mnist_files(tmp_path, train_images=broken)
            path = tmp_path / "mnist"  # the folder is named where two files do not fit
            seen.add(outcome(lambda files=files: mnist(tmp_path, files=files), path))
    assert seen == {"read", "refused"}


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(idx((0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF))),
        gzip.compress(idx((1 << 11, 1 << 11, 1 << 11))),
        gzip.compress(idx((1 << 31, 1 << 31, 4))),  # 0 in arithmetic of 64 bits
        gzip.compress(idx((0, 28, 28))),
        gzip.compress(idx((12, 28, 29), bytes(12 * 28 * 29))),
        gzip.compress(idx((12, 28, 28), bytes(64 * MEGABYTE))),
        gzip.compress(b""),
        b"",
    ],
    ids=["absurd", "8 GB", "wraps", "none", "other images", "bomb", "empty inside", "empty"],
)
def test_idx_file_that_lies_about_its_size_costs_no_memory(tmp_path, content):
    files = mnist_files(tmp_path, train_images=content)
    with bounded(10), pytest.raises(BrokenFileError, match=r"train-images-idx3-ubyte\.gz is corrupt"):
        mnist(tmp_path, files=files)


def test_label_beyond_nine_is_refused(tmp_path):
    files = mnist_files(tmp_path, train_labels=gzip.compress(idx((12,), b"\x0a" * 12)))
    with pytest.raises(BrokenFileError, match="has the label 10"):
        mnist(tmp_path, files=files)


# svmlight text


def adult_files(folder, text: str) -> dict[str, RemoteFile]:
    (folder / "adult").mkdir(exist_ok=True)
    content = text.encode()
    for name in ("a1a", "a1a.t"):
        (folder / "adult" / name).write_bytes(content)
    entry = RemoteFile((), hashlib.sha256(content).hexdigest(), len(content))
    return {"adult/a1a": entry, "adult/a1a.t": entry}


def test_mutated_svmlight_files_are_read_or_refused(tmp_path):
    good = "-1 3:1 11:1 \n+1 5:0.5 123:1 \n" * 3
    seen = set()
    for seed in mutations(120):
        files = adult_files(tmp_path, mutated_text(good, seed).replace(" 1 1", " 1:1"))
        seen.add(outcome(lambda files=files: adult(tmp_path, files=files), tmp_path / "adult" / "a1a"))
    assert seen == {"read", "refused"}


@pytest.mark.parametrize("pair", ["1:1e999", "1:1e39", "1:e", "1:1.2.3", f"{'9' * 5000}:1", "1:--1", "1:nan"])
def test_svmlight_value_that_is_no_float32_is_refused(tmp_path, pair):
    with pytest.raises(BrokenFileError, match="a1a, line 2: found"):
        adult(tmp_path, files=adult_files(tmp_path, f"-1 1:1\n+1 {pair}\n"))


# graphs as npz


def npy(array: np.ndarray) -> bytes:
    packed = io.BytesIO()
    np.save(packed, array, allow_pickle=True)
    return packed.getvalue()


def npy_header(shape: str, dtype: str = "<f4") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def graph_parts() -> dict[str, bytes]:
    nodes = 6
    masks = np.arange(nodes) % 3
    arrays = {
        "x_data": np.ones(nodes, np.float32),
        "x_indices": np.arange(nodes, dtype=np.int32) % 4,
        "x_indptr": np.arange(nodes + 1, dtype=np.int32),
        "x_shape": np.array([nodes, 4]),
        "edge_index": np.array([[0, 1, 2], [1, 2, 3]], np.int32),
        "y": np.array([0, 1, 2, 0, 1, 2]),
        "train_mask": masks == 0,
        "val_mask": masks == 1,
        "test_mask": masks == 2,
    }
    return {f"{name}.npy": npy(array) for name, array in arrays.items()}


def write_graph(folder, content: bytes):
    (folder / "planetoid").mkdir(exist_ok=True)
    path = folder / "planetoid" / "cora.npz"
    path.write_bytes(content)
    return path


def test_good_graph_is_read(tmp_path):
    write_graph(tmp_path, zip_of(graph_parts()))
    graph = planetoid("cora", tmp_path)
    assert (graph.features.shape, graph.edge_index.shape, graph.num_classes) == ((6, 4), (2, 6), 3)
    parts = graph_parts()
    parts["x_data.npy"] = npy(np.ones(6, ">f8"))  # of another byte order, and not packed
    write_graph(tmp_path, zip_of(parts, zipfile.ZIP_STORED))
    np.testing.assert_array_equal(planetoid("cora", tmp_path).features, graph.features)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_mutated_graphs_are_read_or_refused(tmp_path, method):
    good = zip_of(graph_parts(), method)
    seen = set()
    for seed in mutations(120):
        with bounded(20):
            path = write_graph(tmp_path, mutated_bytes(good, seed))
            seen.add(outcome(lambda: planetoid("cora", tmp_path), path))
    assert "refused" in seen


def test_graphs_with_one_mutated_array_are_read_or_refused(tmp_path):
    """The archive itself is whole, so that its checksums hide nothing."""
    parts = graph_parts()
    names = sorted(parts)
    seen = set()
    for seed in mutations(180):
        with bounded(20):
            name = names[seed % len(names)]
            path = write_graph(tmp_path, zip_of({**parts, name: mutated_bytes(parts[name], seed)}))
            seen.add(outcome(lambda: planetoid("cora", tmp_path), path))
    assert seen == {"read", "refused"}


@pytest.mark.parametrize(
    "changed",
    [
        {"x_data": npy_header("(1000000000000,)")},
        {"x_data": npy_header("(4294967296, 4294967296)")},
        {"x_data": npy_header("(-1,)")},
        {"x_data": npy_header("(1,)", "|O") + b"cos\nsystem\n."},
        {"x_data": npy(np.array([None] * 6))},
        {"x_data": npy(np.full(6, np.nan, np.float32))},
        {"x_data": npy(np.full(6, 1e300))},
        {"x_data": npy(np.zeros(16 * MEGABYTE, np.uint8))},
        {"x_shape": npy(np.array([6, 10**15]))},
        {"x_shape": npy(np.array([2**63 - 1, 2]))},
        {"x_indptr": npy(np.array([0, 1, 2, 3, 4, 5, 2**63 + 6], np.uint64))},
        {"x_indptr": npy(np.array([0, -(2**63), 2**63 - 1, 3, 4, 5, 6]))},
        {"x_indices": npy(np.array([0, 1, 2, 3, 4, 2**63], np.uint64))},
        {"y": npy(np.array([0, 1, 2, 0, 1, 10**12]))},
        {"train_mask": npy(np.ones(6, bool))[:-1] + b"\x02"},
        {"y": b""},
    ],
)
def test_array_that_lies_is_refused_without_its_memory(tmp_path, changed):
    parts = {**graph_parts(), **{f"{name}.npy": content for name, content in changed.items()}}
    path = write_graph(tmp_path, zip_of(parts))
    with bounded(60 if len(parts["x_data.npy"]) > MEGABYTE else 10):
        assert outcome(lambda: planetoid("cora", tmp_path), path) == "refused"


def test_archive_that_unpacks_to_more_than_the_limit_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("qpsbgd.data.graphs._MAX_BYTES", MEGABYTE)
    parts = {**graph_parts(), "x_data.npy": npy(np.zeros(64 * MEGABYTE, np.uint8))}
    write_graph(tmp_path, zip_of(parts))
    with bounded(4), pytest.raises(BrokenFileError, match="more than 1,048,576 bytes"):
        planetoid("cora", tmp_path)


# instances


def test_mutated_instances_are_read_or_refused(tmp_path):
    good = "5 4\n1 1 -3\n1 2 5\n3 5 -2.5\n4 5 1e3\n"
    path = tmp_path / "x.sparse"
    seen = set()
    for seed in mutations(120):
        path.write_text(mutated_text(good, seed))
        seen.add(outcome(lambda: read_instance(path).solver_arguments(), path))
        path.write_bytes(mutated_bytes(good.encode(), seed))
        seen.add(outcome(lambda: read_instance(path).solver_arguments(), path))
    assert seen == {"read", "refused"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1000000000 0\n", "line 1: the header states '1000000000' variables, expected at most 1048576"),
        ("9" * 900 + " 0\n", "line 1: the header states"),
        ("5 999999999999\n", "has 0 lines after its header, which announces 999999999999"),
        ("2 1\n1 2 1\n1 2 1\n", "line 3: it is one more than the 1 lines of the header"),
        ("2 2\n1 2 1e308\n1 2 1e308\n", "beyond the range of float64"),
        ("x" * MEGABYTE, "line 1: it has more than 1024 characters"),
    ],
    ids=["8 GB", "long number", "lines that are not there", "more lines", "sum", "long line"],
)
def test_instance_that_lies_about_its_size_costs_no_memory(tmp_path, content, message):
    (tmp_path / "x.sparse").write_text(content)
    with bounded(4), pytest.raises(BrokenFileError) as caught:
        read_instance(tmp_path / "x.sparse").solver_arguments()
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


def test_largest_instance_without_lines_stays_small(tmp_path):
    (tmp_path / "x.sparse").write_text(f"{MAX_VARIABLES} 0\n")
    with bounded(64):
        matrix = read_instance(tmp_path / "x.sparse").solver_arguments()["Q"]
    assert matrix.shape == (MAX_VARIABLES, MAX_VARIABLES)
    (tmp_path / "x.sparse").write_text(f"{MAX_VARIABLES + 1} 0\n")
    with pytest.raises(BrokenFileError, match="expected at most"):
        read_instance(tmp_path / "x.sparse")
    assert read_instance(tmp_path / "x.sparse", max_variables=2**21).n == MAX_VARIABLES + 1


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="there is no /dev/zero")
def test_endless_file_is_refused():
    with bounded(4), pytest.raises(BrokenFileError):
        read_instance("/dev/zero", "qubo")
    with bounded(4), pytest.raises(BrokenFileError, match="no ordinary file"):
        read_bounded("/dev/zero", 1 << 40)


# tables of best-known values


def test_mutated_tables_are_read_or_refused(tmp_path):
    good = {"_about": {"x": "y"}, "instances": {"a.txt": {"best_known": 12, "status": "proven"}}}
    path = tmp_path / "best_known.json"
    seen = set()
    for seed in mutations(120):
        path.write_text(json.dumps(mutated_json(good, seed)))
        seen.add(outcome(lambda: best_known(tmp_path / "a.txt"), path))
        path.write_bytes(mutated_bytes(json.dumps(good).encode(), seed))
        seen.add(outcome(lambda: best_known(tmp_path / "a.txt"), path))
    path.write_text("[" * 100_000)
    seen.add(outcome(lambda: best_known(tmp_path / "a.txt"), path))
    assert seen == {"read", "refused"}
