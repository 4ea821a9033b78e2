"""``proctor report``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from proctor.cli.run_names import chosen_run


def report_command(*run_dirs: Path, output: Path | None = None, embed: bool = False) -> int:
    """Write a page that shows evaluations, their comparison with the first, and every episode with its video.

    An evaluation is a run directory, finished or not. The page opens from disk and makes no request; videos stay where
    they are, and are linked relative to the page.

    Parameters
    ----------
    run_dirs
        Run directories, or parts of their names; nothing for the run that began last. Further ones are compared with
        the first.
    output
        The file to write; report.html in the first directory if not given.
    embed
        Put the videos into the page, so that the report is a single file.
    """
    from proctor.reports.html import embedded_videos, linked_videos, read_report_run, render_report
    from proctor.reports.text import safe
    from proctor.results.compare import compare_where_possible
    from proctor.results.files import replacing

    chosen = [chosen_run(name) for name in run_dirs] or [chosen_run(None)]
    runs = [read_report_run(directory) for directory in chosen]
    page = output or runs[0].status.directory / "report.html"
    comparisons = compare_where_possible([each.measured for each in runs])
    text = render_report(runs, comparisons, embedded_videos if embed else linked_videos(page))
    with replacing(page) as file:
        file.write(text.encode())
    Console().print(safe(str(page)), soft_wrap=True)
    return 0
