"""Checks the arguments of the Python API as the command line's options are checked: one sentence for each mistake."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium

from proctor.benchmarks.base import Benchmark
from proctor.config import EnvConfig
from proctor.errors import ConfigError, did_you_mean
from proctor.plugins import BENCHMARKS, POLICIES, installed, load_object
from proctor.policies.base import AnyPolicy, is_policy, require_policy
from proctor.policies.function import FunctionPolicy
from proctor.policies.lerobot import configured
from proctor.policies.lerobot.live import live_policy

_METHODS = ("predict", "infer", "select_action", "act", "get_action")
"""Names under which libraries have the method that gives actions."""
_A_POLICY = (
    "a policy is a checkpoint's path or Hub id, the fields of --policy.* as a dict, a LeRobot policy, a proctor.Policy "
    "or a function from an observation to actions"
)
_AN_ENV = "env is a benchmark's name or the fields of --env.* as a dict, such as {'type': 'pusht'}"
_ADDRESS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_MAKES_ENVS = "Proctor makes the environments itself, one per worker"


def plain(value: Any) -> Any:
    """Convert ``value`` to JSON's types: numpy's numbers and arrays to Python's, paths to text, tuples to lists."""
    match value:
        case Mapping():
            return {str(key): plain(each) for key, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
        case os.PathLike():
            return os.fspath(value)
        case _ if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
            return value.tolist()
    return value


def whole_number(name: str, value: Any, minimum: int) -> int:
    """Return ``value`` if it is a whole number of at least ``minimum``, of Python or numpy.

    Raises:
        ConfigError: it is not.
    """
    number = plain(value)
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if not isinstance(number, int) or isinstance(number, bool):
        raise ConfigError(f"{name} is {_shown(value)}; it is a whole number.")
    if number < minimum:
        raise ConfigError(f"{name} is {number}; it must be at least {minimum}.")
    return number


def switch(name: str, value: Any) -> bool:
    """Return ``value`` if it is a boolean, of Python or numpy.

    Raises:
        ConfigError: it is not.
    """
    given = plain(value)
    if not isinstance(given, bool):
        raise ConfigError(f"{name} is {_shown(value)}; it is True or False.")
    return given


def path_text(name: str, value: Any) -> str | None:
    """Return a path as text; None if ``value`` is None.

    Raises:
        ConfigError: it is not a path.
    """
    if value is None or (isinstance(value, str | Path) and str(value)):
        return None if value is None else str(value)
    raise ConfigError(f"{name} is {_shown(value)}; it is a path, or None.")


def names(name: str, value: Any) -> dict[str, str]:
    """Return a dict from names to names; an empty one if ``value`` is None.

    Raises:
        ConfigError: it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for pair in value.items() for each in pair):
        raise ConfigError(f"{name} is {_shown(value)}; it is a dict from names to names.")
    return dict(value)


def policy_of(
    policy: Any,
    preprocessor: Any = None,
    postprocessor: Any = None,
    rename_map: Mapping[str, str] | None = None,
    device: str | None = None,
) -> dict[str, Any] | AnyPolicy:
    """Return the fields of ``--policy.*`` that describe a policy, or the policy itself if it is an object.

    A LeRobot policy object that is on another device than ``device`` is copied there.

    Raises:
        ConfigError: the argument is not a policy; the message says what it is, and what to give.
    """
    if not is_policy(policy):
        live = live_policy(policy, preprocessor, postprocessor, rename_map, device)
        if live is not None:
            return live
    if preprocessor is not None or postprocessor is not None or device is not None:
        raise ConfigError(
            f"preprocessor, postprocessor and device belong to a LeRobot policy object, and policy is {_shown(policy)}."
            + (" A checkpoint's device is a field: {'path': …, 'device': 'cuda:1'}." if device is not None else "")
        )
    if (described := configured.fields_of(policy)) is not None:
        return described
    match policy:
        case str() if policy:
            return _path_fields(policy)
        case os.PathLike():
            return {"path": _existing(Path(policy))}
        case Mapping():
            return _policy_fields(policy)
    return _policy_object(policy)


def _policy_object(policy: Any) -> AnyPolicy:
    if isinstance(policy, type):
        raise ConfigError(f"policy is the class {policy.__name__}, not an instance of it; {_A_POLICY}.")
    if is_policy(policy):
        return require_policy(policy, "policy is")
    if _is_environment(policy):
        raise ConfigError(f"policy is the environment {_shown(policy)}; the policy comes first: evaluate(policy, env).")
    if callable(policy):
        return FunctionPolicy(policy)
    raise ConfigError(f"policy: {_shown(policy)} is not callable; {_policy_hint(policy)}")


def env_fields(env: Any) -> dict[str, Any]:
    """Return the fields of ``--env.*`` that describe a benchmark, from its name, a dict or a configuration.

    Raises:
        ConfigError: the argument does not describe one; the message says what it is, and what to give.
    """
    match env:
        case str() if env:
            return _named(env)
        case Mapping() if all(isinstance(value, Mapping) for value in env.values()) and env:
            raise ConfigError(f"env is what make_env returned; give what make_env was given: {_AN_ENV}.")
        case Mapping():
            return _with_text_keys("env", env)
        case EnvConfig() | Benchmark():
            return dict(plain(asdict(env.config if isinstance(env, Benchmark) else env)))
        case os.PathLike():
            raise ConfigError(f"env is the path {os.fspath(env)}; {_AN_ENV}.")
        case type():
            raise ConfigError(f"env is the class {env.__name__}; {_AN_ENV}.")
    if (described := _fields_of_foreign(env)) is not None:
        return described
    raise ConfigError(_no_benchmark(env))


def _fields_of_foreign(configuration: Any) -> dict[str, Any] | None:
    """Find a benchmark that knows another library's configuration object, and give its fields; None if none does."""
    for point in installed(BENCHMARKS).values():
        try:
            found = load_object(point.value).fields_of(configuration)
        except (ConfigError, AttributeError):  # a plug-in that cannot be imported is not what the user asked for
            continue
        if found is not None:
            return dict(plain(found))
    return None


def _no_benchmark(env: Any) -> str:
    """Say what an object is that describes no benchmark, and what to give."""
    if _is_environment(env):
        return f"env is the environment {_shown(env)}, and {_MAKES_ENVS}: {_instead_of(env)}."
    if callable(env):
        return (
            f"env is the function {_shown(env)}, and {_MAKES_ENVS}: give what it makes as a configuration, such as "
            "{'type': 'gymnasium', 'task': <a registered id>, 'module': <the module that registers it>}."
        )
    return f"env is {_shown(env)}; {_AN_ENV}."


def vector_env(env: Any) -> Any:
    """Return ``env`` if it is a vector environment: Gymnasium's, or an object with the same members, as LeRobot has.

    Raises:
        ConfigError: it is not; the message says what to give.
    """
    if isinstance(env, gymnasium.vector.VectorEnv) or (_is_environment(env) and hasattr(env, "num_envs")):
        return env
    if isinstance(env, Mapping):
        raise ConfigError("env is a dict; give one vector environment, such as make_env('pusht')['pusht'][0].")
    if isinstance(env, gymnasium.Env):
        raise ConfigError(
            f"env is the single environment {_shown(env)}; give a vector environment: "
            "gymnasium.vector.SyncVectorEnv([lambda: env])."
        )
    raise ConfigError(f"env is {_shown(env)}; give a vector environment, such as make_env('pusht')['pusht'][0].")


def _named(env: str) -> dict[str, Any]:
    if "/" in env and ":" not in env and env not in gymnasium.registry:
        return {"type": "hub", "repo": env}
    if env in gymnasium.registry:
        raise ConfigError(f"'{env}' is not a benchmark but a Gymnasium id: {{'type': 'gymnasium', 'task': '{env}'}}.")
    return {"type": env}


def _path_fields(policy: str) -> dict[str, Any]:
    """Take a text for a path or a Hub id, and refuse the name of a policy, a benchmark or a function."""
    if not os.path.exists(policy):  # noqa: PTH110 - any text
        if policy in installed(POLICIES):
            raise ConfigError(f"policy is '{policy}', but a text is a checkpoint's path; give {{'type': '{policy}'}}.")
        if policy in installed(BENCHMARKS):
            raise ConfigError(f"policy is the benchmark '{policy}'; the policy comes first: evaluate(policy, env).")
        if _ADDRESS.fullmatch(policy):
            raise ConfigError(
                f"policy is '{policy}', but a text is a checkpoint's path; give the function itself, or "
                f"{{'type': 'function', 'function': '{policy}'}}."
            )
    return {"path": policy}


def _policy_fields(policy: Mapping[str, Any]) -> dict[str, Any]:
    fields = _with_text_keys("policy", policy)
    kind = fields.get("type")
    if kind in installed(BENCHMARKS) and kind not in installed(POLICIES):
        raise ConfigError(f"policy is the benchmark '{kind}'; the policy comes first: evaluate(policy, env).")
    if fields and not fields.get("path") and not kind:
        given = list(fields)
        hint = did_you_mean(given[0], ["path", "type"]) if len(given) == 1 else ""
        raise ConfigError(
            f"policy is a dict that has {', '.join(given[:3])}{', …' if len(given) > 3 else ''}, and neither 'path' "
            "nor 'type'; it holds the fields of --policy.*, such as {'path': <checkpoint>} or {'type': 'random'}."
            + hint
        )
    return fields


def _with_text_keys(name: str, fields: Mapping[Any, Any]) -> dict[str, Any]:
    for key in fields:
        if not isinstance(key, str):
            raise ConfigError(f"{name} is a dict with the key {_shown(key)}; its keys are names of fields.")
    return dict(plain(fields))


def _existing(path: Path) -> str:
    if not os.path.exists(os.path.expanduser(path)):  # noqa: PTH110 - any path
        raise ConfigError(f"policy is the path {path}, which does not exist; a Hub id is given as text.")
    return str(path)


def _is_environment(value: Any) -> bool:
    """Say whether ``value`` is an environment of Gymnasium or of the old Gym, or a vector of them."""
    return not isinstance(value, type) and all(
        hasattr(value, name) for name in ("reset", "step", "action_space", "observation_space")
    )


def _instead_of(env: Any) -> str:
    spec = getattr(env, "spec", None)
    if (name := getattr(spec, "id", None)) is None:
        return _AN_ENV
    return f"give {{'type': 'gymnasium', 'task': '{name}'}}"


def _policy_hint(policy: Any) -> str:
    if isinstance(policy, list | tuple):
        return "give one policy, its processors as preprocessor=… and postprocessor=…."
    for name in _METHODS:
        if callable(getattr(policy, name, None)):
            return f"give a function that calls it, such as lambda observation: policy.{name}(observation)."
    return f"{_A_POLICY}."


def _shown(value: Any) -> str:
    """Describe a value in a sentence: a short one by itself, another one by its kind."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        text = repr(value)
        return text if len(text) <= 60 else f"{text[:57]}…"
    if isinstance(value, list | tuple | dict):
        kinds = ", ".join(dict.fromkeys(type(each).__name__ for each in value))
        return f"a {type(value).__name__} of {len(value)}{f' ({kinds})' if kinds else ''}"
    if isinstance(value, gymnasium.Env):
        return str(value)[:80]
    name = getattr(value, "__name__", None)
    return str(name) if name else f"a {type(value).__name__}"
