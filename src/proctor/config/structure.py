"""From loose fields (a command line, a file, keyword arguments) to a validated dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from proctor.errors import ConfigError, did_you_mean

T = TypeVar("T")


def structure(cls: type[T], fields: Mapping[str, Any], prefix: str) -> T:
    """Build ``cls`` from ``fields``; strings are read as numbers, booleans or JSON where the field's type asks for it.

    ``-`` and ``_`` are interchangeable in names. ``prefix`` is how the user knows the group: ``env`` for
    ``--env.task``.

    Raises:
        ConfigError: an unknown field (names the nearest), a value of the wrong type, a missing required field.
    """
    import msgspec

    known = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for given, value in fields.items():
        name = given.replace("-", "_")
        if name not in known:
            raise ConfigError(f"Unknown field {prefix}.{given}.{did_you_mean(name, known)}")
        values[name] = _read_json(value)
    try:
        return msgspec.convert(values, cls, strict=False)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        name = where.rstrip("`")
        if not name:
            raise ConfigError(f"{prefix}: {what}.") from None
        given = f" is {values[name]!r}" if name in values else ""  # not for a part of a value
        raise ConfigError(f"{prefix}.{name}{given}: {what[0].lower()}{what[1:]}.") from None


def _read_json(value: Any) -> Any:
    """A string that looks like a JSON list or object, decoded; anything else as it is."""
    if isinstance(value, str):
        if value in ("null", "None"):
            return None
        if value[:1] in ("{", "["):
            import msgspec

            try:
                return msgspec.json.decode(value)
            except msgspec.DecodeError as error:
                raise ConfigError(f"{value!r} is not valid JSON: {error}.") from None
    return value
