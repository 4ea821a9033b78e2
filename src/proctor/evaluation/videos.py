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
from proctor.engine import Crew, EngineSetup, VideoReplayer, VideoSpec, VideoTask
from proctor.errors import ConfigError
from proctor.evaluation.capacity import n_simulators, runs_in_process
from proctor.evaluation.components import make_benchmark
from proctor.evaluation.terminal import quiet_terminal, watched
from proctor.rendering import choose_renderer
from proctor.reports.progress import Stage
from proctor.results.journal import EpisodeRecord, read_actions
from proctor.results.journal_records import key_of
from proctor.results.merge import merge_journals
from proctor.results.run_dir import RUN_FILE, RunDirectory
from proctor.results.run_info import RunInfo, require_code
from proctor.security.consent import GIVE_CONSENT, of_run
from proctor.security.redaction import REDACTED
from proctor.types import EpisodeResult, EpisodeSpec, Outcome, TaskKey


def may_be_filmed(config: EvalConfig, spec: EpisodeSpec) -> bool:
    """Decide before an episode runs if ``--eval.video`` may ask for its video once it has run."""
    if config.video == "first":
        return spec.episode_index < config.n_episodes_to_render
    return config.video != "none"


def wanted_videos(config: EvalConfig, results: Iterable[EpisodeResult]) -> list[EpisodeResult]:
    """Choose the completed episodes that ``--eval.video`` and ``--eval.n_episodes_to_render`` ask for.

    ``results`` are in the order of the plan.
    """
    wanted: list[EpisodeResult] = []
    n_failures: Counter[TaskKey] = Counter()
    for result in results:
        if result.outcome is Outcome.ERROR or not may_be_filmed(config, result.spec):
            continue
        if config.video == "failures":
            if result.success is not False or n_failures[result.spec.task] >= config.n_episodes_to_render:
                continue
            n_failures[result.spec.task] += 1
        wanted.append(result)
    return wanted


def film_of(directory: Path, spec: EpisodeSpec, config: EvalConfig) -> VideoSpec:
    """Describe the video of an episode of the run in ``directory``."""
    path = RunDirectory(directory).video_file(spec).absolute()  # a worker may have another working directory
    return VideoSpec(str(path), config.video_fps, config.video_camera, config.video_pixels)


def remove_videos(directory: Path, specs: Iterable[EpisodeSpec]) -> None:
    """Remove the videos of episodes that are not to have one."""
    for spec in specs:
        RunDirectory(directory).video_file(spec).unlink(missing_ok=True)


def replay(
    directory: Path,
    run: RunInfo,
    episodes: Sequence[EpisodeResult],
    config: EvalConfig,
    *,
    trust_remote_code: bool = False,
) -> dict[EpisodeSpec, str]:
    """Make videos of episodes of a finished ``run`` in ``directory``: see :func:`make_videos`. Needs no policy.

    Raises:
        ConfigError: the simulator's code is not installed here, and there is no consent to running it; or the run was
            started with a secret.
        ProctorError: see :func:`make_videos`.
    """
    if REDACTED in str(run.config["env"]):
        raise ConfigError(
            f"{directory} was run with a secret that {RUN_FILE} does not hold: it cannot be filmed later."
        )
    command = f"proctor replay {shlex.quote(str(directory.absolute()))} …"
    fields = of_run({"env": run.config["env"]}, command, consent=trust_remote_code)
    require_code(run, ("env",), f"{command} {GIVE_CONSENT}" if trust_remote_code else command)
    benchmark, address = make_benchmark(fields["env"], trust_remote_code=trust_remote_code)
    choose_renderer(benchmark)
    files = RunDirectory(directory)
    setup = EngineSetup(
        benchmark=address,
        env=asdict(benchmark.config),
        tasks={task.key: task for task in run.tasks},
        action_source=None,
        config=config,
        batch_size=n_simulators(benchmark, config, len(episodes)),
        log=files.worker_log,
        in_process=runs_in_process(benchmark, config),
    )
    records = merge_journals(files.read_journals())
    return make_videos(directory, setup, config, [records[key_of(episode.spec)] for episode in episodes])


def make_videos(
    directory: Path,
    setup: EngineSetup,
    config: EvalConfig,
    episodes: Sequence[EpisodeRecord],
    predecessor: Crew | None = None,
) -> dict[EpisodeSpec, str]:
    """Make videos of episodes of the run in ``directory``, on the workers of ``predecessor`` if there is one.

    Returns the episodes that have no video afterwards, and why:
    most often because the replay did not end as the recorded episode did.

    Raises:
        ConfigError: the simulator has no such camera.
        ProctorError: see :meth:`~proctor.engine.workers.Crew.run_to_end`.
    """
    began, filmed = monotonic(), dict[EpisodeSpec, str]()
    shots = []
    results = [episode.result for episode in episodes]
    for result, episode in zip(results, episodes, strict=True):
        try:
            actions = read_actions(episode)
        except ConfigError as error:
            filmed[result.spec] = str(error)
        else:
            assert actions is not None  # only an error has no actions
            shots.append(VideoTask(result, actions, film_of(directory, result.spec, config)))

    with (
        quiet_terminal(config, setup.log) as console,
        closing(VideoReplayer(setup, shots, predecessor)) as filming,
        watched(filming, console, config, str(directory)) as display,
    ):
        filming.run(
            filmed.__setitem__,
            lambda: display.update(Stage("videos", len(filmed), len(episodes), monotonic() - began)),
        )
    return {result.spec: problem for result in results if (problem := filmed[result.spec])}
