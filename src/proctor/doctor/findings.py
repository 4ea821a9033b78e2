"""The result of a check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The state of what was checked. ``absent`` means that it is not installed, and that nothing installed needs it."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence that says what was found, and what to do about it ("" if there is nothing to do)."""

    status: Status
    message: str
    remedy: str = ""
