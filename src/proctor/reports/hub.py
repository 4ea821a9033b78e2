"""A run as the Hugging Face Hub shows it: ``.eval_results/<benchmark>.yaml`` and a section of the model card.

The Hub's documentation of evaluation results (hub/eval-results) describes the file: a list of entries with the data set
that defines the benchmark, its task, the value, and optionally the date, the source and notes. Every suite of a run is
a task there, and the value is its success rate in percent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proctor.errors import ConfigError, MissingExtraError, ProctorError
from proctor.reports.markdown import run_markdown
from proctor.reports.sentences import circumstances
from proctor.reports.text import count, first_line, percent_range
from proctor.results.files import replacing
from proctor.results.run_info import RunInfo
from proctor.results.summary import Summary, require_complete
from proctor.statistics.intervals import LEVEL

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
CARD = "README.md"


class PushError(ProctorError):
    """The Hub did not take the files."""


@dataclass(frozen=True, slots=True)
class HubResults:
    """The results of a run, for the repository of its checkpoint.

    ``dataset`` is the Hub's id of the data set that defines the benchmark.

    Raises:
        ConfigError: ``dataset`` is not such an id, episodes could not be run, or there is no success rate.
        MergeError: episodes of the plan have no result.
    """

    run: RunInfo
    summary: Summary
    dataset: str

    def __post_init__(self) -> None:
        if not _HUB_ID.fullmatch(self.dataset):
            raise ConfigError(f"--dataset is '{self.dataset}'; it is the Hub's id of a benchmark, such as USER/NAME.")
        require_complete(self.summary)
        counts = self.summary.overall
        if counts.n_errors:
            raise ConfigError(f"{count(counts.n_errors, 'episode')} could not be run; run them with: proctor resume.")
        if counts.n_unknown:
            raise ConfigError("The run has no success rate, because its environment does not report success.")

    @property
    def file(self) -> str:
        """The path of the results in the checkpoint's repository."""
        return f".eval_results/{self.dataset.partition('/')[2]}.yaml"

    def entries(self) -> list[dict[str, Any]]:
        """Give an entry for each suite, as plain values."""
        return [self._entry(suite) for suite in self.summary.groups]

    def _entry(self, suite: str) -> dict[str, Any]:
        counts, interval = self.summary.groups[suite], self.summary.pooled_interval(suite)
        assert counts.rate is not None  # every episode is completed, and the success of each is known
        notes = [
            f"{counts.n_successes} of {count(counts.n_completed, 'episode')}",
            f"{LEVEL:.0%} interval {percent_range(interval)}",
            *(text for _, text in circumstances(self.run)),
            *self._n_action_steps(),
            f"seed {self.run.fingerprint.get('seed')}",
        ]
        return {
            "dataset": {"id": self.dataset, "task_id": suite},
            "value": 100 * counts.rate,
            "date": self.run.provenance.date,
            "notes": "; ".join(notes),
        }

    def _n_action_steps(self) -> Iterator[str]:
        if (steps := self.run.fingerprint.get("policy", {}).get("n_action_steps")) is not None:
            yield f"n_action_steps {steps}"

    def yaml(self) -> str:
        """Give the content of the file."""
        import yaml

        return yaml.safe_dump(self.entries(), sort_keys=False, allow_unicode=True)

    def card(self, before: str) -> str:
        """Give the model card ``before`` with a section on this benchmark, which replaces the one of an earlier run."""
        begin, end = (f"<!-- evaluation on {self.dataset}: {word} -->" for word in ("begin", "end"))
        section = f"{begin}\n## Evaluation on {self.dataset}\n\n{run_markdown(self.run, self.summary)}{end}\n"
        old = re.compile(rf"{re.escape(begin)}.*?{re.escape(end)}\n?", re.DOTALL)
        if old.search(before):
            return old.sub(lambda _: section, before, count=1)
        return f"{before.rstrip()}\n\n{section}" if before.strip() else section


def write_hub_results(results: HubResults, directory: Path) -> list[Path]:
    """Write the file and the section of the card into ``directory``, beside a checkpoint; return the paths.

    Raises:
        ResourceError: a file cannot be written.
    """
    card = directory / CARD
    before = card.read_text(encoding="utf-8") if card.is_file() else ""
    contents = {directory / results.file: results.yaml(), card: results.card(before)}
    for path, content in contents.items():
        with replacing(path) as file:
            file.write(content.encode())
    return list(contents)


def push_hub_results(results: HubResults, repository: str) -> str:
    """Commit the file and the section of the card to ``repository`` on the Hub; return the commit's address.

    Raises:
        MissingExtraError: ``huggingface_hub`` is not installed.
        PushError: the Hub did not take them; the message gives the reason.
    """
    try:
        from huggingface_hub import CommitOperationAdd, HfApi
        from huggingface_hub.errors import EntryNotFoundError
    except ImportError as error:
        raise MissingExtraError("huggingface_hub", "lerobot", str(error)) from None
    hub = HfApi()
    try:
        try:
            before = Path(hub.hf_hub_download(repository, CARD)).read_text(encoding="utf-8")
        except EntryNotFoundError:
            before = ""
        files = {results.file: results.yaml(), CARD: results.card(before)}
        operations = [CommitOperationAdd(name, content.encode()) for name, content in files.items()]
        commit = hub.create_commit(repository, operations, commit_message=f"Evaluation on {results.dataset}")
    except Exception as error:  # the client raises errors of many kinds, also those of the network
        reason = first_line(str(error)).rstrip(".") or type(error).__name__
        raise PushError(f"The Hub did not take the results for {repository}: {reason}.") from error
    return str(commit.commit_url)
