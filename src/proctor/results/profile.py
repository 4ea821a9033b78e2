"""The time of an evaluation's workers, by what it was spent for, without a gap.

At every moment of the wall time a worker is in one state: it starts up or waits for the policy to load, builds a
simulator, resets, steps or looks, is in a forward pass or waits for one, exchanges messages, or has nothing to do. All
states but the last are attributed to the episode for which the time is spent, which gives the parts of a task. What
remains of wall time times workers is ``rest``: workers for which no episode was left while the others finished theirs
(the tail), and attempts that failed. So the parts and the rest add up to wall time times workers.

If the policy is behind a server, the inference time has parts of its own (:class:`Inference`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from proctor.results.summary import Summary
from proctor.types import Task, Timings


@dataclass(frozen=True, slots=True)
class Inference:
    """The inference time of a policy behind a server, by where it was spent, in seconds.

    ``round_trip_s`` is the time from sending requests until their replies had arrived, and ``here_s`` the rest: making
    requests, reading replies, and waiting for a connection or for other requests of the same forward pass. ``server_s``
    is the part of the round trips that the server states for its own work, and ``way_s`` their rest: the network, and
    the wait in the server's queue. The last two are None if the server did not state its time in every reply.
    """

    round_trip_s: float
    here_s: float
    server_s: float | None
    way_s: float | None

    @classmethod
    def of(cls, timings: Timings) -> Inference | None:
        """Divide the inference time; None if there was no server, or the time of its replies was not recorded."""
        if timings.round_trip is None:
            return None
        way_s = None if timings.server is None else max(0.0, timings.round_trip - timings.server)
        here_s = max(0.0, timings.inference - timings.round_trip)
        return cls(timings.round_trip, here_s, timings.server, way_s)


@dataclass(frozen=True, slots=True)
class TaskProfile:
    """The time that workers spent for a task's episodes, in seconds."""

    task: Task
    n_episodes: int
    timings: Timings


@dataclass(frozen=True, slots=True)
class Profile:
    """The time of an evaluation in seconds: ``wall_s`` is its wall time, ``worker_s`` the same summed over the workers.

    Both are None if they were not recorded. Then the rest is unknown.
    """

    tasks: tuple[TaskProfile, ...]
    total: Timings
    wall_s: float | None
    worker_s: float | None

    @property
    def rest_s(self) -> float | None:
        """The workers' time that belongs to no episode: the tail, and attempts that failed."""
        return None if self.worker_s is None else max(0.0, self.worker_s - self.total.total)


def profile_of(summary: Summary) -> Profile:
    """Compute where the time of a run went, in all its sessions together."""
    tasks = tuple(TaskProfile(task.task, len(task.episodes), task.timings) for task in summary.tasks)
    return Profile(tasks, summary.timings, summary.wall_s, summary.worker_s)


def plain_profile(profile: Profile) -> dict[str, Any]:
    """Make plain values of the seconds, for JSON."""
    return {
        "wall_s": profile.wall_s,
        "worker_s": profile.worker_s,
        "total": {**profile.total.parts, "tail": profile.rest_s},
        "of_inference": _plain_inference(profile.total),
        "per_task": [
            {
                "task_group": task.task.suite,
                "task_id": task.task.task_id,
                "task": task.task.name,
                "n_episodes": task.n_episodes,
                **task.timings.parts,
                "of_inference": _plain_inference(task.timings),
            }
            for task in profile.tasks
        ],
    }


def _plain_inference(timings: Timings) -> dict[str, float | None] | None:
    return None if (inference := Inference.of(timings)) is None else asdict(inference)
