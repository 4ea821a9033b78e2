"""Decides which shard runs which episode. Plain state: it starts no process and reads no clock.

The caller reports what happened (:meth:`ShardScheduler.joined`, :meth:`~ShardScheduler.finished`,
:meth:`~ShardScheduler.lost`) and asks what a shard is to run next (:meth:`~ShardScheduler.assign`). Like the engine's
scheduler one level below, it decides only when and where an episode runs, never what the episode is.

A shard is assigned as many episodes as it runs in parallel, and prefetches some more, so that none of its workers waits
for a message from the driver. The number of prefetched episodes shrinks with the time that the waiting ones still take
(guided self-scheduling), and an episode that might wait for long behind another is not prefetched. At the end of the
plan no shard holds an episode that another shard could start.

A worker keeps the task whose simulator it has built. If it has built none, or if its task has no episode left, it gets
the task that is expected to end last: the work that is left for each simulator of that task, and then its longest
episode. No simulator is built for a task whose episodes will all have started before the simulator is there. The
forecast of an episode's duration is a mean of the episodes of its task that are over; before one is, it is in
proportion to the task's limit of steps.

An engine cannot see what is left of a task, so the driver also decides how many simulators of each task it is to have.
A prefetched episode waits for one of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil, inf

from proctor.engine.policy_failures import FewestFailures
from proctor.parallel.durations import AllDurations, Durations
from proctor.types import EpisodeSpec, TaskKey, Timings

_PREFETCHED_S = 0.25
"""The most seconds for which a worker has prefetched episodes: the driver may take so long to answer."""
_PREFETCHED_SHARE = 1 / 5
"""A worker has prefetched episodes for no more than this share of the time that the waiting ones still take."""
_MOST_PREFETCHED = 8
"""The most episodes that are prefetched for each worker."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits within which episodes are assigned.

    ``static`` assigns the whole plan at the start, round-robin; the other two rules have no effect then. At most
    ``max_parallel_tasks`` tasks run at a time over all shards; 0 means any number. A task may be at most ``max_lead``
    episodes ahead of the task that is furthest behind; 0 means any number.
    """

    static: bool = False
    max_parallel_tasks: int = 0
    max_lead: int = 0


@dataclass(eq=False, slots=True)
class _Task:
    """A task of the plan. A decision looks at all tasks, and most results need one: so what it reads is at hand."""

    key: TaskKey
    durations: Durations
    waiting: deque[EpisodeSpec] = field(default_factory=deque)
    n_assigned: int = 0
    """The number of its episodes that are assigned and not over."""
    n_simulators: int = 0
    """The number of its simulators that the shards have, or build."""
    n_freed: int = 0
    """The number of these that are about to be assigned an episode, because theirs is over."""
    outlook: tuple[float, float] | None = None
    """The result of :meth:`ends_and_starts_s`; None if it no longer holds."""

    def ends_and_starts_s(self) -> tuple[float, float]:
        """Return the seconds until it is expected to end, and those until its waiting episodes are all started, if one
        more worker joins those that run it.
        """
        if self.outlook is None:
            started_s = len(self.waiting) * self.durations.episode_s / (self.n_simulators + 1)
            self.outlook = started_s + self.durations.longest_s, started_s
        return self.outlook


@dataclass(slots=True)
class _ShardQueue:
    """The episodes of one shard."""

    batch_size: int = 1
    """The number of episodes that the shard runs in parallel."""
    assigned: dict[EpisodeSpec, int] = field(default_factory=dict)
    """The episodes that the shard was sent and that are not over, and their places in the order of assignment."""
    n_assigned_of: dict[_Task, int] = field(default_factory=dict)
    """The number of assigned episodes of each task."""
    reserved: list[EpisodeSpec] = field(default_factory=list)
    """With a static plan: the waiting episodes that only this shard will be assigned."""
    simulators: dict[_Task, int] = field(default_factory=dict)
    """The number of simulators of each task that the shard has, or builds."""
    n_simulators: int = 0
    idle: dict[_Task, None] = field(default_factory=dict)
    """The tasks of which the shard has more simulators than assigned episodes, in the order in which it got so."""
    freed: list[_Task] = field(default_factory=list)
    """The tasks of the episodes that are over since the shard was last assigned any."""
    changed: dict[_Task, None] = field(default_factory=dict)
    """The tasks of which an episode was assigned or is over since episodes were prefetched."""

    def count_assigned(self, task: _Task) -> None:
        """Count an episode that is assigned."""
        n = self.n_assigned_of[task] = self.n_assigned_of.get(task, 0) + 1
        if n == self.simulators.get(task, 0):
            self.idle.pop(task, None)
        self.changed[task] = None

    def count_over(self, task: _Task) -> None:
        """Count an assigned episode that is over."""
        if _less(self.n_assigned_of, task) < self.simulators.get(task, 0):
            self.idle[task] = None
        self.changed[task] = None

    def count_built(self, task: _Task) -> None:
        """Count a simulator that is to be built."""
        n = self.simulators[task] = self.simulators.get(task, 0) + 1
        self.n_simulators += 1
        if n > self.n_assigned_of.get(task, 0):
            self.idle[task] = None

    def count_left(self, task: _Task) -> None:
        """Count an idle simulator whose worker is to build another."""
        self.n_simulators -= 1
        if _less(self.simulators, task) <= self.n_assigned_of.get(task, 0):
            del self.idle[task]


def _less(counts: dict[_Task, int], task: _Task) -> int:
    """Count a task once less, and return how often it is counted then; only those that are counted are keys."""
    if n := counts[task] - 1:
        counts[task] = n
    else:
        del counts[task]
    return n


class ShardScheduler:
    """Assigns the episodes of a plan to the shards 0 to ``n_shards - 1``.

    ``max_steps`` are the most steps of an episode of each task, 1 if a task is not among them.
    """

    def __init__(
        self,
        plan: Iterable[EpisodeSpec],
        n_shards: int,
        rules: Rules = Rules(),
        max_steps: Mapping[TaskKey, int] | None = None,
    ) -> None:
        self._rules = rules
        self._queues = {shard_id: _ShardQueue() for shard_id in range(n_shards)}
        self._ready: set[int] = set()
        self._n_workers = 0
        """The number of episodes that the shards which are ready run in parallel."""
        self._tasks: dict[TaskKey, _Task] = {}
        self._waiting: dict[_Task, None] = {}
        """The tasks that have waiting episodes, except reserved ones."""
        self._unknown: set[_Task] = set()
        """The tasks of which it is not known how long an episode takes."""
        self._all = AllDurations()
        self._failures = FewestFailures()
        self._n_running_tasks = self._n_waiting = self._n_assigned = self._n_over = 0
        for position, spec in enumerate(plan):
            if (task := self._tasks.get(spec.task)) is None:
                durations = Durations((max_steps or {}).get(spec.task, 1), self._all)
                task = self._tasks[spec.task] = _Task(spec.task, durations)
                self._unknown.add(task)
            if rules.static:
                self._queues[position % n_shards].reserved.append(spec)
            else:
                task.waiting.append(spec)
                self._waiting[task] = None
            self._n_waiting += 1

    @property
    def done(self) -> bool:
        """True once every episode of the plan is over."""
        return not self._n_waiting and not self._n_assigned

    @property
    def shard_ids(self) -> list[int]:
        """The shards to which episodes are assigned: all except those that are lost for good."""
        return list(self._queues)

    def joined(self, shard_id: int, batch_size: int) -> None:
        """A shard is ready and runs ``batch_size`` episodes in parallel."""
        self._queues[shard_id].batch_size = batch_size
        if shard_id not in self._ready:
            self._ready.add(shard_id)
            self._n_workers += batch_size

    def assign(self, shard_id: int) -> list[EpisodeSpec]:
        """Assign further episodes to a shard, as many as it is to have now, and return these."""
        queue = self._queues[shard_id]
        self._forget_freed(queue)
        specs = [self._assign_to(queue, self._tasks[spec.task], spec) for spec in queue.reserved]
        queue.reserved.clear()
        while self._may_begin(queue) and (task := self._choose_task(queue)) is not None:
            specs.append(self._assign_next(queue, task))
        if not self._failures.everywhere:
            specs += self._prefetch(queue)
        return specs

    def simulators_of(self, shard_id: int) -> Mapping[TaskKey, int] | None:
        """Return how many simulators of each task a shard is to have for the episodes that it was assigned.

        It is None if the shard is to decide, because it was assigned all its episodes at once.
        """
        if self._rules.static:
            return None
        return {task.key: n for task, n in self._queues[shard_id].simulators.items()}

    def finished(
        self, shard_id: int, spec: EpisodeSpec, timings: Timings | None = None, *, policy_failed: bool = False
    ) -> None:
        """An assigned episode is over; ``policy_failed`` is True if it ended in an error of the policy.

        ``timings`` are the episode's, None if they say nothing of how long an episode of its task takes.
        """
        if policy_failed:
            self._failures.failed(spec)
        else:
            self._failures.ended()
        queue, task = self._queues[shard_id], self._tasks[spec.task]
        self._unassign(queue, task, spec, timings)
        if timings is not None and self._unknown:
            self._unknown.discard(task)
            for each in self._unknown:  # the forecast for these depends on all episodes
                each.outlook = None
        queue.freed.append(task)
        task.n_freed += 1
        self._n_over += 1

    def lost(self, shard_id: int, *, for_good: bool = False) -> None:
        """A shard is gone, so its episodes wait again. ``for_good`` is True if the shard will not be replaced."""
        queue = self._queues[shard_id]
        returned = sorted(queue.assigned)
        for spec in returned:
            self._unassign(queue, self._tasks[spec.task], spec)
        self._n_waiting += len(returned)
        self._forget_freed(queue)
        for task, n in queue.simulators.items():
            task.n_simulators -= n
            task.outlook = None
        if shard_id in self._ready:
            self._ready.remove(shard_id)
            self._n_workers -= queue.batch_size
        if for_good:
            returned += queue.reserved
            del self._queues[shard_id]
        else:
            self._queues[shard_id] = _ShardQueue(queue.batch_size)
            if self._rules.static:
                self._queues[shard_id].reserved = returned + queue.reserved
                return
        # These were assigned before anything that waits now, so they go to the front.
        for spec in reversed(returned):
            task = self._tasks[spec.task]
            task.waiting.appendleft(spec)
            task.outlook = None
            self._waiting[task] = None

    def give_up(self, spec: EpisodeSpec) -> None:
        """Remove a waiting episode: it is not to be run again."""
        task = self._tasks[spec.task]
        for waiting in (task.waiting, *(queue.reserved for queue in self._queues.values())):
            if spec in waiting:
                waiting.remove(spec)
                self._n_waiting -= 1
                task.outlook = None
        if not task.waiting:
            self._waiting.pop(task, None)

    # --------------------------------------------------------------------------------------------------- decisions

    def _may_begin(self, queue: _ShardQueue) -> bool:
        """Return True if a shard may get an episode for another worker now, if a worker is free."""
        if self._n_over and not self._failures.everywhere:
            return True
        # No shard takes more than an equal share, so that the first to be ready does not take a short plan alone.
        # A shard that is not ready when the first episode is over may be so in a long time, and is not waited for.
        share = ceil((self._n_waiting + self._n_assigned) / len(self._queues))
        return len(queue.assigned) < (queue.batch_size if self._n_over else min(queue.batch_size, share))

    def _prefetch(self, queue: _ShardQueue) -> list[EpisodeSpec]:
        """Assign episodes to a shard although all its workers are busy.

        Their tasks are those that the shard runs already: another task's simulator would have to be built before any
        worker is known to be free for it.
        """
        specs: list[EpisodeSpec] = []
        left_s = self._n_waiting * self._all.episodes.value / max(1, self._n_workers)
        seconds, end = min(_PREFETCHED_S, left_s * _PREFETCHED_SHARE), self._end_of_lead()
        changed, queue.changed = queue.changed, {}
        for task in changed:
            most = queue.simulators.get(task, 0) * (1 + _enough_of(task, seconds))
            while queue.n_assigned_of.get(task, 0) < most and self._is_open(task, end):
                specs.append(self._assign_next(queue, task))
        return specs

    def _choose_task(self, queue: _ShardQueue) -> _Task | None:
        """Return the task whose next episode a free worker of a shard runs; None if none is free, or nothing pays."""
        end = self._end_of_lead()
        # While every episode has failed in the policy, the plan goes on with the tasks that failed least, so that a
        # policy that fails everywhere is found out after a few episodes.
        if self._failures.everywhere:
            keys = self._failures.fewest_of([task.key for task in self._open_among(self._waiting, end)])
            return _most_left(self._tasks[key] for key in keys)
        is_full = queue.n_simulators >= queue.batch_size
        if is_full and not queue.idle:
            return None
        # A built simulator costs nothing but a reset.
        if (task := _most_left(self._open_among(queue.idle, end))) is not None:
            return task
        # A worker is free, and must build a simulator.
        build_s, tasks = self._all.builds.value, self._open_among(self._waiting, end)
        if (task := _most_left(tasks)) is not None and not _is_in_time(task, build_s):
            task = _most_left(each for each in tasks if _is_in_time(each, build_s))
        if task is None:
            return None
        if is_full:
            left = next(iter(queue.idle))
            left.n_simulators -= 1
            left.outlook = None
            queue.count_left(left)
        task.n_simulators += 1
        task.outlook = None
        queue.count_built(task)
        return task

    def _open_among(self, tasks: Iterable[_Task], end: float) -> list[_Task]:
        """Return the tasks whose next episode may be assigned now."""
        if end == inf and not self._rules.max_parallel_tasks:
            return [task for task in tasks if task.waiting]
        return [task for task in tasks if self._is_open(task, end)]

    def _is_open(self, task: _Task, end: float) -> bool:
        """Return True if the rules allow the next episode of a task to be assigned now."""
        if not task.waiting or task.waiting[0].episode_index >= end:
            return False
        return task.n_assigned > 0 or not 0 < self._rules.max_parallel_tasks <= self._n_running_tasks

    def _end_of_lead(self) -> float:
        """Return the first episode index that no task may start yet, because another task is too far behind."""
        if not self._rules.max_lead:
            return inf
        return self._rules.max_lead + min((task.waiting[0].episode_index for task in self._waiting), default=0)

    # -------------------------------------------------------------------------------------------------- bookkeeping

    def _forget_freed(self, queue: _ShardQueue) -> None:
        for task in queue.freed:
            task.n_freed -= 1
        queue.freed.clear()

    def _assign_next(self, queue: _ShardQueue, task: _Task) -> EpisodeSpec:
        spec = task.waiting.popleft()
        task.outlook = None
        if not task.waiting:
            del self._waiting[task]
        return self._assign_to(queue, task, spec)

    def _assign_to(self, queue: _ShardQueue, task: _Task, spec: EpisodeSpec) -> EpisodeSpec:
        queue.assigned[spec] = task.durations.assigned()
        queue.count_assigned(task)
        self._n_running_tasks += not task.n_assigned
        task.n_assigned += 1
        self._n_assigned += 1
        self._n_waiting -= 1
        return spec

    def _unassign(self, queue: _ShardQueue, task: _Task, spec: EpisodeSpec, timings: Timings | None = None) -> None:
        task.durations.over(queue.assigned.pop(spec), timings)
        task.outlook = None
        queue.count_over(task)
        task.n_assigned -= 1
        self._n_running_tasks -= not task.n_assigned
        self._n_assigned -= 1


def _most_left(tasks: Iterable[_Task]) -> _Task | None:
    """Return the task that is expected to end last, even if one more worker joins those that run it."""
    return max(tasks, key=_Task.ends_and_starts_s, default=None)


def _is_in_time(task: _Task, build_s: float) -> bool:
    """Return True if another simulator of a task will be built before its episodes are all started."""
    return (
        task.ends_and_starts_s()[1] >= build_s
        or not (task.n_assigned or task.n_freed)
        or not task.durations.known  # the workers on it are building too
    )


def _enough_of(task: _Task, seconds: float) -> int:
    """Return how many prefetched episodes of a task a worker has started after so many seconds, even if each is as long
    as the longest one yet. Until then they wait while another shard's worker could start them.
    """
    if not task.durations.known:
        return 0
    return min(_MOST_PREFETCHED, int(seconds / max(task.durations.longest_s, 1e-3)))
