"""The fields of a benchmark or a policy type as options: for ``--env.type=X --help`` and for completion."""

from __future__ import annotations

import dataclasses
import inspect
import json
from dataclasses import dataclass
from typing import Any

from proctor.config import EnvConfig
from proctor.plugins import BENCHMARKS, POLICIES, find, load_object


@dataclass(frozen=True, slots=True)
class FieldOption:
    """A field of a configuration, as it is given on the command line; ``default`` is "" if the field is required."""

    name: str
    default: str
    text: str


def fields_of(kind: str, name: str) -> list[FieldOption]:
    """List the fields that ``--env.`` or ``--policy.`` (``kind``) have for the type ``name``, its own fields first.

    Raises:
        ConfigError: there is no such type.
    """
    config = _config_class(kind, name)
    if config is None:
        return []
    common = {field.name for field in dataclasses.fields(EnvConfig)} if kind == "env" else set()
    fields = [field for field in dataclasses.fields(config) if field.name != "type"]
    texts = _texts(config)
    ordered = sorted(fields, key=lambda field: field.name in common)
    return [FieldOption(f"--{kind}.{field.name}", _default(field), texts.get(field.name, "")) for field in ordered]


def summary_of(kind: str, name: str) -> str:
    """Return the first paragraph of the description of a benchmark or a policy type."""
    plugin = load_object(find(BENCHMARKS if kind == "env" else POLICIES, name))
    described = inspect.getmodule(plugin) if inspect.isclass(plugin) else plugin
    return " ".join((inspect.getdoc(described) or "").partition("\n\n")[0].split()).replace("``", "")


def _config_class(kind: str, name: str) -> Any:
    """Find the configuration of a type; None for a policy without one, such as a checkpoint, whose fields are its own.

    The configuration of a policy type is the dataclass with a field ``type`` beside the function that loads it.
    """
    if kind == "env":
        return load_object(find(BENCHMARKS, name)).config_class
    module = inspect.getmodule(load_object(find(POLICIES, name)))
    classes = [each for each in vars(module).values() if inspect.isclass(each) and dataclasses.is_dataclass(each)]
    own = [each for each in classes if each.__module__ == getattr(module, "__name__", "")]
    return next((each for each in own if any(field.name == "type" for field in dataclasses.fields(each))), None)


def _texts(config: Any) -> dict[str, str]:
    """Read the descriptions of fields, which are the strings below them; several fields may share the one below."""
    import docstring_parser

    found: dict[str, str] = {}
    for kind in reversed(config.__mro__):
        if dataclasses.is_dataclass(kind):
            described = docstring_parser.parse_from_object(kind).params
            found |= {each.arg_name: " ".join((each.description or "").split()) for each in described}
    texts = {name: text.replace("``", "") for name, text in found.items()}
    below = ""
    for field in reversed(dataclasses.fields(config)):
        below = texts.setdefault(field.name, below) or below
    return texts


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    elif field.default is dataclasses.MISSING:
        return ""
    else:
        value = field.default
    if value in (None, {}):
        return "not set"
    return value if isinstance(value, str) else json.dumps(value, default=str)
