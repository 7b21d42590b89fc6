"""Readers of the public text formats of QUBO, Ising and Max-Cut instances.

======================  ==============================  =======  ========================================
ending                  header                          indices  what a line ``i j v`` means
======================  ==============================  =======  ========================================
.sparse, .bq            ``n m``                         from 1   QUBO, minimised: q_ij = q_ji = v
.txt, .mc, .rud, .rudy  ``n m`` or ``MAX-CUT n m``      from 1   Max-Cut: an edge of weight v, or 1
any                     ``p edge n m``; ``e i j v``     from 1   Max-Cut (DIMACS)
.qubo                   ``p qubo 0 n diagonals pairs``  from 0   QUBO, minimised: v x_i x_j, once
.coo, any               ``# vartype=BINARY or SPIN``    from 0   dimod COO: v x_i x_j or v s_i s_j, once
.txt, any               ``problems``, ``n m`` for each  from 1   Beasley: QUBO, *maximised*, q_ij = q_ji = v
======================  ==============================  =======  ========================================

The content decides where it can; else the caller; else the ending, in upper or lower case. Lines that begin
with ``#`` or ``c``, and what follows a ``#``, are comments anywhere. The weight 1 of an edge may be left
out. Files may begin with a byte-order mark and may be compressed by gzip. Beasley's values change their sign,
so that all QUBOs are minimised.
"""

from __future__ import annotations

import gzip
import io
import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qpsbgd.data.instances.model import Instance, Kind
from qpsbgd.data.instances.number_lines import MAX_LINE, NumberLines, refuse_line, too_long
from qpsbgd.data.reading import BrokenFileError, parsing, read_bounded, shown

__all__ = ["MAX_VARIABLES", "parse_instances", "read_instance", "read_instances"]

MAX_VARIABLES = 1 << 20
"""Variables that an instance may have unless the reader is told otherwise.

A header of two numbers states the size of every array of the instance, and the largest public instances have
some 20,000 variables.
"""

_MAX_BYTES = 1 << 29
_MAX_EXPANSION = 200  # of numbers by gzip
_KIND_OF_ENDING: dict[str, Kind] = {
    ".sparse": "qubo",
    ".bq": "qubo",
    ".txt": "maxcut",
    ".mc": "maxcut",
    ".rud": "maxcut",
    ".rudy": "maxcut",
}
_VARTYPE = re.compile(rb"^[ \t]*#[ \t]*vartype[ \t]*[=:][ \t]*(\w+)", re.IGNORECASE | re.MULTILINE)
_COMMENT = re.compile(rb"#.*|^[ \t]*[cC](?:[ \t].*)?$", re.MULTILINE)
_EDGE = re.compile(rb"^[ \t]*e(?=[ \t])", re.MULTILINE)
_COUNTS = "the numbers of variables and of lines"


class _Source(NamedTuple):
    """What a reader needs to know beside the text."""

    file: Path  # for messages
    name: str
    ending: str
    kind: Kind | None
    most: int  # variables


def read_instance(
    path: str | os.PathLike[str], kind: Kind | None = None, *, max_variables: int = MAX_VARIABLES
) -> Instance:
    r"""Read the one instance of a file.

    Parameters
    ----------
    path : path
        The file.
    kind : {"qubo", "ising", "maxcut"}, optional
        What it holds, where neither its content nor its ending tells.
    max_variables : int
        Number of variables above which the file is refused.

    Returns
    -------
    Instance
        The instance with indices from 0.

    Raises
    ------
    ValueError
        If nothing tells the kind, a line is malformed, or there are several instances; the message names
        file, line and reason.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "triangle.txt"
    ...     _ = path.write_text("# three edges\n3 3\n1 2 1\n2 3 1\n1 3\n")
    ...     read_instance(path).value([1, -1, 1])
    array(2.)
    """
    instances = read_instances(path, kind, max_variables=max_variables)
    if len(instances) > 1:
        raise ValueError(f"{path} holds {len(instances)} instances, expected one: read_instances gives all")
    return instances[0]


def read_instances(
    path: str | os.PathLike[str], kind: Kind | None = None, *, max_variables: int = MAX_VARIABLES
) -> list[Instance]:
    r"""Read all instances of a file: several only in Beasley's format.

    Parameters and errors are those of `read_instance`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "bqp.txt"
    ...     _ = path.write_text("2\n2 1\n1 1 3\n3 2\n1 2 5\n3 3 -1\n")
    ...     [(one.name, one.n, one.values.tolist()) for one in read_instances(path)]
    [('bqp-1', 2, [-3.0]), ('bqp-2', 3, [-5.0, 1.0])]
    """
    return parse_instances(read_bounded(path, _MAX_BYTES), path, kind, max_variables=max_variables)


def parse_instances(
    content: bytes,
    path: str | os.PathLike[str],
    kind: Kind | None = None,
    *,
    max_variables: int = MAX_VARIABLES,
) -> list[Instance]:
    r"""Parse the content of a file; `path` gives the ending, the name and the messages.

    Examples
    --------
    >>> parse_instances(b"p qubo 0 2 1 1\n0 0 -1\n0 1 3\n", "small.qubo")[0].value([1, 1])
    array(2.)
    """
    file = Path(path)
    ending, stem = file.suffix.lower(), file.stem
    if ending == ".gz":
        ending, stem = Path(stem).suffix.lower(), Path(stem).stem
    most = min(max_variables, np.iinfo(np.int32).max)  # columns are int32
    source = _Source(file, stem, ending, kind, most)
    text = _plain(file, content)
    vartype = _VARTYPE.search(text[: 64 * MAX_LINE])
    if b"#" in text or b"c" in text or b"C" in text:
        text = _COMMENT.sub(b"", text)
    instances = [_coo(source, text, vartype.group(1))] if vartype else _with_header(source, text)
    for instance in instances:
        with np.errstate(over="ignore"):
            total = 2 * np.abs(instance.values).sum()
        if not np.isfinite(total):
            raise BrokenFileError(file, "has values whose sum is beyond the range of float64")
    return instances


def _plain(file: Path, content: bytes) -> bytes:
    """Return the text without compression and byte-order mark; line ends become newlines."""
    if content[:2] == b"\x1f\x8b":
        limit = min(_MAX_BYTES, max(1 << 20, _MAX_EXPANSION * len(content)))
        with parsing(file, "is no gzip file"):
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(limit + 1)
        if len(content) > limit:
            raise BrokenFileError(file, f"holds more than {limit:,} bytes when it is expanded")
    content = content.removeprefix(b"\xef\xbb\xbf")
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return content


def _with_header(source: _Source, text: bytes) -> list[Instance]:
    """Parse a text whose first line that is not blank is its header."""
    file = source.file
    blank = len(text) - len(text.lstrip())
    line = 1 + text.count(b"\n", 0, blank)
    end = text.find(b"\n", blank)
    end = len(text) if end < 0 else end
    if end - blank > MAX_LINE:
        raise too_long(file, line)
    words = text[blank:end].split()
    if not words:
        raise BrokenFileError(file, "is empty, expected a header line with two counts")
    rest, header = text[end + 1 :], b" ".join(words)
    kind: Kind | None = None
    if words[0] == b"p" and words[1:2] == [b"qubo"]:
        return [_qbsolv(source, words, rest, line)]
    if words[0] == b"p" and len(words) == 4:  # p edge n m, p col n m
        words, rest, kind = words[2:], _EDGE.sub(b" ", rest), "maxcut"
    elif re.match(rb"max-?cut$", words[0], re.IGNORECASE):
        words, kind = words[1:], "maxcut"
    elif len(words) == 1 and words[0].isdigit() and rest.strip():
        return _beasley(source, int(words[0]), rest, line)
    n, m = _counts(source, line, header, words)
    kind = kind or _kind_of(source)
    lines = NumberLines.parse(file, rest, line + 1, _entry(n, 1))
    if len(lines.line) > m:
        problem = f", line {lines.line[m]}: it is one more than the {m} lines of the header"
        raise BrokenFileError(file, problem)
    if len(lines.line) < m:
        raise BrokenFileError(file, f"has {len(lines.line)} lines after its header, which announces {m}")
    places = _places(source, rest, line + 1, lines, n, 1, weights_may_lack=kind == "maxcut")
    return [Instance(source.name, kind, n, *places)]


def _kind_of(source: _Source) -> Kind:
    kind = source.kind or _KIND_OF_ENDING.get(source.ending)
    if kind not in ("qubo", "ising", "maxcut"):
        endings = ", ".join(map(repr, _KIND_OF_ENDING))
        suffix = source.file.suffix
        name = f"{source.file} ends in {suffix!r}" if suffix else f"{source.file} has no ending"
        raise ValueError(
            f"{name}, its content does not tell its kind, and none is given: expected one of {endings}, "
            "or kind 'qubo', 'ising' or 'maxcut' (--kind)"
        )
    return kind


def _counts(source: _Source, line: int, header: bytes, words: list[bytes]) -> tuple[int, int]:
    """Return the numbers of variables and of lines that a header states."""
    if len(words) != 2 or not all(word.isdigit() for word in words) or int(words[0]) < 1:
        refuse_line(source.file, line, header, _COUNTS)
    n, m = (int(word) for word in words)
    _check_size(source, line, n, words[0].decode())
    return n, m


def _check_size(source: _Source, line: int, n: int, word: str) -> None:
    if n > source.most:
        found = f"the header states {shown(word)} variables"
        raise BrokenFileError(source.file, f", line {line}: {found}, expected at most {source.most}")


def _entry(n: int, base: int) -> str:
    return f"two indices of {base}..{n - 1 + base} and a number"


def _places(
    source: _Source,
    text: bytes,
    line: int,
    lines: NumberLines,
    n: int,
    base: int,
    *,
    weights_may_lack: bool = False,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return rows, columns and values of lines ``i j v``; a weight that may lack is 1."""
    numbers, first, length, _ = lines
    bad = (length < (2 if weights_may_lack else 3)) | (length > 3)
    last = max(len(numbers) - 1, 0)
    at = [numbers[np.minimum(first + k, last)] if len(first) else np.zeros(0) for k in range(3)]
    values = np.where(length == 3, at[2], 1.0)
    for index in at[:2]:
        bad |= (index != np.floor(index)) | (index < base) | (index > n - 1 + base)
    bad |= ~np.isfinite(values)
    if bad.any():
        number = int(lines.line[np.argmax(bad)])
        refuse_line(source.file, number, text.split(b"\n")[number - line], _entry(n, base))
    return at[0].astype(np.int64) - base, at[1].astype(np.int64) - base, values


def _once(
    rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Halve values off the diagonal, which an instance counts twice."""
    return np.where(rows == columns, values, values / 2)


def _qbsolv(source: _Source, words: list[bytes], rest: bytes, line: int) -> Instance:
    if len(words) != 6 or not all(word.isdigit() for word in words[2:]) or int(words[3]) < 1:
        refuse_line(
            source.file, line, b" ".join(words), "p qubo 0, then the numbers of nodes, diagonals and couplers"
        )
    n, diagonals, couplers = (int(word) for word in words[3:])
    _check_size(source, line, n, words[3].decode())
    lines = NumberLines.parse(source.file, rest, line + 1, _entry(n, 0))
    rows, columns, values = _places(source, rest, line + 1, lines, n, 0)
    found = int(np.count_nonzero(rows == columns))
    if (found, len(rows) - found) != (diagonals, couplers):
        raise BrokenFileError(
            source.file,
            f"has {found} diagonals and {len(rows) - found} couplers, but its header announces {diagonals} "
            f"and {couplers}",
        )
    return Instance(source.name, "qubo", n, rows, columns, _once(rows, columns, values))


def _coo(source: _Source, text: bytes, vartype: bytes) -> Instance:
    kinds: dict[bytes, Kind] = {b"BINARY": "qubo", b"SPIN": "ising"}
    kind = kinds.get(vartype.upper())
    if kind is None:
        problem = f"has vartype {shown(vartype.decode('ascii', 'replace'))}, expected BINARY or SPIN"
        raise BrokenFileError(source.file, problem)
    lines = NumberLines.parse(source.file, text, 1, "two indices from 0 and a number")
    rows, columns, values = _places(source, text, 1, lines, source.most, 0)
    n = 1 + int(max(rows.max(initial=-1), columns.max(initial=-1)))
    if n < 1:
        raise BrokenFileError(source.file, "has no lines beside its vartype")
    if kind == "qubo":
        values = _once(rows, columns, values)
    return Instance(source.name, kind, n, rows, columns, values)


def _beasley(source: _Source, problems: int, rest: bytes, line: int) -> list[Instance]:
    """Parse ``problems``, then for each ``n m`` and m lines: maximise x'Qx, so values change their sign."""
    lines = NumberLines.parse(source.file, rest, line + 1, "numbers")
    content = rest.split(b"\n") if len(lines.line) < 1 << 16 else None
    instances: list[Instance] = []
    at = 0
    while len(instances) < problems:
        if at >= len(lines.line):
            found = f"has {len(instances)} instances after its header"
            raise BrokenFileError(source.file, f"{found}, which announces {problems}")
        number = int(lines.line[at])
        words = (content or rest.split(b"\n"))[number - line - 1].split()
        n, m = _counts(source, number, b" ".join(words), words)
        part = NumberLines(lines.numbers, *(array[at + 1 : at + 1 + m] for array in lines[1:]))
        if len(part.line) < m:
            raise BrokenFileError(
                source.file, f", line {number}: it announces {m} lines, but {len(part.line)} follow"
            )
        rows, columns, values = _places(source, rest, line + 1, part, n, 1)
        name = f"{source.name}-{len(instances) + 1}" if problems > 1 else source.name
        instances.append(Instance(name, "qubo", n, rows, columns, -values))
        at += 1 + m
    if not instances:
        raise BrokenFileError(source.file, "announces no instances")
    if at < len(lines.line):
        raise BrokenFileError(
            source.file, f", line {lines.line[at]}: it is more than the {problems} instances hold"
        )
    return instances
