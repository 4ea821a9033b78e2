"""A checkpoint: what is known of it from its files alone, and how to get the policy."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from proctor.errors import CheckpointError, ConfigError, MissingExtraError, note
from proctor.plugins import distributions_named
from proctor.policies.lerobot.contract import check_contract
from proctor.policies.lerobot.dropped import DROPPED_FIELDS
from proctor.policies.lerobot.files import ADAPTER_CONFIG, CONFIG, PREPROCESSOR, CheckpointFiles, read_files
from proctor.policies.lerobot.location import locate, pinned
from proctor.policies.lerobot.names import check_names
from proctor.policies.lerobot.normalisation import check_normalisation
from proctor.policies.lerobot.overrides import override, read_value
from proctor.policies.lerobot.policy_types import PolicyType, policy_type_of
from proctor.types import Features

if TYPE_CHECKING:
    from proctor.policies.lerobot.policy import LeRobotPolicy

_DEVICE = re.compile(r"cpu(,cpu)*|mps|(cuda|xpu)(:\d+)?|cuda:\d+(,cuda:\d+)+|xpu:\d+(,xpu:\d+)+")
_OURS = frozenset({"type", "path", "revision", "base_path", "device", "strict", "any_image_size"})
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
        pinned: fields of ``--policy.*`` that name this very checkpoint, also when a link or a revision has moved on.
        trust_remote_code: the user's consent to run the Python code of models that the checkpoint is built around.
        any_image_size: whether images of another size than the configuration declares are taken.
    """

    files: CheckpointFiles
    policy_type: PolicyType
    config: Mapping[str, Any]
    overrides: Mapping[str, Any]
    rename_map: Mapping[str, str]
    device: str | None = None
    strict: bool = True
    pinned: Mapping[str, Any] = field(default_factory=dict)
    trust_remote_code: bool = False
    any_image_size: bool = False
    changes: ClassVar[bool] = False
    """Whether what it opens may be another policy each time."""

    @property
    def unidentified(self) -> str:
        """The digest of its files identifies a checkpoint."""
        return ""

    @property
    def type(self) -> str:
        """The policy type: ``act``, ``diffusion``."""
        return str(self.config["type"])

    @property
    def n_action_steps(self) -> int:
        """Actions executed before the policy looks again."""
        return self.policy_type.n_action_steps(self.config)

    @property
    def chunk_size(self) -> int:
        """Actions of one prediction that could be executed."""
        return self.policy_type.executable_steps[0](self.config)

    @property
    def look_offsets(self) -> tuple[int, ...]:
        """The steps the policy sees when it looks, relative to the present."""
        return self.policy_type.look_offsets(self.config)

    @property
    def distributions(self) -> tuple[str, ...]:
        """Installed packages whose versions move results."""
        peft = ("peft",) if self.files.is_adapter else ()
        plug_ins = () if self._is_lerobots else distributions_named("lerobot_policy_")
        return ("lerobot", "torch", "torchvision", *self.policy_type.requires, *peft, *plug_ins)

    @property
    def _is_lerobots(self) -> bool:
        """Whether the policy's type comes with lerobot; a type of a plug-in does not say of which."""
        lerobot = importlib.util.find_spec("lerobot")
        places = () if lerobot is None else lerobot.submodule_search_locations or ()
        return any((Path(place) / "policies" / self.type).is_dir() for place in places)

    def check_contract(self, features: Features) -> None:
        """Compare what the policy expects with what an environment gives; possible before the policy is opened.

        Raises:
            ContractError: they do not fit; the message shows both sides.
        """
        steps = [str(step.get("registry_name") or step.get("class")).lower() for step in self.files.preprocessor or ()]
        resizes = self.policy_type.resizes_images(self.config) or any(
            "resize" in step or "crop" in step for step in steps
        )
        check_contract(self.config, features, self.rename_map, any_image_size=self.any_image_size or resizes)

    def fingerprint(self) -> Mapping[str, Any]:
        """What identifies the policy in a result. The device is the one asked for; None means the best there is."""
        saved = self.files.config
        changes = {name: value for name, value in self.config.items() if name not in saved or saved[name] != value}
        if self.any_image_size:
            changes["any_image_size"] = True
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
        return self.policy_type.episodes_per_pass

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


def load(
    fields: Mapping[str, Any], rename_map: Mapping[str, str] | None = None, *, trust_remote_code: bool = False
) -> Checkpoint:
    """A LeRobot checkpoint: ``--policy.path=<directory or Hub id>``.

    Its files are found and checked; neither torch nor lerobot is imported.
    ``path`` is a directory or a repository of the Hub, ``revision`` one of its revisions, ``base_path`` the checkpoint
    that an adapter belongs to, if it is not where the adapter says, ``device`` where inference runs, ``strict`` (true)
    whether weights must be exactly those that the configuration asks for, ``any_image_size`` (false) whether images
    may have another size than the configuration declares; every other field overrides one of the checkpoint's own
    configuration. Without a ``rename_map`` the one the checkpoint was trained with stays in force. Whatever the
    checkpoint names runs no code of its own, unless the user consents with ``trust_remote_code``.

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
    policy_type = fields.get("type", "lerobot")
    directory = locate(fields["path"], fields.get("revision"))
    check_names(directory)
    files = read_files(
        directory,
        policy_type=None if policy_type == "lerobot" else policy_type,
        base_path=fields.get("base_path"),
    )
    if policy_type not in ("lerobot", files.config["type"]):
        raise ConfigError(f"policy.type is '{policy_type}', but {fields['path']} is a '{files.config['type']}' policy.")
    strict, any_image_size = _switch(fields, "strict", default=True), _switch(fields, "any_image_size", default=False)
    overrides = _overrides(fields, files)
    # That a field had no use is certain only together with weights that fit.
    dropped = sorted(
        files.config.keys() & DROPPED_FIELDS.get(files.config["type"], ()) - overrides.keys() if strict else ()
    )
    _say_what_is_ignored(files, overrides, dropped)
    policy_type = policy_type_of({**files.config, **overrides})
    for package in ("lerobot", *policy_type.requires, *(("peft",) if files.is_adapter else ())):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "lerobot")
    config = override(files.config, overrides, policy_type)
    for name in dropped:
        del config[name]
    check_normalisation(files, config, overrides)
    return Checkpoint(
        files=files,
        policy_type=policy_type,
        config=config,
        overrides=overrides,
        rename_map=rename_map or _own_rename_map(files),
        device=device,
        strict=strict,
        pinned=pinned(fields["path"], files.directory),
        trust_remote_code=trust_remote_code,
        any_image_size=any_image_size,
    )


def _switch(fields: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = read_value(fields.get(name, default))
    if not isinstance(value, bool):
        raise ConfigError(f"policy.{name} is {value!r}; it is true or false.")
    return value


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


def _say_what_is_ignored(files: CheckpointFiles, overrides: Mapping[str, Any], dropped: Iterable[str]) -> None:
    if dropped:
        note(f"{files.directory / CONFIG}: LeRobot has dropped {', '.join(dropped)}, which had no use; it is ignored.")
    if files.config.get("use_peft") and not files.is_adapter and "use_peft" not in overrides:
        note(
            f"{files.directory / CONFIG} says use_peft, but there is no {ADAPTER_CONFIG}: the weights are evaluated as "
            "they are; if that is right, say --policy.use_peft=false."
        )


def _own_rename_map(files: CheckpointFiles) -> Mapping[str, str]:
    """The renaming the preprocessor was saved with."""
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
