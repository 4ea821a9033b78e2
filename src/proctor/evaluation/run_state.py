"""The state of a run: the episodes that have results, the progress that is shown, and the result that is written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby
from time import monotonic
from typing import Any, Protocol

import msgspec

from proctor.engine.load import Load
from proctor.engine.policy_failures import FirstFailures
from proctor.evaluation.prepared_run import PreparedRun
from proctor.evaluation.result import EvalResult
from proctor.reports.progress import Progress, TaskProgress
from proctor.results.eval_info import stream_eval_info
from proctor.results.merge import remaining
from proctor.results.session import RunSession
from proctor.results.summary import summarize
from proctor.security.redaction import redact_text, secrets_in
from proctor.statistics.rounds import CompleteRounds
from proctor.statistics.stopping import StoppingRule, find_stop
from proctor.types import AttemptError, EpisodeResult, EpisodeSpec, Outcome, PackedArrays, Timings

GROUP_S = 0.05
"""The seconds after one group of episodes was written in which the next one is collected. Syncing takes some
milliseconds and episodes may take less, so writing each by itself would take most of the time."""
GROUP_MOST = 1000
"""The largest number of episodes of a group."""


class Measuring(Protocol):
    """An object that runs episodes. Times are on the monotonic clock, in seconds."""

    started_at: float | None
    """The time at which the first episode was started; None before."""

    @property
    def measuring_since(self) -> float | None:
        """The time at which the first episode could continue from its first observation; None before."""

    def load(self) -> Load:
        """Describe what the workers are doing at this moment."""


class RunState:
    """The results of a run so far: those of earlier sessions, and those of episodes that finish now.

    ``todo`` are the episodes without a completed result when the session began, in the order of the plan. An episode
    counts once it is on disk: but for :attr:`decided`, nothing tells of one that :meth:`sync` has not written.
    """

    def __init__(self, prepared: PreparedRun, session: RunSession) -> None:
        self._prepared, self.session = prepared, session
        planned, width = set(prepared.specs), prepared.run_info.precision.stop_at_width
        earlier = (record.result for record in session.kept.values())
        known = [result for result in earlier if result.spec in planned]
        stop = find_stop(prepared.specs, known, width)
        wanted = [spec for spec in prepared.specs if stop is None or stop.reached_by(spec)]
        self.todo = remaining(wanted, session.kept)
        self._first_failures = FirstFailures(prepared.specs)
        self._rule = None if width is None else StoppingRule(prepared.specs, width)
        self._results: dict[EpisodeSpec, EpisodeResult] = {}
        self._timings = Timings()
        self._last_error: tuple[EpisodeSpec, AttemptError] | None = None
        self._rounds = {
            key: CompleteRounds(specs) for key, specs in groupby(prepared.specs, key=lambda spec: spec.task)
        }
        for result in known:
            if result.outcome is not Outcome.ERROR:  # an error is run again
                self._count(result)
                self._timings += result.timings
                if self._rule is not None:
                    self._rule.add(result)
        self._n_resumed = len(self._results)
        self._group: list[EpisodeResult] = []
        """The episodes that the journal collects."""
        self._being_written: list[EpisodeResult] = []
        self._synced_at = -math.inf
        self._secrets = secrets_in([prepared.config.policy, prepared.config.env])
        self._began = monotonic()
        self._startup_s: float | None = None
        self.wall_s: float | None = None
        """The duration of all sessions together in seconds, without videos; None until the clock is stopped."""
        self._worker_s: float | None = None

    def opened(self, policy: Mapping[str, Any]) -> None:
        """Write down the fingerprint of the policy that was loaded.

        Raises:
            FingerprintError: earlier results were measured with another policy, or on another kind of device.
        """
        self.session.write_opened_policy(policy)

    def keep(self, result: EpisodeResult, arrays: PackedArrays | None) -> None:
        """Take an episode that has just finished into the group that is written next.

        The group is written at once unless one was begun within the last :data:`GROUP_S` seconds; an error is always
        written at once, because it may end the run. An episode that comes alone is on disk when this returns; a
        group of several is written while the next one is collected. Secrets of the configuration are removed from
        errors.

        Raises:
            NoResultError, ResourceError: see :meth:`sync`.
        """
        if result.errors:
            result = msgspec.structs.replace(result, errors=tuple(map(self._redacted, result.errors)))
        self.session.journal.add(result, arrays)
        self._group.append(result)
        if self._rule is not None:
            self._rule.add(result)  # before it is on disk, so that no further episode begins if enough is known
        n, due = len(self._group), monotonic() >= self._synced_at + GROUP_S
        if result.outcome is Outcome.ERROR or (due and n == 1 and not self._being_written):
            self.sync()
        elif n >= GROUP_MOST or (due and not self.session.journal.is_syncing):
            self._begin_sync()

    def count_workers(self, n_workers: int) -> None:
        """Take note of how many workers there are now; in the end the largest number of a session counts."""
        self.session.journal.n_workers = max(self.session.journal.n_workers, n_workers)

    def sync(self) -> None:
        """Write the episodes that were kept since the last call, and count them; they are on disk when this returns.

        Raises:
            NoResultError: the last of the first episodes is among them, and the policy failed alike in all of those.
            ResourceError: the disk is full; the group is lost, and everything before it is on disk.
        """
        self._begin_sync()
        self._end_sync()

    def _begin_sync(self) -> None:
        """Have the journal write its group, once the one before is on disk."""
        self._end_sync()
        if not self._group:
            return
        try:
            self.session.journal.begin_sync()
        except Exception:
            self._group = []
            raise
        self._being_written, self._group = self._group, []
        self._synced_at = monotonic()

    def _end_sync(self) -> None:
        """Count the episodes that are being written, once they are on disk."""
        if not self._being_written:
            return
        try:
            self.session.journal.end_sync()
        except Exception:
            self._being_written, self._group = [], []
            raise
        group, self._being_written = self._being_written, []
        for result in group:
            self._count(result)
        self._timings = Timings.sum_of([self._timings, *(result.timings for result in group)])
        self._first_failures.check()

    @property
    def n_completed(self) -> int:
        """The number of episodes that were run to their end, in all sessions."""
        return sum(rounds.counts.n_completed for rounds in self._rounds.values())

    def _redacted(self, error: AttemptError) -> AttemptError:
        message, traceback = (redact_text(text, self._secrets) for text in (error.message, error.traceback))
        return msgspec.structs.replace(error, message=message, traceback=traceback)

    @property
    def decided(self) -> bool:
        """The stopping rule is fulfilled, so that the rest of the plan need not run; shown once it is on disk."""
        return self._rule is not None and self._rule.stop is not None

    def stop_clock(self) -> None:
        """End the time that counts as the duration of the evaluation; videos are made after it."""
        journal, seconds = self.session.journal, monotonic() - self._began
        self.wall_s = journal.previous.wall_s + seconds
        if journal.previous.worker_s is not None and journal.most_workers:
            self._worker_s = journal.previous.worker_s + seconds * (journal.n_workers or journal.most_workers)

    def write_result(self) -> EvalResult:
        """Write ``eval_info.json`` from everything that has finished; it is partial if episodes are missing.

        Raises:
            ResourceError: the file cannot be written.
        """
        prepared, directory = self._prepared, self.session.directory
        run = prepared.run_info
        summary = replace(
            summarize(prepared.tasks, prepared.specs, self._results.values(), self.wall_s, run.precision),
            worker_s=self._worker_s,
            startup_s=self._startup_s,
            videos=directory.existing_videos(prepared.specs),
            success_key=run.success_key,
        )
        directory.write_eval_info(stream_eval_info(summary, run))
        return EvalResult(directory.path, summary, run, n_measured=len(self.todo))

    def progress(self, engine: Measuring) -> Progress:
        """Write what was kept, and give the progress of the run, of which ``engine`` runs the episodes.

        Raises:
            NoResultError, ResourceError: see :meth:`sync`.
        """
        self.sync()
        now, since, load = monotonic(), engine.measuring_since, engine.load()
        self.count_workers(load.workers)
        if engine.started_at is not None:
            self._startup_s = engine.started_at - self._began
        tasks = tuple(
            TaskProgress(task.name, rounds.n_planned, rounds.counts, rounds.so_far, load.running.get(task.key, 0))
            for task in self._prepared.tasks
            if (rounds := self._rounds.get(task.key)) is not None
        )
        return Progress(
            tasks,
            elapsed_s=now - self._began,
            running_s=None if since is None else now - since,
            n_resumed=self._n_resumed,
            load=load,
            timings=self._timings,
            last_error=self._last_error,
            method=self._prepared.run_info.precision.method,
        )

    def _count(self, result: EpisodeResult) -> None:
        self._results[result.spec] = result
        if result.outcome is Outcome.ERROR:
            self._last_error = (result.spec, result.errors[-1])
        self._rounds[result.spec.task].add(result)
        self._first_failures.add(result)
