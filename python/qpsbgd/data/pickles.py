"""Reading a pickle as data: nothing that it names is imported, and nothing that it asks for is called.

A pickle is a program for a machine with a stack. `read_pickle` runs it on a stack of plain values. A global
is a `Name`, and an object that it would build is a `Made`: the name, the arguments and the state. The caller
looks at these and makes what he expects. Opcodes of protocols 0 to 4 are read; others raise. Cost: one step
an opcode, and the memory of what the bytes hold.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Made", "Name", "read_pickle"]


@dataclass(frozen=True)
class Name:
    """A global that the pickle names, such as ``numpy.ndarray``; it is not imported."""

    module: str
    name: str

    def __str__(self) -> str:
        """Return the dotted name."""
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Made:
    """An object that the pickle would make by calling `name` with `arguments`.

    Attributes
    ----------
    name : Name
        The callable.
    arguments : tuple
        Its arguments.
    state : object
        What ``__setstate__`` would be given, or None.
    items : dict
        Items that would be set, if it is a mapping.
    """

    name: Name
    arguments: tuple[Any, ...]
    state: Any
    items: dict[str | int, Any]


def read_pickle(content: bytes) -> Any:
    """Read a pickle of plain values and arrays.

    Parameters
    ----------
    content : bytes
        The whole pickle. Strings of Python 2 become text, byte for byte (latin-1).

    Returns
    -------
    object
        Numbers, text, bytes, lists, tuples and dicts; `Name` and `Made` for all else.

    Raises
    ------
    ValueError
        If it ends too early or has an opcode that such data does not need.

    Examples
    --------
    >>> import pickle
    >>> from collections import defaultdict
    >>> read_pickle(pickle.dumps([1, "a", (2.5, None)]))
    [1, 'a', (2.5, None)]
    >>> made = read_pickle(pickle.dumps(defaultdict(list, {0: [1, 2]})))
    >>> str(made.name), made.items
    ('collections.defaultdict', {0: [1, 2]})
    """
    return _Machine(content).run()


class _Mark:
    """Where a tuple, list or dict begins on the stack."""


class _Machine:
    """The stack, the memo, and the place in the bytes."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.place = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        while True:
            opcode = self.bytes_of(1)
            if opcode == b".":
                return self.pop()
            step = _STEPS.get(opcode)
            if step is None:
                raise ValueError(f"it has the opcode {opcode!r}, which arrays and lists do not need")
            step(self)

    # What follows an opcode

    def bytes_of(self, count: int) -> bytes:
        piece = self.content[self.place : self.place + count]
        if len(piece) != count:
            raise ValueError("it ends too early")
        self.place += count
        return piece

    def line(self) -> bytes:
        end = self.content.find(b"\n", self.place)
        if end < 0:
            raise ValueError("it ends too early")
        piece = self.content[self.place : end]
        self.place = end + 1
        return piece

    def number(self, form: str) -> Any:
        return struct.unpack("<" + form, self.bytes_of(struct.calcsize("<" + form)))[0]

    def counted(self, form: str) -> bytes:
        """Bytes after their number."""
        return self.bytes_of(self.number(form))

    # The stack

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or isinstance(self.stack[-1], _Mark):
            raise ValueError("an opcode finds too little on the stack")
        return self.stack.pop()

    def since_mark(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[place], _Mark):
                values = self.stack[place + 1 :]
                del self.stack[place:]
                return values
        raise ValueError("an opcode finds no mark on the stack")

    def remember(self, key: int) -> None:
        self.push(value := self.pop())
        self.memo[key] = value

    def recall(self, key: int) -> None:
        if key not in self.memo:
            raise ValueError(f"it asks for value {key}, which it has not stored")
        self.push(self.memo[key])

    def extend(self, values: list[Any]) -> None:
        target = self.pop()
        if not isinstance(target, list):
            raise ValueError("it appends to something that is no list")
        target.extend(values)
        self.push(target)

    def set_items(self, values: list[Any]) -> None:
        target = self.pop()
        self.push(target)
        items = target.items if isinstance(target, Made) else target
        if not isinstance(items, dict) or len(values) % 2:
            raise ValueError("it sets items of something that is no dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str | int):
                raise ValueError("a key is neither text nor a whole number")
            items[key] = value

    def dict_since_mark(self) -> None:
        values = self.since_mark()
        self.push({})
        self.set_items(values)

    def make(self) -> None:
        arguments, name = self.pop(), self.pop()
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise ValueError("it calls something that is no global")
        if str(name) == "_codecs.encode" and arguments[1:] == ("latin1",) and isinstance(arguments[0], str):
            self.push(arguments[0].encode("latin-1"))  # how protocols 0 to 2 write bytes
        elif (name.name, arguments) == ("bytes", ()):
            self.push(b"")
        else:
            self.push(Made(name, arguments, None, {}))

    def build(self) -> None:
        state, target = self.pop(), self.pop()
        if not isinstance(target, Made):
            raise ValueError("it gives a state to something that is no object")
        target.state = state
        self.push(target)

    def name_of_stack(self) -> None:
        name, module = self.pop(), self.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise ValueError("the name of a global is no text")
        self.push(Name(module, name))

    def whole_number_of_line(self) -> None:
        digits = self.line()
        truths = {b"00": False, b"01": True}  # how protocol 0 writes them
        self.push(truths[digits] if digits in truths else int(digits.rstrip(b"L")))

    def text_of_line(self) -> None:
        quoted = self.line()
        if len(quoted) < 2 or quoted[:1] != quoted[-1:] or quoted[:1] not in (b"'", b'"'):
            raise ValueError("a string has no quotes")
        self.push(codecs.escape_decode(quoted[1:-1])[0].decode("latin-1"))


def _push(value: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(value(machine))


def _tuple_of(count: int) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(tuple([machine.pop() for _ in range(count)][::-1]))


_STEPS: dict[bytes, Callable[[_Machine], Any]] = {
    b"\x80": lambda m: m.bytes_of(1),  # the protocol
    b"\x95": lambda m: m.bytes_of(8),  # the length of a frame
    b"(": lambda m: m.push(_Mark()),
    b"N": _push(lambda m: None),
    b"\x88": _push(lambda m: True),
    b"\x89": _push(lambda m: False),
    b"I": _Machine.whole_number_of_line,
    b"L": _Machine.whole_number_of_line,
    b"J": _push(lambda m: m.number("i")),
    b"K": _push(lambda m: m.number("B")),
    b"M": _push(lambda m: m.number("H")),
    b"\x8a": _push(lambda m: int.from_bytes(m.counted("B"), "little", signed=True)),
    b"F": _push(lambda m: float(m.line())),
    b"G": _push(lambda m: struct.unpack(">d", m.bytes_of(8))[0]),
    b"S": _Machine.text_of_line,
    b"T": _push(lambda m: m.counted("I").decode("latin-1")),
    b"U": _push(lambda m: m.counted("B").decode("latin-1")),
    b"V": _push(lambda m: m.line().decode("raw-unicode-escape")),
    b"X": _push(lambda m: m.counted("I").decode("utf-8", "surrogatepass")),
    b"\x8c": _push(lambda m: m.counted("B").decode("utf-8", "surrogatepass")),
    b"\x8d": _push(lambda m: m.counted("Q").decode("utf-8", "surrogatepass")),
    b"B": _push(lambda m: m.counted("I")),
    b"C": _push(lambda m: m.counted("B")),
    b"\x8e": _push(lambda m: m.counted("Q")),
    b"]": _push(lambda m: []),
    b"l": _push(lambda m: m.since_mark()),
    b"a": lambda m: m.extend([m.pop()]),
    b"e": lambda m: m.extend(m.since_mark()),
    b")": _push(lambda m: ()),
    b"t": _push(lambda m: tuple(m.since_mark())),
    b"\x85": _tuple_of(1),
    b"\x86": _tuple_of(2),
    b"\x87": _tuple_of(3),
    b"}": _push(lambda m: {}),
    b"d": _Machine.dict_since_mark,
    b"s": lambda m: m.set_items([m.pop(), m.pop()][::-1]),
    b"u": lambda m: m.set_items(m.since_mark()),
    b"0": lambda m: m.pop(),
    b"q": lambda m: m.remember(m.number("B")),
    b"r": lambda m: m.remember(m.number("I")),
    b"p": lambda m: m.remember(int(m.line())),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"h": lambda m: m.recall(m.number("B")),
    b"j": lambda m: m.recall(m.number("I")),
    b"g": lambda m: m.recall(int(m.line())),
    b"c": _push(lambda m: Name(m.line().decode("latin-1"), m.line().decode("latin-1"))),
    b"\x93": _Machine.name_of_stack,
    b"R": _Machine.make,
    b"\x81": _Machine.make,
    b"b": _Machine.build,
}
"""Opcode to what it does."""
