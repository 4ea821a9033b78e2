"""The idle time that no schedule avoids, and that of a schedule for which nothing costs any time.

``bench/scale.py`` compares its simulations with both. A worker is a moment: that at which it is ready. It constructs a
simulator for each task that it works on, and an episode takes as many seconds as it took in the simulation.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from proctor.types import TaskKey


@dataclass(frozen=True)
class Idle:
    """When a schedule ends, seconds, and the share of the workers' time until then that is idle.

    A worker's time begins when the worker is ready. It is idle unless the worker runs an episode or constructs the
    first simulator in which it runs one.
    """

    end_s: float
    share: float


def idle_share(ready: Sequence[float], end: float, episodes_s: float, constructions_s: float) -> float:
    """Return the share of the workers' time that goes neither into episodes nor into first constructions."""
    return 1 - (episodes_s + constructions_s) / sum(end - moment for moment in ready if moment < end)


def least_idle(ready: Sequence[float], construct_s: float, seconds_of: Mapping[TaskKey, Sequence[float]]) -> Idle:
    """Return a bound: no schedule ends earlier, and one that ends then is idle for at least that share.

    Even if every length is known beforehand, a run cannot end before the workers have had time for one construction
    each and for all episodes, nor before the longest episode is over on the first worker.
    """
    work = sum(map(sum, seconds_of.values()))
    able = sorted(moment + construct_s for moment in ready)
    end, sum_of_able = 0.0, 0.0
    for n, moment in enumerate(able):
        if n and end <= moment:
            break
        sum_of_able += moment
        end = (work + sum_of_able) / (n + 1)
    end = max(end, able[0] + max(map(max, seconds_of.values())))
    n_able = sum(moment < end for moment in able)
    return Idle(end, idle_share(ready, end, work, n_able * construct_s))


def reference(ready: Sequence[float], construct_s: float, seconds_of: Mapping[TaskKey, Sequence[float]]) -> Idle:
    """Return what list scheduling reaches if messages and decisions take no time.

    The mean and the greatest length of each task are known from the start, but no episode's own length. A free worker
    keeps its task. If its task has no episode left, the worker joins the task that is expected to end last even with
    the worker's help, unless the others will have begun all its episodes before the construction is over.
    """
    waiting = {task: deque(seconds) for task, seconds in seconds_of.items()}
    mean_s = {task: fmean(seconds) for task, seconds in seconds_of.items()}
    longest_s = {task: max(seconds) for task, seconds in seconds_of.items()}
    n_on: Counter[TaskKey] = Counter()
    free: list[tuple[float, int]] = [(moment, worker) for worker, moment in enumerate(ready)]
    heapq.heapify(free)
    task_of: dict[int, TaskKey] = {}
    end = 0.0

    def left_s(task: TaskKey) -> float:
        return len(waiting[task]) * mean_s[task] / (n_on[task] + 1)

    while free and waiting:
        now, worker = heapq.heappop(free)
        task = task_of.get(worker)
        if task not in waiting:
            if task is not None:
                n_on[task] -= 1
            able = [t for t in waiting if not n_on[t] or left_s(t) >= construct_s]
            if not able:
                continue
            task = task_of[worker] = max(able, key=lambda t: left_s(t) + longest_s[t])
            n_on[task] += 1
            now += construct_s
        now += waiting[task].popleft()
        if not waiting[task]:
            del waiting[task]
        end = max(end, now)
        heapq.heappush(free, (now, worker))
    assert not waiting
    return Idle(end, idle_share(ready, end, sum(map(sum, seconds_of.values())), len(task_of) * construct_s))
