"""Decides which shard runs which episode. Plain state: it starts no process and reads no clock.

The caller reports what happened (:meth:`ShardScheduler.joined`, :meth:`~ShardScheduler.finished`,
:meth:`~ShardScheduler.lost`) and asks what a shard is to run next (:meth:`~ShardScheduler.assign`). Like the engine's
scheduler one level below, it decides only when and where an episode runs, never what the episode is.

A shard is assigned as many episodes as it runs in parallel, and prefetches some more, so that none of its workers waits
for a message from the driver. The number of prefetched episodes shrinks with the time that the waiting ones still take
(guided self-scheduling). It is 0 at the end of the plan: no shard then holds an episode that another shard could start.

A worker keeps the task whose simulator it has built. If it has built none, or if its task has no episode left, it gets
the task that is expected to end last: the work that is left for each simulator of that task, and then its longest
episode. No simulator is built for a task whose episodes will all have started before the simulator is there. The
forecast of an episode's duration is a mean of the episodes of its task that are over; before one is, it is in
proportion to the task's limit of steps.

An engine cannot see what is left of a task, so the driver also decides how many simulators of each task it is to have.
A prefetched episode waits for one of them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil, inf

from proctor.engine.policy_failures import FewestFailures
from proctor.parallel.durations import Durations
from proctor.types import EpisodeSpec, TaskKey, Timings

_PREFETCHED_S = 0.25
"""The most seconds for which a worker has prefetched episodes: the driver may take so long to answer."""
_PREFETCHED_SHARE = 1 / 10
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


@dataclass(slots=True)
class _ShardQueue:
    """The episodes of one shard."""

    batch_size: int = 1
    """The number of episodes that the shard runs in parallel."""
    assigned: dict[EpisodeSpec, int] = field(default_factory=dict)
    """The episodes that the shard was sent and that are not over, and their places in the order of assignment."""
    n_assigned_of: Counter[TaskKey] = field(default_factory=Counter)
    """The number of assigned episodes of each task."""
    reserved: deque[EpisodeSpec] = field(default_factory=deque)
    """With a static plan: the waiting episodes that only this shard will be assigned."""
    simulators: Counter[TaskKey] = field(default_factory=Counter)
    """The number of simulators of each task that the shard has, or builds."""
    freed: list[TaskKey] = field(default_factory=list)
    """The tasks of the episodes that are over since the shard was last assigned any."""
    changed: dict[TaskKey, None] = field(default_factory=dict)
    """The tasks of which an episode was assigned or is over since episodes were prefetched."""

    @property
    def idle(self) -> list[TaskKey]:
        """The tasks of which the shard has more simulators than assigned episodes."""
        n_assigned_of = self.n_assigned_of.get  # indexing a Counter is slow for what it does not contain
        return [task for task, n in self.simulators.items() if n > n_assigned_of(task, 0)]


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
        self._waiting: dict[TaskKey, deque[EpisodeSpec]] = {}
        self._n_assigned_of: Counter[TaskKey] = Counter()
        self._n_simulators: Counter[TaskKey] = Counter()
        self._n_freed_of: Counter[TaskKey] = Counter()
        """The sum over all shards of what they have freed: these simulators are about to be assigned an episode."""
        self._outlooks: dict[TaskKey, tuple[float, float]] = {}
        """The results of :meth:`_outlook` that still hold: every episode takes a decision between many tasks."""
        self._failures = FewestFailures()
        self._durations = Durations(max_steps or {})
        self._unknown: set[TaskKey] = set()
        """The tasks of which no episode is over."""
        self._n_waiting = self._n_assigned = self._n_over = 0
        for position, spec in enumerate(plan):
            if rules.static:
                self._queues[position % n_shards].reserved.append(spec)
            else:
                self._waiting.setdefault(spec.task, deque()).append(spec)
            self._n_waiting += 1
            self._unknown.add(spec.task)

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
        specs = [self._assign_to(queue, queue.reserved.popleft()) for _ in range(len(queue.reserved))]
        while self._may_begin(queue) and (task := self._choose_task(queue)) is not None:
            specs.append(self._assign_to(queue, self._next_of(task)))
        return specs + self._prefetch(queue)

    def simulators_of(self, shard_id: int) -> Mapping[TaskKey, int] | None:
        """Return how many simulators of each task a shard is to have for the episodes that it was assigned.

        It is None if the shard is to decide, because it was assigned all its episodes at once.
        """
        return None if self._rules.static else self._queues[shard_id].simulators

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
        queue = self._queues[shard_id]
        self._unassign(queue, spec, timings)
        self._outlooks.pop(spec.task, None)
        if timings is not None and self._unknown:  # the forecast for these tasks depends on all episodes
            self._unknown.discard(spec.task)
            self._outlooks.clear()
        queue.freed.append(spec.task)
        self._n_freed_of[spec.task] += 1
        self._n_over += 1

    def lost(self, shard_id: int, *, for_good: bool = False) -> None:
        """A shard is gone, so its episodes wait again. ``for_good`` is True if the shard will not be replaced."""
        queue = self._queues[shard_id]
        returned = sorted(queue.assigned)
        for spec in returned:
            self._unassign(queue, spec)
        self._n_waiting += len(returned)
        self._n_simulators -= queue.simulators
        queue.simulators.clear()
        self._forget_freed(queue)
        self._outlooks.clear()
        if shard_id in self._ready:
            self._ready.remove(shard_id)
            self._n_workers -= queue.batch_size
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
                self._outlooks.pop(spec.task, None)
        if not self._waiting.get(spec.task, True):
            del self._waiting[spec.task]

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
        if self._failures.everywhere:
            return specs
        left_s = self._n_waiting * self._durations.any_episode_s / max(1, self._n_workers)
        seconds, end = min(_PREFETCHED_S, left_s * _PREFETCHED_SHARE), self._end_of_lead()
        changed, queue.changed = queue.changed, {}
        for task in changed:
            most = queue.simulators[task] * (1 + self._enough_of(task, seconds))
            while queue.n_assigned_of[task] < most and self._is_open(task, end):
                specs.append(self._assign_to(queue, self._next_of(task)))
        return specs

    def _enough_of(self, task: TaskKey, seconds: float) -> int:
        """Return how many prefetched episodes of a task keep a worker busy for so many seconds.

        An episode that takes longer is not prefetched: it would wait while another shard's worker could start it.
        """
        if not self._durations.knows(task):
            return 0
        return min(_MOST_PREFETCHED, int(seconds / max(self._durations.episode_s(task), 1e-3)))

    def _choose_task(self, queue: _ShardQueue) -> TaskKey | None:
        """Return the task whose next episode a free worker of a shard runs; None if none is free, or nothing pays."""
        end = self._end_of_lead()
        # While every episode has failed in the policy, the plan goes on with the tasks that failed least, so that a
        # policy that fails everywhere is found out after a few episodes.
        if self._failures.everywhere:
            return self._most_left(self._failures.fewest_of(self._open_among(self._waiting, end)))
        idle = queue.idle
        # A built simulator costs nothing but a reset.
        if (task := self._most_left(self._open_among(idle, end))) is not None:
            return task
        if not idle and queue.simulators.total() >= queue.batch_size:
            return None
        # A worker is free, and must build a simulator.
        task = self._most_left(self._in_time(self._open_among(self._waiting, end)))
        if task is None:
            return None
        if queue.simulators.total() >= queue.batch_size:
            self._count_simulators(queue, idle[0], -1)
        self._count_simulators(queue, task, 1)
        return task

    def _most_left(self, tasks: Iterable[TaskKey]) -> TaskKey | None:
        """Return the task that is expected to end last, even if one more worker joins those that run it."""
        return max(tasks, key=self._outlook, default=None)

    def _outlook(self, task: TaskKey) -> tuple[float, float]:
        """Return the seconds until a task is expected to end, and those until its waiting episodes are all started, if
        one more worker joins those that run it.
        """
        if (outlook := self._outlooks.get(task)) is None:
            n_workers = self._n_simulators[task] + 1
            started_s = len(self._waiting[task]) * self._durations.episode_s(task) / n_workers
            outlook = self._outlooks[task] = (started_s + self._durations.longest_s(task), started_s)
        return outlook

    def _in_time(self, tasks: Iterable[TaskKey]) -> list[TaskKey]:
        """Return the tasks of which another simulator will be built before their episodes are all started."""
        build_s = self._durations.build_s
        return [
            task
            for task in tasks
            if self._outlook(task)[1] >= build_s
            or not (task in self._n_assigned_of or task in self._n_freed_of)
            or task in self._unknown  # the workers on it are building too
        ]

    def _open_among(self, tasks: Iterable[TaskKey], end: float) -> list[TaskKey]:
        """Return the tasks whose next episode may be assigned now."""
        if end == inf and not self._rules.max_parallel_tasks:
            return [task for task in tasks if task in self._waiting]
        return [task for task in tasks if self._is_open(task, end)]

    def _is_open(self, task: TaskKey, end: float) -> bool:
        """Return True if the rules allow the next episode of a task to be assigned now."""
        if (waiting := self._waiting.get(task)) is None or waiting[0].episode_index >= end:
            return False
        return task in self._n_assigned_of or not 0 < self._rules.max_parallel_tasks <= len(self._n_assigned_of)

    def _end_of_lead(self) -> float:
        """Return the first episode index that no task may start yet, because another task is too far behind."""
        if not self._rules.max_lead:
            return inf
        return self._rules.max_lead + min((w[0].episode_index for w in self._waiting.values()), default=0)

    # -------------------------------------------------------------------------------------------------- bookkeeping

    def _count_simulators(self, queue: _ShardQueue, task: TaskKey, n: int) -> None:
        self._outlooks.pop(task, None)
        for counter in (queue.simulators, self._n_simulators):
            counter[task] += n
            if not counter[task]:
                del counter[task]

    def _forget_freed(self, queue: _ShardQueue) -> None:
        for task in queue.freed:
            self._n_freed_of[task] -= 1
            if not self._n_freed_of[task]:
                del self._n_freed_of[task]
        queue.freed.clear()

    def _next_of(self, task: TaskKey) -> EpisodeSpec:
        """Take the next waiting episode of a task; only tasks with waiting episodes are keys of ``_waiting``."""
        waiting = self._waiting[task]
        spec = waiting.popleft()
        self._outlooks.pop(task, None)
        if not waiting:
            del self._waiting[task]
        return spec

    def _assign_to(self, queue: _ShardQueue, spec: EpisodeSpec) -> EpisodeSpec:
        task = spec.task
        queue.assigned[spec] = self._durations.assigned(task)
        queue.changed[task] = None
        queue.n_assigned_of[task] += 1
        self._n_assigned_of[task] += 1
        self._n_assigned += 1
        self._n_waiting -= 1
        return spec

    def _unassign(self, queue: _ShardQueue, spec: EpisodeSpec, timings: Timings | None = None) -> None:
        task = spec.task
        self._durations.over(task, queue.assigned.pop(spec), timings)
        queue.changed[task] = None
        self._n_assigned -= 1
        for counter in (queue.n_assigned_of, self._n_assigned_of):
            counter[task] -= 1
            if not counter[task]:
                del counter[task]  # only running tasks are keys: len() counts them
