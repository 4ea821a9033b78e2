"""Conversion of loose fields (a command line, a file, keyword arguments) to a validated dataclass."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from proctor.config.lerobot_flags import without_lerobots
from proctor.errors import ConfigError, did_you_mean

T = TypeVar("T")

_COMMAS = "comma-separated"
_LONGEST_SHOWN = 200
"""Characters of a value in an error message."""


def comma_separated(default: Any) -> Any:
    """A configuration field that holds several names in one text, separated by commas; it also accepts a list."""
    return dataclasses.field(default=default, metadata={_COMMAS: True})


def structure(cls: type[T], fields: Mapping[str, Any], prefix: str) -> T:
    """Build ``cls`` from ``fields``.

    Texts are converted to numbers, booleans, JSON or YAML if the field's type requires it. A list of names is joined
    with commas if the field is a :func:`comma_separated` one. Options that only LeRobot has are left out, with a note
    (:mod:`proctor.config.lerobot_flags`). ``-`` and ``_`` are interchangeable in names. ``prefix`` is the group's name
    in messages: ``env`` for ``--env.task``.

    Raises:
        ConfigError: a field is unknown (the message suggests the nearest name), has a value of the wrong type, or is
            required and missing.
    """
    import msgspec

    known = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for given, value in without_lerobots(prefix, fields, known).items():
        name = given.replace("-", "_")
        if name not in known:
            raise ConfigError(f"Unknown field {prefix}.{given}.{did_you_mean(name, known)}")
        values[name] = read_value(value)
        if known[name].metadata.get(_COMMAS) and isinstance(values[name], list | tuple):
            values[name] = ",".join(map(str, values[name]))
    try:
        return msgspec.convert(values, cls, strict=False)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        name = where.rstrip("`")
        if not name:
            raise ConfigError(f"{prefix}: {what}.") from None
        given = f" is {values[name]!r}" if name in values else ""  # not for a part of a value
        raise ConfigError(f"{prefix}.{name}{given}: {what[0].lower()}{what[1:]}.") from None


def read_value(value: Any) -> Any:
    """Decode ``value`` if it is the text of a JSON or YAML list or mapping, or "null"; else return it unchanged.

    Raises:
        ConfigError: the text begins like a list or a mapping but is neither JSON nor YAML.
    """
    if not isinstance(value, str):
        return value
    if value in ("null", "None"):
        return None
    if value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        from proctor.config.strict_yaml import load_yaml
    try:
        return load_yaml(value)
    except ValueError as error:
        text = value if len(value) <= _LONGEST_SHOWN else f"{value[:_LONGEST_SHOWN]}…"
        raise ConfigError(f"{text!r} is neither JSON nor YAML: {error}; check brackets and quotation marks.") from None
