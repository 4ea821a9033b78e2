"""A LeRobot configuration object (``PreTrainedConfig``) that names a checkpoint, as LeRobot's ``make_policy`` takes it.
Importing this imports neither torch nor lerobot.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from proctor.errors import ConfigError
from proctor.policies.lerobot.files import CONFIG
from proctor.policies.lerobot.location import locate
from proctor.policies.lerobot.names import check_names

_OF_TRAINING = frozenset({"type", "device", "pretrained_path", "pretrained_revision", "use_peft"})
"""Fields that say where the weights are and where they run, or that follow from the files."""


def fields_of(config: Any) -> dict[str, Any] | None:
    """Give the fields of ``--policy.*`` for the checkpoint that a configuration object names, changed as the object is.

    Returns None if ``config`` is not a ``PreTrainedConfig``.

    Raises:
        ConfigError: the configuration names no checkpoint, so that the weights would be random.
        CheckpointError: the checkpoint does not exist, or its configuration cannot be read.
    """
    module = sys.modules.get("lerobot.configs.policies")
    if module is None or not isinstance(config, module.PreTrainedConfig):
        return None
    if not config.pretrained_path:
        raise ConfigError(
            f"policy is a {type(config).__name__} without pretrained_path, and its weights would be random: set "
            "pretrained_path to a checkpoint, or give the policy object itself."
        )
    path, revision = str(config.pretrained_path), getattr(config, "pretrained_revision", None)
    directory = locate(path, revision)
    check_names(directory)
    saved, now = _written(module.PreTrainedConfig.from_pretrained(directory)), _written(config)
    changed = {name: value for name, value in now.items() if value != saved.get(name) and name not in _OF_TRAINING}
    fields = {"path": path, "revision": revision, "device": config.device, **changed}
    return {name: value for name, value in fields.items() if value is not None}


def _written(config: Any) -> dict[str, Any]:
    """Give the fields as they are written into a checkpoint."""
    with TemporaryDirectory(prefix="proctor-") as directory:
        config._save_pretrained(Path(directory))  # noqa: SLF001 - save_pretrained may push to the Hub
        written: dict[str, Any] = json.loads((Path(directory) / CONFIG).read_bytes())
    return written
