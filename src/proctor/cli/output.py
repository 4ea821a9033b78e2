"""JSON on standard output, for programs that read what a command prints."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

_NOT_ASCII = re.compile("[^\n -~]")


def print_json(value: Any) -> None:
    """Print ``value`` as indented JSON; NaN and infinity, which JSON does not have, become null.

    A character that a terminal might obey is written as an escape: a text may be a simulator's, or a file's.
    """
    import msgspec  # not needed for --help

    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    sys.stdout.write(_NOT_ASCII.sub(lambda char: _shown(char[0]), text) + "\n")


def _shown(char: str) -> str:
    return char if char.isprintable() else json.dumps(char)[1:-1]
