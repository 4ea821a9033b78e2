"""The audit of a run: at the end of an evaluation, or later from its directory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from proctor.config import DatasetConfig, RunConfig, structure
from proctor.errors import ConfigError, ProctorError, note
from proctor.evaluation.audit.examine import examine
from proctor.evaluation.audit.observed import read_episodes
from proctor.evaluation.components import load_policy
from proctor.policies.base import AnyPolicy, LocalPolicy
from proctor.policies.lerobot.dataset_reader import read_training_data
from proctor.results.audit import Audit, Training, read_audit, write_audit
from proctor.results.journal import EpisodeRecord
from proctor.results.merge import merge_journals
from proctor.results.run_dir import RunDirectory
from proctor.results.run_info import RunInfo


@runtime_checkable
class Trained(Protocol):
    """A policy whose files tell what it was trained on; a policy need not have this."""

    def training(self) -> Training | None:
        """Give what is known of the training, None if nothing is."""


def keep_audit(
    directory: Path, config: RunConfig, policy: AnyPolicy, records: Iterable[EpisodeRecord], n_tasks: int
) -> None:
    """Write the audit of a run that has been measured, if it is to have one.

    A failure is told in a note, since it changes no result.
    """
    if not config.eval.audit or isinstance(policy, LocalPolicy):
        return
    try:
        episodes = list(read_episodes(records, n_tasks))
        if episodes:
            training = policy.training() if isinstance(policy, Trained) else None
            data = None if config.dataset is None else read_training_data(config.dataset)
            audit = examine(episodes, training, data)
            if training is not None or data is not None or audit.findings:  # else there is nothing to say
                write_audit(directory, audit)
    except ProctorError as error:
        note(f"There is no audit of the policy's inputs: {error} Try again with: proctor audit {directory}")


def audit_run(directory: Path, dataset: DatasetConfig | None = None) -> Audit:
    """Audit the run in ``directory`` again, from its journals; ``dataset`` is by default the one that it names.

    What is known of the training is taken from the checkpoint that the run names, or, if that is gone, from the audit
    before. The audit is written into the directory if that can be written to.

    Raises:
        ConfigError: ``directory`` holds no run, or the dataset cannot be read.
        MergeError: the run's journals contradict each other.
    """
    run, before = RunDirectory(directory).require_run(), _earlier(directory)
    records = merge_journals(RunDirectory(directory).read_journals()).values()
    data = None
    if (chosen := dataset or _dataset_of(run)) is not None:
        data = read_training_data(chosen)
    training = _training_of(run) or (before.training if before is not None else None)
    audit = examine(list(read_episodes(records, len(run.tasks))), training, data)
    if audit.n_episodes:
        try:
            write_audit(directory, audit)
        except ProctorError as error:
            note(f"The audit is not kept: {error}")
    return audit


def _earlier(directory: Path) -> Audit | None:
    try:
        return read_audit(directory)
    except ConfigError:  # it is written again
        return None


def _dataset_of(run: RunInfo) -> DatasetConfig | None:
    fields: Mapping[str, Any] | None = run.config.get("dataset")
    return None if fields is None else structure(DatasetConfig, fields, "dataset")


def _training_of(run: RunInfo) -> Training | None:
    """Read the training from the checkpoint that a run names; None if it names none, or if that is gone.

    Only the files of a checkpoint are read. Any other policy would have to be imported, which a run directory must not
    be enough for.
    """
    fields = run.config.get("policy", {})
    if not isinstance(fields.get("path"), str):
        return None
    try:
        policy = load_policy(fields, run.config.get("rename_map"))
    except ProctorError:
        return None
    return policy.training() if isinstance(policy, Trained) else None
