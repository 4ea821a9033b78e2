"""The live display, as it looks in terminals of different sizes."""

import errno
import io

import pytest
from rich.console import Console
from rich.text import Text

from proctor.engine.load import Load
from proctor.reports.live import LiveDisplay, LiveView, Painter
from proctor.reports.progress import Progress, Stage, TaskProgress
from proctor.statistics.counts import Counts
from proctor.types import AttemptError, EpisodeSpec, Timings

SOME = Counts(n_planned=5, n_successes=3, n_failures=1, n_errors=1)
ALL = Counts(n_planned=10, n_successes=10)


def run(n_tasks=3, done=(ALL, SOME), running=(), **fields):
    """A run of tasks of ten episodes, of which the first have the counts ``done``."""
    padded = [*done, *[Counts()] * (n_tasks - len(done))]
    tasks = tuple(
        TaskProgress(f"feed-animal-number-{i}", 10, counts, counts, int(i in running))
        for i, counts in enumerate(padded)
    )
    return Progress(tasks, **{"elapsed_s": 90.0, "running_s": 60.0, "load": Load(simulating=2), **fields})


def shown(progress, width=100, height=40, title=""):
    out = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    view = LiveView(title)
    view.progress = progress
    out.print(view)
    return [line.rstrip().replace("\N{NO-BREAK SPACE}", " ") for line in out.file.getvalue().splitlines()]


def row(lines, name):
    (line,) = [line for line in lines if line.startswith(name)]
    return " ".join(line.replace("━", "").replace("╸", "").replace("╺", "").split())


def test_a_task_whose_success_is_not_reported_shows_its_reward():
    """And no interval of a rate that is not there."""
    lines = shown(run(done=(Counts(n_planned=4, n_unknown=4, total_sum_reward=6.0, n_sum_rewards=4), SOME)))

    assert row(lines, "feed-animal-number-0") == "feed-animal-number-0 4/10 reward 1.50"
    assert row(lines, "all").startswith("all 9/30 reward 1.50")


def test_a_row_per_task_and_one_for_all():
    """Episodes, the rate so far with its interval, errors."""
    lines = shown(run())

    assert row(lines, "feed-animal-number-0") == "feed-animal-number-0 10/10 100 % 72 … 100"
    assert row(lines, "feed-animal-number-1") == "feed-animal-number-1 5/10 75 % 30 … 95 1 error"
    assert row(lines, "feed-animal-number-2") == "feed-animal-number-2 0/10"
    assert row(lines, "all") == "all 15/30 93 % 69 … 99 1 error"
    assert "so far" in lines[0]
    assert "15.0 episodes/min · 1 min 30 s elapsed · 1 min 00 s left" in lines[-2]


def test_one_task_needs_no_row_for_all():
    """It is all."""
    assert not [line for line in shown(run(n_tasks=1, done=(SOME,))) if line.startswith("all")]


def test_one_line_shows_where_the_time_goes():
    """Of the finished episodes."""
    lines = shown(run(timings=Timings(construct=1.0, step=6.0, look=2.0, wait=1.0)))

    assert "busy  2 workers 90 %" in lines
    assert "time  step 60 % · look 20 % · construct 10 % · waiting 10 %" in lines


def test_the_last_error_is_shown_in_one_line():
    """Cut where the terminal ends."""
    error = (EpisodeSpec("zoo", 0, 3, 1003), AttemptError("raised", 50 * "the arm fell off "))

    line = shown(run(last_error=error), width=80)[-1]

    assert line.startswith("error  zoo/0 episode 3 (seed 1003): raised: the arm fell off")
    assert line.endswith("…")


@pytest.mark.parametrize("n_tasks", [1, 10, 50, 130])
@pytest.mark.parametrize(("width", "height"), [(40, 24), (60, 24), (100, 24), (160, 50)])
def test_it_fits_into_the_terminal(n_tasks, width, height):
    """Else redrawing would leave a trail. Numbers are whole; names give way."""
    timings = Timings(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    load = Load(simulating=2, inference_share=0.5, mean_batch=1.0)

    error = (EpisodeSpec("zoo", 0, 3, 1003), AttemptError("raised", 50 * "the arm fell off "))
    progress = run(n_tasks, timings=timings, load=load, last_error=error)

    lines = shown(progress, width, height, title="outputs/" + 30 * "very_long_")

    assert len(lines) < height
    assert max(map(len, lines)) <= width
    (some,) = [line for line in lines if " 5/10 " in line] if n_tasks > 1 else lines[2:3]
    assert "75 %" in some or n_tasks == 1
    assert "30 … 95  1 error" in some or n_tasks == 1 or width < 56


def test_bars_are_there_where_there_is_room():
    """On a narrow terminal the numbers are worth more."""
    assert "━" in "".join(shown(run(), width=72))
    assert "━" not in "".join(shown(run(), width=71))


def test_of_many_tasks_those_are_shown_that_matter_now():
    """Under way, with errors, next; the others are counted. They stay in their order."""
    done = (ALL,) * 60 + (SOME,) + (ALL,) * 10
    lines = shown(run(130, done, running=(100, 101)), height=13)

    names = [line.split()[0] for line in lines if line.startswith("feed")]
    assert names == [f"feed-animal-number-{i}" for i in (60, 71, 72, 100, 101)]
    assert "more  70 tasks finished · 55 tasks to go" in lines


def test_the_start_shows_what_it_waits_for():
    """A table of zeros would not."""
    lines = shown(run(done=(), running_s=None, load=Load(starting=2, loading_policy=True)))

    assert lines[0].endswith("Loading the policy, starting 2 workers (1 min 30 s)")
    assert len(lines) == 1


def test_before_the_first_word_it_starts():
    """The display is there before the first update."""
    assert shown(None)[0].endswith("Starting (0.0 s)")


def test_a_stage_takes_the_tables_place():
    """Measuring is over when videos are made."""
    (line,) = shown(Stage("videos", 2, 10, 8.0))

    assert line.split()[0] == "videos"
    assert line.endswith("2/10  32.0 s left")


@pytest.mark.parametrize("evil", ["\x1b]0;owned\x07", "a\rb", "[bold red]markup[/]"])
def test_foreign_names_cannot_drive_the_terminal(evil):
    """Neither a task's nor a directory's."""
    tasks = (TaskProgress(evil, 2, SOME, SOME), TaskProgress("b", 2))

    text = "\n".join(shown(Progress(tasks, 1.0, 1.0), width=160, title=evil))

    assert not any(char in text for char in "\x1b\x07\r")
    if evil.startswith("[bold"):
        assert text.count("[bold red]markup[/]") == 2


def test_it_is_gone_at_the_end():
    """The final block takes its place; the cursor is back."""
    out = Console(file=io.StringIO(), width=100, height=24, force_terminal=True)
    with LiveDisplay(out, "outputs/run") as display:
        display.update(run())

    written = out.file.getvalue()
    assert "feed-animal-number-2" in written
    assert written.endswith("\x1b[J\x1b[?25h"), "everything below is erased"
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")


def painted(*widths):
    """What a painter writes that draws three lines of thirty characters in terminals of these widths, one by one."""
    out = Console(file=io.StringIO(), width=widths[0], height=24, force_terminal=True)
    painter = Painter(out, Text("\n".join(3 * [30 * "x"]), no_wrap=True))
    for width in widths:
        out.width = width
        painter.draw()
    return out.file.getvalue().split("\x1b[?25l")[1:]


def test_what_was_drawn_before_is_erased():
    """Three lines up, and everything below."""
    first, second = painted(80, 80)

    assert first.startswith("\rxxx")
    assert second.startswith("\r\x1b[3A\x1b[J")


def test_a_terminal_that_became_narrower_has_folded_the_lines_and_loses_them_all():
    """Else old bars would stay above."""
    assert painted(80, 20)[1].startswith("\r\x1b[6A\x1b[J")
    assert painted(80, 120)[1].startswith("\r\x1b[3A\x1b[J")


class Gone(io.StringIO):
    """A terminal that has hung up."""

    def write(self, text):
        raise OSError(errno.EIO, "Input/output error")


def test_a_terminal_that_is_gone_does_not_end_a_run():
    """Neither the thread that draws nor the run."""
    with LiveDisplay(Console(file=Gone(), width=80, height=24, force_terminal=True), "outputs/run") as display:
        display.update(run())


def test_names_of_tasks_are_cut_where_they_are_alike():
    """In a narrow terminal."""
    names = [f"pick_up_the_black_bowl_{where}_and_place_it_on_the_plate" for where in ("on_the_stove", "on_the_plate")]
    tasks = tuple(TaskProgress(name, 10, SOME, SOME) for name in names)

    lines = shown(Progress(tasks, 90.0, 60.0), width=80)

    assert [line.split()[0] for line in lines if line.startswith("…")] == ["…stove_…", "…plate_…"]
