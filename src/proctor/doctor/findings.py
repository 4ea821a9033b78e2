"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How it is. ``absent`` is something that is not there, and is not needed for what is."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and what to do about it ("" where there is nothing to do)."""

    status: Status
    message: str
    remedy: str = ""
