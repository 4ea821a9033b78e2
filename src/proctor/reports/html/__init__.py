"""Evaluations as one page of HTML that needs no other file but the videos beside it.

report_run  the evaluations that a page shows: run directories, or result files alone
tables      tasks, comparisons and provenance, as the templates print them
matrix      the comparison of several evaluations: the list of them, and the matrix of tasks and evaluations
episodes    the table of all episodes, which can be sorted and filtered, with the addresses of their videos
traces      what episodes recorded step by step, as far as a page has room for it
charts      pictures that take their colours from the page
audit       findings about what the policy was given, with both sides of them
page        the whole page; templates/ holds the HTML, the style sheet and the script
sweep       the page of a sweep
"""

from proctor.errors import MissingExtraError

try:
    from proctor.reports.html.episodes import VideoAddress, embedded_videos, linked_videos
    from proctor.reports.html.page import PageAddition, render_report
    from proctor.reports.html.report_run import ReportRun, read_report_run
    from proctor.reports.html.sweep import render_sweep
except ModuleNotFoundError as error:
    raise MissingExtraError(str(error.name), "report") from error

__all__ = [
    "PageAddition",
    "ReportRun",
    "VideoAddress",
    "embedded_videos",
    "linked_videos",
    "read_report_run",
    "render_report",
    "render_sweep",
]
