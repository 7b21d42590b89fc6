"""The formats of instance files: what each line means, and what is written is read back."""

import gzip
import itertools
import re

import dimod
import numpy as np
import pytest
from dimod.serialization import coo
from hypothesis import given, settings
from hypothesis import strategies as st

from qpsbgd.data.instances import FORMATS, Instance, read_instance, read_instances, write
from qpsbgd.data.reading import BrokenFileError


def read(tmp_path, name, text, kind=None):
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / name).write_bytes(content)
    return read_instance(tmp_path / name, kind)


def states(n, low):
    return np.array(list(itertools.product((low, 1), repeat=n)))


TRIANGLE = "3 3\n1 2 4\n2 3 -1\n1 3 2.5\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", TRIANGLE),
        ("a.mc", TRIANGLE),
        ("a.rud", TRIANGLE),
        ("a.rudy", TRIANGLE),
        ("a.TXT", TRIANGLE),
        ("a.txt", "\ufeff" + TRIANGLE),
        ("a.txt", TRIANGLE.replace("\n", "\r\n")),
        ("a.txt", TRIANGLE.replace("\n", "\r")),
        ("a.txt.gz", gzip.compress(TRIANGLE.encode(), mtime=0)),
        ("a.gz", gzip.compress(b"MAX-CUT " + TRIANGLE.encode(), mtime=0)),
        ("a", "MAX-CUT " + TRIANGLE),
        ("a.sparse", "maxcut " + TRIANGLE),
        (
            "a.txt",
            "# made by hand\n3 3 # counts\nc a comment\n1 2 4\n\n  # more\n2 3 -1\nc\n1 3 2.5 # last\n",
        ),
        ("a.col", "c DIMACS\np edge 3 3\ne 1 2 4\nc between\ne 2 3 -1\ne 1 3 2.5\n"),
        ("a.txt", "p col 3 3\ne 1 2 4\ne 2 3 -1\ne 1 3 2.5\n"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_the_same_graph_in_every_form(tmp_path, name, text):
    instance = read(tmp_path, name, text)
    assert (instance.kind, instance.n, instance.name) == ("maxcut", 3, "a")
    assert instance.rows.tolist() == [0, 1, 0]
    assert instance.columns.tolist() == [1, 2, 2]
    assert instance.values.tolist() == [4.0, -1.0, 2.5]


@pytest.mark.parametrize("text", ["3 2\n1 2\n2 3\n", "p edge 3 2\ne 1 2\ne 2 3\n", "3 2\n1 2 1\n2 3\n"])
def test_weights_that_are_left_out_are_1(tmp_path, text):
    assert read(tmp_path, "a.mc", text).values.tolist() == [1.0, 1.0]


def test_a_qubo_has_all_its_values(tmp_path):
    with pytest.raises(
        BrokenFileError, match=r"line 2: found '1 2', expected two indices of 1\.\.3 and a number"
    ):
        read(tmp_path, "a.sparse", "3 1\n1 2\n")


def test_qbsolv_counts_a_coupler_once(tmp_path):
    instance = read(
        tmp_path, "a.qubo", "c qbsolv\np qubo 0 3 2 2\n0 0 -1\n2 2 4\nc couplers\n0 1 3\n1 2 -5\n"
    )
    bits = states(3, 0)
    x, y, z = bits.T
    np.testing.assert_array_equal(instance.value(bits), -x + 4 * z + 3 * x * y - 5 * y * z)


def test_qbsolv_counts_its_lines(tmp_path):
    with pytest.raises(
        BrokenFileError, match="has 2 diagonals and 0 couplers, but its header announces 1 and 1"
    ):
        read(tmp_path, "a.qubo", "p qubo 0 2 1 1\n0 0 1\n1 1 1\n")


@pytest.mark.parametrize("vartype", ["BINARY", "SPIN"])
def test_coo_says_what_dimod_says(tmp_path, vartype):
    random = np.random.default_rng(0)
    bqm = dimod.BinaryQuadraticModel(
        {i: round(random.normal(), 3) for i in range(5)},
        {(i, j): round(random.normal(), 3) for i in range(5) for j in range(i)},
        0.0,
        vartype,
    )
    instance = read(tmp_path, "a.txt", coo.dumps(bqm, vartype_header=True))
    assert instance.kind == {"BINARY": "qubo", "SPIN": "ising"}[vartype]
    every = states(5, 0 if vartype == "BINARY" else -1)
    np.testing.assert_allclose(instance.value(every), bqm.energies((every, range(5))), atol=1e-9)


@pytest.mark.parametrize("vartype", ["BINARY", "SPIN"])
def test_dimod_reads_the_coo_that_is_written(tmp_path, vartype):
    kind = {"BINARY": "qubo", "SPIN": "ising"}[vartype]
    rows, columns = np.array([0, 0, 1]), np.array([0, 1, 2])
    instance = Instance("a", kind, 3, rows, columns, np.array([1.5, -2.0, 0.25]))
    write(instance, tmp_path / "a.coo")
    bqm = coo.loads((tmp_path / "a.coo").read_text())
    every = states(3, 0 if kind == "qubo" else -1)
    np.testing.assert_allclose(instance.value(every), bqm.energies((every, range(3))))


def test_beasley_maximises_and_holds_several(tmp_path):
    # Two problems as in the OR-Library: maximise the sum of q_ij x_i x_j over all i and j.
    (tmp_path / "bqp.txt").write_text(" 2\n 3 3\n 1 1 5\n 1 2 -4\n 3 3 2\n 2 1\n 1 2 7\n")
    first, second = read_instances(tmp_path / "bqp.txt")
    assert (first.name, second.name, first.kind, first.sense) == ("bqp-1", "bqp-2", "qubo", "min")
    assert first.value([1, 0, 1]) == -7  # 5 + 2 is the largest value
    assert first.value([1, 1, 1]) == -(5 + 2 - 2 * 4)
    assert second.value([1, 1]) == -14
    with pytest.raises(ValueError, match=r"bqp\.txt holds 2 instances, expected one"):
        read_instance(tmp_path / "bqp.txt")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "3 1\n1 1_0 2\n", r"line 2: found '1 1_0 2'"),
        ("a.txt", "3_0 1\n1 2 2\n", r"line 1: found '3_0 1', expected the numbers of variables and of lines"),
        ("a.txt", "3 1\n1 2 1-2\n", r"line 2: found '1 2 1-2'"),
        ("a.txt", "3 1\n1 2 1.2.3\n", r"line 2: found '1 2 1\.2\.3'"),
        ("a.txt", "3 1\n1 2 1e\n", r"line 2: found '1 2 1e'"),
        ("a.txt", "3 1\n1 2 1e5.5\n", r"line 2: found"),
        ("a.txt", "3 1\n1 2 1e2e3\n", r"line 2: found"),
        ("a.txt", "3 1\n1 2 .\n", r"line 2: found"),
        ("a.txt", "3 1\n1 2 -\n", r"line 2: found"),
        ("a.txt", "3 1\n1 2 1e999\n", r"line 2: found '1 2 1e999'"),
        ("a.txt", "3 2\n1 2 1\n1 2.5 1\n", r"line 3: found '1 2\.5 1', expected two indices of 1\.\.3"),
        ("a.txt", "3 2\n1 2 1\n\n# x\n1 0x2 1\n", r"line 5: found '1 0x2 1'"),
        ("a.col", "p edge 3 1\ne 1 2\nn 1 1\n", r"line 3: found 'n 1 1'"),
        ("a.txt", "p edge 3 1\ne 1 2\ne 1 3\n", r"line 3: it is one more than the 1 lines of the header"),
        ("a.qubo", "p qubo 0 3 1\n0 0 1\n", r"line 1: found 'p qubo 0 3 1', expected p qubo 0, then"),
        ("a.qubo", "p qubo 0 3 1 0\n3 3 1\n", r"line 2: found '3 3 1', expected two indices of 0\.\.2"),
        ("a.coo", "# vartype=TERNARY\n0 0 1\n", r"has vartype 'TERNARY', expected BINARY or SPIN"),
        ("a.coo", "# vartype=SPIN\n", r"has no lines beside its vartype"),
        ("a.coo", "# vartype=SPIN\n0 -1 2\n", r"line 2: found '0 -1 2'"),
        ("a.txt", "2\n2 1\n1 1 1\n", r"has 1 instances after its header, which announces 2"),
        ("a.txt", "1\n2 2\n1 1 1\n", r"line 2: it announces 2 lines, but 1 follow"),
        ("a.txt", "1\n2 1\n1 1 1\n1 2 1\n", r"line 4: it is more than the 1 instances hold"),
        ("a.dat", "3 1\n1 2 1\n", r"a\.dat ends in '\.dat', its content does not tell its kind"),
        ("a", "3 1\n1 2 1\n", r"a has no ending, its content does not tell its kind"),
        ("a.txt.gz", b"\x1f\x8bdamaged", r"is no gzip file"),
        (
            "a.txt.gz",
            gzip.compress(b"1 " * (1 << 23), mtime=0),
            r"holds more than [0-9,]+ bytes when it is expanded",
        ),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_refusals_name_line_and_reason(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, name, text)
    assert re.search(re.escape(name), str(caught.value))


FINITE = st.floats(-1e100, 1e100, allow_nan=False, allow_subnormal=False)


@settings(max_examples=80, deadline=None)
@given(
    format=st.sampled_from(sorted(FORMATS)),
    n=st.integers(1, 9),
    entries=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.one_of(st.integers(-9, 9), FINITE))),
    kind_index=st.integers(0, 1),
    packed=st.booleans(),
)
def test_what_is_written_is_read_back(tmp_path_factory, format, n, entries, kind_index, packed):
    kinds = FORMATS[format]
    rows, columns, values = (
        (np.array(part) for part in zip(*entries, strict=True)) if entries else [np.zeros(0)] * 3
    )
    instance = Instance(
        "a", kinds[kind_index % len(kinds)], n, rows.astype(np.int64) % n, columns.astype(np.int64) % n,
        values.astype(np.float64),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("written") / ("a.x.gz" if packed else "a.x")
    write(instance, path, format)
    (again,) = read_instances(path, instance.kind)
    assert (again.kind, again.n) == (instance.kind, n)
    count = len(instance.values)  # a COO file may have one line more, which tells the number of variables
    assert again.rows[:count].tolist() == instance.rows.tolist()
    assert again.columns[:count].tolist() == instance.columns.tolist()
    assert again.values[:count].tolist() == instance.values.tolist()
    assert not again.values[count:].any()


def test_beasley_files_take_several(tmp_path):
    one = Instance("a", "qubo", 2, np.array([0]), np.array([1]), np.array([3.0]))
    write([one, one], tmp_path / "a.bqp", "beasley")
    assert [part.values.tolist() for part in read_instances(tmp_path / "a.bqp")] == [[3.0], [3.0]]


@pytest.mark.parametrize(
    ("kind", "name", "format", "count", "message"),
    [
        ("qubo", "a.mc", None, 1, "a is of kind 'qubo', but format 'rudy' holds 'maxcut'"),
        ("ising", "a.coo", "sparse", 1, "a is of kind 'ising', but format 'sparse' holds 'qubo'"),
        ("qubo", "a.dat", None, 1, r"a\.dat ends in '\.dat', expected one of sparse, rudy"),
        ("qubo", "a.dat", "lp", 1, "format is 'lp', expected one of sparse, rudy"),
        ("qubo", "a.sparse", None, 2, "format 'sparse' holds one instance, but 2 are given"),
    ],
)
def test_what_a_format_cannot_hold_is_not_written(tmp_path, kind, name, format, count, message):
    one = Instance("a", kind, 2, np.array([0]), np.array([1]), np.array([3.0]))
    with pytest.raises(ValueError, match=message):
        write([one] * count, tmp_path / name, format)
    assert list(tmp_path.iterdir()) == []
