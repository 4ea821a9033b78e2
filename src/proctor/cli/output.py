"""What commands print for programs."""

from __future__ import annotations

import sys
from typing import Any


def print_json(value: Any) -> None:
    """Print ``value`` as indented JSON; numbers that JSON does not have become null."""
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
