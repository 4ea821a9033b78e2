"""Chooses the episodes that get a video, and makes the videos by replay, once everything has been measured."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from itertools import groupby, zip_longest
from operator import itemgetter
from pathlib import Path
from time import monotonic

from proctor.config import EvalConfig, structure
from proctor.engine import EngineOptions, EngineSetup, Replayer, VideoOptions, VideoSpec, VideoTask, Workers
from proctor.engine.options import FEW_VIDEOS
from proctor.errors import ConfigError, Interrupted
from proctor.evaluation.capacity import n_simulators, runs_in_process
from proctor.evaluation.components import make_benchmark
from proctor.evaluation.terminal import quiet_terminal, watched
from proctor.rendering import choose_renderer
from proctor.reports.progress import Stage
from proctor.reports.text import count
from proctor.results.journal import EpisodeRecord, read_actions
from proctor.results.run_dir import RUN_FILE, RunDirectory
from proctor.results.run_info import RunInfo, require_code
from proctor.security.consent import GIVE_CONSENT, of_run
from proctor.security.redaction import REDACTED
from proctor.types import EpisodeResult, EpisodeSpec, Outcome

SHARE_OF_TIME = 0.25
LEAST_SECONDS = 10.0
"""The time for videos that nobody asked for: this share of the time that was measured, and at least these seconds."""


def wanted_videos(
    options: VideoOptions, results: Iterable[EpisodeResult], recorded: Iterable[EpisodeSpec] = ()
) -> list[EpisodeResult]:
    """Choose the completed episodes of which ``options`` ask for a video.

    ``results`` are in the order of the plan; of simulators that cannot be replayed, the episodes ``recorded`` have a
    video. If the time for videos is bounded, the choice is in the order in which they are made: every task has one
    before any has two.
    """
    recorded_tasks = {spec.task for spec in recorded}
    completed = (result for result in results if result.outcome is not Outcome.ERROR)
    wanted: list[tuple[int, EpisodeResult]] = []
    for task, episodes in groupby(completed, key=lambda result: result.spec.task):
        wanted += enumerate(_wanted_of_task(options, list(episodes), was_recorded=task in recorded_tasks))
    if options.has_budget:
        wanted.sort(key=itemgetter(0))  # among equals the order stays that of the plan
    return [result for _, result in wanted]


def _wanted_of_task(
    options: VideoOptions, episodes: Sequence[EpisodeResult], *, was_recorded: bool
) -> Iterable[EpisodeResult]:
    match options.which:
        case "none":
            return ()
        case "all":
            return episodes
        case "failures":
            return [episode for episode in episodes if episode.success is False][: options.most_per_task]
        case "auto" if options.has_budget and not was_recorded:
            return _of_every_outcome(episodes)
    return [episode for episode in episodes if options.may_include(episode.spec)]


def _of_every_outcome(episodes: Sequence[EpisodeResult]) -> Iterable[EpisodeResult]:
    """Choose the first failures, successes and episodes of unknown success, alternately."""
    outcomes = (False, True, None)
    firsts = ([each for each in episodes if each.success is outcome][: FEW_VIDEOS // 2] for outcome in outcomes)
    return (episode for row in zip_longest(*firsts) for episode in row if episode is not None)


def budget_of(options: VideoOptions, wall_s: float | None) -> float:
    """Return the seconds in which videos may be made, after an evaluation of ``wall_s`` seconds; maybe infinity."""
    return max(LEAST_SECONDS, SHARE_OF_TIME * (wall_s or 0.0)) if options.has_budget else math.inf


def video_spec_of(directory: Path, spec: EpisodeSpec, options: VideoOptions, variant: str = "") -> VideoSpec:
    """Describe the video of an episode of the run in ``directory``; a ``variant`` has a file of its own."""
    # A worker may have another working directory.
    return options.spec(RunDirectory(directory).video_file(spec, variant).absolute())


def usual_options(run: RunInfo) -> VideoOptions:
    """Return the options with which the videos that reports of ``run`` show are made, here of any episode."""
    config = run.config.get("eval", {})
    names = ("video_fps", "video_camera", "video_size")
    given = structure(EvalConfig, {name: config[name] for name in names if name in config}, "eval")
    return replace(VideoOptions.of(given), which="all")


def replay_options(
    run: RunInfo, fps: float | None = None, camera: str | None = None, size: tuple[int, int] | None = None
) -> VideoOptions:
    """Return the options of videos of ``run``; what is not given is as in the videos that reports show."""
    usual = usual_options(run)
    return replace(usual, fps=fps or usual.fps, camera=camera or usual.camera, size=size or usual.size)


def variant_of(run: RunInfo, options: VideoOptions) -> str:
    """Name in what ``options`` differ from those of the videos that reports show; "" if in nothing."""
    usual, parts = usual_options(run), []
    if options.camera != usual.camera:
        parts.append(options.camera or "usual-camera")
    if options.size != usual.size:
        parts.append("x".join(map(str, options.size or ("usual-size",))))
    if options.fps != usual.fps:
        parts.append(f"{options.fps:g}fps")
    return "-".join(parts)


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

    Videos with other ``options`` than those that reports show have files of their own: see :func:`variant_of`.

    Raises:
        ConfigError: the simulator's code is not installed here, and there is no consent to running it; or the run was
            started with a secret.
        ProctorError: see :func:`make_videos`.
    """
    command = f"proctor replay {shlex.quote(str(directory.absolute()))} …"
    setup, config = replay_setup(directory, run, len(episodes), command, trust_remote_code=trust_remote_code)
    files, variant = RunDirectory(directory), variant_of(run, options)
    try:
        return make_videos(directory, setup, config, files.records_of(episodes), options=options, variant=variant)
    except Interrupted as interruption:
        n = sum(files.video_file(episode.spec, variant).exists() for episode in episodes)
        interruption.hint = f"{n} of {count(len(episodes), 'video')} can be found in {files.videos}."
        raise


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
    variant: str = "",
    budget_s: float = math.inf,
) -> dict[EpisodeSpec, str]:
    """Render videos of episodes of the run in ``directory``.

    ``config`` sets how progress is displayed. ``workers`` are those of an engine that has run to its end; if they are
    not given, workers are started. A ``variant`` has files of its own. Videos are begun in the order of ``episodes``,
    and those that are not finished after ``budget_s`` seconds are left out.

    Returns the episodes of which there can be no video, and why:
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
            tasks.append(VideoTask(result, actions, video_spec_of(directory, result.spec, options, variant)))

    with (
        quiet_terminal(config, setup.log) as console,
        closing(Replayer(setup, tasks, workers, budget_s=budget_s)) as replayer,
        watched(replayer, console, config, str(directory)) as display,
    ):

        def show(most_s: float) -> None:
            display.update(Stage("videos", len(problems), len(episodes), monotonic() - started_at, most_s))

        replayer.run(problems.__setitem__, lambda: show(budget_s))
        show(most_s=0.0)  # no time is left, also if some were left out early
    return {result.spec: problem for result in results if (problem := problems.get(result.spec))}
