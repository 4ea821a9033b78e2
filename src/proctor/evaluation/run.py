"""Runs an evaluation in steps: measure the episodes, summarise the results, make the videos that are missing, and
record a dataset if one is asked for.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

from proctor.config import EnvConfig, EvalConfig, RunConfig, structure
from proctor.config.eval_fields import EvalFields
from proctor.engine import Engine, EngineSetup, VideoOptions, WorkerKeeper, Workers
from proctor.engine.policy_failures import require_result
from proctor.errors import ConfigError, Interrupted, NoResultError, ProctorError, ResourceError, note
from proctor.evaluation.arguments import env_fields, path_text, plain, policy_of, whole_number
from proctor.evaluation.audit.runs import keep_audit
from proctor.evaluation.prepared_run import PreparedRun, prepare
from proctor.evaluation.recording import Staging, record, require_lerobot, staging_of
from proctor.evaluation.result import EvalResult
from proctor.evaluation.run_state import RunState
from proctor.evaluation.terminal import quiet_terminal, watched
from proctor.evaluation.videos import budget_of, make_videos, remove_videos, video_spec_of, wanted_videos
from proctor.machine.signals import signal_of
from proctor.policies.base import AnyPolicy, LocalPolicy, PolicySource
from proctor.policies.function import PredictFunction
from proctor.rendering import choose_renderer
from proctor.reports.notebook import in_notebook
from proctor.reports.text import count
from proctor.results.journal_records import key_of
from proctor.results.run_dir import RunDirectory
from proctor.streams import global_generators_restored
from proctor.types import EpisodeResult, EpisodeSpec, Outcome, PackedArrays

PolicyArgument = str | Path | Mapping[str, Any] | PolicySource | LocalPolicy | PredictFunction
"""Whatever is taken as a policy; :func:`evaluate` describes it."""


def evaluate(  # noqa: PLR0913 - the options of an evaluation
    policy: PolicyArgument,
    env: str | Mapping[str, Any] | EnvConfig,
    *,
    preprocessor: Any = None,
    postprocessor: Any = None,
    device: str | None = None,
    seed: int = 1000,
    output_dir: str | Path | None = None,
    trust_remote_code: bool = False,
    **eval_fields: Unpack[EvalFields],
) -> EvalResult:
    """Evaluate a policy on a benchmark.

    In a training loop the policy is the object that is trained, with the processors it is trained with::

        result = proctor.evaluate(policy, "pusht", preprocessor=preprocessor, postprocessor=postprocessor)

    It is evaluated as ``save_pretrained`` would write it now, to the bit, on the device it is on; the object itself and
    the global random generators stay as they are. :class:`proctor.Evaluator` keeps the simulators from one evaluation
    to the next.

    Args:
        policy: a checkpoint (path or Hub id), the fields of ``--policy.*``, a LeRobot ``PreTrainedPolicy``, a
            :class:`~proctor.policies.base.Policy`, or any callable (:mod:`proctor.policies.function` describes its
            argument).
        env: the name of a benchmark, the fields of ``--env.*``, or the configuration of a benchmark.
        preprocessor: the ``PolicyProcessorPipeline`` of a ``PreTrainedPolicy``; by default the one beside the weights
            that its configuration's ``pretrained_path`` names, if the policy still has those weights.
        postprocessor: the pipeline that its actions pass; by default found as the ``preprocessor`` is.
        device: the device on which a ``PreTrainedPolicy`` is evaluated, such as ``"cuda:1"``; it is copied there if it
            is on another one.
        seed: episode *i* of a task runs with ``seed + i``.
        output_dir: the run directory; an unfinished run in it goes on, if the policy is known to be the same. If not
            given, a new one.
        trust_remote_code: consent to running code that is not installed here, such as an environment of the Hub.
        eval_fields: fields of :class:`~proctor.config.EvalConfig`: ``n_episodes``, ``batch_size``, …; here without
            videos (``video="auto"`` makes some), and without a display except in a notebook.

    Raises:
        ConfigError: what is asked for cannot be done; the message says what to do.
        NoResultError: every episode ended in an error, or the policy failed alike in each of the first three; the cause
            holds the first traceback.
        ProctorError: see :mod:`proctor.errors`. Finished episodes are on disk in every case.
    """
    arguments = {"preprocessor": preprocessor, "postprocessor": postprocessor, "device": device, "seed": seed}
    arguments |= {"output_dir": output_dir, "trust_remote_code": trust_remote_code}
    with global_generators_restored():
        return with_result(run(prepare(*configure(policy, env, **arguments, **eval_fields))))


def configure(  # noqa: PLR0913 - as of evaluate
    policy: PolicyArgument,
    env: str | Mapping[str, Any] | EnvConfig,
    *,
    preprocessor: Any = None,
    postprocessor: Any = None,
    device: str | None = None,
    seed: int = 1000,
    output_dir: str | Path | None = None,
    trust_remote_code: bool = False,
    **eval_fields: Any,
) -> tuple[RunConfig, AnyPolicy | None]:
    """Check the arguments of :func:`evaluate`; gives the configuration, and the policy if it is an object.

    Raises:
        ConfigError: an argument is wrong; the message says what to give.
    """
    given = policy_of(policy, preprocessor, postprocessor, device=device)
    config = RunConfig(
        policy=given if isinstance(given, dict) else dict(given.fingerprint()),
        env=env_fields(env),
        eval=structure(EvalConfig, {"display": _usual_display(), "video": "none", **plain(eval_fields)}, "eval"),
        seed=whole_number("seed", seed, 0),
        output_dir=path_text("output_dir", output_dir),
        trust_remote_code=trust_remote_code,
    )
    return config, None if isinstance(given, dict) else given


def _usual_display() -> str:
    """Return the display that is used unless the caller chooses one."""
    return "auto" if in_notebook() else "none"


def with_result(result: EvalResult) -> EvalResult:
    """Return the result of an evaluation if there is one.

    Raises:
        NoResultError: every episode ended in an error.
    """
    require_result(result.summary.overall.n_completed, result.summary.first_error)
    return result


@dataclass(frozen=True)
class Measured:
    """The outcome of the first step, besides the results, which are in the journal.

    ``recorded`` are the episodes that were recorded while they ran, and why there is no video of an episode; "" if
    there is one. ``losses`` has a sentence about each shard that died. ``workers`` and their simulators make the videos
    that are missing; if there are none, new workers are started for that. Afterwards ``keeper`` takes them back, if
    there is one. ``unrecorded`` are the episodes that were to be recorded for a dataset while they ran and could not
    be, and why.
    """

    recorded: Mapping[EpisodeSpec, str]
    losses: tuple[str, ...] = ()
    workers: Workers | None = None
    keeper: WorkerKeeper | None = None
    unrecorded: Mapping[EpisodeSpec, str] = field(default_factory=dict)

    def close(self) -> None:
        """End the workers, or give them back."""
        if self.workers is None:
            return
        if self.keeper is not None:
            self.keeper.give_back(self.workers)
        else:
            self.workers.close()


Measure = Callable[[PreparedRun, EngineSetup, RunState], Measured]


def measure(
    prepared: PreparedRun,
    setup: EngineSetup,
    state: RunState,
    keeper: WorkerKeeper | None = None,
    loaded_ahead: PolicySource | None = None,
) -> Measured:
    """Run the episodes that have no result yet, in workers of this process, and keep their results in ``state``.

    The workers are those of ``keeper``, which takes them back at the end; without one they are new. ``loaded_ahead`` is
    the run's policy if somebody else loads it.
    """
    config = prepared.config.eval
    videos, staging = VideoOptions.of(config), staging_for(prepared)
    video_specs = {
        spec: video_spec_of(prepared.directory, spec, videos) for spec in state.todo if videos.may_include(spec)
    }
    with quiet_terminal(config, setup.log) as console:
        policy = loaded_ahead or (None if isinstance(prepared.policy, LocalPolicy) else prepared.policy)
        workers = keeper.workers_for(setup) if keeper is not None else None

        def keep(result: EpisodeResult, arrays: PackedArrays | None) -> None:
            state.count_workers(engine.workers.n_running)
            state.keep(result, arrays)
            if state.decided:
                engine.begin_no_more()

        engine = Engine(
            setup,
            state.todo,
            policy if state.todo else None,
            video_specs,
            rollout_specs={spec: staging.rollout_spec(spec) for spec in state.todo} if staging is not None else {},
            workers=workers,
            on_policy_loaded=state.opened,
        )
        try:
            if state.todo:
                with watched(engine, console, config, str(prepared.directory)) as display:
                    engine.run(keep, lambda: display.update(state.progress(engine)))
            engine.close_inference()
        except BaseException:
            with closing(engine):
                state.sync()  # before workers are waited for, in which time a second signal may come
            raise
    for sentence in engine.notes:
        note(sentence)
    unrecorded = {spec: problem for spec, problem in engine.rollout_problems.items() if problem}
    return Measured(engine.recorded, workers=engine.workers, keeper=keeper, unrecorded=unrecorded)


def run(
    prepared: PreparedRun,
    on_measured: Callable[[EvalResult], None] = lambda _: None,
    measure_with: Measure = measure,
    n_workers: int | None = None,
    keeper: WorkerKeeper | None = None,
) -> EvalResult:
    """Run an evaluation, or the rest of it if its run directory holds an unfinished run.

    ``on_measured`` receives the result, which is on disk by then, before videos are made. ``measure_with`` runs the
    episodes. If it does so outside this process, ``n_workers`` is the number of workers there, or 0 if that is unknown.
    ``keeper`` holds workers of an earlier evaluation, whose memory counts as free.

    Raises:
        RunLockedError, FingerprintError: the directory is in use, or holds another evaluation's results.
        ResourceError: this machine has too little memory for so many simulators, or the directory cannot be made.
        ProctorError: the run ended early. What finished is in the journal and in a partial ``eval_info.json``.
    """
    if prepared.config.eval.recording:
        require_lerobot()
    choose_renderer(prepared.benchmark, prepared.config.policy.get("device"), draws=prepared.draws)
    with prepared.in_own_directory() as placed:
        setup = placed.engine_setup(n_running=_n_kept(placed, keeper))
        if why := placed.benchmark.only_here():
            note(why)
        n_workers = setup.n_workers if n_workers is None else n_workers
        with (
            placed.open_session(n_workers) as session,
            session.directory.recording_end(placed.without_secrets),
            _open_staging(placed) as staging,
        ):
            state = RunState(placed, session)
            with closing(_measure(placed, setup, state, measure_with)) as measured:
                result, missing = _summarise(placed, state, measured)
                on_measured(result)
                problems = {spec: problem for spec, problem in measured.recorded.items() if problem}
                if missing:
                    problems |= _make_videos(placed, setup, state, missing, measured.workers)
                    result = replace(state.write_result(), video_budget_s=result.video_budget_s)
                there = result.summary.videos.keys() | problems.keys()
                n_left_out = sum(episode.spec not in there for episode in missing)
                result = replace(
                    result,
                    n_videos_to_come=0,
                    n_videos_left_out=n_left_out,
                    video_problems=problems,
                    losses=measured.losses,
                )
                return result if staging is None else _record(placed, setup, state, result, measured, staging)


def staging_for(prepared: PreparedRun) -> Staging | None:
    """Give the folder in which the dataset of a run is made; None if the user asked for none."""
    if not prepared.config.eval.recording:
        return None
    return staging_of(prepared.run_directory.recording, prepared.run_info)


def _open_staging(prepared: PreparedRun) -> AbstractContextManager[Staging | None]:
    staging = staging_for(prepared)
    return nullcontext() if staging is None else staging.opened()


def _n_kept(prepared: PreparedRun, keeper: WorkerKeeper | None) -> int:
    """Count the simulators of the benchmark that have been built and are kept."""
    return 0 if keeper is None else keeper.n_kept(prepared.address, asdict(prepared.benchmark.config))


def _measure(prepared: PreparedRun, setup: EngineSetup, state: RunState, measure_with: Measure) -> Measured:
    """Run the episodes that are missing."""

    def hint(error: ProctorError) -> str:
        if isinstance(error, ConfigError) and not state.session.journal.n_episodes:
            return ""  # there are no results, and another session would end the same way
        return _kept(prepared, state, "once the policy is repaired, " if isinstance(error, NoResultError) else "")

    with _keeping_results(state, hint):
        try:
            return measure_with(prepared, setup, state)
        finally:
            state.sync()
            state.stop_clock()


def _kept(prepared: PreparedRun, state: RunState, then: str = "") -> str:
    return f"{state.n_completed} of {len(prepared.specs)} episodes are kept; {then}{prepared.resume_hint}"


def _summarise(
    prepared: PreparedRun, state: RunState, measured: Measured
) -> tuple[EvalResult, Sequence[EpisodeResult]]:
    """Write the result and the audit; gives also the episodes of which a video is still to be made.

    Raises:
        ResourceError: the disk does not take the result; the hint says that the episodes are kept.
    """
    try:
        result, options = state.write_result(), VideoOptions.of(prepared.config.eval)
    except ResourceError as error:
        error.hint = _kept(prepared, state)
        raise
    records = state.session.records.values()
    keep_audit(prepared.directory, prepared.config, prepared.policy, records, len(prepared.tasks))
    wanted = wanted_videos(options, result.summary.episodes, measured.recorded)
    if unwanted := measured.recorded.keys() - {episode.spec for episode in wanted}:
        remove_videos(prepared.directory, unwanted)
        result = state.write_result()
    done = result.summary.videos.keys() | measured.recorded.keys()
    missing = [episode for episode in wanted if episode.spec not in done]
    if options.has_budget and done and not state.todo:
        missing = []  # an earlier session has spent the time for videos
    budget_s = budget_of(options, result.summary.wall_s)
    return replace(result, n_videos_to_come=len(missing), video_budget_s=budget_s), missing


def _make_videos(
    prepared: PreparedRun,
    setup: EngineSetup,
    state: RunState,
    missing: Sequence[EpisodeResult],
    workers: Workers | None,
) -> Mapping[EpisodeSpec, str]:
    """Make the videos that are missing; gives the episodes of which that failed, and why."""
    config, directory = prepared.config.eval, prepared.directory
    options = VideoOptions.of(config)
    budget_s = budget_of(options, state.wall_s)

    def hint(error: ProctorError) -> str:
        if isinstance(error, ConfigError):  # another session would end the same way
            return "The results are complete."
        files = RunDirectory(directory)
        n = len(files.existing_videos(prepared.specs))
        videos = f", and {count(n, 'video')} can be found in {files.videos}" if n else ""
        there = f"The results are complete{videos}."
        if options.has_budget and n:  # a session that measures nothing makes no more of them
            command = f"proctor replay {shlex.quote(str(directory))} --task=… --episode=…"
            return f"{there} Any other video is made on a click in proctor view, or by: {command}"
        return f"{there} For the videos that are missing, {prepared.resume_hint}"

    records = [state.session.records[key_of(episode.spec)] for episode in missing]
    with _keeping_results(state, hint):
        return make_videos(directory, setup, config, records, options=options, workers=workers, budget_s=budget_s)


def _record(  # noqa: PLR0913, PLR0917 - a step of a run
    prepared: PreparedRun,
    setup: EngineSetup,
    state: RunState,
    result: EvalResult,
    measured: Measured,
    staging: Staging,
) -> EvalResult:
    """Record the dataset of all completed episodes."""
    config, completed = prepared.config.eval, [e for e in result.summary.episodes if e.outcome is not Outcome.ERROR]
    records = [state.session.records[key_of(episode.spec)] for episode in completed]

    def hint(_: ProctorError) -> str:
        return f"The results are complete. For the dataset: proctor record {shlex.quote(str(prepared.directory))}"

    with _keeping_results(state, hint):
        recording = record(
            prepared.directory,
            setup,
            config,
            staging,
            records,
            repo_id=config.recording_repo_id,
            workers=measured.workers,
        )
    problems = {**recording.problems, **{s: p for s, p in measured.unrecorded.items() if s in recording.problems}}
    return replace(result, recording=replace(recording, problems=problems))


@contextmanager
def _keeping_results(state: RunState, hint: Callable[[ProctorError], str]) -> Iterator[None]:
    """If the block fails, write the result of what has finished, and give the error a hint at how to continue.

    If its hint is "", the error passes unchanged: the run was refused at its start, and its files are removed. The
    exception of a signal that comes where no run can take it is treated alike, and gets the hint as an attribute.
    """
    try:
        yield
    except (ProctorError, KeyboardInterrupt) as raised:
        error = raised if isinstance(raised, ProctorError) else Interrupted(signal_of(raised))
        if hint_of_error := hint(error):
            raised.hint = hint_of_error  # type: ignore[union-attr]
            with suppress(ResourceError):  # a full disk takes no summary; the journal has everything
                state.write_result()
        else:
            state.session.withdraw()
        raise
