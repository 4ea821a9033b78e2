"""From loose fields (a command line, a file, keyword arguments) to a validated dataclass."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from proctor.config.lerobot_flags import without_lerobots
from proctor.errors import ConfigError, did_you_mean

T = TypeVar("T")

_COMMAS = "comma-separated"


def comma_separated(default: Any) -> Any:
    """A field of a configuration that holds several names in one text, with commas; :func:`structure` takes a list."""
    return dataclasses.field(default=default, metadata={_COMMAS: True})


def structure(cls: type[T], fields: Mapping[str, Any], prefix: str) -> T:
    """Build ``cls`` from ``fields``.

    Strings are read as numbers, booleans, JSON or YAML if the field's type asks for it; a list of names becomes a text
    with commas if the field is one of :func:`comma_separated`. Options that only LeRobot has are left out, with a note
    (:mod:`proctor.config.lerobot_flags`). ``-`` and ``_`` are interchangeable in names. ``prefix`` is how the user
    knows the group: ``env`` for ``--env.task``.

    Raises:
        ConfigError: an unknown field (names the nearest), a value of the wrong type, a missing required field.
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
    """A text that holds a list or a mapping, decoded from JSON or YAML; a text that says null, None; else as it is.

    Raises:
        ConfigError: it begins like a list or a mapping and is neither JSON nor YAML.
    """
    if not isinstance(value, str):
        return value
    if value in ("null", "None"):
        return None
    if value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        return json.loads(value)
    except ValueError:
        from proctor.config.strict_yaml import load_yaml
    try:
        return load_yaml(value)
    except ValueError as error:
        raise ConfigError(f"{value!r} is neither JSON nor YAML: {error}.") from None
