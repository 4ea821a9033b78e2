"""JSON on standard output, for programs that read what a command prints."""

from __future__ import annotations

import sys
from typing import Any


def print_json(value: Any) -> None:
    """Print ``value`` as indented JSON; NaN and infinity, which JSON does not have, become null."""
    import msgspec  # not needed for --help

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
