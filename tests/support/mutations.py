"""Broken and hostile versions of a good file, the same in every run."""

import copy
import io
import os
import random
import zipfile
from typing import Any

ODD_VALUES = (
    None,
    True,
    0,
    1,
    -1,
    2**70,
    10**400,
    1e308,
    -1e308,
    5e-324,
    1e17,
    float("nan"),
    float("inf"),
    "",
    "text",
    "<script>",
    "\ud800",
    "\x00\x1b[2J",
    [],
    [1],
    {},
    {"a": None},
    [[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]],
)


def places(content: Any, path: tuple = ()) -> list[tuple]:
    """The path of every value in a JSON document."""
    inside: Any = ()
    if isinstance(content, (dict, list)):
        inside = content.items() if isinstance(content, dict) else enumerate(content)
    return [path, *(place for key, one in inside for place in places(one, (*path, key)))]


def mutated_json(content: Any, seed: int) -> Any:
    """Change one to three places: drop a key, put an odd value, add or double an entry."""
    source = random.Random(seed)
    content = copy.deepcopy(content)
    for _change in range(source.choice((1, 1, 2, 3))):
        path = source.choice(places(content))
        if not path:
            if source.random() < 0.1:
                return source.choice(ODD_VALUES)
            continue
        holder = content
        for key in path[:-1]:
            holder = holder[key]
        action = source.random()
        if action < 0.25:
            del holder[path[-1]]
        elif action < 0.85:
            holder[path[-1]] = copy.deepcopy(source.choice(ODD_VALUES))
        elif isinstance(holder, dict):
            holder[source.choice(("new", "loss", "\ud800", "<b>"))] = copy.deepcopy(holder[path[-1]])
        else:
            holder.append(copy.deepcopy(source.choice((holder[path[-1]], *ODD_VALUES))))
    return content


def mutated_bytes(content: bytes, seed: int) -> bytes:
    """Cut, flip, delete, double or overwrite a part."""
    source = random.Random(seed)
    broken = bytearray(content)
    for _change in range(source.choice((1, 1, 2, 5))):
        at, length = source.randrange(len(broken) or 1), source.choice((1, 2, 4, 8, 100))
        action = source.randrange(6)
        if action == 0:
            del broken[at:]
        elif action == 1:
            broken[at : at + length] = source.randbytes(length)
        elif action == 2:
            del broken[at : at + length]
        elif action == 3:
            broken[at:at] = broken[at : at + length]
        elif action == 4:
            broken[at : at + 4] = source.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4)))
        elif broken:
            broken[at] ^= 1 << source.randrange(8)
    return bytes(broken)


def mutations(count):
    """Seeds of the mutations: `count`, or as many as QPSBGD_FUZZ_MUTATIONS asks for."""
    return range(max(count, int(os.environ.get("QPSBGD_FUZZ_MUTATIONS", "0"))))


def mutated_text(content: str, seed: int) -> str:
    """Replace, drop or double words of some lines."""
    source = random.Random(seed)
    lines = [line.split(" ") for line in content.splitlines()]
    odd = (
        "",
        "0",
        "-1",
        "9" * 30,
        "9" * 5000,
        "1e999",
        "nan",
        "1_0",
        "x",
        "\x00",
        "\x1b[2J",
        "1.5",
        "٣",
        "1 1",
    )
    for _change in range(source.choice((1, 1, 2, 4))):
        if not lines:
            break
        words = source.choice(lines)
        at = source.randrange(len(words))
        action = source.randrange(4)
        if action == 0 and len(words) > 1:
            del words[at]
        elif action == 1:
            lines.remove(words)
        elif action == 2:
            lines.insert(0, list(words))
        else:
            words[at] = source.choice(odd)
    return "\n".join(" ".join(words) for words in lines)


def zip_of(parts: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive with these files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return packed.getvalue()
