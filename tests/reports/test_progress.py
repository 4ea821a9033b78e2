"""Progress while a run goes on."""

import io

import pytest
from rich.console import Console

from proctor.reports.progress import (
    LiveDisplay,
    PlainDisplay,
    Progress,
    SilentDisplay,
    TaskProgress,
    make_display,
)


def progress(done=3, elapsed_s=6.0, **fields):
    tasks = (TaskProgress("feed-lion", done, 10, 2, 1), TaskProgress("feed-bear", 0, 10, 0, 0))
    return Progress(tasks, elapsed_s, **fields)


def console(**options):
    return Console(file=io.StringIO(), width=120, **options)


def test_speed_and_time_left_are_of_this_session():
    """Episodes of an earlier session cost this one nothing."""
    fresh, resumed = progress(), progress(n_resumed=2)

    assert (fresh.done, fresh.total, fresh.successes, fresh.errors) == (3, 20, 2, 1)
    assert (fresh.episodes_per_s, fresh.eta_s) == (0.5, 34)
    assert resumed.episodes_per_s == pytest.approx(1 / 6)
    assert progress(n_resumed=3).eta_s is None
    assert progress(elapsed_s=0).episodes_per_s is None


def test_plain_lines_come_every_ten_seconds_and_at_the_end():
    """A log of a long run stays short, and its last line is the last state."""
    now = [100.0]
    out = console()
    with PlainDisplay(out, clock=lambda: now[0]) as display:
        for second in range(25):
            now[0] = 100 + second
            display.update(progress(done=second % 10, elapsed_s=second))

    lines = out.file.getvalue().splitlines()
    assert [line.split(" ")[0] for line in lines] == ["0/20", "0/20", "4/20"]
    assert "2 succeeded so far · 1 error · 24.0 s elapsed" in lines[-1]


def test_plain_prints_nothing_twice():
    """What the last periodic line said is not said again at the end."""
    now = [0.0]
    out = console()
    with PlainDisplay(out, clock=lambda: now[0]) as display:
        now[0] = 11.0
        display.update(progress())

    assert len(out.file.getvalue().splitlines()) == 1


def test_a_run_without_progress_prints_nothing():
    """Not even an empty line."""
    out = console()
    with PlainDisplay(out):
        pass

    assert out.file.getvalue() == ""


def test_live_shows_tasks_totals_and_load():
    """What runs now, how far it is, how busy workers and inference are."""
    out = console(force_terminal=True)
    with LiveDisplay(out) as display:
        display.update(progress(workers=4, workers_busy=3, inference_share=0.25))

    text = out.file.getvalue()
    for part in ("feed-lion", "3/10", "3/20", "1 error", "3/4 workers busy", "inference 25%"):
        assert part in text


def test_no_success_rate_is_shown_before_the_end():
    """Among the episodes finished first, successes are too many."""
    for display, out in ((LiveDisplay, console(force_terminal=True)), (PlainDisplay, console())):
        with display(out) as shown:
            shown.update(progress())

        assert "%" not in out.file.getvalue()


def test_task_names_cannot_drive_the_terminal():
    """A live display is one more place that prints foreign names."""
    out = console(force_terminal=True)
    with LiveDisplay(out) as display:
        display.update(Progress((TaskProgress("\x1b]0;owned\x07", 1, 2, 0, 0),), 1.0))

    assert "\x1b]0" not in out.file.getvalue()


def test_the_display_fits_where_it_is_shown():
    """Live on a terminal, lines in a log; plain and none whatever the place."""
    terminal, log = console(force_terminal=True), console()

    assert isinstance(make_display(terminal, "auto"), LiveDisplay)
    assert isinstance(make_display(log, "auto"), PlainDisplay)
    assert isinstance(make_display(terminal, "plain"), PlainDisplay)
    assert isinstance(make_display(terminal, "none"), SilentDisplay)


def test_silence_is_silent():
    """For scripts."""
    with SilentDisplay() as display:
        display.update(progress())
