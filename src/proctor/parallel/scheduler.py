"""Decides which shard runs which episode. Plain state: it starts no process and reads no clock.

The caller reports what happened (:meth:`ShardScheduler.joined`, :meth:`~ShardScheduler.finished`,
:meth:`~ShardScheduler.lost`) and asks what a shard is to run next (:meth:`~ShardScheduler.assign`). Like the engine's
scheduler one level below, it decides only when and where an episode runs, never what the episode is.

A shard is assigned as many episodes as it runs in parallel, and prefetches some more, so that none of its workers waits
for a message from the driver. The number of prefetched episodes shrinks with the number of waiting ones (guided
self-scheduling). It is 0 at the end of the plan: no shard then holds an episode that another shard could start.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil, inf

from proctor.engine.policy_failures import FewestFailures
from proctor.types import EpisodeSpec, TaskKey

_PREFETCHED_SHARE = 0.5
"""All shards together prefetch at most this share of the waiting episodes."""


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


@dataclass(slots=True)
class _ShardQueue:
    """The episodes of one shard."""

    batch_size: int = 1
    """The number of episodes that the shard runs in parallel."""
    assigned: set[EpisodeSpec] = field(default_factory=set)
    """The episodes that the shard was sent and that are not over."""
    n_assigned_of: Counter[TaskKey] = field(default_factory=Counter)
    """The number of assigned episodes of each task."""
    reserved: deque[EpisodeSpec] = field(default_factory=deque)
    """With a static plan: the waiting episodes that only this shard will be assigned."""
    idle_simulators: deque[TaskKey] = field(default_factory=deque)
    """The task of each simulator in the shard that has finished its episode and has not been used again."""


class ShardScheduler:
    """Assigns the episodes of a plan to the shards 0 to ``n_shards - 1``."""

    def __init__(self, plan: Iterable[EpisodeSpec], n_shards: int, rules: Rules = Rules()) -> None:
        self._rules = rules
        self._queues = {shard_id: _ShardQueue() for shard_id in range(n_shards)}
        self._waiting: dict[TaskKey, deque[EpisodeSpec]] = {}
        self._n_assigned_of: Counter[TaskKey] = Counter()
        self._failures = FewestFailures()
        self._n_waiting = self._n_assigned = 0
        for position, spec in enumerate(plan):
            if rules.static:
                self._queues[position % n_shards].reserved.append(spec)
            else:
                self._waiting.setdefault(spec.task, deque()).append(spec)
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

    def assign(self, shard_id: int) -> list[EpisodeSpec]:
        """Assign further episodes to a shard, as many as it is to have now, and return these."""
        queue = self._queues[shard_id]
        specs = [self._assign_to(queue, queue.reserved.popleft()) for _ in range(len(queue.reserved))]
        while len(queue.assigned) < self._capacity(queue) and (task := self._choose_task(queue)) is not None:
            specs.append(self._assign_to(queue, self._waiting[task].popleft()))
        return specs

    def finished(self, shard_id: int, spec: EpisodeSpec, *, policy_failed: bool = False) -> None:
        """An assigned episode is over; ``policy_failed`` is True if it ended in an error of the policy."""
        if policy_failed:
            self._failures.failed(spec)
        else:
            self._failures.ended()
        self._unassign(self._queues[shard_id], spec)
        self._queues[shard_id].idle_simulators.append(spec.task)

    def lost(self, shard_id: int, *, for_good: bool = False) -> None:
        """A shard is gone, so its episodes wait again. ``for_good`` is True if the shard will not be replaced."""
        queue = self._queues[shard_id]
        returned = sorted(queue.assigned)
        for spec in returned:
            self._unassign(queue, spec)
        self._n_waiting += len(returned)
        queue.idle_simulators.clear()
        if for_good:
            del self._queues[shard_id]
            returned += queue.reserved
        elif self._rules.static:
            queue.reserved.extendleft(reversed(returned))
            return
        # These were assigned before anything that waits now, so they go to the front.
        for spec in reversed(returned):
            self._waiting.setdefault(spec.task, deque()).appendleft(spec)

    def give_up(self, spec: EpisodeSpec) -> None:
        """Remove a waiting episode: it is not to be run again."""
        for waiting in [self._waiting.get(spec.task, deque()), *(queue.reserved for queue in self._queues.values())]:
            if spec in waiting:
                waiting.remove(spec)
                self._n_waiting -= 1

    # --------------------------------------------------------------------------------------------------- decisions

    def _capacity(self, queue: _ShardQueue) -> int:
        """Return how many episodes a shard is to have now, running and prefetched together."""
        n_shards = len(self._queues)
        # One prefetched episode per worker is enough, as the driver assigns another whenever an episode is over. A
        # shard's part of _PREFETCHED_SHARE falls below 1 near the end of the plan; then the shard prefetches nothing.
        prefetched = min(queue.batch_size, int(self._n_waiting * _PREFETCHED_SHARE / n_shards))
        # No shard takes more than an equal share, so that the first to be ready does not take a short plan alone.
        share = ceil((self._n_waiting + self._n_assigned) / n_shards)
        return min(queue.batch_size + prefetched, share)

    def _choose_task(self, queue: _ShardQueue) -> TaskKey | None:
        """Return the task whose next episode a shard is assigned; None if the shard is to get no further episode."""
        end = self._end_of_lead()
        # While every episode has failed in the policy, the plan goes on with the tasks that failed least, so that a
        # policy that fails everywhere is found out after a few episodes.
        if self._failures.everywhere:
            return self._most_left(self._failures.fewest_of(self._open_tasks(end)))
        if queue.idle_simulators:
            # A built simulator costs nothing but a reset. If its task has no episode left, its worker must build
            # another simulator in any case; if the shard got only episodes of tasks that it runs already, the worker
            # would wait, or build one of their simulators for a single episode.
            task = queue.idle_simulators.popleft()
            return task if self._is_open(task, end) else self._most_left(self._open_tasks(end))
        if len(queue.assigned) >= queue.batch_size:
            # Every worker is busy, so this episode is prefetched. It must be of a task that the shard runs already:
            # another task's simulator would have to be built before any worker is known to be free for it.
            running = [task for task in queue.n_assigned_of if self._is_open(task, end)]
            return min(running, key=queue.n_assigned_of.__getitem__, default=None)
        return self._most_left(self._open_tasks(end))

    def _most_left(self, tasks: Iterable[TaskKey]) -> TaskKey | None:
        """Return the task with most waiting episodes for each assigned one."""
        # + 1: the episode to be assigned; so the ratio is what each worker has to do after this one has joined.
        return max(tasks, key=lambda task: len(self._waiting[task]) / (self._n_assigned_of[task] + 1), default=None)

    def _open_tasks(self, end: float) -> list[TaskKey]:
        return [task for task in self._waiting if self._is_open(task, end)]

    def _is_open(self, task: TaskKey, end: float) -> bool:
        """Return True if the rules allow the next episode of a task to be assigned now."""
        if not (waiting := self._waiting.get(task)) or waiting[0].episode_index >= end:
            return False
        return task in self._n_assigned_of or not 0 < self._rules.max_parallel_tasks <= len(self._n_assigned_of)

    def _end_of_lead(self) -> float:
        """Return the first episode index that no task may start yet, because another task is too far behind."""
        if not self._rules.max_lead:
            return inf
        return self._rules.max_lead + min((w[0].episode_index for w in self._waiting.values() if w), default=0)

    # -------------------------------------------------------------------------------------------------- bookkeeping

    def _assign_to(self, queue: _ShardQueue, spec: EpisodeSpec) -> EpisodeSpec:
        queue.assigned.add(spec)
        queue.n_assigned_of[spec.task] += 1
        self._n_assigned_of[spec.task] += 1
        self._n_assigned += 1
        self._n_waiting -= 1
        return spec

    def _unassign(self, queue: _ShardQueue, spec: EpisodeSpec) -> None:
        queue.assigned.remove(spec)
        self._n_assigned -= 1
        for counter in (queue.n_assigned_of, self._n_assigned_of):
            counter[spec.task] -= 1
            if not counter[spec.task]:
                del counter[spec.task]  # only running tasks are keys: len() counts them
