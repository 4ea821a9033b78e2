"""The settings of an engine: its options, the videos it makes, and the setup of its workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from proctor.config import EvalConfig
from proctor.engine.delay import InferenceDelay
from proctor.engine.worker.messages import VideoSpec
from proctor.types import EpisodeSpec, Task, TaskKey

if TYPE_CHECKING:
    from typing import Self  # a worker's interpreter may be Python 3.10, which does not have it

LEAD_WHEN_STOPPING = 10
"""Episodes by which a task may be ahead of the others if all tasks together decide when to stop. With a longer lead
episodes would be run for nothing; with a shorter one simulators would be built again and again."""


FEW_VIDEOS = 4
"""The largest number of videos of a task if the user gave none."""


@dataclass(frozen=True)
class EngineOptions:
    """The part of an evaluation's configuration that the engine reads.

    ``max_attempts`` and the two time-outs, in seconds, are those of ``EvalConfig``, and so is all that begins with
    ``inference``. A worker that takes more than ``worker_memory`` bytes after an episode is replaced.
    ``inference_delay`` holds the three options of a delay. ``max_parallel_tasks`` bounds the tasks that
    are under way at a time, and ``max_lead`` the episodes by which a task may be ahead of the one that is furthest
    behind; 0 means that there is no bound. If ``audit`` is true, episodes have a sketch of what the policy was given.
    """

    max_attempts: int = 2
    step_timeout_s: float = 120.0
    reset_timeout_s: float = 600.0
    worker_memory: float = inf
    inference_threads: int = 1
    inference_batch_size: int = 0
    inference_timeout_s: float | None = None
    max_inference_batch: int = 0
    batch_wait_timeout_s: float | None = None
    inference_delay: InferenceDelay = field(default_factory=InferenceDelay)
    max_parallel_tasks: int = 0
    max_lead: int = 0
    audit: bool = True

    @classmethod
    def of(cls, config: EvalConfig, max_parallel_tasks: int = 0) -> Self:
        """The options that ``config`` asks for, on a benchmark whose configuration has ``max_parallel_tasks``."""
        return cls(
            max_attempts=config.max_attempts,
            step_timeout_s=config.step_timeout_s,
            reset_timeout_s=config.reset_timeout_s,
            worker_memory=inf if config.worker_memory_gb is None else config.worker_memory_gb * 1e9,
            inference_threads=config.inference_threads,
            inference_batch_size=config.inference_batch_size,
            inference_timeout_s=config.inference_timeout_s,
            max_inference_batch=config.max_inference_batch,
            batch_wait_timeout_s=config.batch_wait_timeout_s,
            inference_delay=InferenceDelay(config.inference_delay_steps, config.inference_delay_ms, config.when_late),
            max_parallel_tasks=max_parallel_tasks,
            max_lead=0 if config.stop_at_ci_width is None else LEAD_WHEN_STOPPING,
            audit=config.audit,
        )


@dataclass(frozen=True)
class VideoOptions:
    """The episodes that get a video, and the way in which videos are made.

    ``which`` is one of auto, first, failures, all and none, and ``per_task`` the number of videos per task, which does
    not bound "all". If ``per_task`` is None, there are a few of each task, and the time for them is bounded. ``fps`` is
    the largest number of frames per simulated second. If ``camera`` or ``size`` (width, height in pixels) is None, it
    is the simulator's usual one.
    """

    which: str = "auto"
    per_task: int | None = None
    fps: float = 20.0
    camera: str | None = None
    size: tuple[int, int] | None = None

    @classmethod
    def of(cls, config: EvalConfig) -> Self:
        """The options that ``config`` asks for."""
        return cls(
            which=config.video,
            per_task=config.n_episodes_to_render,
            fps=config.video_fps,
            camera=config.video_camera,
            size=config.video_pixels,
        )

    @property
    def has_budget(self) -> bool:
        """The user gave no number of videos, so that the time for them is bounded."""
        return self.per_task is None and self.which not in ("all", "none")

    @property
    def most_per_task(self) -> int:
        """The largest number of videos of a task, unless there are videos of all."""
        return FEW_VIDEOS if self.per_task is None else self.per_task

    def may_include(self, spec: EpisodeSpec) -> bool:
        """Tell, before an episode has run, whether it is to be recorded if its simulator cannot replay it.

        Such an episode has no other chance of a video, and its outcome is not known yet: of "auto" these are the first.
        """
        if self.which in ("auto", "first"):
            return spec.episode_index < self.most_per_task
        return self.which != "none"

    def spec(self, path: Path) -> VideoSpec:
        """The order to a worker to write an episode's video to ``path``."""
        return VideoSpec(str(path), self.fps, self.camera, self.size, token_hex(4))


@dataclass(frozen=True)
class EngineSetup:
    """All that an engine needs before it starts, apart from the episodes and the policy.

    ``benchmark`` is the address (``module:attribute``) at which workers find the benchmark, and ``env`` holds the
    fields of its configuration. ``action_source`` is the address of a policy that lives in the workers, or None if the
    policy does not. ``batch_size`` simulators run side by side. What workers print goes into the file ``log``, and what
    workers and inference did when goes into the file ``trace``.
    """

    benchmark: str
    env: Mapping[str, Any]
    tasks: Mapping[TaskKey, Task]
    action_source: str | None
    options: EngineOptions
    batch_size: int
    log: Path | None = None
    trace: Path | None = None
    in_process: bool = False
    """True if the only simulator is to run in this process, because the user asks for that. If Proctor itself chose to
    have one worker, this is False and the worker is a process."""
    known: Mapping[str, Any] = field(default_factory=dict)
    """The value of ``Benchmark.known_here``, which workers receive beside the configuration."""
    cores: int = 0
    """The number of cores for the engine and its workers. More workers than :attr:`n_workers_on_busy_cores` are started
    only while cores are idle. If this is 0, all workers are started in any case."""
    episodes_per_pass: int = 1
    """The number of episodes that share a forward pass for little more than the cost of one."""

    @property
    def python(self) -> str | None:
        """The interpreter that workers run in, None for the one of this process."""
        return self.env.get("python")

    @property
    def n_workers(self) -> int:
        """The largest number of workers that run at a time."""
        return 1 if self.in_process else self.batch_size

    @property
    def n_workers_on_busy_cores(self) -> int:
        """The number of workers that are started although they may keep the cores busy: one for each core and each
        episode of a forward pass, as a pass with fewer episodes costs as much. 0 means all.
        """
        return self.cores * self.episodes_per_pass
