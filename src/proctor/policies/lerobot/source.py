"""A LeRobot policy that may still have to be loaded: a checkpoint, and the source of its weights."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from proctor.child.loading import without_garbage_collection
from proctor.errors import CheckpointError, ConfigError, MissingExtraError, note
from proctor.policies.lerobot.checkpoint import Checkpoint
from proctor.policies.lerobot.dropped import DROPPED_FIELDS
from proctor.policies.lerobot.files import ADAPTER_CONFIG, CONFIG, PREPROCESSOR, CheckpointFiles, read_files
from proctor.policies.lerobot.imports import import_for
from proctor.policies.lerobot.location import locate, pinned
from proctor.policies.lerobot.names import check_names
from proctor.policies.lerobot.normalisation import check_normalisation
from proctor.policies.lerobot.overrides import override, read_value
from proctor.policies.lerobot.policy_types import PolicyType, policy_type_of
from proctor.policies.lerobot.steps import has_relative_actions
from proctor.results.audit import Training
from proctor.types import Features

if TYPE_CHECKING:
    from proctor.policies.lerobot.model import Loaded
    from proctor.policies.lerobot.policy import LeRobotPolicy

_DEVICE = re.compile(r"cpu(,cpu)*|mps|(cuda|xpu)(:\d+)?|cuda:\d+(,cuda:\d+)+|xpu:\d+(,xpu:\d+)+")
_OURS = frozenset({"type", "path", "revision", "base_path", "device", "strict", "any_image_size", "autocast"})
"""The fields of ``--policy.<field>`` that select a checkpoint and its loading; others override its configuration."""
_COMPILE = "compile"
"""The field that has another name in the configuration, or none."""


class Weights(Protocol):
    """The source of a policy's weights: files, or an object."""

    @property
    def change(self) -> bool:
        """Say whether the weights may differ the next time that they are loaded."""

    @property
    def sources(self) -> tuple[type, ...]:
        """Classes, besides LeRobot's and Proctor's, that make the actions."""

    def digest(self) -> str:
        """Give a SHA-256 that identifies the weights as they are now."""

    def frozen(self) -> Weights:
        """Give the weights as they are now, which nothing changes any more."""

    def load(self, checkpoint: Checkpoint) -> Loaded:
        """Make the policy of a checkpoint, on its device. Imports torch and lerobot."""


class FileWeights:
    """The weights in a checkpoint's own files."""

    change = False
    sources = ()

    def __init__(self, files: CheckpointFiles) -> None:
        self._files = files

    def digest(self) -> str:
        """Give a digest of all files of the checkpoint. They are read once."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return self._files.digest()

    def frozen(self) -> FileWeights:
        """Give the same: what was read of the files does not change."""
        return self

    def load(self, checkpoint: Checkpoint) -> Loaded:
        """See :func:`~proctor.policies.lerobot.model.build`."""
        from proctor.policies.lerobot.model import build

        return build(checkpoint)


@dataclass(frozen=True)
class LeRobotSource:
    """A LeRobot policy before it is loaded, a :class:`~proctor.policies.base.PolicySource`."""

    checkpoint: Checkpoint
    weights: Weights

    @property
    def look_offsets(self) -> tuple[int, ...]:
        return self.checkpoint.look_offsets

    @property
    def n_action_steps(self) -> int:
        return self.checkpoint.n_action_steps

    @property
    def episodes_per_pass(self) -> int:
        return self.checkpoint.episodes_per_pass

    @property
    def distributions(self) -> tuple[str, ...]:
        return self.checkpoint.distributions

    @property
    def sources(self) -> tuple[type, ...]:
        return self.weights.sources

    @property
    def pinned(self) -> Mapping[str, Any]:
        return self.checkpoint.pinned

    @property
    def unidentified(self) -> str:
        """The digest of its weights identifies the policy."""
        return ""

    def check_contract(self, features: Features) -> None:
        self.checkpoint.check_contract(features)

    def fingerprint(self) -> Mapping[str, Any]:
        """See :meth:`Checkpoint.fingerprint`."""
        return self.checkpoint.fingerprint(self.weights.digest())

    def training(self) -> Training | None:
        """Give what the checkpoint's files tell of its training; None if they do not tell."""
        return self.checkpoint.training()

    @property
    def per_device(self) -> tuple[LeRobotSource, ...]:
        """The policy for each of its devices alone."""
        return tuple(replace(self, checkpoint=checkpoint) for checkpoint in self.checkpoint.per_device)

    def snapshot(self) -> LeRobotSource:
        """Give the policy as it is now, whatever becomes of an object that it was made from."""
        return replace(self, weights=self.weights.frozen())

    def open(self, n_threads: int) -> LeRobotPolicy:
        """Import torch and lerobot and build the policy on its (first) device. ``n_threads`` is the number of CPU
        threads of a forward pass.

        Raises:
            CheckpointError: the weights are not those of the configuration.
            ConfigError: an override that the configuration does not accept, or a device that this machine has not.
        """
        first = self.per_device[0]
        with without_garbage_collection():
            import_for(first.checkpoint)
            from proctor.policies.lerobot.policy import LeRobotPolicy

            loaded = self.weights.load(first.checkpoint)
        policy = LeRobotPolicy(first.checkpoint, loaded, n_threads, source=first, changes=self.weights.change)
        if first.checkpoint.compiles:
            policy.compile()
        return policy


def load(
    fields: Mapping[str, Any], rename_map: Mapping[str, str] | None = None, *, trust_remote_code: bool = False
) -> LeRobotSource:
    """A LeRobot checkpoint: ``--policy.path=<directory or Hub id>``.

    Its files are found and checked; neither torch nor lerobot is imported.
    ``path`` is a directory or a repository of the Hub, ``revision`` one of its revisions, ``base_path`` the checkpoint
    that an adapter belongs to, in place of the one that it names, ``device`` where inference runs, ``strict`` (true)
    whether weights must be exactly those that the configuration asks for, ``any_image_size`` (false) whether images
    may have another size than the configuration declares, ``autocast`` the type (``bfloat16``, ``float16``) in which
    PyTorch computes what bears it, with last digits that differ; every other field overrides one of the checkpoint's
    own configuration. Without a ``rename_map`` the one the checkpoint was trained with stays in force. Whatever the
    checkpoint names runs no code of its own, unless the user consents with ``trust_remote_code``.

    Raises:
        CheckpointError: the checkpoint is missing or broken; the message names the file, the reason and what to do.
        ConfigError: a field does not exist, or has a value that it cannot have.
    """
    fields = _checked(fields)
    files = _files_of(fields)
    strict, any_image_size = _switch(fields, "strict", default=True), _switch(fields, "any_image_size", default=False)
    overrides = _overrides(fields, files)
    # Only if the weights fit exactly is it certain that a dropped field had no use.
    dropped = sorted(
        files.config.keys() & DROPPED_FIELDS.get(files.config["type"], ()) - overrides.keys() if strict else ()
    )
    _note_ignored_fields(files, overrides, dropped)
    wanted = {**files.config, **overrides}
    policy_type = policy_type_of(wanted, relative_actions=has_relative_actions(files, wanted, overrides))
    _require_packages(policy_type, files)
    compiles_network = _compiles_network(files, overrides, policy_type)
    config = override(files.config, overrides, policy_type)
    for name in dropped:
        del config[name]
    check_normalisation(files, config, overrides)
    checkpoint = Checkpoint(
        files=files,
        policy_type=policy_type,
        config=config,
        overrides=overrides,
        rename_map=rename_map or _own_rename_map(files),
        device=fields.get("device"),
        strict=strict,
        pinned=pinned(fields["path"], files.directory),
        trust_remote_code=trust_remote_code,
        any_image_size=any_image_size,
        autocast=_autocast(fields.get("autocast")),
        compiles_network=compiles_network,
    )
    return LeRobotSource(checkpoint, FileWeights(files))


def _checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Give the fields under their names in Python, once those that say where the policy is and runs are right."""
    if sys.flags.optimize > 1:
        raise ConfigError(
            "PYTHONOPTIMIZE=2 (python -OO) takes away the docstrings that LeRobot's libraries read; leave it out."
        )
    checked = {name.replace("-", "_"): value for name, value in fields.items()}
    if (revision := checked.pop("pretrained_revision", None)) is not None:
        checked.setdefault("revision", revision)  # LeRobot's name; a run that was planned has its commit in the path
    if not isinstance(checked.get("path"), str):
        raise ConfigError("policy.path is missing; give a directory or a Hub id: --policy.path=user/repo")
    device = checked.get("device")
    if device is not None and not _DEVICE.fullmatch(str(device)):
        raise ConfigError(
            f"policy.device is '{device}'; it is cpu, cuda, cuda:<number>, mps or xpu, or several: cuda:0,cuda:1."
        )
    return checked


def _files_of(fields: Mapping[str, Any]) -> CheckpointFiles:
    """Find and read the checkpoint's files, and see that they are of the type that the user names, if any."""
    name = fields.get("type", "lerobot")
    directory = locate(fields["path"], fields.get("revision"))
    check_names(directory)
    files = read_files(directory, policy_type=None if name == "lerobot" else name, base_path=fields.get("base_path"))
    if name not in ("lerobot", files.config["type"]):
        raise ConfigError(f"policy.type is '{name}', but {fields['path']} is a '{files.config['type']}' policy.")
    return files


def _require_packages(policy_type: PolicyType, files: CheckpointFiles) -> None:
    for package in ("lerobot", *policy_type.requires, *(("peft",) if files.is_adapter else ())):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "lerobot")


def _switch(fields: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = read_value(fields.get(name, default))
    if not isinstance(value, bool):
        raise ConfigError(f"policy.{name} is {value!r}; it is true or false.")
    return value


def _compiles_network(files: CheckpointFiles, overrides: dict[str, Any], policy_type: PolicyType) -> bool:
    """Take ``compile`` out of the overrides of a type that LeRobot does not compile; say whether Proctor is to."""
    wanted = _switch({"compile": overrides.pop(_COMPILE, False)}, "compile", default=False)
    if wanted and policy_type.network is None:
        raise ConfigError(f"policy.compile: a '{files.config['type']}' policy cannot be compiled; leave it out.")
    return wanted


def _autocast(value: Any) -> str | None:
    if value is not None and value not in ("bfloat16", "float16"):
        raise ConfigError(f"policy.autocast is {value!r}; it is bfloat16 or float16, or left out for full precision.")
    return None if value is None else str(value)


def _overrides(fields: Mapping[str, Any], files: CheckpointFiles) -> dict[str, Any]:
    """Give the user's fields that change the configuration, by their name in it."""
    overrides = {name: read_value(value) for name, value in fields.items() if name not in _OURS}
    if _COMPILE in overrides:
        value = overrides.pop(_COMPILE)
        overrides["compile_model" if "compile_model" in files.config else _COMPILE] = value
    if overrides.get("use_peft", files.is_adapter) != files.is_adapter:
        kind = "is" if files.is_adapter else "is not"
        raise ConfigError(f"policy.use_peft is {overrides['use_peft']}, but {files.directory} {kind} a PEFT adapter.")
    return overrides


def _note_ignored_fields(files: CheckpointFiles, overrides: Mapping[str, Any], dropped: Iterable[str]) -> None:
    if dropped:
        note(f"{files.directory / CONFIG}: LeRobot has dropped {', '.join(dropped)}, which had no use; it is ignored.")
    if files.config.get("use_peft") and not files.is_adapter and "use_peft" not in overrides:
        note(
            f"{files.directory / CONFIG} has use_peft, but there is no {ADAPTER_CONFIG}: the weights are evaluated as "
            "they are; if that is right, give --policy.use_peft=false."
        )


def _own_rename_map(files: CheckpointFiles) -> Mapping[str, str]:
    """Read the renaming that the preprocessor was saved with."""
    for step in files.preprocessor or ():
        if step.get("registry_name") == "rename_observations_processor":
            renamed = step.get("config", {}).get("rename_map") or {}
            if not isinstance(renamed, dict) or not all(isinstance(name, str) for name in renamed.values()):
                raise CheckpointError(
                    f"{files.directory / PREPROCESSOR} has the rename_map {renamed!a:.80}; it must be an object of "
                    "texts, old name to new name."
                )
            return renamed
    return {}
