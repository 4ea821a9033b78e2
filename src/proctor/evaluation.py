"""Runs an evaluation: the engine's results into the journal, and the journal summed up. Wires the parts, no more."""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any

from proctor.config import EvalConfig, RunConfig, structure
from proctor.engine import Engine
from proctor.errors import ConfigError, ProctorError, ResourceError
from proctor.job import AnyPolicy, Job, as_policy, prepare
from proctor.machine import choose_gl_backend
from proctor.policies.base import LocalPolicy, Policy
from proctor.policies.function import PredictFunction
from proctor.reports.output import printing_into
from proctor.reports.progress import Progress, TaskProgress, make_display
from proctor.results.eval_info import build_eval_info, write_eval_info
from proctor.results.journal import JournalWriter, read_journals
from proctor.results.merge import merge_journals, remaining
from proctor.results.run_dir import check_fingerprint, read_run, write_run
from proctor.results.stats import Counts
from proctor.results.summary import Summary, summarize
from proctor.types import Array, EpisodeResult, EpisodeSpec, Timings


@dataclass(frozen=True)
class EvalResult:
    """What came of an evaluation: the run directory, the numbers, and what ``eval_info.json`` holds of them."""

    directory: Path
    summary: Summary
    info: dict[str, Any]

    @property
    def pc_success(self) -> float | None:
        """Success rate over all completed episodes, in percent."""
        rate = self.summary.overall.rate
        return None if rate is None else 100 * rate

    @property
    def n_errors(self) -> int:
        """Episodes that could not be run."""
        return self.summary.overall.errors


def evaluate(
    policy: str | Path | Mapping[str, Any] | Policy | LocalPolicy | PredictFunction,
    env: str | Mapping[str, Any],
    *,
    seed: int = 1000,
    output_dir: str | Path | None = None,
    **eval_fields: Any,
) -> EvalResult:
    """Evaluate a policy on a benchmark.

    Args:
        policy: a checkpoint (path or Hub id), the fields of ``--policy.*``, a loaded policy, or any callable
            (:mod:`proctor.policies.function` says what it is given).
        env: a benchmark's name, or the fields of ``--env.*``.
        seed: episode *i* of a task runs with ``seed + i``.
        output_dir: the run directory; an unfinished run in it goes on.
        eval_fields: fields of :class:`~proctor.config.EvalConfig`: ``n_episodes``, ``batch_size``, …

    Raises:
        ConfigError: what is asked for cannot be done; the message says what to do.
        ProctorError: see :mod:`proctor.errors`. Finished episodes are on disk in every case.
    """
    fields: Mapping[str, Any]
    loaded: AnyPolicy | None = None
    match policy:
        case str() | Path():
            fields = {"path": str(policy)}
        case Mapping():
            fields = policy
        case _:
            loaded = as_policy(policy)
            fields = loaded.fingerprint()
    config = RunConfig(
        policy=dict(fields),
        env={"type": env} if isinstance(env, str) else dict(env),
        eval=structure(EvalConfig, {"display": "none", **eval_fields}, "eval"),
        seed=seed,
        output_dir=None if output_dir is None else str(output_dir),
    )
    return run(prepare(config, loaded))


def run(job: Job) -> EvalResult:
    """Run a job, or what is left of it where its run directory holds an unfinished run.

    Raises:
        RunLockedError, FingerprintError: the directory is in use, or holds another evaluation's results.
        ProctorError: the run ended early. What finished is in the journal and in a partial ``eval_info.json``.
    """
    choose_gl_backend()
    before = read_run(job.directory)
    if before is not None and not any(journal.episodes for journal in read_journals(job.directory)):
        before = None  # nothing was measured, so nothing binds
    if before is not None:
        allow = job.config.eval.allow_mismatch
        check_fingerprint(before.fingerprint, job.run_info.fingerprint, allow_mismatch=allow)
    with JournalWriter(job.directory, job.run_info.fingerprint, job.journal_stem) as journal:
        write_run(job.directory, replace(job.run_info, opened_policy=before.opened_policy if before else None))
        ledger = _Ledger(job, journal)
        try:
            _run_engine(job, ledger)
        except ProctorError as error:
            if isinstance(error, ConfigError) and not journal.n_episodes:
                raise  # nothing is there, and going on would end the same way
            error.hint = f"{journal.n_episodes} of {len(job.specs)} episodes are kept; go on with: {job.how_to_go_on}"
            with suppress(ResourceError):  # a full disk takes no summary; the journal has everything
                ledger.sum_up()
            raise
        return ledger.sum_up()


class _Ledger:
    """What is known of a job's episodes: those an earlier session kept, and those that finish now."""

    def __init__(self, job: Job, journal: JournalWriter) -> None:
        self._job, self._journal = job, journal
        kept = merge_journals(read_journals(job.directory))
        self.todo = remaining(job.specs, kept)
        done = set(job.specs) - set(self.todo)
        self._results: dict[EpisodeSpec, EpisodeResult] = {}
        self._timings = Timings()
        self._tallies = {key: _Tally(specs) for key, specs in groupby(job.specs, key=lambda spec: spec.task)}
        for record in kept.values():
            if record.result.spec in done:
                self._count(record.result)
        self._n_resumed = len(self._results)
        self._began = monotonic()
        self._startup_s: float | None = None

    def keep(self, result: EpisodeResult, actions: Array | None) -> None:
        """Write an episode down; on disk when this returns."""
        self._journal.append(result, actions)
        self._count(result)

    def sum_up(self) -> EvalResult:
        """Write ``eval_info.json`` (a partial one if episodes are missing) from everything that has finished."""
        job = self._job
        wall_s = self._journal.journal.wall_s + monotonic() - self._began
        summary = summarize(job.tasks, job.specs, self._results.values(), wall_s)
        summary = replace(summary, startup_s=self._startup_s)
        info = build_eval_info(summary, job.run_info)
        write_eval_info(job.directory, info, job.config.eval.shard_id, job.config.eval.num_shards)
        return EvalResult(job.directory, summary, info)

    def progress(self, engine: Engine) -> Progress:
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
        )

    def _count(self, result: EpisodeResult) -> None:
        self._results[result.spec] = result
        self._timings += result.timings
        self._tallies[result.spec.task].add(result)


class _Tally:
    """One task's episodes, counted as they come in, and in the order of the plan as far as that has no gap."""

    def __init__(self, specs: Iterable[EpisodeSpec]) -> None:
        self._missing = deque(specs)
        self._ahead: dict[EpisodeSpec, EpisodeResult] = {}
        self.n_planned = len(self._missing)
        self.counts = self.so_far = Counts()

    def add(self, result: EpisodeResult) -> None:
        self.counts += Counts.of(result)
        self._ahead[result.spec] = result
        while self._missing and (following := self._ahead.pop(self._missing[0], None)) is not None:
            self.so_far += Counts.of(following)
            self._missing.popleft()


def _run_engine(job: Job, ledger: _Ledger) -> None:
    if not ledger.todo:
        return
    setup, config = job.engine_setup(), job.config.eval
    debugging = not config.use_async_envs  # what is printed then is what one wants to see
    with printing_into(setup.log if config.display != "none" and not debugging else None) as console:
        policy = None if isinstance(job.policy, LocalPolicy) else _WrittenDown(job)
        engine = Engine(setup, ledger.todo, policy)
        mode = "plain" if debugging and config.display == "auto" else config.display
        with make_display(console, mode, str(job.directory)) as display, _stopped_by_signals(engine):
            try:
                engine.run(ledger.keep, lambda: display.update(ledger.progress(engine)))
            finally:
                engine.close()


class _WrittenDown:
    """A job's policy that, once opened, is written down in ``run.json``, and must be the one that was there before.

    Only then is known what it runs on where the user left that open: a run begun on a GPU must not go on on a CPU.
    """

    def __init__(self, job: Job) -> None:
        assert not isinstance(job.policy, LocalPolicy)
        self._job, self._source = job, job.policy
        self.look_offsets, self.n_action_steps = self._source.look_offsets, self._source.n_action_steps
        self.check_contract, self.fingerprint = self._source.check_contract, self._source.fingerprint

    def open(self, n_threads: int) -> Policy:
        """Open it.

        Raises:
            FingerprintError: an earlier session ran it differently.
        """
        policy = self._source.open(n_threads)
        opened = dict(policy.fingerprint())
        run = read_run(self._job.directory)
        if run is not None and run.opened_policy is not None:
            check_fingerprint(run.opened_policy, opened, allow_mismatch=self._job.config.eval.allow_mismatch)
        write_run(self._job.directory, replace(self._job.run_info, opened_policy=opened))
        return policy


@contextmanager
def _stopped_by_signals(engine: Engine) -> Iterator[None]:
    """SIGINT and SIGTERM end the run in good order; a second one ends it at once. Elsewhere than in the main thread
    signals are not ours to take.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, _: FrameType | None) -> None:
        # Not what was there before: a shell's background job has SIGINT ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        engine.interrupt(number)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
