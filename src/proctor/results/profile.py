"""Where the time of an evaluation's workers went, without a gap.

Each worker is, at every moment of the wall time, in one state: it starts up or waits for the policy to load, builds a
simulator, resets, steps or looks, is in a forward pass or waits for one, exchanges messages, or has nothing to do. All
but the last are booked on the episode they are spent for, which gives the parts of a task. What remains of wall time
times workers is ``rest``: workers that found no episode left while the others ran theirs to the end (the tail), and
attempts that failed. So the parts and the rest add up to wall time times workers.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from proctor.results.summary import Summary
from proctor.types import Task, Timings


@dataclass(frozen=True, slots=True)
class TaskProfile:
    """What a task's episodes took of the workers' time, in seconds."""

    task: Task
    n_episodes: int
    timings: Timings


@dataclass(frozen=True, slots=True)
class Profile:
    """An evaluation's time: ``wall_s`` is what passed, ``worker_s`` the same for each worker, summed, in seconds.

    Both are None where they were not recorded, and then nothing is known of the rest.
    """

    tasks: tuple[TaskProfile, ...]
    total: Timings
    wall_s: float | None
    worker_s: float | None

    @property
    def rest_s(self) -> float | None:
        """Workers' time that is no episode's: the tail, and attempts that failed."""
        return None if self.worker_s is None else max(0.0, self.worker_s - self.total.total)


def profile_of(summary: Summary) -> Profile:
    """Where the time of a run went, all its sessions together."""
    tasks = tuple(TaskProfile(task.task, len(task.episodes), task.timings) for task in summary.tasks)
    return Profile(tasks, summary.timings, summary.wall_s, summary.worker_s)


def plain_profile(profile: Profile) -> dict[str, Any]:
    """The seconds as plain values, for JSON."""
    return {
        "wall_s": profile.wall_s,
        "worker_s": profile.worker_s,
        "total": {**asdict(profile.total), "tail": profile.rest_s},
        "per_task": [
            {
                "task_group": task.task.suite,
                "task_id": task.task.task_id,
                "task": task.task.name,
                "n_episodes": task.n_episodes,
                **asdict(task.timings),
            }
            for task in profile.tasks
        ],
    }
