"""The progress of a run, and how it is put into words.

A rate shown here is over the *contiguous beginning* of each task's episodes (``TaskProgress.so_far``): successes end
early, so among the episodes finished first there are too many of them. Its interval is the anytime-valid one: it may be
looked at as often as one likes, and is labelled as such. Of all tasks together it speaks of them as far as each has
been run. Once every episode has a result, the rates and intervals are those of the results.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from proctor.engine.load import Load
from proctor.reports.text import count, duration, mean_reward, percent_range, share
from proctor.results.headline import headline_of_tasks
from proctor.statistics.counts import Counts
from proctor.statistics.intervals import LEVEL, Interval, IntervalMethod
from proctor.types import AttemptError, EpisodeSpec, Timings


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """One task of ``total`` episodes.

    ``counts`` are of all episodes with a result, those of an earlier session too; ``so_far`` of the longest beginning
    of the task's list of episodes that has results without a gap. ``running`` episodes are under way.
    """

    name: str
    total: int
    counts: Counts = field(default_factory=Counts)
    so_far: Counts = field(default_factory=Counts)
    running: int = 0

    @property
    def done(self) -> int:
        """Episodes with a result, errors included."""
        return self.counts.n_planned


@dataclass(frozen=True)
class Progress:
    """Where the measurements stand.

    ``n_resumed`` episodes were there when this session began ``elapsed_s`` ago and say nothing of its speed. Episodes
    have been running for ``running_s``; None while workers start and the policy loads. ``timings`` says where the time
    of the finished episodes went, ``last_error`` why the latest one could not be run. ``method`` is that of the
    intervals in the results.
    """

    tasks: tuple[TaskProgress, ...]
    elapsed_s: float
    running_s: float | None = None
    n_resumed: int = 0
    load: Load = field(default_factory=Load)
    timings: Timings = field(default_factory=Timings)
    last_error: tuple[EpisodeSpec, AttemptError] | None = None
    method: IntervalMethod = IntervalMethod.WILSON

    @property
    def finished(self) -> bool:
        """Whether every episode has a result."""
        return all(task.done >= task.total for task in self.tasks)

    def success(self, row: TaskProgress) -> tuple[float | None, Interval | None]:
        """The success rate of a task, or of :attr:`overall`, and its interval; None before there is one, and once the
        success of an episode is unknown.
        """
        if row.counts.n_unknown:
            return None, None
        if not self.finished:
            return row.so_far.rate, row.so_far.interval(IntervalMethod.ANYTIME)
        rows = self.tasks if row is self.overall else (row,)
        shown = headline_of_tasks([task.counts for task in rows], self.method)
        return (None, None) if shown is None else (shown.rate, shown.interval)

    @property
    def interval_name(self) -> str:
        """Which interval :meth:`success` gives."""
        return f"{LEVEL:.0%} {'interval' if self.finished else 'anytime'}"

    @cached_property
    def overall(self) -> TaskProgress:
        """All tasks as one."""
        return TaskProgress(
            "all",
            sum(task.total for task in self.tasks),
            sum((task.counts for task in self.tasks), Counts()),
            sum((task.so_far for task in self.tasks), Counts()),
            sum(task.running for task in self.tasks),
        )

    @property
    def episodes_per_s(self) -> float | None:
        """Of this session once everything had started; None before it has finished an episode."""
        n = self.overall.done - self.n_resumed
        return n / self.running_s if n > 0 and self.running_s else None

    @property
    def eta_s(self) -> float | None:
        speed = self.episodes_per_s
        return (self.overall.total - self.overall.done) / speed if speed else None


@dataclass(frozen=True, slots=True)
class Stage:
    """Something that goes on when all is measured, such as making videos: ``done`` of ``total`` after ``elapsed_s``."""

    name: str
    done: int
    total: int
    elapsed_s: float = 0.0

    @property
    def eta_s(self) -> float | None:
        return self.elapsed_s / self.done * (self.total - self.done) if self.done else None


# -------------------------------------------------------------------------------------------------- progress in words


def starting(load: Load) -> str:
    """What a run waits for before its first episode."""
    parts = ["loading the policy"] if load.loading_policy else []
    if load.starting:
        parts.append(f"starting {count(load.starting, 'worker')}")
    if load.building:
        parts.append(f"building {count(load.building, 'simulator')}")
    return ", ".join(parts) or "starting"


def pace(progress: Progress) -> list[str]:
    """How fast it goes and how long it will, as far as that is known."""
    parts = [f"{duration(progress.elapsed_s)} elapsed"]
    if (speed := progress.episodes_per_s) is not None:
        parts = [f"{60 * speed:.1f} episodes/min", *parts, f"{duration(progress.eta_s)} left"]
    return parts


def busyness(progress: Progress) -> list[str]:
    """What part of the time workers and inference have been busy."""
    load, timings = progress.load, progress.timings
    parts = [count(load.workers, "worker")]
    if timings.total:
        working = timings.construct + timings.reset + timings.step + timings.look
        parts[0] += f" {share(working / timings.total)}"
    if load.inference_share is not None:
        batch = f" (mean batch {load.mean_batch:.1f})" if load.mean_batch else ""
        parts.append(f"inference {share(load.inference_share)}{batch}")
    return parts


def line_of(progress: Progress | Stage) -> Iterator[str]:
    if isinstance(progress, Stage):
        yield f"{progress.name} {progress.done}/{progress.total}"
        yield f"{duration(progress.elapsed_s)} elapsed"
        if progress.eta_s is not None:
            yield f"{duration(progress.eta_s)} left"
        return
    overall = progress.overall
    yield f"{overall.done}/{overall.total} episodes"
    if progress.running_s is None:
        yield starting(progress.load)
        yield f"{duration(progress.elapsed_s)} elapsed"
        return
    rate, interval = progress.success(overall)
    if rate is not None:
        name = "success" if progress.finished else "success so far"
        yield f"{name} {share(rate)} ({progress.interval_name} {percent_range(interval)})"
    elif overall.counts.n_unknown:
        yield f"reward so far {mean_reward(overall.so_far)}, success not reported"
    if overall.counts.n_errors:
        yield count(overall.counts.n_errors, "error")
    yield from pace(progress)
    yield f"busy: {', '.join(busyness(progress))}"
