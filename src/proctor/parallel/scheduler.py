"""Decides which shard runs which episodes. Plain state.

Starts no process, reads no clock: whoever drives shards (or simulates them) tells it what happened and asks what a
shard is to be given now. Like the engine's scheduler one level below, it decides only when and where an episode runs.

A shard is given as many episodes as it runs side by side, and some to lie ready, so that no worker waits for a message.
What lies ready shrinks as the list does (guided self-scheduling) and is nothing at the end: there no shard holds an
episode that another could begin.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil, inf

from proctor.engine.policy_failures import FewestFailures
from proctor.types import EpisodeSpec, TaskKey

_SHARE_THAT_LIES_READY = 0.5
"""Of what waits, at most this part lies ready in all shards together."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The bounds within which episodes are dealt.

    ``static``: the whole list is dealt up front, round-robin. ``max_parallel_tasks`` of 0 means any number of tasks may
    be live, over all shards; ``max_lead`` is how many episodes a task may be ahead of the one that is furthest behind,
    0 means any number. A static list knows neither.
    """

    static: bool = False
    max_parallel_tasks: int = 0
    max_lead: int = 0


@dataclass(slots=True)
class _ShardQueue:
    """What a shard has: episodes it was given that are not over, and those that only it will be given."""

    batch_size: int = 1
    episodes: set[EpisodeSpec] = field(default_factory=set)
    tasks: Counter[TaskKey] = field(default_factory=Counter)
    reserved: deque[EpisodeSpec] = field(default_factory=deque)
    freed: deque[TaskKey] = field(default_factory=deque)
    """Tasks whose simulator stands idle in the shard."""


class ShardScheduler:
    """The episodes of a plan, and the shards 0 to ``n_shards - 1`` among which they are dealt."""

    def __init__(self, plan: Iterable[EpisodeSpec], n_shards: int, rules: Rules = Rules()) -> None:
        self._rules = rules
        self._hands = {shard: _ShardQueue() for shard in range(n_shards)}
        self._waiting: dict[TaskKey, deque[EpisodeSpec]] = {}
        self._live: Counter[TaskKey] = Counter()
        self._failures = FewestFailures()
        self._n_waiting = self._n_dealt = 0
        for position, spec in enumerate(plan):
            if rules.static:
                self._hands[position % n_shards].reserved.append(spec)
            else:
                self._waiting.setdefault(spec.task, deque()).append(spec)
            self._n_waiting += 1

    @property
    def done(self) -> bool:
        """Whether every episode is over."""
        return not self._n_waiting and not self._n_dealt

    @property
    def shards(self) -> list[int]:
        """Those that episodes are dealt to."""
        return list(self._hands)

    def joined(self, shard: int, batch_size: int) -> None:
        """A shard is ready, and runs ``batch_size`` episodes side by side."""
        self._hands[shard].batch_size = batch_size

    def deal(self, shard: int) -> list[EpisodeSpec]:
        """What a shard is to be given now, on top of what it has; it counts as given."""
        hand = self._hands[shard]
        dealt = [self._give(hand, hand.reserved.popleft()) for _ in range(len(hand.reserved))]
        while len(hand.episodes) < self._enough(hand) and (task := self._choose(hand)) is not None:
            dealt.append(self._give(hand, self._waiting[task].popleft()))
        return dealt

    def finished(self, shard: int, spec: EpisodeSpec, *, policy_failed: bool = False) -> None:
        """An episode that the shard was given is over; ``policy_failed`` if it ended in an error of the policy."""
        if policy_failed:
            self._failures.failed(spec)
        else:
            self._failures.ended()
        self._take_back(self._hands[shard], spec)
        self._hands[shard].freed.append(spec.task)

    def lost(self, shard: int, *, for_good: bool = False) -> None:
        """A shard is gone: what it had waits again, for whoever can run it. ``for_good`` if it will not be replaced."""
        hand = self._hands[shard]
        returned = sorted(hand.episodes)
        for spec in returned:
            self._take_back(hand, spec)
        self._n_waiting += len(returned)
        hand.freed.clear()
        if for_good:
            del self._hands[shard]
            returned += hand.reserved
        elif self._rules.static:
            hand.reserved.extendleft(reversed(returned))
            return
        for spec in reversed(returned):
            self._waiting.setdefault(spec.task, deque()).appendleft(spec)

    def give_up(self, spec: EpisodeSpec) -> None:
        """An episode that waits is not to be run again."""
        for waiting in [self._waiting.get(spec.task, deque()), *(hand.reserved for hand in self._hands.values())]:
            if spec in waiting:
                waiting.remove(spec)
                self._n_waiting -= 1

    # --------------------------------------------------------------------------------------------------- inside

    def _give(self, hand: _ShardQueue, spec: EpisodeSpec) -> EpisodeSpec:
        hand.episodes.add(spec)
        hand.tasks[spec.task] += 1
        self._live[spec.task] += 1
        self._n_dealt += 1
        self._n_waiting -= 1
        return spec

    def _take_back(self, hand: _ShardQueue, spec: EpisodeSpec) -> None:
        hand.episodes.remove(spec)
        self._n_dealt -= 1
        for counted in (hand.tasks, self._live):
            counted[spec.task] -= 1
            if not counted[spec.task]:
                del counted[spec.task]

    def _enough(self, hand: _ShardQueue) -> int:
        """How many episodes a shard is to have: no more than an equal share of what is left."""
        n_shards = len(self._hands)
        ready = int(self._n_waiting * _SHARE_THAT_LIES_READY / n_shards)
        share = ceil((self._n_waiting + self._n_dealt) / n_shards)
        return min(hand.batch_size + min(hand.batch_size, ready), share)

    def _choose(self, hand: _ShardQueue) -> TaskKey | None:
        """Of which task a shard is given the next episode: one whose simulator stands there, else the one with most
        episodes for those on it. The latter also for the simulator of a task that has no more: its worker will need
        another one, and if only more of what the others have lies ready, it would wait, or help out for an episode.
        """
        end = self._end_of_lead()
        if self._failures.everywhere:
            return self._longest(self._failures.fewest_of(self._open_tasks(end)))
        if hand.freed:
            task = hand.freed.popleft()
            return task if self._is_open(task, end) else self._longest(self._open_tasks(end))
        if len(hand.episodes) >= hand.batch_size:  # it will lie ready, so it must need no new simulator
            known = [task for task in hand.tasks if self._is_open(task, end)]
            return min(known, key=hand.tasks.__getitem__, default=None)
        return self._longest(self._open_tasks(end))

    def _longest(self, tasks: Iterable[TaskKey]) -> TaskKey | None:
        """The task with most episodes for those on it."""
        return max(tasks, key=lambda task: len(self._waiting[task]) / (self._live[task] + 1), default=None)

    def _open_tasks(self, end: float) -> list[TaskKey]:
        return [task for task in self._waiting if self._is_open(task, end)]

    def _is_open(self, task: TaskKey, end: float) -> bool:
        """Whether an episode of a task may be given now."""
        if not (waiting := self._waiting.get(task)) or waiting[0].episode_index >= end:
            return False
        return task in self._live or not 0 < self._rules.max_parallel_tasks <= len(self._live)

    def _end_of_lead(self) -> float:
        """From which episode on every task must wait for the one that is furthest behind."""
        if not self._rules.max_lead:
            return inf
        return self._rules.max_lead + min((w[0].episode_index for w in self._waiting.values() if w), default=0)
