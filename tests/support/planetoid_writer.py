"""Files as Planetoid publishes them: pickles that Python 2 made, written by hand opcode by opcode."""

import struct

import numpy as np


def text(value: str) -> bytes:
    return b"U" + bytes([len(value)]) + value.encode()


def string(value: bytes) -> bytes:
    return b"T" + struct.pack("<I", len(value)) + value


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def array(values) -> bytes:
    """An array as numpy's __reduce__ of that time gives it."""
    values = np.asarray(values)
    shape = b"(" + b"".join(map(number, values.shape)) + b"t"
    dtype = (
        b"cnumpy\ndtype\n" + text(values.dtype.str[1:]) + number(0) + number(1) + b"\x87R"
        b"(" + number(3) + text("<") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    )  # fmt: skip
    made = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        + number(0)
        + b"\x85"
        + text("b")
        + b"\x87R"
    )
    state = b"(" + number(1) + shape + dtype + b"\x89" + string(values.tobytes()) + b"t"
    return made + state + b"b"


def matrix(values) -> bytes:
    """A matrix in compressed rows of scipy."""
    values = np.asarray(values)
    rows, columns = np.nonzero(values)
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(values)))])
    fields = {
        "data": array(values[rows, columns].astype("<f4")),
        "indices": array(columns.astype("<i4")),
        "indptr": array(starts.astype("<i4")),
        "_shape": number(values.shape[0]) + number(values.shape[1]) + b"\x86",
        "maxprint": number(50),
        "format": text("csr"),
    }
    state = b"}(" + b"".join(text(name) + value for name, value in fields.items()) + b"u"
    made = b"ccopy_reg\n_reconstructor\ncscipy.sparse.csr\ncsr_matrix\nc__builtin__\nobject\nN\x87R"
    return b"\x80\x02" + made + state + b"b."


def graph(neighbours: dict[int, list[int]]) -> bytes:
    """A defaultdict of lists."""
    items = b"".join(
        number(node) + b"](" + b"".join(map(number, others)) + b"e" for node, others in neighbours.items()
    )
    return b"\x80\x02ccollections\ndefaultdict\nc__builtin__\nlist\n\x85R(" + items + b"u."


def write(folder, name, *, features, classes, neighbours, training, test):
    """Write all files of a network; `test` holds its last nodes in any order."""
    nodes, first = len(features), len(features) - len(test)
    assert sorted(test) == list(range(first, nodes))
    one_hot = np.eye(max(classes) + 1, dtype="<i4")[classes]
    parts = {
        "x": matrix(features[:training]),
        "allx": matrix(features[:first]),
        "tx": matrix(features[test]),
        "y": b"\x80\x02" + array(one_hot[:training]) + b".",
        "ally": b"\x80\x02" + array(one_hot[:first]) + b".",
        "ty": b"\x80\x02" + array(one_hot[test]) + b".",
        "graph": graph(neighbours),
        "test.index": "".join(f"{node}\n" for node in test).encode(),
    }
    for part, content in parts.items():
        (folder / f"ind.{name}.{part}").write_bytes(content)
