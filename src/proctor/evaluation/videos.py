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
from proctor.engine import Crew, EngineSetup, VideoReplayer, VideoSpec, VideoTask
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


def may_be_filmed(config: EvalConfig, spec: EpisodeSpec) -> bool:
    """Whether ``--eval.video`` may turn out to ask for this episode; before it has run."""
    if config.video == "first":
        return spec.episode_index < config.n_episodes_to_render
    return config.video != "none"


def wanted_videos(config: EvalConfig, results: Iterable[EpisodeResult]) -> list[EpisodeResult]:
    """The completed episodes that ``--eval.video`` and ``--eval.n_episodes_to_render`` ask for. ``results`` are in the
    order of the plan.
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
    """How an episode of the run in ``directory`` is filmed."""
    path = (directory / video_file(spec)).absolute()  # a worker's working directory may be another
    return VideoSpec(str(path), config.video_fps, config.video_camera, config.video_pixels)


def remove_videos(directory: Path, specs: Iterable[EpisodeSpec]) -> None:
    """Remove videos of episodes that turned out not to be wanted."""
    for spec in specs:
        (directory / video_file(spec)).unlink(missing_ok=True)


def replay(
    directory: Path,
    run: RunInfo,
    episodes: Sequence[EpisodeResult],
    config: EvalConfig,
    *,
    trust_remote_code: bool = False,
) -> dict[EpisodeSpec, str]:
    """Render videos of episodes of the ``run`` in ``directory`` long after it: see :func:`make_videos`. Needs no policy.

    Raises:
        ConfigError: the simulator's code is not installed here, and there is no consent to running it.
        ProctorError: see :func:`make_videos`.
    """
    if REDACTED in str(run.config["env"]):
        raise ConfigError(f"{directory} was run with a secret that run.json does not hold: it cannot be filmed later.")
    command = f"proctor replay {shlex.quote(str(directory.absolute()))} …"
    fields = of_run({"env": run.config["env"]}, command, consent=trust_remote_code)
    require_code(run, ("env",), f"{command} {GIVE_CONSENT}" if trust_remote_code else command)
    benchmark, address = make_benchmark(fields["env"], trust_remote_code=trust_remote_code)
    choose_renderer(benchmark)
    setup = EngineSetup(
        benchmark=address,
        env=asdict(benchmark.config),
        tasks={task.key: task for task in run.tasks},
        action_source=None,
        config=config,
        batch_size=n_simulators(benchmark, config, len(episodes)),
        log=directory / "worker.log",
        in_process=runs_in_process(benchmark, config),
    )
    return make_videos(directory, setup, config, episodes)


def make_videos(
    directory: Path,
    setup: EngineSetup,
    config: EvalConfig,
    episodes: Sequence[EpisodeResult],
    predecessor: Crew | None = None,
) -> dict[EpisodeSpec, str]:
    """Render videos of episodes of the run in ``directory``; on the workers of ``predecessor`` if there is one.

    Returns the episodes that have no video now, and why: above all, that their replay was not the episode that was
    recorded.

    Raises:
        ConfigError: the simulator has no such camera.
        ProctorError: see :meth:`~proctor.engine.workers.Crew.run_to_end`.
    """
    began, filmed = monotonic(), dict[EpisodeSpec, str]()
    shots = []
    records = merge_journals(read_journals(directory))
    for result in episodes:
        try:
            actions = read_actions(records[key_of(result.spec)])
        except ConfigError as error:
            filmed[result.spec] = str(error)
        else:
            assert actions is not None  # only an error has none
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
    return {result.spec: problem for result in episodes if (problem := filmed[result.spec])}
