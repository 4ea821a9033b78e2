"""Keeps shards busy with a plan's episodes: starts them, sends them episodes, and replaces those that die.

The pool is to its shards what an engine is to its workers. A shard that dies is an event, not an exception; the
episodes that it had not finished run again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import Any

import msgspec

from proctor.engine.engine import OnResult
from proctor.engine.load import Load
from proctor.errors import Interrupted, ResourceError
from proctor.parallel.launchers.base import Launcher
from proctor.parallel.messages import (
    LAST_EVENTS,
    EpisodeDone,
    EpisodeStarted,
    Event,
    NoMore,
    Order,
    PolicyLoaded,
    RunEpisodes,
    ShardEnded,
    ShardFailed,
    ShardLost,
    ShardReady,
    ShardRun,
    ShardStatus,
    Stop,
)
from proctor.parallel.scheduler import ShardScheduler
from proctor.types import (
    POLICY_FAILED,
    AttemptError,
    EpisodeResult,
    EpisodeSpec,
    Outcome,
    PackedArrays,
    TaskKey,
)

_RESTARTS_PER_SHARD = 3
"""The number of times that a lost shard is started again; after its next loss the others run its episodes."""
_TICK_S = 0.25
KEEPING_S = 0.0005
"""Seconds for which the pool passes results on before it looks for what has arrived meanwhile."""
_EXIT_GRACE_S = 3.0
"""Seconds that shards may take to end after the last order. By then every result has arrived, and the shards only close
their simulators."""

OnPolicyLoaded = Callable[[Mapping[str, Any]], None]


@dataclass(slots=True)
class _Shard:
    """The state of one shard since its latest start."""

    run: ShardRun
    last_event_at: float
    ready: bool = False
    load: Load = field(default_factory=lambda: Load(loading_policy=True))
    running: set[EpisodeSpec] = field(default_factory=set)
    simulators: dict[TaskKey, int] = field(default_factory=dict)
    """The number of simulators of each task that the shard was told to have."""
    n_lost: int = 0
    """The number of times that this shard was lost before this start."""


class ShardPool:
    """The shards of an evaluation. ``launcher`` starts them; ``scheduler`` decides which shard runs which episode.

    An episode that ends its shard ``max_attempts`` times becomes an error. A shard that sends nothing for
    ``patience_s`` seconds is killed and counts as lost.
    """

    def __init__(
        self,
        launcher: Launcher,
        runs: Sequence[ShardRun],
        scheduler: ShardScheduler,
        *,
        max_attempts: int,
        patience_s: float,
    ) -> None:
        self._launcher, self._scheduler = launcher, scheduler
        self._max_attempts, self._patience_s = max_attempts, patience_s
        self._shards = {run.shard_id: _Shard(run, monotonic()) for run in runs}
        self._errors: dict[EpisodeSpec, list[AttemptError]] = {}
        self._arrived: deque[tuple[EpisodeResult, PackedArrays | None]] = deque()
        """The results that are still to be passed on."""
        self._with_room: set[int] = set()
        """The shards that may be assigned episodes once all that has arrived is handled."""
        self._signal: int | None = None
        self._enough = False
        self._on_result: OnResult
        self._on_policy_loaded: OnPolicyLoaded
        self.started_at: float | None = None
        """When the first episode started, on the monotonic clock."""
        self.measuring_since: float | None = None
        """When the first shard had built and loaded what it needs, on the monotonic clock."""
        self.recorded: dict[EpisodeSpec, str] = {}
        """The episodes that shards recorded while they ran, each with why there is no video, "" if there is one."""
        self.losses: list[str] = []
        """A sentence for each shard that was lost."""
        self.notes: dict[str, None] = {}
        """The simulators' sentences for the user, each once."""

    def run(
        self, on_result: OnResult, on_policy_loaded: OnPolicyLoaded, on_tick: Callable[[], None] = lambda: None
    ) -> None:
        """Run the plan to its end.

        ``on_result`` is called with each episode's result and its arrays, ``on_policy_loaded`` with the fingerprint of
        each shard's policy before any result of that shard, and ``on_tick`` a few times a second.

        Raises:
            ConfigError, ProctorError: a shard failed for a reason that holds for every shard.
            ResourceError: no shard is left.
            Interrupted: :meth:`interrupt` was called.
        """
        self._on_result, self._on_policy_loaded = on_result, on_policy_loaded
        for shard in self._shards.values():
            self._launcher.submit(shard.run)
        try:
            self._run_episodes(on_tick)
        except Interrupted:
            self._shut_down(Stop())
            raise
        self._shut_down(Stop() if self._enough else NoMore())
        on_tick()

    def interrupt(self, signal_number: int) -> None:
        """End the run soon, from a signal handler. Finished episodes are kept, running ones are dropped."""
        self._signal = signal_number

    def begin_no_more(self) -> None:
        """End the run soon, because the rest of the plan is not needed."""
        self._enough = True

    def load(self) -> Load:
        """Return what all shards together are doing."""
        return _combined([shard.load for shard in self._shards.values()])

    # ------------------------------------------------------------------------------------------------- the event loop

    def _run_episodes(self, on_tick: Callable[[], None]) -> None:
        next_tick = 0.0
        while not (self._scheduler.done or self._enough):
            if self._signal is not None:
                self._keep_arrived()
                raise Interrupted(self._signal)
            self._take(self._launcher.poll(0 if self._arrived else _TICK_S))
            self._keep_arrived(KEEPING_S)
            if monotonic() >= next_tick:
                self._kill_silent_shards()
                on_tick()
                next_tick = monotonic() + _TICK_S
        self._keep_arrived()

    def _take(self, events: Sequence[tuple[int, Event]]) -> None:
        """Handle all that has arrived, then send each shard one order, whatever the number of its results.

        Orders come before results are kept, because a shard may wait for an order.
        """
        try:
            for shard_id, event in events:
                self._handle(shard_id, event)
        except BaseException:
            self._keep_arrived()  # the run ends, and these episodes have finished
            raise
        for shard_id in sorted(self._with_room & self._shards.keys()):
            if self._shards[shard_id].ready:  # else it was lost after its result
                self._assign(shard_id)
        self._with_room.clear()

    def _keep_arrived(self, at_most_s: float = inf) -> None:
        """Pass results on in the order of their arrival, for about so many seconds at most."""
        end = monotonic() + at_most_s
        while self._arrived:
            result, arrays = self._arrived.popleft()
            self._on_result(result, arrays)
            if monotonic() >= end:
                return

    def _shut_down(self, order: Order) -> None:
        """Send every shard its last order, and keep the results that arrive until the shards have ended."""
        for shard_id in self._shards:
            self._launcher.send(shard_id, order)
        deadline = monotonic() + _EXIT_GRACE_S
        while self._shards and monotonic() < deadline:
            for shard_id, event in self._launcher.poll(_TICK_S):
                if isinstance(event, EpisodeDone):
                    self._over(shard_id, event)
                    self._keep_arrived()
                elif isinstance(event, LAST_EVENTS):
                    del self._shards[shard_id]

    def _handle(self, shard_id: int, event: Event) -> None:
        shard = self._shards[shard_id]
        shard.last_event_at = monotonic()
        match event:
            case EpisodeDone():
                self._over(shard_id, event)
                self._with_room.add(shard_id)
            case EpisodeStarted(episode):
                shard.running.add(episode)
                self.started_at = self.started_at or shard.last_event_at
            case ShardReady(batch_size):
                shard.ready = True
                self._scheduler.joined(shard_id, batch_size)
                self._with_room.add(shard_id)
            case PolicyLoaded(fingerprint):
                self._on_policy_loaded(fingerprint)
            case ShardStatus(load, measuring, notes):
                shard.load = load
                self.notes |= dict.fromkeys(notes)
                if measuring:
                    self.measuring_since = self.measuring_since or shard.last_event_at
            case ShardFailed():
                self._shard_failed(shard_id, event)
            case ShardLost():
                self._shard_lost(shard_id, event)
            case ShardEnded():
                self._shard_lost(shard_id, ShardLost("ended before its last episode was over"))

    def _assign(self, shard_id: int) -> None:
        if episodes := self._scheduler.assign(shard_id):
            shard, simulators = self._shards[shard_id], self._scheduler.simulators_of(shard_id)
            changed = None if simulators is None or simulators == shard.simulators else tuple(simulators.items())
            shard.simulators = dict(simulators or {})
            self._launcher.send(shard_id, RunEpisodes(tuple(episodes), changed))

    def _over(self, shard_id: int, done: EpisodeDone) -> None:
        result = done.result
        self._shards[shard_id].running.discard(result.spec)
        self.measuring_since = self.measuring_since or monotonic()
        if done.video_problem is not None:
            self.recorded[result.spec] = done.video_problem
        policy_failed = result.outcome is Outcome.ERROR and result.errors[-1].kind == POLICY_FAILED
        timings = None if result.outcome is Outcome.ERROR else result.timings
        self._scheduler.finished(shard_id, result.spec, timings, policy_failed=policy_failed)
        if before := self._errors.get(result.spec):
            result = msgspec.structs.replace(result, errors=(*before, *result.errors))
        self._arrived.append((result, done.arrays))

    # ---------------------------------------------------------------------------------------------- losses and failures

    def _shard_failed(self, shard_id: int, failed: ShardFailed) -> None:
        # Another shard may have the memory or disk space that this one lacks, so the run goes on. Every other failure
        # is one of the evaluation: each shard would end with it, so the run ends with it now.
        if failed.error.exit_code == ResourceError.exit_code:
            self._shard_lost(shard_id, ShardLost(f"failed: {failed.error.message.rstrip('.')}"))
            return
        raise failed.error.unpacked()

    def _kill_silent_shards(self) -> None:
        now = monotonic()
        for shard_id, shard in list(self._shards.items()):
            # A working shard sends its status several times a second, and a launcher that waits for a machine sends one
            # in the shard's place. So silence means that the shard hangs, and only killing it frees its episodes.
            if now - shard.last_event_at > self._patience_s:
                self._launcher.cancel(shard_id)
                self._shard_lost(shard_id, ShardLost(f"sent nothing for {self._patience_s:g} s"))

    def _shard_lost(self, shard_id: int, lost: ShardLost) -> None:
        """Start a lost shard again, or leave its episodes to the other shards.

        Raises:
            ResourceError: no shard is left.
        """
        shard, reason = self._shards[shard_id], lost.reason
        # One loss may be an accident (a kill for memory, a node that is gone), so the shard is started again. Several
        # losses mean that shards do not work at this place, and each start costs the time of loading the policy.
        for_good = lost.counted and shard.n_lost >= _RESTARTS_PER_SHARD
        consequence = "the other shards run its episodes" if for_good else "it is started again"
        self.losses.append(f"Shard {shard_id} {reason}; {consequence}. See {shard.run.log}.")
        self._scheduler.lost(shard_id, for_good=for_good)
        if not lost.taken:
            self._count_attempt(shard, reason)
        if not for_good:
            self._shards[shard_id] = _Shard(shard.run, monotonic(), n_lost=shard.n_lost + lost.counted)
            self._launcher.submit(shard.run)
        else:
            del self._shards[shard_id]
            if not self._shards:
                raise ResourceError(
                    f"Every shard was lost {_RESTARTS_PER_SHARD + 1} times; the last one {reason}. See {shard.run.log}."
                )
        # The lost episodes wait again. Shards are assigned episodes when one is over, and an idle shard has none that
        # could be over, so each shard is offered some now.
        self._with_room |= {other_id for other_id, other in self._shards.items() if other.ready}

    def _count_attempt(self, shard: _Shard, reason: str) -> None:
        """Count a failed attempt at the episode that a lost shard was running, and give the episode up after the last.

        If several episodes were running, no attempt is counted: any of them may have ended the shard, and an episode
        without fault must not become an error.
        """
        if len(shard.running) != 1:
            return
        (spec,) = shard.running
        errors = self._errors.setdefault(spec, [])
        errors.append(AttemptError("crashed", f"its shard {reason}"))
        if len(errors) >= self._max_attempts:
            self._scheduler.give_up(spec)
            self._arrived.append((EpisodeResult(spec, Outcome.ERROR, errors=tuple(errors)), None))


def _combined(loads: Sequence[Load]) -> Load:
    """Return the loads of all shards as one: the sums of what is counted, the means of what is a share."""
    running: Counter[TaskKey] = Counter()
    for load in loads:
        running.update(load.running)
    return Load(
        starting=sum(load.starting for load in loads),
        building=sum(load.building for load in loads),
        simulating=sum(load.simulating for load in loads),
        waiting=sum(load.waiting for load in loads),
        running=running,
        loading_policy=any(load.loading_policy for load in loads),
        inference_share=_mean(load.inference_share for load in loads),
        mean_batch=_mean(load.mean_batch for load in loads),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
