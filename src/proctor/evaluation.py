"""Runs an evaluation: the engine's results into the journal, the journal summed up, the episodes filmed. Wires the
parts, no more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from proctor.claim import Claim
from proctor.config import EvalConfig, RunConfig, structure
from proctor.engine import Engine, EngineSetup
from proctor.errors import ConfigError, ProctorError, ResourceError, note
from proctor.job import AnyPolicy, Job, as_policy, prepare
from proctor.ledger import EvalResult, Ledger
from proctor.policies.announced import AnnouncedPolicy
from proctor.policies.base import LocalPolicy, Policy
from proctor.policies.function import PredictFunction
from proctor.rendering import choose_renderer
from proctor.results.journal import JournalWriter
from proctor.supervision import quiet_terminal, watched
from proctor.types import Array, EpisodeResult, EpisodeSpec
from proctor.videos import film_of, make_videos, may_be_filmed, remove_videos, wanted_videos


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
        eval_fields: fields of :class:`~proctor.config.EvalConfig`: ``n_episodes``, ``batch_size``, …; here without a
            display and without videos (``video="first"`` makes them).

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
        eval=structure(EvalConfig, {"display": "none", "video": "none", **eval_fields}, "eval"),
        seed=seed,
        output_dir=None if output_dir is None else str(output_dir),
    )
    return run(prepare(config, loaded))


def measure(job: Job, setup: EngineSetup, ledger: Ledger) -> Engine:
    """Run the episodes that have no result yet, in workers of this process, and keep them in the ledger.

    The engine that is returned still has its workers and their simulators.
    """
    config = job.config.eval
    films = {spec: film_of(job.directory, spec, config) for spec in ledger.todo if may_be_filmed(config, spec)}
    with quiet_terminal(config, setup.log) as console:
        policy = None
        if ledger.todo and not isinstance(job.policy, LocalPolicy):
            policy = AnnouncedPolicy(job.policy, ledger.opened)
        engine = Engine(setup, ledger.todo, policy, films)

        def keep(result: EpisodeResult, actions: Array | None) -> None:
            ledger.keep(result, actions)
            if ledger.decided:
                engine.begin_no_more()

        try:
            if ledger.todo:
                with watched(engine, console, config, str(job.directory)) as display:
                    engine.run(keep, lambda: display.update(ledger.progress(engine)))
            engine.close_inference()
        except BaseException:
            engine.close()
            raise
    for sentence in engine.notes:
        note(sentence)
    return engine


def run(
    job: Job,
    on_measured: Callable[[EvalResult], None] = lambda _: None,
    measure: Callable[[Job, EngineSetup, Ledger], Engine] = measure,
    n_workers: int | None = None,
) -> EvalResult:
    """Run a job, or what is left of it where its run directory holds an unfinished run.

    ``on_measured`` is told the result, which is on disk by then, before videos are made. ``measure`` runs the episodes
    and gives an engine that makes the videos; where not in this process's workers, in ``n_workers``, 0 if nobody knows.

    Raises:
        RunLockedError, FingerprintError: the directory is in use, or holds another evaluation's results.
        ProctorError: the run ended early. What finished is in the journal and in a partial ``eval_info.json``.
    """
    choose_renderer(job.benchmark, job.config.policy.get("device"), draws=job.draws)
    claim, setup = Claim(job), job.engine_setup()
    if why := job.benchmark.only_here():
        note(why)
    n_workers = setup.n_workers if n_workers is None else n_workers
    with JournalWriter(job.directory, job.run_info.fingerprint, job.journal_stem, n_workers) as journal:
        claim.write_down()
        ledger = Ledger(job, journal, claim)
        try:
            engine = measure(job, setup, ledger)
        except ProctorError as error:
            if isinstance(error, ConfigError) and not journal.n_episodes:
                raise  # nothing is there, and going on would end the same way
            error.hint = f"{journal.n_episodes} of {len(job.specs)} episodes are kept; go on with: {job.how_to_go_on}"
            with suppress(ResourceError):  # a full disk takes no summary; the journal has everything
                ledger.sum_up()
            raise
        with closing(engine):
            result = ledger.sum_up()
            wanted = wanted_videos(job.config.eval, result.summary.episodes)
            if unwanted := engine.filmed.keys() - {episode.spec for episode in wanted}:
                remove_videos(job.directory, unwanted)
                result = ledger.sum_up()
            done = result.summary.videos.keys() | engine.filmed.keys()
            missing = [episode for episode in wanted if episode.spec not in done]
            on_measured(replace(result, n_videos_to_come=len(missing)))
            problems = {spec: problem for spec, problem in engine.filmed.items() if problem}
            if missing:
                problems |= _film(job, ledger, missing, engine)
                result = ledger.sum_up()
            return replace(result, video_problems=problems)


def _film(job: Job, ledger: Ledger, missing: Sequence[EpisodeResult], engine: Engine) -> Mapping[EpisodeSpec, str]:
    """Make the videos that are missing; gives those that could not be made, and why."""
    try:
        return make_videos(job.directory, engine.setup, job.config.eval, missing, engine)
    except ProctorError as error:
        error.hint = "The results are complete."
        if not isinstance(error, ConfigError):  # going on would end the same way
            error.hint += f" The videos that are missing are made by: {job.how_to_go_on}"
        with suppress(ResourceError):
            ledger.sum_up()
        raise
