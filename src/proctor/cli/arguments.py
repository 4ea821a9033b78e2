"""One spelling for what can be written in several ways, before the command line is parsed.

``--key=value``, ``--key value`` and bare ``key=value`` mean the same, ``-`` and ``_`` are interchangeable in keys, and
``--config_path FILE`` stands for the values in a YAML or JSON file, which the command line overrides. As in LeRobot, a
list or a mapping may be written as YAML: ``{a: b}`` and ``{'a': 'b'}`` mean ``{"a": "b"}``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from proctor.config.structure import read_value
from proctor.errors import ConfigError, note
from proctor.security.consent import CONSENT, GIVE_CONSENT, gives_consent
from proctor.security.foreign_code import require_utf8

_MAX_FILE_BYTES = 1 << 20
_BARE = re.compile(r"[A-Za-z_][\w.-]*=")
_NEGATIVE = re.compile(r"-\.?\d")
_CONFIG_PATH = "config_path"
_GROUPS_OF_FIELDS = ("env", "policy")
_OLD_PATH = "-p"
"""The name of --policy.path in LeRobot before its version 0.2."""
_OLD_NAMES = {"pretrained_policy_name_or_path": "policy.path", "use_amp": "policy.use_amp", "device": "policy.device"}
"""Other options of LeRobot before 0.2, and their names since."""
SWITCHES = {"help", "version", "json", "anyway", "static", "embed", "open", "trust_remote_code", "view", "watch"}
SWITCHES |= {
    "newest_first",
    "race",
    "slurm_requeue",
    "fetch_python",
    "verbose",
    "stale",
    "all",
    "dataset_convert",
    "private",
    "dry_run",
}
"""Options that need no value: only the word ``true`` or ``false`` behind one is its value. Every boolean option of a
command must be among them (a test compares them), else it would take the command's argument for its value."""
COMPLETE = "__complete"
"""The hidden command of shell completion, whose words are not options: the shell's name, and the line so far."""
_TRUTH_VALUES = ("true", "false")


def expand(arguments: Sequence[str]) -> list[str]:
    """Return the command line with every option once, as ``--key=value`` (or ``--key``); the last one written counts.

    Raises:
        ConfigError: the file of ``--config_path`` cannot be used, or an option names a part of a field.
    """
    require_utf8(arguments)
    positional: list[str] = []
    options: dict[str, str | None] = {}
    for key, value in _split(arguments):
        if key is None:
            positional.append(value or "")
        else:
            options.pop(key, None)
            options[key] = value
    if _CONFIG_PATH in options:
        if not (path := options.pop(_CONFIG_PATH)):
            raise ConfigError(f"--{_CONFIG_PATH} needs the name of a file.")
        if gives_consent(fields := read_config_file(Path(path))):
            raise ConfigError(
                f"--{_CONFIG_PATH}: {path} holds {CONSENT}, which only the command line can give: {GIVE_CONSENT}."
            )
        options = {**dict(_flatten(fields)), **options}
    _require_whole_fields(options)
    options = {key: value and _as_json(value) for key, value in options.items()}
    return [*positional, *(f"--{key}" if value is None else f"--{key}={value}" for key, value in options.items())]


def _require_whole_fields(options: Iterable[str]) -> None:
    """Refuse an option for a part of a field of ``--env.*`` or ``--policy.*``, which are given as a whole.

    Raises:
        ConfigError: names the option, and the one to give instead.
    """
    for key in options:
        group, *rest = key.split(".")
        if group in _GROUPS_OF_FIELDS and len(rest) > 1:
            whole, part = f"--{group}.{rest[0]}", ".".join(rest[1:])
            raise ConfigError(f"--{key} is not an option; give {whole} as a whole: {whole}='{{\"{part}\": …}}'.")


def read_config_file(path: Path) -> dict[str, Any]:
    """Read a YAML or JSON file (JSON is YAML) with the same names as the command line, nested or dotted.

    Raises:
        ConfigError: the file cannot be read, is too large, or does not hold a mapping.
    """
    from proctor.config.strict_yaml import load_yaml

    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES + 1)  # the size of a pipe or a device is not known before
        if len(text) > _MAX_FILE_BYTES:
            raise ConfigError(f"--config_path: {path} is larger than {_MAX_FILE_BYTES} bytes.")
        content = load_yaml(text.decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"--config_path: {path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigError(f"--config_path: {path} is neither YAML nor JSON: {error}.") from None
    if not isinstance(content, dict):
        raise ConfigError(f"--config_path: {path} holds {type(content).__name__}; expected names and values.")
    return content


def _split(arguments: Sequence[str]) -> Iterator[tuple[str | None, str | None]]:
    """Give the key and the value of each option; the key of a positional argument is None."""
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == _OLD_PATH and rest:
            yield _renamed("-p", "policy.path"), rest.pop(0)
            continue
        if not argument.startswith("--") and not _BARE.match(argument):
            yield None, argument
            continue
        key, equals, value = argument.removeprefix("--").partition("=")
        key = key.replace("-", "_")
        if key in _OLD_NAMES:
            key = _renamed(f"--{key}", _OLD_NAMES[key])
        if equals:
            yield key, value
        elif rest and (rest[0] in _TRUTH_VALUES if key in SWITCHES else _is_value(rest[0])):
            yield key, rest.pop(0)
        else:
            yield key, None


def _renamed(old: str, new: str) -> str:
    note(f"{old} is an option of older LeRobots; it is taken as --{new}.")
    return new


def _as_json(value: str) -> str:
    """Rewrite a list or a mapping from YAML to JSON; return any other text unchanged."""
    if not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return json.dumps(read_value(value), ensure_ascii=False)
    except ConfigError:
        return value  # the command that takes the option reports what is wrong with it


def _is_value(argument: str) -> bool:
    return not _BARE.match(argument) and (not argument.startswith("-") or bool(_NEGATIVE.match(argument)))


def _flatten(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        key = f"{prefix}{name}".replace("-", "_")
        if isinstance(value, dict) and not prefix:
            yield from _flatten(value, f"{key}.")
        elif value is not None:
            yield key, value if isinstance(value, str) else json.dumps(value)
