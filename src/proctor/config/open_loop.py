"""The configuration of an evaluation in open loop: a policy predicts on recorded observations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from proctor.config.dataset import DatasetConfig
from proctor.errors import ConfigError

_LARGEST_SEED = 2**31 - 1
_DISPLAYS = ("auto", "plain", "none")


@dataclass(frozen=True, kw_only=True)
class OpenLoopConfig:
    """An evaluation in open loop. The meaning of the fields in ``policy`` depends on the policy."""

    dataset: DatasetConfig
    """The recorded episodes."""

    policy: dict[str, Any] = field(default_factory=dict)
    """The policy: --policy.path=… for a LeRobot checkpoint, or --policy.type=function, openpi, groot; further fields as
    for proctor eval: --policy.n_action_steps=5."""

    seed: int = 1000
    """Base seed of the policy's random numbers: episode i of the dataset has seed + i."""

    output_dir: str | None = None
    """Directory for results; unfinished results in it are continued. The default is a new directory,
    outputs/open_loop/<date>/<time>_<dataset>_<policy>."""

    rename_map: dict[str, str] = field(default_factory=dict)
    """JSON or YAML that maps observation keys of the dataset to keys of the policy."""

    inference_batch_size: int = 0
    """Rows of a forward pass; 0 leaves the number to the policy. The last bits of results depend on it."""

    inference_threads: int = 1
    """CPU threads of one forward pass."""

    display: str = "auto"
    """Display of progress: auto (live on a terminal, lines elsewhere), plain, or none."""

    trust_remote_code: bool = False
    """Allow this command to run code that is not installed here, such as code from the Hub."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= _LARGEST_SEED:
            raise ConfigError(f"seed is {self.seed}; it must be between 0 and {_LARGEST_SEED}.")
        if self.inference_batch_size < 0:
            raise ConfigError(f"inference_batch_size is {self.inference_batch_size}; it must be at least 0.")
        if self.inference_threads < 1:
            raise ConfigError(f"inference_threads is {self.inference_threads}; it must be at least 1.")
        if self.display not in _DISPLAYS:
            raise ConfigError(f"display is '{self.display}'; it is one of {', '.join(_DISPLAYS)}.")
