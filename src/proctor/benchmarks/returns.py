"""What an environment returns from a step, read strictly: success, the end of the episode, the reward.

Any object of Python is true or false: ``bool(info["is_success"])`` makes a success of ``{"task": False}`` and of NaN.
Here only these say yes or no: a bool, 0 or 1 (of Python or numpy), and an array or tensor that holds just one of them.
Of success, None says nothing, and so does a key that is absent. Everything else raises a ValueError that names what was
returned and what was expected; the runner makes it that episode's error. Every adapter of foreign environments reads
through these functions, and so does the runner what any adapter gives it.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

USUAL_SUCCESS_KEYS = ("is_success", "success")
"""Where info says whether a step succeeded, if nobody names another key; the first one that says something counts."""

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 60


def yes_or_no(value: Any, what: str) -> bool | None:
    """Read a statement that is true or false. None says nothing.

    Raises:
        ValueError: it is something else; ``what`` names it in the message.
    """
    if value is None or value is True or value is False:
        return value
    number = _single(value)
    if number is None or (isinstance(number, Real) and number in (0, 1)):
        return None if number is None else bool(number)
    raise _no_statement(value, what)


def decided(value: Any, what: str) -> bool:
    """Read a statement that has to be made, such as whether an episode is over: None is an error too.

    Raises:
        ValueError: it is something else; ``what`` names it in the message.
    """
    if (said := yes_or_no(value, what)) is None:
        raise _no_statement(value, what)
    return said


def real_number(value: Any, what: str) -> float:
    """Read a real number, which may be infinite or NaN, in double precision.

    Raises:
        ValueError: it is none; ``what`` names it in the message.
    """
    if isinstance(value, float):
        return float(value)
    number = _single(value)
    if isinstance(number, Real | Decimal):
        try:
            return float(number)
        except (OverflowError, ValueError):  # an int beyond double precision, a signalling NaN
            pass
    raise ValueError(f"{what} is {shown(value)}; expected a real number, or an array that holds one")


def success_in(info: Any, keys: Sequence[str] = USUAL_SUCCESS_KEYS) -> bool | None:
    """Read what a step's ``info`` says of success under the first of ``keys`` that says something.

    Raises:
        ValueError: a value there says neither yes nor no, or ``info`` is not a mapping.
    """
    if not isinstance(info, (dict, Mapping)):  # dict first: asking for a Mapping takes ten times as long
        raise ValueError(f"the info of a step is {shown(info)}; expected a dict")  # noqa: TRY004 - one kind for all
    for key in keys:
        if (value := info.get(key)) is not None and (said := yes_or_no(value, f"info['{key}']")) is not None:
            return said
    return None


def latched(before: bool | None, said: bool | None) -> bool | None:  # noqa: FBT001 - two statements
    """What is known of an episode's success after one more step: a success stays one, and None adds nothing."""
    return before or said if said is not None else before


def shown(value: Any) -> str:
    """A foreign value for a sentence: short, on one line, and without control characters."""
    text = " ".join(_repr.repr(value).split())
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def if_finite(total: float, largest: float) -> tuple[float, float] | tuple[None, None]:
    """The sum and the largest of an episode's rewards; neither exists if a reward was NaN or infinite."""
    return (total, largest) if math.isfinite(total) else (None, None)


def _no_statement(value: Any, what: str) -> ValueError:
    return ValueError(f"{what} is {shown(value)}; expected a bool, 0 or 1, or an array that holds one of these")


def _single(value: Any) -> Any:
    """The one element of a numpy scalar, array or tensor as Python's own; any other value, and None, as it is.

    So is a masked element, whose value counts as missing.
    """
    if isinstance(value, Real) or not hasattr(value, "item") or np.ma.is_masked(value):  # type: ignore[no-untyped-call]
        return value
    try:
        return value.item()
    except Exception:  # noqa: BLE001 - it holds several elements, or none: whatever its library raises then
        return value
