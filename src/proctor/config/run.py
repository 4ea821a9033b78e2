"""One evaluation, whole: what the command line, a file and Python all build."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from proctor.config.eval import EvalConfig
from proctor.config.lerobot import WandBConfig
from proctor.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """An evaluation. ``policy`` and ``env`` hold fields whose meaning the policy's and benchmark's type decide."""

    policy: dict[str, Any] = field(default_factory=dict)
    """The policy: --policy.path=… for a LeRobot checkpoint (Hub id or directory), or --policy.type=expert, random,
    zero, function. Further fields override those of the checkpoint's configuration: --policy.n_action_steps=5."""

    env: dict[str, Any] = field(default_factory=dict)
    """The benchmark: --env.type=pusht, metaworld, libero, …; --env.task=…; --env.episode_length=…"""

    eval: EvalConfig = field(default_factory=EvalConfig)

    wandb: WandBConfig = field(default_factory=WandBConfig)

    seed: int = 1000
    """Episode i of a task runs with seed + i."""

    output_dir: str | None = None
    """Results and videos; outputs/eval/<date>/<time>_<job_name> if not given. An existing run goes on."""

    job_name: str | None = None
    """Name in the output path and in reports; <env.type>_<policy.type> if not given."""

    rename_map: dict[str, str] = field(default_factory=dict)
    """JSON or YAML: observation key of the environment → key of the policy."""

    trust_remote_code: bool = False
    """Consent to running code from the Hub."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**31:  # simulators take 32 bits, and the last episode's seed is larger
            raise ConfigError(f"seed is {self.seed}; it must be between 0 and {2**31 - 1}.")
