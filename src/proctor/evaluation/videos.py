"""Chooses the episodes that get a video, and makes the videos by replay, once everything has been measured."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from time import monotonic

from proctor.config import EvalConfig
from proctor.engine import EngineOptions, EngineSetup, Replayer, VideoOptions, VideoSpec, VideoTask, Workers
from proctor.errors import ConfigError
from proctor.evaluation.capacity import n_simulators, runs_in_process
from proctor.evaluation.components import make_benchmark
from proctor.evaluation.terminal import quiet_terminal, watched
from proctor.rendering import choose_renderer
from proctor.reports.progress import Stage
from proctor.results.journal import EpisodeRecord, read_actions
from proctor.results.run_dir import RUN_FILE, RunDirectory
from proctor.results.run_info import RunInfo, require_code
from proctor.security.consent import GIVE_CONSENT, of_run
from proctor.security.redaction import REDACTED
from proctor.types import EpisodeResult, EpisodeSpec, Outcome, TaskKey


def wanted_videos(options: VideoOptions, results: Iterable[EpisodeResult]) -> list[EpisodeResult]:
    """Choose the completed episodes of which ``options`` ask for a video. ``results`` are in the order of the plan."""
    wanted: list[EpisodeResult] = []
    n_failures: Counter[TaskKey] = Counter()
    for result in results:
        if result.outcome is Outcome.ERROR or not options.may_include(result.spec):
            continue
        if options.which == "failures":
            if result.success is not False or n_failures[result.spec.task] >= options.per_task:
                continue
            n_failures[result.spec.task] += 1
        wanted.append(result)
    return wanted


def video_spec_of(directory: Path, spec: EpisodeSpec, options: VideoOptions) -> VideoSpec:
    """Describe the video of an episode of the run in ``directory``."""
    # A worker may have another working directory.
    return options.spec(RunDirectory(directory).video_file(spec).absolute())


def remove_videos(directory: Path, specs: Iterable[EpisodeSpec]) -> None:
    """Remove the videos of episodes that are not to have one."""
    for spec in specs:
        RunDirectory(directory).video_file(spec).unlink(missing_ok=True)


def replay(
    directory: Path,
    run: RunInfo,
    episodes: Sequence[EpisodeResult],
    options: VideoOptions,
    *,
    trust_remote_code: bool = False,
) -> dict[EpisodeSpec, str]:
    """Render videos of episodes of a finished ``run`` in ``directory``: see :func:`make_videos`. Needs no policy.

    Raises:
        ConfigError: the simulator's code is not installed here, and there is no consent to running it; or the run was
            started with a secret.
        ProctorError: see :func:`make_videos`.
    """
    command = f"proctor replay {shlex.quote(str(directory.absolute()))} …"
    setup, config = replay_setup(directory, run, len(episodes), command, trust_remote_code=trust_remote_code)
    return make_videos(directory, setup, config, RunDirectory(directory).records_of(episodes), options=options)


def replay_setup(
    directory: Path, run: RunInfo, n_episodes: int, command: str, *, trust_remote_code: bool
) -> tuple[EngineSetup, EvalConfig]:
    """Prepare workers that replay ``n_episodes`` episodes of a finished ``run`` in ``directory``.

    ``command`` is what the user is to repeat with consent. Returns the setup of the workers and the configuration with
    which progress is displayed.

    Raises:
        ConfigError: the simulator's code is not installed here, and there is no consent to running it; or the run was
            started with a secret.
        ResourceError: there is too little memory for a simulator.
    """
    if REDACTED in str(run.config["env"]):
        raise ConfigError(
            f"{directory} was run with a secret that {RUN_FILE} does not hold: none of its episodes can be replayed."
        )
    fields = of_run({"env": run.config["env"]}, command, consent=trust_remote_code)
    require_code(run, ("env",), f"{command} {GIVE_CONSENT}" if trust_remote_code else command)
    config = EvalConfig()  # a replay uses the default number of simulators
    benchmark, address = make_benchmark(fields["env"], trust_remote_code=trust_remote_code)
    choose_renderer(benchmark)
    setup = EngineSetup(
        benchmark=address,
        env=asdict(benchmark.config),
        tasks={task.key: task for task in run.tasks},
        action_source=None,
        options=EngineOptions.of(config, benchmark.config.max_parallel_tasks),
        batch_size=n_simulators(benchmark, config, n_episodes),
        log=RunDirectory(directory).worker_log,
        in_process=runs_in_process(benchmark, config),
    )
    return setup, config


def make_videos(  # noqa: PLR0913 - where, how, and of what
    directory: Path,
    setup: EngineSetup,
    config: EvalConfig,
    episodes: Sequence[EpisodeRecord],
    *,
    options: VideoOptions,
    workers: Workers | None = None,
) -> dict[EpisodeSpec, str]:
    """Render videos of episodes of the run in ``directory``.

    ``config`` sets how progress is displayed. ``workers`` are those of an engine that has run to its end; if they are
    not given, workers are started.

    Returns the episodes that have no video afterwards, and why:
    most often because the replay did not end as the recorded episode did.

    Raises:
        ConfigError: the simulator has no such camera.
        ProctorError: see :meth:`~proctor.engine.replay.Replayer.run`.
    """
    started_at, problems = monotonic(), dict[EpisodeSpec, str]()
    tasks = []
    results = [episode.result for episode in episodes]
    for result, episode in zip(results, episodes, strict=True):
        try:
            actions = read_actions(episode)
        except ConfigError as error:
            problems[result.spec] = str(error)
        else:
            assert actions is not None  # only an error has no actions
            tasks.append(VideoTask(result, actions, video_spec_of(directory, result.spec, options)))

    with (
        quiet_terminal(config, setup.log) as console,
        closing(Replayer(setup, tasks, workers)) as replayer,
        watched(replayer, console, config, str(directory)) as display,
    ):
        replayer.run(
            problems.__setitem__,
            lambda: display.update(Stage("videos", len(problems), len(episodes), monotonic() - started_at)),
        )
    return {result.spec: problem for result in results if (problem := problems[result.spec])}
