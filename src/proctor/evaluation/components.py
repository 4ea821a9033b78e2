"""The two things an evaluation is made of: a benchmark and a policy, made from what the user gave."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from proctor.benchmarks.base import Benchmark
from proctor.benchmarks.elsewhere import address_of, construct
from proctor.child.other_python import find_interpreter
from proctor.config.lerobot_flags import without_lerobots
from proctor.config.structure import read_value
from proctor.errors import ConfigError
from proctor.interpreters.choice import fields_by_recipe, interpreter_for, interpreter_named
from proctor.machine.home import prepare_surroundings
from proctor.plugins import BENCHMARKS, POLICIES, find, installed, load_object
from proctor.policies.base import AnyPolicy, require_policy
from proctor.security.consent import CONSENT, GIVE_CONSENT, gives_consent, is_consent
from proctor.security.foreign_code import refuse_while_importing, refusing_exits


def make_benchmark(fields: Mapping[str, Any], *, trust_remote_code: bool = False) -> tuple[Benchmark, str]:
    """Make the benchmark that ``--env.*`` describes, and find the address of its class, ``module:attribute``.

    Consent to running foreign code is passed to a benchmark whose configuration has a field for it.

    Raises:
        ConfigError: no benchmark is named, or there is none of that name; its configuration is wrong; ``fields`` try to
            give consent themselves.
        MissingExtraError: a package that the benchmark needs is not installed.
    """
    refuse_while_importing()
    prepare_surroundings()
    if gives_consent({name: value for name, value in fields.items() if is_consent(name)}):
        raise ConfigError(f"env.{CONSENT} gives no consent; give {GIVE_CONSENT} itself ({CONSENT}=True in Python).")
    fields = {name: value for name, value in fields.items() if not is_consent(name)}
    name = fields.get("type")
    if not name:
        raise ConfigError(f"Which benchmark? Give --env.type, one of {', '.join(sorted(installed(BENCHMARKS)))}.")
    if (fields_elsewhere := _fields_of_another(str(name), fields)) is not None:
        fields = fields_elsewhere
    fields = {**fields, "python": interpreter_of(str(fields["type"]), fields)}
    address = address_of(str(fields["type"]), fields["python"])
    return construct(address, fields, trust_remote_code=trust_remote_code), address


def interpreter_of(name: str, fields: Mapping[str, Any]) -> str | None:
    """Say under which Python the simulators of the benchmark ``name`` run: its path, None for the one of this process.

    This is the one place where that is decided; ``fields`` are those of ``--env.*``. ``env.python`` comes first, which
    may name an environment of ``proctor env``; then this process's own, if it has all that the benchmark needs; then
    the environment that was created for the benchmark.

    Raises:
        ConfigError: ``env.python`` names no Python that can run workers.
    """
    given = read_value(fields.get("python"))
    chosen = interpreter_for(name, fields) if given is None else interpreter_named(str(given))
    return None if chosen is None else find_interpreter(chosen)


def _fields_of_another(name: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """Find a recipe or a benchmark that runs ``name`` as one of its tasks, and give its fields; None if there is none.

    Raises:
        ConfigError: a recipe is for ``name``, and its environment is not created.
    """
    if ":" in name or name in installed(BENCHMARKS):
        return None
    found: dict[str, Any] | None = fields_by_recipe(name, fields)
    if found is not None:
        return found
    for point in installed(BENCHMARKS).values():
        try:
            found = load_object(point.value).fields_for(name, fields)
        except (ConfigError, AttributeError):  # a plug-in that cannot be imported is not what the user asked for
            continue
        if found is not None:
            return found
    return None


def load_policy(
    fields: Mapping[str, Any], rename_map: Mapping[str, str] | None = None, *, trust_remote_code: bool = False
) -> AnyPolicy:
    """Make the policy that ``--policy.*`` describes, without loading its weights.

    Consent to running foreign code is passed to a loader that has a parameter for it.

    Raises:
        ConfigError: no policy is named, or there is none of that name; its fields are wrong, or its loader returned
            something that is not a policy.
        CheckpointError: the checkpoint is missing, incomplete or corrupt.
        MissingExtraError: a package that the policy needs is not installed.
    """
    prepare_surroundings()
    if not fields.get("path") and not fields.get("type"):
        raise ConfigError(
            "Which policy? Give --policy.path=<checkpoint>, or --policy.type, one of "
            f"{', '.join(sorted(set(installed(POLICIES)) - {'lerobot'}))}."
        )
    address = policy_loader(fields)
    loader = load_object(address)
    if not callable(loader):
        raise ConfigError(f"{address} is not callable; name a function that takes the fields of --policy.*.")
    named = {name.replace("-", "_"): value for name, value in without_lerobots("policy", fields, known=()).items()}
    asks = trust_remote_code and "trust_remote_code" in inspect.signature(loader).parameters
    with refusing_exits("The policy cannot be loaded"):
        policy = loader(named, rename_map or None, **({"trust_remote_code": True} if asks else {}))
    return require_policy(policy, f"{address} returned")


def policy_loader(fields: Mapping[str, Any]) -> str:
    """Find the address of the function that makes the policy, ``module:attribute``.

    Raises:
        ConfigError: there is no policy of that type, or it is a type of checkpoints, and no checkpoint is given.
    """
    if fields.get("path"):
        return find(POLICIES, "lerobot")
    from proctor.policies.lerobot.policy_types import POLICY_TYPES

    name = str(fields["type"])
    if name in POLICY_TYPES and name not in installed(POLICIES):
        checkpoint = fields.get("pretrained_path") or "CHECKPOINT (a directory or a Hub id)"
        raise ConfigError(
            f"'{name}' is the type of a LeRobot checkpoint and no policy type of Proctor; give the checkpoint in its "
            f"place: --policy.path={checkpoint}"
        )
    return find(POLICIES, name)
