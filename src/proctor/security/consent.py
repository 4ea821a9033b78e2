"""Consent to running code that is not installed here.

Consent is given by ``--trust_remote_code=true`` on a command line, or by the keyword ``trust_remote_code`` in Python,
for this one call. A file cannot give consent: neither a configuration file nor a run directory, which may come from
somebody else. Files record only that consent was given once.
"""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from proctor.child import extend_import_path, was_added
from proctor.config.structure import read_value
from proctor.errors import ConfigError

CONSENT = "trust_remote_code"
GIVE_CONSENT = f"--{CONSENT}=true"
ENVIRONMENT = "env:"
"""The beginning of an ``env.python`` that is the name of an environment of ``proctor env``, not a path."""
NOT_KEPT = "<not kept>"
"""Text that a run directory contains in place of consent."""

_REFUSED = ("", "0", "false", "no", "none", "null", "off")
_IN_TEXT = re.compile(rf"trust[-_ ]?remote[-_ ]?code\W*[:=]\W*(?!({'|'.join(_REFUSED[1:])})\b)\w", re.IGNORECASE)
_MAY_NAME_CODE = ("type", "function", "module", "task")


def is_consent(name: object) -> bool:
    """Return True if a field of this name gives consent, in any spelling: ``env.trust-remote-code``."""
    last = str(name).rpartition(".")[2]
    return re.sub(r"[\W_]", "", last).lower() == CONSENT.replace("_", "")


def gives_consent(value: Any) -> bool:
    """Return True if a field at any depth of ``value`` gives consent or records it, also inside a JSON or YAML text."""
    match value:
        case Mapping():
            return any(
                str(child).lower() not in _REFUSED if is_consent(name) else gives_consent(child)
                for name, child in value.items()
            )
        case list() | tuple():
            return any(map(gives_consent, value))
        case str():
            decoded = _decoded(value)
            return bool(_IN_TEXT.search(value)) if isinstance(decoded, str) else gives_consent(decoded)
    return False


def without_consent(value: Any, *, mark: bool = True) -> Any:
    """Return ``value`` for a file: consent in it is replaced by :data:`NOT_KEPT`, or left out if ``mark`` is False."""
    return _replaced(value, NOT_KEPT if mark else None)


def _replaced(value: Any, consent: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            name: consent if is_consent(name) and gives_consent({name: child}) else _replaced(child, consent)
            for name, child in value.items()
            if consent is not None or not is_consent(name)
        }
    if isinstance(value, str) and gives_consent(value):
        decoded = _decoded(value)
        return NOT_KEPT if isinstance(decoded, str) else _replaced(decoded, consent)
    return [_replaced(child, consent) for child in value] if isinstance(value, list | tuple) else value


def _decoded(text: str) -> Any:
    """Return the list or mapping in a JSON or YAML text; return any other text unchanged."""
    try:
        decoded = read_value(text)
    except (ConfigError, RecursionError):
        return text
    return decoded if isinstance(decoded, list | dict) else text


def of_run(config: Mapping[str, Any], command: str, *, consent: bool) -> dict[str, Any]:
    """Return a run directory's configuration for running it again by ``command``, with the consent given there.

    Raises:
        ConfigError: it needs consent and there is none; the message gives the command that consents.
    """
    if not consent and (code := uninstalled_code(config)):
        raise ConfigError(
            f"This run would execute code that is not installed here ({', '.join(code)}), and a run directory cannot "
            f"consent to that; read the code, and if you trust it, run: {command} {GIVE_CONSENT}"
        )
    if any(map(_is_here, _named_modules(config))):
        extend_import_path([str(Path.cwd())])
    again = {name: _replaced(value, consent) for name, value in config.items()}
    if isinstance(env := again.get("env"), dict):
        again["env"] = {name: value for name, value in env.items() if not is_consent(name)}
    return {**again, CONSENT: consent}


def uninstalled_code(config: Mapping[str, Any], *, on_import_path: bool = False) -> list[str]:
    """Describe the code that a run directory's configuration would execute although it is not installed here.

    The texts fit into a sentence. They name code that needs consent, an interpreter (``env.python``, which may be any
    program), and modules that only the working directory has;
    with ``on_import_path``, also modules on ``PYTHONPATH`` or of an editable installation.
    """
    env = config.get("env")
    repo, python = (env.get("repo"), env.get("python")) if isinstance(env, Mapping) else (None, None)
    asked = [f"of {repo}" if repo else f"{CONSENT} was given"] if gives_consent(config) else []
    asked += [f"the interpreter {python}"] if python and not str(python).startswith(ENVIRONMENT) else []
    modules = dict.fromkeys(_named_modules(config))
    return asked + [
        f"module {name}" for name in modules if _is_here(name) or (on_import_path and not _is_installed(name))
    ]


def _named_modules(config: Mapping[str, Any]) -> Iterator[str]:
    for group in ("env", "policy"):
        fields = config.get(group)
        for field, value in fields.items() if isinstance(fields, Mapping) else ():
            for word in str(value or "").split(",") if field in _MAY_NAME_CODE else ():
                module, colon, _ = word.strip().partition(":")
                if module and (colon or field == "module"):
                    yield module


def _spec_of(module: str) -> ModuleSpec | None:
    try:
        return find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return None


def _is_here(module: str) -> bool:
    """Return True if only the working directory, which the user has not put on the import path, has the module."""
    here, spec = str(Path.cwd()), _spec_of(module)
    if spec is None:
        return PathFinder.find_spec(module.partition(".")[0], [here]) is not None
    homes = {str(Path(place).parent) for place in spec.submodule_search_locations or [spec.origin or ""]}
    return here in homes and was_added(here)


def _is_installed(module: str) -> bool:
    """Return True if the module's location is Python's or an installed package's, or if there is nothing to run."""
    spec = _spec_of(module)
    if spec is None or spec.name == __name__.partition(".")[0]:
        return True
    places = [spec.origin or ""] if spec.has_location else spec.submodule_search_locations or []
    homes = [Path(home).resolve() for home in sysconfig.get_paths().values()]
    return all(any(Path(place).resolve().is_relative_to(home) for home in homes) for place in places)
