"""``proctor show``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from proctor.cli.ci import CiOptions
from proctor.cli.output import print_json
from proctor.cli.run_names import chosen_run

_NO_CI = CiOptions()


def show_command(  # noqa: D417 - CiOptions describes its own
    run_dir: Path | None = None, /, *, json: bool = False, ci: Annotated[CiOptions, Parameter(name="*")] = _NO_CI
) -> int:
    """Show the results of an evaluation that has finished, still runs, or was interrupted.

    Only the files in RUN_DIR are read, those of all its shards together. A process that writes there is not disturbed.

    Parameters
    ----------
    run_dir
        A run directory, a part of its name that no other run here has, or nothing for the run that began last.
    json
        Print the numbers as JSON: eval_info.json without what depends on how the run went (times, attempts, machine).
    """
    from proctor.reports.terminal import print_run, print_summary
    from proctor.results.eval_info import build_eval_info, canonical_info
    from proctor.results.run_status import RunStatus
    from proctor.results.summary import load_summary

    directory = chosen_run(run_dir)
    run, summary = load_summary(directory)
    console = Console()
    if json:
        print_json(canonical_info(build_eval_info(summary, run)))
    else:
        print_run(console, run)
        print_summary(console, summary, RunStatus.of(directory), run)
    return ci.report(run, summary)
