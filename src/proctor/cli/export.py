"""``proctor export``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from proctor.errors import ConfigError


def export_command(run_dir: Path, /, *, format: str = "csv", output: Path | None = None) -> int:  # noqa: A002 - a flag
    """Write the episodes of an evaluation as a table, one row each, for spreadsheets and data frames.

    Episodes that have finished by now are written, also those of a run that goes on. docs/results-format.md describes
    the columns.

    Parameters
    ----------
    run_dir
        The directory that the evaluation printed.
    format
        The format of the file: csv, or parquet (needs pyarrow).
    output
        The file to write; episodes.csv or episodes.parquet in RUN_DIR if not given.
    """
    from proctor.reports.export import WRITERS, episode_rows
    from proctor.reports.text import count, safe
    from proctor.results.summary import load_summary

    if format not in WRITERS:
        raise ConfigError(f"--format is '{format}'; it is one of {', '.join(WRITERS)}.")
    _, summary = load_summary(run_dir)
    path = output or run_dir / f"episodes.{format}"
    WRITERS[format](path, episode_rows(summary))
    Console().print(safe(f"{count(len(summary.episodes), 'episode')}: {path}"), soft_wrap=True)
    return 0
