"""Which episodes get a video, and the making of them: by replay, once everything has been measured."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from time import monotonic

from proctor.config import EvalConfig
from proctor.engine import (
    EngineOptions,
    EngineSetup,
    VideoOptions,
    VideoReplayer,
    VideoSpec,
    VideoTask,
    Workers,
)
from proctor.errors import ConfigError
from proctor.evaluation.prepared_run import make_benchmark, n_simulators, runs_in_process
from proctor.evaluation.terminal import quiet_terminal, watched
from proctor.rendering import choose_renderer
from proctor.reports.progress import Stage
from proctor.results.journal import key_of, read_actions, read_journals
from proctor.results.merge import merge_journals
from proctor.results.run_dir import RunInfo, require_code
from proctor.results.videos import video_file
from proctor.security.consent import GIVE_CONSENT, of_run
from proctor.security.redaction import REDACTED
from proctor.types import EpisodeResult, EpisodeSpec, Outcome, TaskKey


def wanted_videos(options: VideoOptions, results: Iterable[EpisodeResult]) -> list[EpisodeResult]:
    """The completed episodes of which ``options`` ask for a video. ``results`` are in the order of the plan."""
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


def film_of(directory: Path, spec: EpisodeSpec, options: VideoOptions) -> VideoSpec:
    """How an episode of the run in ``directory`` is filmed."""
    return options.spec((directory / video_file(spec)).absolute())  # a worker's working directory may be another


def remove_videos(directory: Path, specs: Iterable[EpisodeSpec]) -> None:
    """Remove videos of episodes that turned out not to be wanted."""
    for spec in specs:
        (directory / video_file(spec)).unlink(missing_ok=True)


def replay(
    directory: Path,
    run: RunInfo,
    episodes: Sequence[EpisodeResult],
    options: VideoOptions,
    *,
    trust_remote_code: bool = False,
) -> dict[EpisodeSpec, str]:
    """Render videos of episodes of the ``run`` in ``directory``, long after it and without the policy.

    Raises:
        ConfigError: the simulator's code is not installed here, and there is no consent to running it.
        ProctorError: see :func:`make_videos`.
    """
    if REDACTED in str(run.config["env"]):
        raise ConfigError(f"{directory} was run with a secret that run.json does not hold: it cannot be filmed later.")
    command = f"proctor replay {shlex.quote(str(directory.absolute()))} …"
    fields = of_run({"env": run.config["env"]}, command, consent=trust_remote_code)
    require_code(run, ("env",), f"{command} {GIVE_CONSENT}" if trust_remote_code else command)
    config = EvalConfig()  # how a replay runs is not for the user to choose: as an evaluation does if nothing is asked
    benchmark, address = make_benchmark(fields["env"], trust_remote_code=trust_remote_code)
    choose_renderer(benchmark)
    setup = EngineSetup(
        benchmark=address,
        env=asdict(benchmark.config),
        tasks={task.key: task for task in run.tasks},
        action_source=None,
        options=EngineOptions.of(config, benchmark.config.max_parallel_tasks),
        batch_size=n_simulators(benchmark, config, len(episodes)),
        log=directory / "worker.log",
        in_process=runs_in_process(benchmark, config),
    )
    return make_videos(directory, setup, config, episodes, options=options)


def make_videos(  # noqa: PLR0913 - two ways to say how videos are made
    directory: Path,
    setup: EngineSetup,
    config: EvalConfig,
    episodes: Sequence[EpisodeResult],
    workers: Workers | None = None,
    *,
    options: VideoOptions | None = None,
) -> dict[EpisodeSpec, str]:
    """Render videos of episodes of the run in ``directory``.

    ``workers`` are those of an engine that has run to its end; if they are not given, workers are started. The videos
    are made as ``options`` say, or if these are not given, as ``config`` does.

    Returns the episodes that have no video now, and why: above all, that their replay was not the episode that was
    recorded.

    Raises:
        ConfigError: the simulator has no such camera.
        ProctorError: see :meth:`~proctor.engine.video_replay.VideoReplayer.run`.
    """
    began, filmed = monotonic(), dict[EpisodeSpec, str]()
    options = options or VideoOptions.of(config)
    shots = []
    records = merge_journals(read_journals(directory))
    for result in episodes:
        try:
            actions = read_actions(records[key_of(result.spec)])
        except ConfigError as error:
            filmed[result.spec] = str(error)
        else:
            assert actions is not None  # only an error has none
            shots.append(VideoTask(result, actions, film_of(directory, result.spec, options)))

    with (
        quiet_terminal(config, setup.log) as console,
        closing(VideoReplayer(setup, shots, workers)) as filming,
        watched(filming, console, config, str(directory)) as display,
    ):
        filming.run(
            filmed.__setitem__,
            lambda: display.update(Stage("videos", len(filmed), len(episodes), monotonic() - began)),
        )
    return {result.spec: problem for result in episodes if (problem := filmed[result.spec])}
