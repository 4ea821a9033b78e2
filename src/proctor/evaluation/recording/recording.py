"""Chooses the episodes of a run that are recorded, has them replayed, and makes one dataset of all of them."""

from __future__ import annotations

import hashlib
import importlib.util
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import msgspec

from proctor.config import EvalConfig
from proctor.engine import EngineSetup, Replayer, RolloutTask, Workers
from proctor.engine.worker.rollout_file import CANNOT_BE_WRITTEN
from proctor.errors import ConfigError, MissingExtraError, ResourceError
from proctor.evaluation.recording.dataset import RecordedEpisode, write_dataset
from proctor.evaluation.recording.staging import Staging
from proctor.evaluation.terminal import quiet_terminal, watched
from proctor.evaluation.videos import replay_setup
from proctor.reports.progress import Stage
from proctor.results.journal import EpisodeRecord, read_actions
from proctor.results.run_dir import RunDirectory
from proctor.results.run_info import RunInfo
from proctor.types import EpisodeResult, EpisodeSpec, Outcome, Task, TaskKey

DEFAULT_REPO_ID = "proctor/recording"
_PACKAGES = ("lerobot", "datasets", "pyarrow", "pandas")


@dataclass(frozen=True)
class Recording:
    """A dataset that was made: its folder, and what it holds. ``problems`` are the episodes it lacks, and why."""

    path: Path
    n_episodes: int
    n_frames: int
    problems: Mapping[EpisodeSpec, str] = field(default_factory=dict)


def require_lerobot() -> None:
    """See that the packages that write a dataset are installed; nothing is imported.

    Raises:
        MissingExtraError: one of them is not.
    """
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(f"{package}, which writes datasets,", "lerobot")


def staging_of(output: Path, run: RunInfo) -> Staging:
    """Give the folder in which the dataset of ``run`` is made that will be at ``output``."""
    digest = hashlib.sha256(msgspec.json.encode(run.fingerprint, order="sorted")).hexdigest()
    return Staging(output, digest)


def record_run(  # noqa: PLR0913 - what is recorded, where, and how
    directory: Path,
    run: RunInfo,
    results: Iterable[EpisodeResult],
    output: Path | None = None,
    *,
    repo_id: str | None = None,
    trust_remote_code: bool = False,
) -> Recording:
    """Record episodes of a finished ``run`` in ``directory`` as one dataset, by replay. Needs no policy.

    ``output`` is the folder of the dataset, by default ``recording`` in the run directory; ``repo_id`` is the name that
    LeRobot's own parts are given for it.

    Raises:
        ConfigError: the simulator's code is not installed here, and there is no consent to running it; or the run was
            started with a secret; or the folder holds something else.
        ProctorError: see :func:`record`.
    """
    require_lerobot()
    files = RunDirectory(directory)
    command = f"proctor record {shlex.quote(str(directory.absolute()))}"
    wanted = [result for result in results if result.outcome is not Outcome.ERROR]
    setup, config = replay_setup(directory, run, len(wanted), command, trust_remote_code=trust_remote_code)
    with staging_of(output or files.recording, run).opened() as staging:
        records = files.records_of(wanted)
        return record(directory, setup, config, staging, records, repo_id=repo_id)


def record(  # noqa: PLR0913 - what is recorded, where, and how
    directory: Path,
    setup: EngineSetup,
    config: EvalConfig,
    staging: Staging,
    episodes: Sequence[EpisodeRecord],
    *,
    repo_id: str | None = None,
    workers: Workers | None = None,
) -> Recording:
    """Record completed ``episodes`` of the run in ``directory``, in their order, as the dataset of ``staging``.

    Those that ``staging`` holds already are not replayed again. ``workers`` are those of an engine that has run to its
    end; if they are not given, workers are started if they are needed. An episode whose replay does not end as the
    episode did is left out, with its reason in the result's ``problems``.

    Raises:
        ConfigError: one dataset cannot hold all of these episodes.
        ResourceError: the disk is full; what was recorded is kept for the next start.
        ProctorError: see :meth:`~proctor.engine.replay.Replayer.run`.
    """
    results = [episode.result for episode in episodes]
    made_of, published = staging.wanted(results), staging.published()
    if results and published == made_of:
        return Recording(staging.output, len(results), sum(result.length or 0 for result in results))
    missing = [episode for result, episode in zip(results, episodes, strict=True) if not staging.holds(result)]
    problems = _replay(directory, setup, config, staging, missing, workers) if missing else {}
    recorded = [result for result in results if result.spec not in problems]
    if not recorded:
        return Recording(staging.output, 0, 0, problems)
    with quiet_terminal(config, setup.log):  # FFmpeg prints what it does
        n_frames = _publish(staging, recorded, setup.tasks, repo_id or DEFAULT_REPO_ID)
    return Recording(staging.output, len(recorded), n_frames, problems)


def _publish(staging: Staging, results: list[EpisodeResult], tasks: Mapping[TaskKey, Task], repo_id: str) -> int:
    """Write the dataset of recorded episodes and put it in its place; gives the number of its frames."""
    episodes = [RecordedEpisode(staging.folder(result.spec), result, tasks[result.spec.task]) for result in results]
    try:
        n_frames = write_dataset(staging.dataset, episodes, repo_id)
        staging.publish(staging.wanted(results))
    except OSError as error:
        raise _not_written(staging, error.strerror or str(error)) from error
    return n_frames


def _not_written(staging: Staging, reason: str) -> ResourceError:
    return ResourceError(
        f"The dataset {staging.output} cannot be written ({reason}); free some space, and record again: what "
        "was recorded so far is kept."
    )


def _replay(  # noqa: PLR0913, PLR0917 - as of record
    directory: Path,
    setup: EngineSetup,
    config: EvalConfig,
    staging: Staging,
    episodes: Sequence[EpisodeRecord],
    workers: Workers | None,
) -> dict[EpisodeSpec, str]:
    """Record episodes by replay; gives those that could not be recorded, and why."""
    tasks, outcomes = [], dict[EpisodeSpec, str]()
    started_at = monotonic()
    for episode in episodes:
        result = episode.result
        try:
            actions = read_actions(episode)
        except ConfigError as error:
            outcomes[result.spec] = str(error)
        else:
            assert actions is not None  # only an error has no actions
            tasks.append(RolloutTask(result, actions, staging.rollout_spec(result.spec)))

    def on_replayed(spec: EpisodeSpec, problem: str) -> None:
        if problem.startswith(CANNOT_BE_WRITTEN):
            raise _not_written(staging, problem)
        outcomes[spec] = problem

    with (
        quiet_terminal(config, setup.log) as console,
        closing(Replayer(setup, tasks, workers)) as replayer,
        watched(replayer, console, config, str(directory)) as display,
    ):
        replayer.run(
            on_replayed,
            lambda: display.update(Stage("episodes recorded", len(outcomes), len(episodes), monotonic() - started_at)),
        )
    return {spec: problem for spec, problem in outcomes.items() if problem}
