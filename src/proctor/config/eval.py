"""How an evaluation is run."""

from __future__ import annotations

import re
from dataclasses import dataclass

from proctor.errors import ConfigError

_CHOICES = {
    "display": ("auto", "plain", "none"),
    "video": ("first", "failures", "all", "none"),
    "ci": (None, "wilson", "exact", "anytime"),
}


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """The evaluation: ``--eval.<field>``."""

    n_episodes: int = 50
    """Episodes per task."""

    batch_size: int = 0
    """Environments stepping in parallel; 0 chooses from the usable cores, the number of episodes and the policy."""

    use_async_envs: bool = True
    """A process per environment; false (or a batch size of 1 that is asked for) runs everything in this process, for
    debugging: there a crash of the simulator ends the run, and breakpoint() reaches the terminal."""

    shard_id: int = 0
    """Which shard of the plan this process runs, from 0."""

    num_shards: int = 1
    """Into how many shards the plan is dealt."""

    inference_batch_size: int = 0
    """Observations per forward pass, padded to exactly this many so that results do not depend on who shares a
    batch; 0 chooses 16 on an accelerator, on a CPU 4 for Diffusion and 1 for others. Part of what results depend
    on."""

    inference_threads: int = 1
    """CPU threads of one forward pass. Part of what results depend on (to the last bit)."""

    max_inference_batch: int = 0
    """At most this many episodes share a forward pass; 0 means as many as its shape has rows."""

    batch_wait_timeout_s: float | None = None
    """A batch that is not full is closed this many seconds after its first observation came. If not given, it is closed
    where waiting would cost more than it gains, by what has been measured so far."""

    max_attempts: int = 2
    """How often an episode is tried before it is recorded as an error."""

    step_timeout_s: float = 120.0
    """A worker that completes no step for this long is replaced."""

    reset_timeout_s: float = 600.0
    """The same for constructing and resetting a simulator."""

    n_episodes_to_render: int = 10
    """Videos per task."""

    video: str = "first"
    """Which episodes are filmed, once everything is measured: first (the first ones of each task), failures (the first
    failed ones), all (of them, whatever n_episodes_to_render says), none."""

    video_fps: float = 20.0
    """At most this many frames per simulated second; a video plays at real-time speed in any case."""

    video_camera: str | None = None
    """Which camera films; the one the policy sees if not given."""

    video_size: str | None = None
    """Width and height of a video in pixels, 640x480; the simulator's usual size if not given."""

    ci: str | None = None
    """Interval of success rates: wilson, exact (Clopper-Pearson: never covers less than it says, wider), anytime (valid
    however often it is looked at, wider still). wilson if not given, and anytime with stop_at_ci_width. The mean over
    several tasks has one of the same kind, for an effective number of episodes."""

    stop_at_ci_width: float | None = None
    """End the evaluation once the interval of the success rate over all tasks is this narrow: 0.1 for ten points. At
    most n_episodes per task; those that count do not depend on the number of workers."""

    display: str = "auto"
    """Progress: auto (live on a terminal, else plain lines), plain or none. While it is shown, what libraries print
    goes into worker.log."""

    trace: bool = False
    """Write trace.json into the run directory, for ui.perfetto.dev: what each worker and the policy did when."""

    allow_mismatch: bool = False
    """Continue a run directory although its fingerprint differs from this evaluation."""

    def __post_init__(self) -> None:
        at_least = {"n_episodes": 1, "num_shards": 1, "batch_size": 0, "inference_batch_size": 0}
        at_least |= {"n_episodes_to_render": 0, "max_inference_batch": 0}
        at_least |= {"inference_threads": 1, "max_attempts": 1, "shard_id": 0}
        for name, minimum in at_least.items():
            if getattr(self, name) < minimum:
                raise ConfigError(f"eval.{name} is {getattr(self, name)}; it must be at least {minimum}.")
        if self.shard_id >= self.num_shards:
            raise ConfigError(
                f"eval.shard_id is {self.shard_id}, but with eval.num_shards={self.num_shards} "
                f"shards are numbered 0 to {self.num_shards - 1}."
            )
        for name in ("step_timeout_s", "reset_timeout_s", "video_fps"):
            if not getattr(self, name) > 0:  # NaN neither
                raise ConfigError(f"eval.{name} is {getattr(self, name)}; it must be positive.")
        if self.batch_wait_timeout_s is not None and not self.batch_wait_timeout_s >= 0:
            raise ConfigError(f"eval.batch_wait_timeout_s is {self.batch_wait_timeout_s}; it must not be negative.")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"eval.{name} is '{getattr(self, name)}'; it is one of {', '.join(filter(None, allowed))}."
                )
        self._check_stopping()
        if self.video_size is not None and min(self.video_pixels or (0,)) < 2:
            raise ConfigError(f"eval.video_size is '{self.video_size}'; it is WIDTHxHEIGHT in pixels, such as 640x480.")

    def _check_stopping(self) -> None:
        if self.stop_at_ci_width is None:
            return
        if not 0 < self.stop_at_ci_width < 1:
            raise ConfigError(f"eval.stop_at_ci_width is {self.stop_at_ci_width}; it must be between 0 and 1.")
        if self.ci not in (None, "anytime"):
            raise ConfigError(
                f"eval.ci is '{self.ci}', but only the anytime-valid interval stays true when it decides when to stop; "
                "leave out eval.ci or eval.stop_at_ci_width."
            )
        if self.num_shards > 1:
            raise ConfigError("eval.stop_at_ci_width needs all episodes in one process; leave out eval.num_shards.")

    @property
    def video_pixels(self) -> tuple[int, int] | None:
        """``video_size`` as (width, height); None if it is not given, or not of that form."""
        match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", self.video_size or "")
        return (int(match[1]), int(match[2])) if match else None
