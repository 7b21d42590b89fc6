"""The public files of Planetoid: what is made of them, and that nothing in them is run."""

import os
import pickle
import subprocess
import sys
from collections import defaultdict

import numpy as np
import pytest

import planetoid_writer
from mutations import mutated_bytes, mutations
from qpsbgd.cli import main
from qpsbgd.data.graphs import planetoid
from qpsbgd.data.pickles import Made, Name, read_pickle
from qpsbgd.data.planetoid_files import PARTS, convert_planetoid
from qpsbgd.data.reading import BrokenFileError

FEATURES = np.array([[1, 0, 2], [0, 3, 0], [0, 0, 0], [4, 0, 5], [0, 6, 0], [7, 0, 0], [0, 0, 8]], dtype="f4")
CLASSES = [0, 1, 0, 1, 2, 0, 1]
NEIGHBOURS = {0: [1, 2, 2], 1: [0], 2: [0, 2], 3: [6], 4: [], 5: [4], 6: [3, 5]}


@pytest.fixture
def public(tmp_path):
    """A small network whose test nodes 4, 5, 6 are listed as 6, 4, 5."""
    folder = tmp_path / "public"
    folder.mkdir()
    planetoid_writer.write(
        folder, "cora", features=FEATURES, classes=CLASSES, neighbours=NEIGHBOURS, training=2, test=[6, 4, 5]
    )
    return folder


def test_nodes_edges_and_split_are_those_of_the_network(public, tmp_path):
    assert convert_planetoid("cora", public, tmp_path) == tmp_path / "planetoid" / "cora.npz"
    graph = planetoid("cora", tmp_path)
    np.testing.assert_array_equal(graph.features, FEATURES)
    np.testing.assert_array_equal(graph.labels, CLASSES)
    # Without the loop 2-2, and 0-2 once; 5-4 is stated in one direction only.
    assert graph.edge_index[:, :5].T.tolist() == [[0, 1], [0, 2], [3, 6], [4, 5], [5, 6]]
    np.testing.assert_array_equal(graph.edge_index[:, 5:], graph.edge_index[::-1, :5])
    assert np.flatnonzero(graph.train_mask).tolist() == [0, 1]
    assert np.flatnonzero(graph.val_mask).tolist() == [2, 3]
    assert np.flatnonzero(graph.test_mask).tolist() == [4, 5, 6]


def test_a_real_network_comes_back_from_files_of_its_public_form(tmp_path, data_folder):
    if not (data_folder / "planetoid").is_dir():
        pytest.skip("the data folder has no planetoid/")
    known = planetoid("cora", data_folder)
    neighbours = {node: [] for node in range(len(known.labels))}
    for source, target in known.edge_index.T.tolist():
        neighbours[source].append(target)
    test = np.random.default_rng(0).permutation(np.flatnonzero(known.test_mask))
    planetoid_writer.write(
        tmp_path,
        "cora",
        features=known.features,
        classes=known.labels,
        neighbours=neighbours,
        training=int(known.train_mask.sum()),
        test=test,
    )
    convert_planetoid("cora", tmp_path, tmp_path)
    made = planetoid("cora", tmp_path)
    for field in ("features", "labels", "train_mask", "val_mask", "test_mask"):
        np.testing.assert_array_equal(getattr(made, field), getattr(known, field))
    assert set(map(tuple, made.edge_index.T)) == set(map(tuple, known.edge_index.T))


def test_data_tells_what_it_has_made_and_a_missing_network_leads_to_it(public, tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match="qpsbgd data cora FOLDER"):
        planetoid("cora", tmp_path)
    assert main(["data", "cora", str(public), "--data-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == (
        f"{tmp_path / 'planetoid' / 'cora.npz'}: 7 nodes, 5 edges, 3 features, 3 classes\n"
    )


def test_what_is_missing_is_told_on_one_line(public, tmp_path, capsys):
    assert main(["data", "cora", str(public), "--data-dir", str(tmp_path / "typo")]) == 2
    (public / "ind.cora.allx").unlink()
    assert main(["data", "cora", str(public), "--data-dir", str(tmp_path)]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert "typo is no folder" in errors[0]
    assert "ind.cora.allx" in errors[1]
    assert len(errors) == 2
    assert not (tmp_path / "planetoid").exists()


# ----------------------------------------------------------------------------------------------------
# Pickles


@pytest.mark.parametrize("protocol", range(5))
def test_matrices_of_every_protocol_are_read(public, tmp_path, protocol):
    sparse = pytest.importorskip("scipy.sparse")
    (public / "ind.cora.allx").write_bytes(pickle.dumps(sparse.csr_matrix(FEATURES[:4]), protocol))
    ally = np.eye(3, dtype=np.float64)[CLASSES[:4]]
    (public / "ind.cora.ally").write_bytes(pickle.dumps(np.asfortranarray(ally), protocol))
    (public / "ind.cora.graph").write_bytes(pickle.dumps(defaultdict(list, NEIGHBOURS), protocol))
    convert_planetoid("cora", public, tmp_path)
    np.testing.assert_array_equal(planetoid("cora", tmp_path).features, FEATURES)
    np.testing.assert_array_equal(planetoid("cora", tmp_path).labels, CLASSES)


PYTHON_2 = [
    b"ccollections\ndefaultdict\np1\n(c__builtin__\nlist\np2\ntRp3\nI0\n(lp4\nI1\naI2\nasI1\n(lp5\nI0\nasI2\n(lp6\n"
    b"I0\naI2\naI300\nas.",
    b"ccollections\ndefaultdict\nq\x01(c__builtin__\nlist\nq\x02tRq\x03(K\x00]q\x04(K\x01K\x02eK\x01]q\x05K\x00aK"
    b"\x02]q\x06(K\x00K\x02M,\x01eu.",
    b"\x80\x02ccollections\ndefaultdict\nq\x00c__builtin__\nlist\nq\x01\x85q\x02Rq\x03(K\x00]q\x04(K\x01K\x02eK\x01]"
    b"q\x05K\x00aK\x02]q\x06(K\x00K\x02M,\x01eu.",
]
"""What pickle and cPickle of Python 2.7 write of one defaultdict, in protocols 0, 1 and 2."""


@pytest.mark.parametrize("content", PYTHON_2)
def test_dicts_that_python_2_has_written_are_read(content):
    made = read_pickle(content)
    assert made.name == Name("collections", "defaultdict")
    assert made.items == {0: [1, 2], 1: [0], 2: [0, 2, 300]}


VALUES = [
    0, 1, 255, 65536, -1, 2**31 - 1, -(2**31), 2**70, 1.5, -1e300, True, False, None, "", "é\n'", b"",
    b"\x00\xff'\n",
    [], [1, [2]], (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {}, {"a": 1, 2: [3]}, "x" * 300, b"x" * 300,
]  # fmt: skip


@pytest.mark.parametrize("protocol", range(5))
def test_plain_values_of_every_protocol_are_read(protocol):
    assert read_pickle(pickle.dumps(VALUES, protocol)) == VALUES
    shared = [1]
    first, second = read_pickle(pickle.dumps([shared, shared], protocol))
    assert first is second


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


@pytest.mark.parametrize("protocol", range(5))
def test_nothing_that_a_pickle_asks_for_is_run(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    made = read_pickle(pickle.dumps(Evil(), protocol))
    assert isinstance(made, Made)
    assert made.name.name == "system"
    assert list(tmp_path.iterdir()) == []


def test_nothing_that_a_pickle_names_is_imported():
    program = (
        "import sys; from qpsbgd.data.pickles import read_pickle; before = set(sys.modules);"
        "print(read_pickle(b'cantigravity\\nfly\\n.'), set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "antigravity.fly set()\n"


def test_a_file_that_runs_code_is_refused(public, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    for part in PARTS:
        whole = (public / f"ind.cora.{part}").read_bytes()
        (public / f"ind.cora.{part}").write_bytes(pickle.dumps(Evil(), 2))
        with pytest.raises(BrokenFileError, match=rf"ind\.cora\.{part}"):
            convert_planetoid("cora", public, tmp_path)
        (public / f"ind.cora.{part}").write_bytes(whole)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"]",
        b"(.",
        b"h\x05.",
        b"K\x01K\x02a.",
        b"}](K\x01u.",
        b"K\x01)R.",
        b"}(](K\x01ee.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # more bytes than any memory holds
        b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x82\x01.",  # a registered extension
        b"Pid\n.",
        b"cos\nsystem\n(S'x'\ni",
        b"S'x\n.",
        b"I" + b"9" * 10_000 + b"\n.",
        b"}(](](K\x01eK\x01u.",  # a list as a key
    ],
)
def test_broken_pickles_raise_value_errors(content):
    with pytest.raises(ValueError):  # noqa: PT011 - which one depends on where it is broken
        read_pickle(content)


def test_shared_lists_cannot_blow_up_a_graph(public, tmp_path):
    long = b"](" + b"K\x01" * 30_000 + b"eq\x00"
    items = b"".join(b"J" + node.to_bytes(4, "little") + b"h\x00" for node in range(30_000))
    (public / "ind.cora.graph").write_bytes(b"}(J\xff\xff\xff\x7f" + long + items + b"u.")
    with pytest.raises(BrokenFileError, match="more than 67,108,864 edges"):
        convert_planetoid("cora", public, tmp_path)


@pytest.mark.parametrize("part", PARTS)
def test_broken_files_are_broken_file_errors_or_valid_networks(public, tmp_path, part):
    path = public / f"ind.cora.{part}"
    whole = path.read_bytes()
    refused = 0
    for seed in mutations(60):
        path.write_bytes(mutated_bytes(whole, seed))
        try:
            convert_planetoid("cora", public, tmp_path)
            graph = planetoid("cora", tmp_path)
        except BrokenFileError:
            refused += 1
        else:
            assert len(graph.features) == len(graph.labels) > graph.edge_index.max()
    assert refused
