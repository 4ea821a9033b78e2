"""A checkpoint: all that is known of it from its files alone. Importing this imports neither torch nor lerobot."""

from __future__ import annotations

import importlib.util
import os.path
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from proctor.plugins import distributions_named
from proctor.policies.lerobot.contract import check_contract
from proctor.policies.lerobot.files import CheckpointFiles
from proctor.policies.lerobot.policy_types import PolicyType
from proctor.policies.lerobot.real_time import is_real_time
from proctor.policies.lerobot.training_statistics import training_or_none
from proctor.results.audit import Training
from proctor.types import Features


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint whose files are in order, or a policy object that was written down as one.

    Attributes:
        files: its files, which have been read and checked.
        policy_type: what an evaluator has to know about its type.
        config: the fields of its configuration, overrides included.
        overrides: the fields of the configuration that the user gave.
        rename_map: observation keys of the environment that have another name in the policy.
        device: where inference runs, several devices with commas; the best device of the machine if None.
        strict: whether weights that are missing, or that no part of the policy asks for, are an error.
        pinned: fields of ``--policy.*`` that name this very checkpoint, also when a link or a revision has moved on.
        trust_remote_code: the user's consent to run the Python code of models that the checkpoint is built around.
        any_image_size: whether images of another size than the configuration declares are taken.
        autocast: the type in which PyTorch computes what bears it, ``bfloat16`` or ``float16``; None for float32.
        compiles_network: whether Proctor compiles the network, because LeRobot has no ``compile_model`` for it.
        known_training: what the files tell of the training, if the files do not stay; else they are read when asked.
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
    autocast: str | None = None
    compiles_network: bool = False
    known_training: Training | None = None

    def training(self) -> Training | None:
        """Give what the checkpoint's files tell of its training; None if a file is gone."""
        return self.known_training or training_or_none(self.files, self.config, self.rename_map)

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
        """The installed packages on whose versions results depend."""
        peft = ("peft",) if self.files.is_adapter else ()
        plug_ins = () if self._is_lerobots else distributions_named("lerobot_policy_")
        return ("lerobot", "torch", "torchvision", *self.policy_type.requires, *peft, *plug_ins)

    @property
    def _is_lerobots(self) -> bool:
        """Say whether lerobot itself has the policy's type; the plug-in that another type comes from is not known."""
        lerobot = importlib.util.find_spec("lerobot")
        places = () if lerobot is None else lerobot.submodule_search_locations or ()
        return any(os.path.isdir(Path(place) / "policies" / self.type) for place in places)  # noqa: PTH112 - any text

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

    def fingerprint(self, sha256: str) -> Mapping[str, Any]:
        """Give what identifies the policy in a result. ``sha256`` identifies the weights. The device is the one that
        the user asked for; None means the best device of the machine.
        """
        saved = self.files.config
        changes = {name: value for name, value in self.config.items() if name not in saved or saved[name] != value}
        if self.any_image_size:
            changes["any_image_size"] = True
        if self.autocast:
            changes["autocast"] = self.autocast
        found = {
            "type": self.type,
            "sha256": sha256,
            "n_action_steps": self.n_action_steps,
            "overrides": changes,
            "rename_map": dict(self.rename_map),
            "device": self.device and self.device.partition(":")[0],
        }
        if self.compiles_network:
            changes["compile"] = True
        if self.autocast or self.compiles:
            found["exactness"] = "numerical"
        if is_real_time(self.config):
            found["real_time_chunking"] = dict(self.config["rtc_config"])
        return found

    @property
    def compiles(self) -> bool:
        """Say whether the policy is compiled, by LeRobot or by Proctor."""
        return self.compiles_network or bool(self.config.get("compile_model"))

    @property
    def episodes_per_pass(self) -> int:
        """See :class:`~proctor.policies.base.Policy`."""
        return self.policy_type.episodes_per_pass

    @property
    def per_device(self) -> tuple[Checkpoint, ...]:
        """The checkpoint for each of its devices alone."""
        if not self.device:
            return (self,)
        return tuple(replace(self, device=device) for device in self.device.split(","))
