"""Runs an evaluation: the engine's results into the journal, the journal summed up, the episodes filmed. Wires the
parts, no more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from proctor.config import EnvConfig, EvalConfig, RunConfig, structure
from proctor.engine import Engine, EngineSetup
from proctor.engine.policy_failures import require_result
from proctor.errors import ConfigError, NoResultError, ProctorError, ResourceError, note
from proctor.evaluation.arguments import env_fields, path_text, plain, policy_of, whole_number
from proctor.evaluation.claim import Claim, in_own_directory
from proctor.evaluation.prepared_run import PreparedRun, prepare
from proctor.evaluation.run_state import EvalResult, RunState
from proctor.evaluation.terminal import quiet_terminal, watched
from proctor.evaluation.videos import film_of, make_videos, may_be_filmed, remove_videos, wanted_videos
from proctor.policies.announced import AnnouncedPolicy
from proctor.policies.base import LocalPolicy, PolicySource
from proctor.policies.function import PredictFunction
from proctor.rendering import choose_renderer
from proctor.results.journal import JournalWriter
from proctor.types import Array, EpisodeResult, EpisodeSpec


def evaluate(  # noqa: PLR0913 - what a caller may say of an evaluation
    policy: str | Path | Mapping[str, Any] | PolicySource | LocalPolicy | PredictFunction,
    env: str | Mapping[str, Any] | EnvConfig,
    *,
    preprocessor: Any = None,
    postprocessor: Any = None,
    seed: int = 1000,
    output_dir: str | Path | None = None,
    trust_remote_code: bool = False,
    **eval_fields: Any,
) -> EvalResult:
    """Evaluate a policy on a benchmark.

    In a training loop the policy is the object that is trained, with the processors it is trained with::

        result = proctor.evaluate(policy, "pusht", preprocessor=preprocessor, postprocessor=postprocessor)

    It is evaluated as ``save_pretrained`` would write it now, to the bit, on the device it is on; the object itself
    stays as it is.

    Args:
        policy: a checkpoint (path or Hub id), the fields of ``--policy.*``, a LeRobot ``PreTrainedPolicy``, a
            :class:`~proctor.policies.base.Policy`, or any callable (:mod:`proctor.policies.function` says what it is
            given).
        env: a benchmark's name, the fields of ``--env.*``, or a benchmark's configuration.
        preprocessor: the ``PolicyProcessorPipeline`` of a ``PreTrainedPolicy``; by default the one beside the weights
            that its configuration's ``pretrained_path`` names, if the policy still has those weights.
        postprocessor: the same for its actions.
        seed: episode *i* of a task runs with ``seed + i``.
        output_dir: the run directory; an unfinished run in it goes on, if the policy is known to be the same. If not
            given, a new one.
        trust_remote_code: consent to running code that is not installed here, such as an environment of the Hub.
        eval_fields: fields of :class:`~proctor.config.EvalConfig`: ``n_episodes``, ``batch_size``, …; here without a
            display and without videos (``video="first"`` makes them).

    Raises:
        ConfigError: what is asked for cannot be done; the message says what to do.
        NoResultError: every episode ended in an error, or the policy failed alike in each of the first three; the cause
            holds the first traceback.
        ProctorError: see :mod:`proctor.errors`. Finished episodes are on disk in every case.
    """
    given = policy_of(policy, preprocessor, postprocessor)
    loaded = None if isinstance(given, dict) else given
    config = RunConfig(
        policy=given if isinstance(given, dict) else dict(given.fingerprint()),
        env=env_fields(env),
        eval=structure(EvalConfig, {"display": "none", "video": "none", **plain(eval_fields)}, "eval"),
        seed=whole_number("seed", seed, 0),
        output_dir=path_text("output_dir", output_dir),
        trust_remote_code=trust_remote_code,
    )
    result = run(prepare(config, loaded))
    require_result(result.summary.overall.n_completed, result.summary.first_error)
    return result


def measure(job: PreparedRun, setup: EngineSetup, ledger: RunState) -> Engine:
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
    job: PreparedRun,
    on_measured: Callable[[EvalResult], None] = lambda _: None,
    measure: Callable[[PreparedRun, EngineSetup, RunState], Engine] = measure,
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
    with in_own_directory(job) as job_there:
        return _run(job_there, on_measured, measure, n_workers)


def _run(
    job: PreparedRun,
    on_measured: Callable[[EvalResult], None],
    measure: Callable[[PreparedRun, EngineSetup, RunState], Engine],
    n_workers: int | None,
) -> EvalResult:
    claim, setup = Claim(job), job.engine_setup()
    if why := job.benchmark.only_here():
        note(why)
    n_workers = setup.n_workers if n_workers is None else n_workers
    with JournalWriter(job.directory, job.run_info.fingerprint, job.journal_stem, n_workers) as journal:
        claim.write_down(journal.journal)
        ledger = RunState(job, journal, claim)
        try:
            engine = measure(job, setup, ledger)
        except ProctorError as error:
            if isinstance(error, ConfigError) and not journal.n_episodes:
                raise  # nothing is there, and going on would end the same way
            then = "once the policy is mended, " if isinstance(error, NoResultError) else ""
            kept = f"{ledger.n_completed} of {len(job.specs)} episodes are kept"
            error.hint = f"{kept}; {then}{job.how_to_go_on}"
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


def _film(
    job: PreparedRun, ledger: RunState, missing: Sequence[EpisodeResult], engine: Engine
) -> Mapping[EpisodeSpec, str]:
    """Make the videos that are missing; gives those that could not be made, and why."""
    try:
        return make_videos(job.directory, engine.setup, job.config.eval, missing, engine)
    except ProctorError as error:
        error.hint = "The results are complete."
        if not isinstance(error, ConfigError):  # going on would end the same way
            error.hint += f" For the videos that are missing, {job.how_to_go_on}"
        with suppress(ResourceError):
            ledger.sum_up()
        raise
