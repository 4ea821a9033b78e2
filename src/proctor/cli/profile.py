"""``proctor profile``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from proctor.cli.output import print_json
from proctor.cli.run_names import chosen_run


def profile_command(run_dir: Path | None = None, /, *, json: bool = False) -> int:
    """Show where the time of an evaluation's workers went.

    Times are shown in total and for each task: starting up, building simulators, resetting, stepping, looking,
    inference, waiting, and having nothing to do. The parts add up to wall time times workers. Only the files in RUN_DIR
    are read.

    Parameters
    ----------
    run_dir
        A run directory, a part of its name that no other run here has, or nothing for the run that began last.
    json
        Print the seconds as JSON.
    """
    from proctor.reports.profile import print_profile
    from proctor.reports.terminal import print_run
    from proctor.results.profile import plain_profile, profile_of
    from proctor.results.summary import load_summary

    run, summary = load_summary(chosen_run(run_dir))
    profile = profile_of(summary)
    if json:
        print_json(plain_profile(profile))
        return 0
    console = Console()
    print_run(console, run)
    print_profile(console, profile)
    return 0
