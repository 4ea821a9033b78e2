"""A checkpoint: what is known of it from its files alone, and how to get the policy."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from proctor.errors import ConfigError, MissingExtraError
from proctor.policies.lerobot.contract import check_contract
from proctor.policies.lerobot.families import Family, family_of
from proctor.policies.lerobot.files import CheckpointFiles, read_files
from proctor.policies.lerobot.location import locate
from proctor.policies.lerobot.overrides import override, read_value
from proctor.types import Features

if TYPE_CHECKING:
    from proctor.policies.lerobot.policy import LeRobotPolicy

_DEVICE = re.compile(r"cpu(,cpu)*|mps|(cuda|xpu)(:\d+)?|cuda:\d+(,cuda:\d+)+|xpu:\d+(,xpu:\d+)+")
_OURS = frozenset({"type", "path", "revision", "device", "strict"})
"""Fields of ``--policy.<field>`` that say where the checkpoint is and how it is taken, not how it is configured."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint whose files are in order. It is a :class:`~proctor.policies.base.PolicySource`.

    Attributes:
        config: the fields of its configuration, overrides included.
        overrides: those the user gave.
        rename_map: observation keys of the environment that have another name in the policy.
        device: where inference runs, several with commas; the best there is if None.
        strict: whether weights that are missing, or belong nowhere, are an error.
    """

    files: CheckpointFiles
    family: Family
    config: Mapping[str, Any]
    overrides: Mapping[str, Any]
    rename_map: Mapping[str, str]
    device: str | None = None
    strict: bool = True

    @property
    def type(self) -> str:
        """The policy type: ``act``, ``diffusion``."""
        return str(self.config["type"])

    @property
    def n_action_steps(self) -> int:
        """Actions executed before the policy looks again."""
        return self.family.n_action_steps(self.config)

    @property
    def chunk_size(self) -> int:
        """Actions of one prediction that could be executed."""
        return self.family.executable_steps[0](self.config)

    @property
    def look_offsets(self) -> tuple[int, ...]:
        """The steps the policy sees when it looks, relative to the present."""
        return self.family.look_offsets(self.config)

    @property
    def distributions(self) -> tuple[str, ...]:
        """Installed packages whose versions move results."""
        peft = ("peft",) if self.files.is_adapter else ()
        return ("lerobot", "torch", "torchvision", *self.family.requires, *peft)

    def check_contract(self, features: Features) -> None:
        """Compare what the policy expects with what an environment gives; possible before the policy is opened.

        Raises:
            ContractError: they do not fit; the message shows both sides.
        """
        steps = [str(step.get("registry_name") or step.get("class")).lower() for step in self.files.preprocessor or ()]
        any_size = self.family.resizes_images(self.config) or any("resize" in step or "crop" in step for step in steps)
        check_contract(self.config, features, self.rename_map, any_image_size=any_size)

    def fingerprint(self) -> Mapping[str, Any]:
        """What identifies the policy in a result. The device is the one asked for; None means the best there is."""
        saved = self.files.config
        changes = {name: value for name, value in self.config.items() if name not in saved or saved[name] != value}
        return {
            "type": self.type,
            "sha256": self._digest,
            "n_action_steps": self.n_action_steps,
            "overrides": changes,
            "rename_map": dict(self.rename_map),
            "device": self.device and self.device.partition(":")[0],
        }

    @property
    def episodes_per_pass(self) -> int:
        return self.family.episodes_per_pass

    @property
    def per_device(self) -> tuple[Checkpoint, ...]:
        """The checkpoint for each of its devices alone."""
        return (
            tuple(replace(self, device=device) for device in (self.device or "").split(",")) if self.device else (self,)
        )

    def open(self, n_threads: int) -> LeRobotPolicy:
        """Import torch and lerobot and build the policy on its (first) device. ``n_threads`` is the number of CPU
        threads of a forward pass.

        Raises:
            CheckpointError: the weights are not those of the configuration.
            ConfigError: an override or a device that is not to be had.
        """
        from proctor.policies.lerobot.model import build
        from proctor.policies.lerobot.policy import LeRobotPolicy

        first = self.per_device[0]
        policy = LeRobotPolicy(first, build(first), n_threads)
        if self.config.get("compile_model"):
            policy.compile()
        return policy

    @cached_property
    def _digest(self) -> str:
        return self.files.digest()


def load(fields: Mapping[str, Any], rename_map: Mapping[str, str] | None = None) -> Checkpoint:
    """A LeRobot checkpoint: ``--policy.path=<directory or Hub id>``.

    Its files are found and checked; neither torch nor lerobot is imported.
    ``path`` is a directory or a repository of the Hub, ``revision`` one of its revisions, ``device`` where inference
    runs, ``strict`` (true) whether weights must be exactly those that the configuration asks for; every other field
    overrides one of the checkpoint's own configuration. Without a ``rename_map`` the one the checkpoint was trained
    with stays in force.

    Raises:
        CheckpointError: there is no whole checkpoint; names the file, the reason and what to do.
        ConfigError: a field that does not exist, or a value it cannot have.
    """
    if sys.flags.optimize > 1:
        raise ConfigError(
            "PYTHONOPTIMIZE=2 (python -OO) takes away the docstrings that LeRobot's libraries read; leave it out."
        )
    fields = {name.replace("-", "_"): value for name, value in fields.items()}
    if not isinstance(fields.get("path"), str):
        raise ConfigError("policy.path is missing; give a directory or a Hub id: --policy.path=user/repo")
    device = fields.get("device")
    if device is not None and not _DEVICE.fullmatch(str(device)):
        raise ConfigError(
            f"policy.device is '{device}'; it is cpu, cuda, cuda:<number>, mps or xpu, or several: cuda:0,cuda:1."
        )
    files = read_files(locate(fields["path"], fields.get("revision")))
    if fields.get("type", "lerobot") not in ("lerobot", files.config["type"]):
        raise ConfigError(
            f"policy.type is '{fields['type']}', but {fields['path']} is a '{files.config['type']}' policy."
        )
    strict = read_value(fields.get("strict", True))
    if not isinstance(strict, bool):
        raise ConfigError(f"policy.strict is {strict!r}; it is true or false.")
    overrides = _overrides(fields, files)
    family = family_of({**files.config, **overrides})
    for package in ("lerobot", *family.requires, *(("peft",) if files.is_adapter else ())):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "lerobot")
    return Checkpoint(
        files=files,
        family=family,
        config=override(files.config, overrides, family),
        overrides=overrides,
        rename_map=rename_map or _own_rename_map(files),
        device=device,
        strict=strict,
    )


def _overrides(fields: Mapping[str, Any], files: CheckpointFiles) -> dict[str, Any]:
    """The fields that change the configuration, by their name in it."""
    overrides = {name: read_value(value) for name, value in fields.items() if name not in _OURS}
    if "compile" in overrides:
        overrides["compile_model"] = overrides.pop("compile")
        if "compile_model" not in files.config:
            raise ConfigError(
                f"policy.compile: LeRobot cannot compile a '{files.config['type']}' policy; leave it out."
            )
    if overrides.get("use_peft", files.is_adapter) != files.is_adapter:
        kind = "is" if files.is_adapter else "is not"
        raise ConfigError(f"policy.use_peft is {overrides['use_peft']}, but {files.directory} {kind} a PEFT adapter.")
    return overrides


def _own_rename_map(files: CheckpointFiles) -> Mapping[str, str]:
    """The renaming the preprocessor was saved with."""
    for step in files.preprocessor or ():
        if step.get("registry_name") == "rename_observations_processor":
            return dict(step.get("config", {}).get("rename_map") or {})
    return {}
