"""An evaluation in open loop, from its configuration to ``open_loop.json``."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from proctor.config import OpenLoopConfig
from proctor.errors import ConfigError, Interrupted, NoResultError, ProctorError, ResourceError
from proctor.evaluation.components import load_policy
from proctor.evaluation.open_loop.inference import OpenLoopInference
from proctor.evaluation.open_loop.numbers import Numbers, Units, compute_numbers
from proctor.evaluation.open_loop.predictions import Predictions
from proctor.evaluation.open_loop.record import OpenLoopDirectory, OpenLoopRun
from proctor.evaluation.open_loop.verdict import verdict_beside
from proctor.evaluation.terminal import stopped_by_signals
from proctor.identity.code import code_of
from proctor.machine.resources import usable_cores
from proctor.policies.base import LocalPolicy, PolicySource, why_unidentified
from proctor.policies.lerobot.action_scale import action_scale
from proctor.policies.lerobot.recordings import RecordedEpisode, Recordings, open_recordings
from proctor.results.measured import read_results
from proctor.results.open_loop import OpenLoopResult, OpenLoopVerdict, write_open_loop
from proctor.results.provenance import PROCTOR, collect_provenance
from proctor.results.run_dir import RunDirectory
from proctor.results.run_info import RunInfo
from proctor.security.consent import of_run, without_consent
from proctor.security.redaction import redact, redact_command, redact_for_comparison

OnProgress = Callable[[int, int], None]
"""Is told how many recorded steps have a prediction, and how many there are."""


@dataclass(frozen=True)
class Beside:
    """A run in closed loop, beside which the result is put."""

    path: Path
    run: RunInfo | None

    @classmethod
    def read(cls, path: Path) -> Beside:
        """Read the description of a run.

        Raises:
            ConfigError: ``path`` holds no results.
            MergeError: its journals contradict each other.
        """
        return cls(path, read_results(path)[0])

    def with_policy(self, config: OpenLoopConfig) -> OpenLoopConfig:
        """Take the run's policy if the user names none.

        Raises:
            ConfigError: the run does not say what its policy is, or it names code that is not installed, and the user
                has not consented to it.
        """
        if config.policy:
            return config
        if self.run is None or not self.run.config.get("policy"):
            raise ConfigError(f"{self.path} does not say which policy it evaluated; give --policy.path=<checkpoint>.")
        named = {"policy": self.run.config["policy"]}
        policy = of_run(named, "the same command with", consent=config.trust_remote_code)["policy"]
        renamed = config.rename_map or self.run.config.get("rename_map") or {}
        return dataclasses.replace(config, policy=policy, rename_map=renamed)

    def other_policy(self, mine: Mapping[str, Any]) -> str:
        """Say why the run's policy is another one than that of the fingerprint ``mine``; "" if it is the same."""
        if self.run is None:
            return "the file does not say which policy it is of"
        theirs = self.run.fingerprint.get("policy", {})
        names = ("type", "sha256", "name")
        if {name: mine.get(name) for name in names} == {name: theirs.get(name) for name in names}:
            return ""
        return "the run is of another policy"


@dataclass(frozen=True)
class PreparedOpenLoop:
    """An evaluation in open loop about which everything is decided, before weights are loaded."""

    config: OpenLoopConfig
    policy: PolicySource
    recordings: Recordings
    directory: Path
    beside: Beside | None

    def run(self) -> OpenLoopRun:
        """Describe it for its directory."""
        config, recordings, policy = self.config, self.recordings, self.policy
        distributions = (*policy.distributions, "numpy")
        made = collect_provenance([*distributions, PROCTOR], usable_cores())
        code = code_of([*type(policy).__mro__, *policy.sources], policy.distributions)
        fingerprint = {
            "dataset": {**recordings.identity, "image_transforms": config.dataset.image_transforms},
            "policy": dict(policy.fingerprint()),
            "rename_map": config.rename_map,
            "seed": config.seed,
            "inference": {"batch_size": config.inference_batch_size, "threads": config.inference_threads},
            "video_backend": config.dataset.video_backend,
            "versions": {name: made.packages[name] for name in sorted({*distributions} & made.packages.keys())},
        }
        if code.digests:
            fingerprint["code"] = code.digests
        public = redact_for_comparison(without_consent(_plain(fingerprint), mark=False))
        return OpenLoopRun(
            redact(without_consent(asdict(config))),
            public,
            why_unidentified(policy) or code.unidentified,
            redact_command(sys.argv),
            asdict(made),
        )


@dataclass(frozen=True)
class Outcome:
    """The end of an evaluation in open loop.

    ``stopped`` is the error or the signal that ended it early, None if it is complete. ``result`` is None if no episode
    is finished.
    """

    directory: OpenLoopDirectory
    run: OpenLoopRun
    recordings: Recordings
    result: OpenLoopResult | None
    stopped: ProctorError | None

    def predictions(self, episodes: Sequence[int]) -> Iterator[tuple[int, Predictions]]:
        """Read the predictions of finished episodes."""
        return self.directory.finished(episodes)


def prepare_open_loop(
    config: OpenLoopConfig, policy: PolicySource, beside: Beside | None, *, convert: bool = False
) -> PreparedOpenLoop:
    """Open the dataset, and choose the directory for results.

    If ``convert``, a dataset of the v2.1 format is converted there. What this prints (LeRobot's libraries do) had
    better be kept from the terminal.

    Raises:
        ConfigError: the dataset cannot be read.
        ResourceError: the directory cannot be made.
    """
    directory = Path(config.output_dir) if config.output_dir else _new_directory(config, policy)
    try:
        into = (directory / "dataset_v3") if convert else None
        recordings = open_recordings(config.dataset, seed=config.seed, convert_into=into)
    except BaseException:
        if not config.output_dir and not any(directory.iterdir()):
            directory.rmdir()
        raise
    return PreparedOpenLoop(config, policy, recordings, directory, beside)


def choose_policy(config: OpenLoopConfig) -> PolicySource:
    """Make the policy, without loading its weights.

    Raises:
        ConfigError: there is no such policy, or it needs a simulator.
    """
    policy = load_policy(config.policy, config.rename_map, trust_remote_code=config.trust_remote_code)
    if isinstance(policy, LocalPolicy):
        raise ConfigError(
            f"--policy.type={config.policy.get('type')} acts on a simulator, which open loop does not have; give a "
            "checkpoint (--policy.path), a function or a server."
        )
    return policy


def evaluate_open_loop(prepared: PreparedOpenLoop, on_progress: OnProgress) -> Outcome:
    """Predict in every selected episode that has no result yet, and write ``open_loop.json``.

    An error or a signal in the midst ends it early, and the result is then that of the episodes that are finished.

    Raises:
        RunLockedError: another process writes to the directory.
        FingerprintError: the directory holds results of another evaluation.
        ProctorError: the policy cannot be loaded, or does not fit the dataset.
    """
    run, directory = prepared.run(), OpenLoopDirectory(prepared.directory)
    with directory:
        directory.begin(run)
        todo = [each for each in prepared.recordings.episodes if not directory.file_of(each.index).exists()]
        stopped = _predict(prepared, directory, todo, on_progress) if todo else None
        result = _summarise(prepared, directory)
        if result is not None:
            write_open_loop(directory.path, result)
    return Outcome(directory, directory.begun, prepared.recordings, result, stopped)


def _predict(
    prepared: PreparedOpenLoop, directory: OpenLoopDirectory, todo: list[RecordedEpisode], on_progress: OnProgress
) -> ProctorError | None:
    """Predict in the episodes, and write each down; return what ended that early, if anything did."""
    config, total = prepared.config, sum(each.length for each in prepared.recordings.episodes)
    before = total - sum(each.length for each in todo)
    inference = OpenLoopInference(
        prepared.policy,
        prepared.recordings,
        seed=config.seed,
        n_threads=config.inference_threads,
        batch_size=config.inference_batch_size,
        on_progress=lambda done: on_progress(before + done, total),
    )
    with inference, stopped_by_signals(inference):
        try:
            directory.opened(redact_for_comparison(_plain(dict(inference.load().fingerprint()))))
            for episode, predictions in inference.predict(todo):
                predictions.write(directory.file_of(episode.index))
        except (Interrupted, NoResultError, ResourceError) as error:
            return error
    return None


def _summarise(prepared: PreparedOpenLoop, directory: OpenLoopDirectory) -> OpenLoopResult | None:
    """Compute the result of the episodes that are finished; None if none is."""
    episodes = {each.index: each for each in prepared.recordings.episodes}
    done = [index for index in episodes if directory.file_of(index).exists()]
    if not done:
        return None
    actions = prepared.recordings.actions
    units = Units.of(actions, action_scale(prepared.policy))
    found = ((episodes[index], predictions) for index, predictions in directory.finished(done))
    numbers = compute_numbers(found, actions, units)
    run = directory.begun
    fingerprint = {**run.fingerprint, "policy": run.opened_policy or run.fingerprint["policy"]}
    return OpenLoopResult(
        fingerprint=fingerprint,
        n_episodes_selected=len(episodes),
        missing=tuple(sorted(episodes.keys() - set(done))),
        verdict=_verdict(prepared.beside, numbers, fingerprint),
        **vars(numbers),
    )


def _verdict(beside: Beside | None, numbers: Numbers, fingerprint: Mapping[str, Any]) -> OpenLoopVerdict | None:
    if beside is None:
        return None
    other_policy = beside.other_policy(fingerprint["policy"])
    return verdict_beside(beside.path, numbers.overall, numbers.constant_std, other_policy)


def _new_directory(config: OpenLoopConfig, policy: PolicySource) -> Path:
    kind = config.policy.get("type") if not config.policy.get("path") else policy.fingerprint()["type"]
    slug = re.sub(r"[^\w.-]+", "-", f"{config.dataset.repo_id.rpartition('/')[2]}_{kind}").strip("-.")
    wanted = datetime.now().strftime(f"outputs/open_loop/%Y-%m-%d/%H-%M-%S_{slug}")  # noqa: DTZ005 - the user's clock
    return RunDirectory.create(Path(wanted)).path


def _plain(fingerprint: Mapping[str, Any]) -> Any:
    """Give a fingerprint as it is read back from a file: a tuple becomes a list."""
    return msgspec.json.decode(msgspec.json.encode(fingerprint))
