"""The configuration of one evaluation, which the command line, a file and Python all build."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from proctor.config.dataset import DatasetConfig
from proctor.config.eval import EvalConfig
from proctor.config.trackers import TensorBoardConfig, TrackioConfig
from proctor.config.wandb import WandBConfig
from proctor.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """An evaluation. The meaning of the fields in ``policy`` and ``env`` depends on the policy and the benchmark."""

    policy: dict[str, Any] = field(default_factory=dict)
    """The policy: --policy.path=… for a LeRobot checkpoint (Hub id or directory), or --policy.type=expert, random,
    zero, function. Further fields override the checkpoint's configuration: --policy.n_action_steps=5."""

    env: dict[str, Any] = field(default_factory=dict)
    """The benchmark: --env.type=pusht, metaworld, libero, …; --env.task=…; --env.episode_length=… The fields of a
    benchmark are listed by --env.type=X --help."""

    eval: EvalConfig = field(default_factory=EvalConfig)

    dataset: DatasetConfig | None = None

    wandb: WandBConfig = field(default_factory=WandBConfig)

    trackio: TrackioConfig = field(default_factory=TrackioConfig)

    tensorboard: TensorBoardConfig = field(default_factory=TensorBoardConfig)

    seed: int = 1000
    """Base seed: episode i of a task runs with seed + i."""

    output_dir: str | None = None
    """Run directory for results and videos. An unfinished run in it is resumed. The default is a new directory,
    outputs/eval/<date>/<time>_<job_name>."""

    job_name: str | None = None
    """Name in the output path and in reports; the default is <env.type>_<policy.type>."""

    notes: str | None = None
    """Words about this run for people, shown in the viewer and kept in run.json. No result depends on them."""

    rename_map: dict[str, str] = field(default_factory=dict)
    """JSON or YAML that maps observation keys of the environment to keys of the policy."""

    trust_remote_code: bool = False
    """Allow this command to run code that is not installed here, such as code from the Hub."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**31:  # simulators take 32 bits, and the last episode's seed is larger
            raise ConfigError(f"seed is {self.seed}; it must be between 0 and {2**31 - 1}.")
