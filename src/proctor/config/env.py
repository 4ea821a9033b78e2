"""What every benchmark's configuration has in common; a benchmark adds its own fields in a subclass."""

from __future__ import annotations

from dataclasses import dataclass

from proctor.config.structure import comma_separated
from proctor.errors import ConfigError

_RENDER_DEVICES = ("auto", "egl", "osmesa")


@dataclass(frozen=True, kw_only=True)
class EnvConfig:
    """The environment: ``--env.<field>``."""

    type: str
    """Benchmark: pusht, aloha, metaworld, libero, gymnasium, or a plug-in's."""

    task: str | None = comma_separated(None)
    """Task or group of tasks; several with commas."""

    episode_length: int | None = None
    """Steps after which an episode ends; the benchmark's own limit if not given, and never more than it."""

    max_parallel_tasks: int = 0
    """How many distinct tasks may be live at once (bounds memory); 0 leaves it to the engine."""

    render_device: str = "auto"
    """What simulators draw with: egl (the policy's GPU, where it is one), osmesa (software), or auto: egl if it draws,
    else osmesa. auto keeps what MUJOCO_GL says."""

    def __post_init__(self) -> None:
        if self.episode_length is not None and self.episode_length < 1:
            raise ConfigError(f"env.episode_length is {self.episode_length}; an episode has at least 1 step.")
        if self.max_parallel_tasks < 0:
            raise ConfigError(f"env.max_parallel_tasks is {self.max_parallel_tasks}; it cannot be negative.")
        if self.render_device not in _RENDER_DEVICES:
            raise ConfigError(
                f"env.render_device is '{self.render_device}'; it is one of {', '.join(_RENDER_DEVICES)}."
            )

    def task_names(self) -> list[str]:
        """``task`` split at its commas."""
        return [name.strip() for name in (self.task or "").split(",") if name.strip()]
