"""Options that say how an evaluation is run: ``--eval.<field>``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from proctor.errors import ConfigError

CHOICES = {
    "display": ("auto", "plain", "none"),
    "video": ("auto", "first", "failures", "all", "none"),
    "ci": (None, "wilson", "exact", "anytime"),
    "when_late": ("hold", "zero", "wait"),
}
"""The values that a field may have."""


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """The evaluation: ``--eval.<field>``."""

    n_episodes: int = 50
    """Number of episodes per task."""

    batch_size: int = 0
    """Largest number of environments that step in parallel; 0 chooses it from the usable cores, the episodes and the
    policy. More than there are cores are started only while cores are idle."""

    use_async_envs: bool = True
    """Run each environment in a process of its own. false, or an explicit batch size of 1, runs everything in this
    process for debugging: breakpoint() works there, and a crash of the simulator ends the run."""

    shard_id: int = 0
    """Index of the shard that this process runs, from 0."""

    num_shards: int = 1
    """Number of shards into which the episodes are divided."""

    inference_batch_size: int = 0
    """Rows of a forward pass. Short batches are padded, so results do not change with batching; changing this value can
    change the last digits of results. 0 chooses 16 on an accelerator; on a CPU 4 for Diffusion and 1 for others."""

    inference_threads: int = 1
    """CPU threads of one forward pass. Changing this value can change the last digits of results."""

    max_inference_batch: int = 0
    """Maximum number of episodes that share a forward pass; 0 sets no limit other than inference_batch_size."""

    batch_wait_timeout_s: float | None = None
    """Seconds that a batch that is not full waits after its first observation. By default, the wait is chosen
    automatically from measured arrival times."""

    inference_delay_steps: int = 0
    """Control steps by which each chunk of actions arrives late, as on a robot that goes on while its policy infers:
    the chunk that is inferred from the observation at step t takes over at step t + inference_delay_steps. Meanwhile
    the rest of the chunk before is executed. The first chunk of an episode is waited for. 0 means that the simulator
    waits for every chunk. A delay does not depend on the speed of the machine."""

    inference_delay_ms: float = 0.0
    """The same delay in milliseconds of simulated time, rounded up to whole control steps of the benchmark."""

    when_late: str = "hold"
    """Action of a step for which the chunk before has no action left and the delayed one is not there yet: hold (the
    last executed action again), zero (all zeros) or wait (no step is made until the chunk is there)."""

    max_attempts: int = 2
    """Number of times that an episode is tried before it is recorded as an error."""

    step_timeout_s: float = 120.0
    """Seconds after which a worker is replaced if it completes no step."""

    reset_timeout_s: float = 600.0
    """Seconds after which a worker is replaced if it makes no progress while it builds or resets its simulator."""

    worker_memory_gb: float | None = None
    """A worker that takes more gigabytes than this after an episode is replaced; by default its share of the memory."""

    inference_timeout_s: float | None = None
    """Seconds after which a forward pass is given up; by default ten times the slowest so far, at least 300."""

    n_episodes_to_render: int | None = None
    """Number of videos per task. If it is not given, there are at most four, and they are made in at most a quarter of
    the time that the evaluation took, or in ten seconds if that is longer."""

    video: str = "auto"
    """Episodes to record as videos after all episodes are measured: auto (the first two failures and the first two
    successes of each task, or if n_episodes_to_render is given, the first episodes), first (the first of each task),
    failures (the first that failed), all (regardless of n_episodes_to_render and of time) or none."""

    video_fps: float = 20.0
    """Maximum number of video frames per simulated second; a video plays at real-time speed at any value."""

    video_camera: str | None = None
    """Camera that records videos; the default is a camera that the policy sees."""

    video_size: str | None = None
    """Width and height of videos in pixels, such as 640x480; the default is the simulator's usual size."""

    recording: bool = False
    """Record all completed episodes as one LeRobotDataset in the folder recording of the run directory, after all
    episodes are measured: what the policy saw and did at each step, with seed and success of each episode."""

    recording_repo_id: str | None = None
    """Name of the recorded dataset on the Hub, such as user/name. Nothing is uploaded: the command that pushes the
    dataset is printed. Needs recording."""

    recording_private: bool = False
    """Make the printed command push a private dataset."""

    ci: str | None = None
    """Confidence interval of success rates: wilson, exact (Clopper-Pearson; its coverage is never below the nominal
    level, and it is wider) or anytime (valid at every moment of a run; wider still). The default is wilson, and anytime
    with stop_at_ci_width. The mean over several tasks gets the same kind, for an effective number of episodes."""

    stop_at_ci_width: float | None = None
    """Stop the evaluation as soon as the interval of the success rate over all tasks is this narrow: 0.1 means ten
    points. n_episodes is still the maximum per task. The number of workers does not affect which episodes count."""

    display: str = "auto"
    """Progress display: auto (live on a terminal and in a notebook, else plain lines), plain or none. While it is shown
    on a terminal, output of libraries is written to worker.log."""

    trace: bool = False
    """Write trace.json into the run directory: a timeline of workers and policy, for ui.perfetto.dev."""

    audit: bool = True
    """Keep a sketch of what the policy is given, and hold it against what the checkpoint's files tell of its training:
    see proctor audit. Results do not depend on it, and it takes less than a hundredth of the time."""

    allow_mismatch: bool = False
    """Continue the run in the run directory although its fingerprint differs from that of this evaluation."""

    def __post_init__(self) -> None:
        at_least = {"n_episodes": 1, "num_shards": 1, "batch_size": 0, "inference_batch_size": 0}
        at_least |= {"n_episodes_to_render": 0, "max_inference_batch": 0}
        at_least |= {"inference_threads": 1, "max_attempts": 1, "shard_id": 0, "inference_delay_steps": 0}
        for name, minimum in at_least.items():
            if (value := getattr(self, name)) is not None and value < minimum:
                raise ConfigError(f"eval.{name} is {value}; it must be at least {minimum}.")
        if self.shard_id >= self.num_shards:
            raise ConfigError(
                f"eval.shard_id is {self.shard_id}, but with eval.num_shards={self.num_shards} "
                f"shards are numbered 0 to {self.num_shards - 1}."
            )
        for name in ("step_timeout_s", "reset_timeout_s", "inference_timeout_s", "worker_memory_gb", "video_fps"):
            if (value := getattr(self, name)) is not None and not value > 0:  # so that NaN is refused, too
                raise ConfigError(f"eval.{name} is {value}; it must be positive.")
        if self.batch_wait_timeout_s is not None and not self.batch_wait_timeout_s >= 0:
            raise ConfigError(f"eval.batch_wait_timeout_s is {self.batch_wait_timeout_s}; it must not be negative.")
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"eval.{name} is '{getattr(self, name)}'; it must be one of {', '.join(filter(None, allowed))}."
                )
        self._check_stopping()
        self._check_delay()
        self._check_recording()
        if self.video_size is not None and min(self.video_pixels or (0,)) < 2:
            raise ConfigError(
                f"eval.video_size is '{self.video_size}'; it must be WIDTHxHEIGHT in pixels, such as 640x480."
            )

    def _check_stopping(self) -> None:
        if self.stop_at_ci_width is None:
            return
        if not 0 < self.stop_at_ci_width < 1:
            raise ConfigError(f"eval.stop_at_ci_width is {self.stop_at_ci_width}; it must be between 0 and 1.")
        if self.ci not in (None, "anytime"):
            raise ConfigError(
                f"eval.ci is '{self.ci}', but only the anytime-valid interval may decide when to stop; "
                "leave out eval.ci or eval.stop_at_ci_width."
            )
        if self.num_shards > 1:
            raise ConfigError("eval.stop_at_ci_width needs all episodes in one process; leave out eval.num_shards.")

    def _check_recording(self) -> None:
        if self.recording_repo_id is not None and not self.recording:
            raise ConfigError(
                f"eval.recording_repo_id is '{self.recording_repo_id}', but nothing is recorded; add "
                "--eval.recording=true, or leave the option out."
            )
        if self.recording and self.num_shards > 1:
            raise ConfigError(
                "eval.recording makes one dataset of all shards, so a shard cannot make it; leave the option out, and "
                "record the merged run with `proctor record`."
            )

    def _check_delay(self) -> None:
        if not 0 <= self.inference_delay_ms < math.inf:  # so that NaN is refused, too
            raise ConfigError(
                f"eval.inference_delay_ms is {self.inference_delay_ms}; it must be a number of at least 0."
            )
        if self.inference_delay_ms and self.inference_delay_steps:
            raise ConfigError(
                f"eval.inference_delay_steps is {self.inference_delay_steps} and eval.inference_delay_ms is "
                f"{self.inference_delay_ms}, but a delay is given either in steps or in milliseconds; leave one out."
            )

    @property
    def video_pixels(self) -> tuple[int, int] | None:
        """``video_size`` as (width, height) in pixels; None if it is not given or malformed."""
        match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", self.video_size or "")
        return (int(match[1]), int(match[2])) if match else None
