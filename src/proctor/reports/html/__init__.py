"""Evaluations as one page of HTML that needs nothing but itself, and the videos beside it.

runs        what a page is made from: run directories, or result files alone
tables      tasks, comparisons and provenance, as the templates print them
episodes    every episode for the table that sorts and filters, and where its video is
charts      pictures that take their colours from the page
page        all of it together; templates/ has the HTML, the style sheet and the script
"""

from proctor.errors import MissingExtraError

try:
    from proctor.reports.html.episodes import VideoAddress, embedded_videos, linked_videos
    from proctor.reports.html.page import PageAddition, render_report
    from proctor.reports.html.runs import ReportRun, read_report_run
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
]
