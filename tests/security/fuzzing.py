"""Odd values and damaged bytes, the same ones for the same seed."""

from __future__ import annotations

import json
import random
import re
import zlib
from collections.abc import Iterator
from typing import Any

ODD: list[Any] = [
    *(None, True, False, -1, 0, 1, 2**31, 2**63, -(2**63), 2**64, 10**30, 1e308, -1e-300, 0.5, -0.0, 1e22),
    *("", "x", "\x00", "\x1b[31m", "<script>", "'", "../..", "\ud800", "NaN", "9" * 400),
    *([], {}, [[]], [None], {"a": 1}, ["x"] * 3),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested JSON values."""
    if path:
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def mutated_json(content: bytes, generator: random.Random) -> bytes:
    """Replace or remove one to three values of a JSON document."""
    value = json.loads(content)
    for _ in range(generator.choice([1, 1, 1, 2, 3])):
        *path, last = generator.choice(list(places(value)))
        inner = value
        for key in path:
            inner = inner[key]
        if generator.random() < 0.25:
            del inner[last]
        else:
            inner[last] = generator.choice(ODD)
        if not value:
            break
    return json.dumps(value).encode("utf-8", "surrogatepass")


def mutated_bytes(content: bytes, generator: random.Random) -> bytes:
    """Flip, remove, insert or repeat a few bytes."""
    changed = bytearray(content)
    for _ in range(generator.choice([1, 2, 8])):
        at = generator.randrange(len(changed))
        match generator.randrange(4):
            case 0:
                changed[at] ^= 1 << generator.randrange(8)
            case 1:
                del changed[at : at + generator.randrange(1, 40)]
            case 2:
                changed[at:at] = generator.randbytes(generator.randrange(1, 9))
            case _:
                changed[at:at] = changed[: generator.randrange(1, 400)]
        changed = changed or bytearray(b"{}")
    return bytes(changed)


def mutated_journal(content: bytes, generator: random.Random) -> bytes:
    """Change a record of a journal, and give its line the right checksum."""
    lines = content.split(b"\n")[:-1]
    at = generator.randrange(len(lines))
    match = re.fullmatch(rb'\{"crc32":"([0-9a-f]{8})","record":(.*)\}', lines[at])
    assert match is not None
    record = mutated_json(match[2], generator)
    lines[at] = b'{"crc32":"%08x","record":%b}' % (zlib.crc32(record), record)
    return b"\n".join(lines) + b"\n"
