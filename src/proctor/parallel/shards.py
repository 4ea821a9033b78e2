"""Shards kept busy with a plan's episodes: started, dealt to, replaced when they die, until every episode is over.

To an engine what an engine is to its workers. A shard that dies is an event; what it had begun runs again elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from proctor.engine.load import Load
from proctor.errors import ConfigError, Interrupted, ProctorError, ResourceError
from proctor.parallel.launchers.base import (
    EpisodeDone,
    EpisodeStarted,
    Event,
    Launcher,
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
from proctor.types import POLICY_FAILED, Array, AttemptError, EpisodeResult, EpisodeSpec, Outcome, TaskKey

_LOSSES_PER_SHARD = 3
"""How often a shard is replaced; after the next loss the others run its episodes."""
_TICK_S = 0.25
_LAST_WORDS_S = 3.0
"""How long shards may take to end once they are told to: by then every result is here, and only their simulators are
closed."""

OnResult = Callable[[EpisodeResult, Array | None], None]
OnOpened = Callable[[Mapping[str, Any]], None]


@dataclass(slots=True)
class _Shard:
    """One shard, as far as the driver knows."""

    run: ShardRun
    heard_at: float
    up: bool = False
    load: Load = field(default_factory=lambda: Load(loading_policy=True))
    under_way: set[EpisodeSpec] = field(default_factory=set)
    n_lost: int = 0


class ShardPool:
    """The shards of an evaluation. ``launcher`` starts them, ``dealer`` says which runs what.

    An episode is tried ``max_attempts`` times before it is an error; a shard that says nothing for ``patience_s`` is
    ended and counts as lost.
    """

    def __init__(
        self,
        launcher: Launcher,
        runs: Sequence[ShardRun],
        dealer: ShardScheduler,
        *,
        max_attempts: int,
        patience_s: float,
    ) -> None:
        self._launcher, self._dealer = launcher, dealer
        self._max_attempts, self._patience_s = max_attempts, patience_s
        self._shards = {run.number: _Shard(run, monotonic()) for run in runs}
        self._errors: dict[EpisodeSpec, list[AttemptError]] = {}
        self._signal: int | None = None
        self._enough = False
        self.started_at: float | None = None
        """When the first episode began, on the monotonic clock."""
        self.measuring_since: float | None = None
        """When the first shard had built and loaded what it needs, on the monotonic clock."""
        self.filmed: dict[EpisodeSpec, str] = {}
        """Episodes that were filmed while they ran, and why there is no video of it; "" if there is one."""
        self.losses: list[str] = []
        """What became of shards that died, a sentence each."""
        self._on_result: OnResult
        self.notes: dict[str, None] = {}
        """What simulators have to say to the user, each sentence once."""
        self._on_opened: OnOpened

    def run(self, on_result: OnResult, on_opened: OnOpened, on_tick: Callable[[], None] = lambda: None) -> None:
        """Run the plan to its end. ``on_result`` is given each episode and its actions, ``on_opened`` the fingerprint
        of each shard's policy before any result of it, and ``on_tick`` is called a few times a second.

        Raises:
            ConfigError, ProctorError: what a shard ended with, where every shard would.
            ResourceError: no shard is left.
            Interrupted: :meth:`interrupt` was called.
        """
        self._on_result, self._on_opened = on_result, on_opened
        for shard in self._shards.values():
            self._launcher.submit(shard.run)
        try:
            self._turn_to_end(on_tick)
        except Interrupted:
            self._dismiss(Stop())
            raise
        self._dismiss(Stop() if self._enough else NoMore())
        on_tick()

    def interrupt(self, signal_number: int) -> None:
        """End the run soon, from a signal handler. Finished episodes are kept, those under way dropped."""
        self._signal = signal_number

    def begin_no_more(self) -> None:
        """The rest of the plan is not needed: end soon."""
        self._enough = True

    def load(self) -> Load:
        """What all shards together are doing."""
        return _together([shard.load for shard in self._shards.values()])

    # ---------------------------------------------------------------------------------------------- inside a turn

    def _turn_to_end(self, on_tick: Callable[[], None]) -> None:
        next_tick = 0.0
        while not (self._dealer.done or self._enough):
            if self._signal is not None:
                raise Interrupted(self._signal)
            for number, event in self._launcher.poll(_TICK_S):
                self._hear(number, event)
            if monotonic() >= next_tick:
                self._end_the_silent()
                on_tick()
                next_tick = monotonic() + _TICK_S

    def _dismiss(self, order: Order) -> None:
        """Let the shards end, and keep what they still have to say."""
        for number in self._shards:
            self._launcher.send(number, order)
        until = monotonic() + _LAST_WORDS_S
        while self._shards and monotonic() < until:
            for number, event in self._launcher.poll(_TICK_S):
                if isinstance(event, EpisodeDone):
                    self._kept(number, event)
                elif isinstance(event, ShardEnded | ShardFailed | ShardLost):
                    del self._shards[number]

    def _hear(self, number: int, event: Event) -> None:
        shard = self._shards[number]
        shard.heard_at = monotonic()
        match event:
            case ShardReady(batch_size):
                shard.up = True
                self._dealer.joined(number, batch_size)
                self._deal(number)
            case PolicyLoaded(fingerprint):
                self._on_opened(fingerprint)
            case EpisodeStarted(episode):
                shard.under_way.add(episode)
                self.started_at = self.started_at or shard.heard_at
            case ShardStatus(load, measuring, notes):
                shard.load = load
                self.notes |= dict.fromkeys(notes)
                if measuring:
                    self.measuring_since = self.measuring_since or shard.heard_at
            case EpisodeDone():
                self._kept(number, event)
                self._deal(number)
            case ShardFailed():
                self._failed(number, event)
            case ShardLost(reason):
                self._lost(number, reason)
            case ShardEnded():
                self._lost(number, "ended before its time")

    def _deal(self, number: int) -> None:
        if episodes := self._dealer.deal(number):
            self._launcher.send(number, RunEpisodes(tuple(episodes)))

    def _kept(self, number: int, kept: EpisodeDone) -> None:
        result = kept.result
        self._shards[number].under_way.discard(result.spec)
        self.measuring_since = self.measuring_since or monotonic()
        if kept.unfilmed is not None:
            self.filmed[result.spec] = kept.unfilmed
        policy_failed = result.outcome is Outcome.ERROR and result.errors[-1].kind == POLICY_FAILED
        self._dealer.finished(number, result.spec, policy_failed=policy_failed)
        if before := self._errors.get(result.spec):
            result = replace(result, errors=(*before, *result.errors))
        self._on_result(result, kept.actions.unpack() if kept.actions is not None else None)

    def _failed(self, number: int, failed: ShardFailed) -> None:
        if failed.exit_code == ResourceError.exit_code:  # the others may have what this one lacks
            self._lost(number, f"failed: {failed.message.rstrip('.')}")
            return
        error = (
            ConfigError(failed.message) if failed.exit_code == ConfigError.exit_code else ProctorError(failed.message)
        )
        error.exit_code, error.hint = failed.exit_code, failed.hint
        raise error

    def _end_the_silent(self) -> None:
        now = monotonic()
        for number, shard in list(self._shards.items()):
            if now - shard.heard_at > self._patience_s:
                self._launcher.cancel(number)
                self._lost(number, f"gave no sign of life for {self._patience_s:g} s")

    def _lost(self, number: int, reason: str) -> None:
        """Replace a shard, or leave its episodes to the others."""
        shard = self._shards[number]
        for_good = shard.n_lost >= _LOSSES_PER_SHARD
        what_follows = "the others run its episodes" if for_good else "started again"
        self.losses.append(f"Shard {number} {reason}; {what_follows}. See {shard.run.log}.")
        self._dealer.lost(number, for_good=for_good)
        self._blame(shard, reason)
        if not for_good:
            self._shards[number] = _Shard(shard.run, monotonic(), n_lost=shard.n_lost + 1)
            self._launcher.submit(shard.run)
        else:
            del self._shards[number]
            if not self._shards:
                raise ResourceError(
                    f"Every shard was lost again and again; the last one {reason}. See {shard.run.log}."
                )
        for other, state in self._shards.items():
            if state.up:
                self._deal(other)

    def _blame(self, shard: _Shard, reason: str) -> None:
        """Count an attempt at the one episode that was under way; among several nobody knows whose fault it was."""
        if len(shard.under_way) != 1:
            return
        (spec,) = shard.under_way
        errors = self._errors.setdefault(spec, [])
        errors.append(AttemptError("crashed", f"its shard {reason}"))
        if len(errors) >= self._max_attempts:
            self._dealer.give_up(spec)
            self._on_result(EpisodeResult(spec, Outcome.ERROR, errors=tuple(errors)), None)


def _together(loads: Sequence[Load]) -> Load:
    """The loads of all shards as one: sums, and means of what is a share."""
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
