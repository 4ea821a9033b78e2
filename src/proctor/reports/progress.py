"""The progress of a run, and how it is put into words.

Which success rate may be shown is decided by :mod:`proctor.results.headline`. While episodes are missing, the rate of a
task is that of its complete rounds, which for one task are the episodes up to the first without a result
(``TaskProgress.so_far``), and the bottom row pools these over the tasks.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from proctor.engine.load import Load
from proctor.reports.text import count, duration, mean_reward, pace_of, percent_range, share
from proctor.results.headline import Headline, headline_of_tasks, headline_while_running
from proctor.statistics.counts import Counts
from proctor.statistics.intervals import LEVEL, IntervalMethod
from proctor.types import AttemptError, EpisodeSpec, Timings


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """The progress of one task of ``total`` episodes, or of all tasks together.

    ``counts`` are of all episodes with a result, those of an earlier session included; ``so_far`` of those that come
    before the first episode without a result. ``running`` is the number of episodes that are running now.
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
    """The progress of a run at one moment.

    ``n_resumed`` episodes had a result when this session began ``elapsed_s`` seconds ago, so they do not count for its
    speed. Episodes have been running for ``running_s`` seconds; it is None while workers start and the policy loads.
    ``timings`` are summed over the finished episodes. ``last_error`` is the latest episode that could not be run, with
    the reason. ``method`` is the method of the intervals in the results.
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
        """Every episode has a result."""
        return all(task.done >= task.total for task in self.tasks)

    def headline_of(self, row: TaskProgress) -> Headline | None:
        """Return the success rate of a task, or of :attr:`overall`, as far as one may be shown."""
        if row.counts.n_unknown:
            return None
        rows = self.tasks if row is self.overall else (row,)
        if not self.finished:
            return headline_while_running([task.so_far for task in rows], self.method)
        return headline_of_tasks([task.counts for task in rows], self.method)

    @property
    def interval_name(self) -> str:
        """The name of the interval that :meth:`headline_of` gives."""
        return f"{LEVEL:.0%} {'anytime' if self.method is IntervalMethod.ANYTIME else 'interval'}"

    @cached_property
    def overall(self) -> TaskProgress:
        """The progress of all tasks together."""
        return TaskProgress(
            "all",
            sum(task.total for task in self.tasks),
            sum((task.counts for task in self.tasks), Counts()),
            sum((task.so_far for task in self.tasks), Counts()),
            sum(task.running for task in self.tasks),
        )

    @property
    def episodes_per_s(self) -> float | None:
        """The speed of this session since its first episodes run; None before it has finished an episode."""
        n = self.overall.done - self.n_resumed
        return n / self.running_s if n > 0 and self.running_s else None

    @property
    def eta_s(self) -> float | None:
        """Seconds until every episode has a result, at the present speed; None if that is not known."""
        speed = self.episodes_per_s
        return (self.overall.total - self.overall.done) / speed if speed else None


@dataclass(frozen=True, slots=True)
class Stage:
    """The progress of what follows the measurements, such as making videos.

    ``done`` of ``total`` pieces are finished after ``elapsed_s`` seconds. What is not finished after ``most_s`` seconds
    is left out.
    """

    name: str
    done: int
    total: int
    elapsed_s: float = 0.0
    most_s: float = math.inf

    @property
    def eta_s(self) -> float | None:
        """Seconds until the stage is over; None if that is not known."""
        at_this_pace = self.elapsed_s / self.done * (self.total - self.done) if self.done else math.inf
        seconds = min(at_this_pace, max(0.0, self.most_s - self.elapsed_s))
        return None if math.isinf(seconds) else seconds


# -------------------------------------------------------------------------------------------------- progress in words

_NOT_TOLD = {"proctor", "__main__"}


def starting(load: Load) -> str:
    """Name what a run waits for before its first episode."""
    parts = []
    if load.loading_policy:
        package = package_being_imported()
        parts.append(f"loading the policy (importing {package})" if package else "loading the policy")
    if load.starting:
        parts.append(f"starting {count(load.starting, 'worker')}")
    if load.building:
        parts.append(f"building {count(load.building, 'simulator')}")
    return ", ".join(parts) or "starting"


def package_being_imported() -> str:
    """Return the name of the package that any thread of this process is importing now; "" if there is none.

    Importing torch takes seconds, and much longer from a cold disk. Of packages that import each other, this is the
    outermost one that is not Proctor's.
    """
    modules = [name for name, module in list(sys.modules.items()) if _is_being_imported(module)]
    whole = [name for name in modules if "." not in name]
    names = [*whole, *(name.partition(".")[0] for name in modules)]
    return next((name for name in names if name not in _NOT_TOLD), "")


def _is_being_imported(module: object) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def pace(progress: Progress) -> list[str]:
    """Give the speed of a run, the time that has passed, and the time that is left, as far as they are known."""
    parts = [f"{duration(progress.elapsed_s)} elapsed"]
    if (speed := progress.episodes_per_s) is not None:
        parts = [pace_of(speed), *parts, f"{duration(progress.eta_s)} left"]
    return parts


def busyness(progress: Progress) -> list[str]:
    """Give the parts of the time in which workers and inference have been busy."""
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
    """Give the parts of one line about the progress of a run, for a log."""
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
    if (shown := progress.headline_of(overall)) is not None:
        name = "success" if progress.finished else "success so far"
        yield f"{name} {share(shown.rate)} ({progress.interval_name} {percent_range(shown.interval)})"
    elif overall.counts.n_unknown:
        yield f"reward so far {mean_reward(overall.so_far)}, success not reported"
    if overall.counts.n_errors:
        yield count(overall.counts.n_errors, "error")
    yield from pace(progress)
    yield f"busy: {', '.join(busyness(progress))}"
