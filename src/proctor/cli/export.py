"""``proctor export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from proctor.cli.run_names import chosen_run
from proctor.errors import ConfigError

if TYPE_CHECKING:
    from proctor.results.run_info import RunInfo

_HUB = "hub"


def export_command(
    run_dir: Path | None = None,
    /,
    *,
    format: str = "csv",  # noqa: A002 - a flag
    output: Path | None = None,
    dataset: str | None = None,
    push: str | None = None,
) -> int:
    """Write an evaluation for other programs: its episodes as a table, one row each, or its rates for a model's page.

    Episodes that have finished by now are written, also those of a run that goes on. docs/results-format.md describes
    the columns.

    Parameters
    ----------
    run_dir
        A run directory, a part of its name that no other run here has, or nothing for the run that began last.
    format
        The format: csv, parquet (needs pyarrow), or hub: .eval_results/<benchmark>.yaml and a section of the model
        card, as the Hugging Face Hub shows them. For hub every episode of the plan must be completed.
    output
        The file to write; episodes.csv or episodes.parquet in RUN_DIR if not given. For hub, a directory; that of the
        checkpoint if not given.
    dataset
        For hub: the id of the data set on the Hub that defines the benchmark, USER/NAME.
    push
        For hub: commit the files to this repository on the Hub, USER/MODEL, too.
    """
    if format == _HUB:
        return _export_for_hub(chosen_run(run_dir), output, dataset, push)
    from proctor.reports.export import WRITERS, episode_rows
    from proctor.reports.text import count, safe
    from proctor.results.summary import load_summary

    if format not in WRITERS:
        raise ConfigError(f"--format is '{format}'; it is one of {', '.join([*WRITERS, _HUB])}.")
    if given := [name for name, value in (("dataset", dataset), ("push", push)) if value is not None]:
        raise ConfigError(f"--{given[0]} is for --format=hub; leave it out, or give --format=hub.")
    directory = chosen_run(run_dir)
    _, summary = load_summary(directory)
    path = output or directory / f"episodes.{format}"
    WRITERS[format](path, episode_rows(summary))
    Console().print(safe(f"{count(len(summary.episodes), 'episode')}: {path}"), soft_wrap=True)
    return 0


def _export_for_hub(run_dir: Path, output: Path | None, dataset: str | None, push: str | None) -> int:
    from proctor.reports.hub import HubResults, push_hub_results, write_hub_results
    from proctor.reports.text import safe
    from proctor.results.summary import load_summary

    if dataset is None:
        raise ConfigError("--format=hub needs --dataset, the id of the data set on the Hub that defines the benchmark.")
    run, summary = load_summary(run_dir)
    results = HubResults(run, summary, dataset)
    directory = output or _checkpoint_directory(run)
    for path in write_hub_results(results, directory):
        Console().print(safe(str(path)), soft_wrap=True)
    if push is not None:
        Console().print(safe(f"Pushed to {push}: {push_hub_results(results, push)}"), soft_wrap=True)
    return 0


def _checkpoint_directory(run: RunInfo) -> Path:
    """Find the directory of the run's checkpoint.

    Raises:
        ConfigError: the policy is not a checkpoint in a directory of this machine.
    """
    path = Path(run.config.get("policy", {}).get("path") or "")
    if path == Path() or not path.is_dir():
        raise ConfigError("The checkpoint of this run is not in a directory here; give a directory as --output.")
    return path
