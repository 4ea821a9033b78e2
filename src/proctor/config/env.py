"""The configuration fields that all benchmarks share; a benchmark adds its own fields in a subclass."""

from __future__ import annotations

from dataclasses import dataclass

from proctor.config.structure import comma_separated
from proctor.errors import ConfigError

_RENDER_DEVICES = ("auto", "egl", "osmesa")


@dataclass(frozen=True, kw_only=True)
class EnvConfig:
    """The environment: ``--env.<field>``."""

    type: str
    """Name of the benchmark: pusht, aloha, metaworld, libero, gymnasium, or the name of a plug-in."""

    task: str | None = comma_separated(None)
    """Task or group of tasks; separate several with commas."""

    episode_length: int | None = None
    """Maximum number of steps per episode. The default is the benchmark's own limit, which cannot be exceeded."""

    max_parallel_tasks: int = 0
    """Maximum number of different tasks whose simulators exist at the same time, to bound memory; 0 sets no limit."""

    render_device: str = "auto"
    """Renderer of the simulators: egl (on the policy's GPU if it has one), osmesa (software) or auto: egl if it works,
    else osmesa. With auto, the environment variable MUJOCO_GL takes precedence if it is set."""

    python: str | None = None
    """Python interpreter in which the simulators run, with packages of its own: the path of a Python 3.10 or later that
    has numpy, msgspec, gymnasium (or the old gym) and what the simulator needs, but not Proctor. The default is the
    interpreter in which Proctor runs."""

    def __post_init__(self) -> None:
        if self.episode_length is not None and self.episode_length < 1:
            raise ConfigError(f"env.episode_length is {self.episode_length}; it must be at least 1.")
        if self.max_parallel_tasks < 0:
            raise ConfigError(f"env.max_parallel_tasks is {self.max_parallel_tasks}; it must be at least 0.")
        if self.render_device not in _RENDER_DEVICES:
            raise ConfigError(
                f"env.render_device is '{self.render_device}'; it must be one of {', '.join(_RENDER_DEVICES)}."
            )

    def task_names(self) -> list[str]:
        """Return the names in ``task``, split at the commas and without empty ones."""
        return [name.strip() for name in (self.task or "").split(",") if name.strip()]
