"""Strict reading of the values that an environment returns from a step: success, the end of the episode, the reward.

Every Python object is true or false: ``bool(info["is_success"])`` makes a success of ``{"task": False}`` and of NaN.
These functions accept only a bool, 0 or 1 (of Python or numpy), or an array or tensor that holds exactly one of them.
For success, None and an absent key mean that nothing was reported. Everything else raises a ValueError that names the
returned value and the expected ones; the runner records it as the episode's error. Every adapter of foreign
environments uses these functions, and the runner applies them to the steps of every adapter.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from proctor.types import ArraySpec

USUAL_SUCCESS_KEYS = ("is_success", "success")
"""Keys of a step's info that are read for success if no other key is configured; the first that reports it counts."""

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 60


def yes_or_no(value: Any, what: str) -> bool | None:
    """Read a value that is true or false; None stays None.

    Raises:
        ValueError: the value is neither; ``what`` is its name in the message.
    """
    if value is None or value is True or value is False:
        return value
    number = _single(value)
    if number is None or (isinstance(number, Real) and number in (0, 1)):
        return None if number is None else bool(number)
    raise _no_statement(value, what)


def decided(value: Any, what: str) -> bool:
    """Read a value that must be true or false, such as the end of an episode; None is an error, too.

    Raises:
        ValueError: the value is neither; ``what`` is its name in the message.
    """
    if (reported := yes_or_no(value, what)) is None:
        raise _no_statement(value, what)
    return reported


def real_number(value: Any, what: str) -> float:
    """Read a real number, which may be infinite or NaN, in double precision.

    Raises:
        ValueError: the value is not a real number; ``what`` is its name in the message.
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


def require_declared(observed: Mapping[str, Any], declared: Mapping[str, ArraySpec]) -> None:
    """See that an observation holds the arrays that its space declares.

    Raises:
        ValueError: an array is missing, or has another shape or dtype; the message has both.
    """
    for key, spec in declared.items():
        array = observed.get(key)
        if not isinstance(array, np.ndarray) or array.shape != spec.shape or array.dtype.name != spec.dtype:
            got = f"{array.dtype.name}{list(array.shape)}" if isinstance(array, np.ndarray) else shown(array)
            raise ValueError(f"the observation '{key}' is {got}, but the environment's observation space has {spec}")


def success_in(info: Any, keys: Sequence[str] = USUAL_SUCCESS_KEYS) -> bool | None:
    """Read success from a step's ``info``, under the first of ``keys`` whose value is not None.

    Raises:
        ValueError: a value is neither true nor false, or ``info`` is not a mapping.
    """
    if not isinstance(info, (dict, Mapping)):  # dict first: asking for a Mapping takes ten times as long
        raise ValueError(f"the info of a step is {shown(info)}; expected a dict")  # noqa: TRY004 - one kind for all
    for key in keys:
        if (value := info.get(key)) is not None and (reported := yes_or_no(value, f"info['{key}']")) is not None:
            return reported
    return None


def latched(before: bool | None, reported: bool | None) -> bool | None:  # noqa: FBT001 - two statements
    """Return an episode's success after one more step: a success is never lost, and None changes nothing."""
    return before or reported if reported is not None else before


def shown(value: Any) -> str:
    """Return a foreign value as short text on one line, without control characters, for an error message."""
    text = " ".join(_repr.repr(value).split())
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def if_finite(total: float, largest: float) -> tuple[float, float] | tuple[None, None]:
    """Return the sum and the maximum of an episode's rewards; (None, None) if a reward was NaN or infinite."""
    return (total, largest) if math.isfinite(total) else (None, None)


def _no_statement(value: Any, what: str) -> ValueError:
    return ValueError(f"{what} is {shown(value)}; expected a bool, 0 or 1, or an array that holds one of these")


def _single(value: Any) -> Any:
    """Return the one element of a numpy scalar, array or tensor as a Python object; return other values unchanged.

    A masked element is returned unchanged, too: its value is missing.
    """
    if isinstance(value, Real) or not hasattr(value, "item") or np.ma.is_masked(value):  # type: ignore[no-untyped-call]
        return value
    try:
        return value.item()
    except Exception:  # noqa: BLE001 - it does not hold exactly one element; each library raises its own error
        return value
