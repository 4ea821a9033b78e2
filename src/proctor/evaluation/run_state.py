"""What is known of a job's episodes while it runs, and the result it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from proctor.engine.load import Load
from proctor.engine.policy_failures import FirstFailures
from proctor.evaluation.claim import Claim
from proctor.evaluation.prepared_run import PreparedRun
from proctor.reports.progress import Progress, TaskProgress
from proctor.results.eval_info import build_eval_info, stream_eval_info, write_eval_info
from proctor.results.journal import JournalWriter, read_journals
from proctor.results.merge import merge_journals, remaining
from proctor.results.run_dir import RunInfo
from proctor.results.summary import Summary, summarize
from proctor.results.videos import existing_videos
from proctor.security.redaction import redact_text, secrets_in
from proctor.statistics.rounds import CompleteRounds
from proctor.statistics.stopping import StoppingRule, find_stop
from proctor.types import Array, AttemptError, EpisodeResult, EpisodeSpec, Outcome, Timings


@dataclass(frozen=True, repr=False)
class EvalResult:
    """What came of an evaluation: the run directory, the numbers, and what it was an evaluation of."""

    directory: Path
    summary: Summary
    run: RunInfo
    n_videos_to_come: int = 0
    video_problems: Mapping[EpisodeSpec, str] = field(default_factory=dict)
    """Episodes that were to be filmed and have no video, and why."""
    losses: tuple[str, ...] = ()
    """What became of shards that died while it ran, a sentence each."""

    def __repr__(self) -> str:
        counts = self.summary.overall
        rate = "unknown" if self.pc_success is None else f"{self.pc_success:.1f}"
        numbers = f"pc_success={rate}, n_episodes={counts.n_completed}, n_errors={counts.n_errors}"
        return f"{type(self).__name__}({numbers}, directory={str(self.directory)!r})"

    @cached_property
    def info(self) -> dict[str, Any]:
        """What ``eval_info.json`` holds."""
        return build_eval_info(self.summary, self.run)

    @property
    def pc_success(self) -> float | None:
        """Success rate over all completed episodes, in percent; None without any, or if one's is unknown."""
        rate = self.summary.overall.rate
        return None if rate is None else 100 * rate

    @property
    def n_errors(self) -> int:
        """Episodes that could not be run."""
        return self.summary.overall.n_errors


class Measuring(Protocol):
    """Whatever runs the episodes, here or elsewhere. Times are on the monotonic clock, None before they come."""

    began_at: float | None
    """When the first episode was asked for."""

    @property
    def measuring_since(self) -> float | None:
        """When the first episode could go on from its first observation."""

    def load(self) -> Load:
        """What it is doing now."""


class RunState:
    """What is known of a job's episodes: those an earlier session kept, and those that finish now."""

    def __init__(self, job: PreparedRun, journal: JournalWriter, claim: Claim) -> None:
        self._job, self._journal, self._claim = job, journal, claim
        kept = merge_journals(read_journals(job.directory))
        planned, width = set(job.specs), job.run_info.precision.stop_at_width
        known = [record.result for record in kept.values() if record.result.spec in planned]
        stop = find_stop(job.specs, known, width)
        self.todo = remaining([spec for spec in job.specs if stop is None or stop.reached_by(spec)], kept)
        self._first_failures = FirstFailures(job.specs)
        self._rule = None if width is None else StoppingRule(job.specs, width)
        self._results: dict[EpisodeSpec, EpisodeResult] = {}
        self._timings = Timings()
        self._last_error: tuple[EpisodeSpec, AttemptError] | None = None
        self._tallies = {key: CompleteRounds(specs) for key, specs in groupby(job.specs, key=lambda spec: spec.task)}
        for result in known:
            if result.outcome is not Outcome.ERROR:  # an error is run again
                self._count(result)
        self._n_resumed = len(self._results)
        self._secrets = secrets_in([job.config.policy, job.config.env])
        self._began = monotonic()
        self._startup_s: float | None = None
        self._wall_s: float | None = None
        self._worker_s: float | None = None

    def opened(self, policy: Mapping[str, Any]) -> None:
        """Write down the fingerprint of the policy that was loaded.

        Raises:
            FingerprintError: what was measured before was measured with another.
        """
        self._claim.write_down_policy(policy)

    def keep(self, result: EpisodeResult, actions: Array | None) -> None:
        """Write an episode down; on disk when this returns. Its errors may quote secrets of the configuration.

        Raises:
            NoResultError: this was the last of the first episodes, and the policy failed alike in all of them.
        """
        result = replace(result, errors=tuple(map(self._redacted, result.errors)))
        self._journal.append(result, actions)
        self._count(result)
        self._first_failures.check()

    @property
    def n_completed(self) -> int:
        """Episodes that were run to their end, in all sessions; an error is run again."""
        return sum(tally.counts.n_completed for tally in self._tallies.values())

    def _redacted(self, error: AttemptError) -> AttemptError:
        message, traceback = (redact_text(text, self._secrets) for text in (error.message, error.traceback))
        return replace(error, message=message, traceback=traceback)

    @property
    def decided(self) -> bool:
        """Whether the rest of the plan is not needed any more."""
        return self._rule is not None and self._rule.stop is not None

    def sum_up(self) -> EvalResult:
        """Write ``eval_info.json`` (a partial one if episodes are missing) from everything that has finished."""
        job = self._job
        if self._wall_s is None:  # videos are made after the first summing up
            before, seconds = self._journal.journal, monotonic() - self._began
            self._wall_s = before.wall_s + seconds
            if before.worker_s is not None and self._journal.n_workers:
                self._worker_s = before.worker_s + seconds * self._journal.n_workers
        summary = summarize(job.tasks, job.specs, self._results.values(), self._wall_s, job.run_info.precision)
        videos = existing_videos(job.directory, job.specs)
        summary = replace(
            summary,
            worker_s=self._worker_s,
            startup_s=self._startup_s,
            videos=videos,
            success_key=job.run_info.success_key,
        )
        info = stream_eval_info(summary, job.run_info)
        write_eval_info(job.directory, info, job.config.eval.shard_id, job.config.eval.num_shards)
        return EvalResult(job.directory, summary, job.run_info)

    def progress(self, engine: Measuring) -> Progress:
        """Where the run stands."""
        now, since, load = monotonic(), engine.measuring_since, engine.load()
        if engine.began_at is not None:
            self._startup_s = engine.began_at - self._began
        tasks = tuple(
            TaskProgress(task.name, tally.n_planned, tally.counts, tally.so_far, load.running.get(task.key, 0))
            for task in self._job.tasks
            if (tally := self._tallies.get(task.key)) is not None
        )
        return Progress(
            tasks,
            elapsed_s=now - self._began,
            running_s=None if since is None else now - since,
            n_resumed=self._n_resumed,
            load=load,
            timings=self._timings,
            last_error=self._last_error,
            method=self._job.run_info.precision.method,
        )

    def _count(self, result: EpisodeResult) -> None:
        self._results[result.spec] = result
        self._timings += result.timings
        if result.outcome is Outcome.ERROR:
            self._last_error = (result.spec, result.errors[-1])
        self._tallies[result.spec.task].add(result)
        self._first_failures.add(result)
        if self._rule is not None:
            self._rule.add(result)
