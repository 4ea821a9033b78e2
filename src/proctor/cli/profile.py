"""``proctor profile``."""

from __future__ import annotations

from pathlib import Path


def profile_command(run_dir: Path, /, *, json: bool = False) -> int:
    """Say where the time of an evaluation's workers went.

    In total and for each task: starting up, building simulators, resetting, stepping, looking, inference, waiting, and
    having nothing to do. The parts add up to wall time times workers. Read from the files in RUN_DIR alone.

    Parameters
    ----------
    run_dir
        The directory that the evaluation printed.
    json
        The seconds as JSON.
    """
    from proctor.results.profile import profile_of
    from proctor.results.summary import load_summary

    run, summary = load_summary(run_dir)
    profile = profile_of(summary)
    if json:
        from proctor.cli.output import print_json
        from proctor.results.profile import plain_profile

        print_json(plain_profile(profile))
        return 0
    from rich.console import Console

    from proctor.reports.profile import print_profile
    from proctor.reports.terminal import print_run

    console = Console()
    print_run(console, run)
    print_profile(console, profile)
    return 0
