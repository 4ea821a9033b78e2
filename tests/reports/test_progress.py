"""Progress while a run goes on, in words."""

import io

import pytest
from rich.console import Console

from proctor.engine.load import Load
from proctor.reports.display import PlainDisplay, SilentDisplay, make_display
from proctor.reports.live import LiveDisplay
from proctor.reports.progress import Progress, Stage, TaskProgress, starting
from proctor.statistics.counts import Counts
from proctor.statistics.intervals import IntervalMethod
from proctor.types import AttemptError, EpisodeSpec, Timings


def counts(successes, failures=0, errors=0):
    return Counts(n_planned=successes + failures + errors, n_successes=successes, n_failures=failures, n_errors=errors)


def progress(done=3, running_s=6.0, **fields):
    """Of two tasks of ten episodes: ``done``, one of them an error, of the first."""
    finished = counts(min(done, 2), max(0, done - 3), int(done > 2))
    tasks = (TaskProgress("feed-lion", 10, finished, finished), TaskProgress("feed-bear", 10))
    return Progress(tasks, **{"elapsed_s": 10.0, "running_s": running_s, **fields})


def console(**options):
    return Console(file=io.StringIO(), width=120, **options)


def plain(*updates):
    """What a plain display prints of updates that are ten seconds apart."""
    now, out = [0.0], console()
    with PlainDisplay(out, clock=lambda: now[0]) as display:
        for update in updates:
            now[0] += 10
            display.update(update)
    return out.file.getvalue().splitlines()


def test_speed_and_time_left_are_of_this_session():
    """Episodes of an earlier session, and starting up, say nothing of how fast it goes."""
    fresh, resumed = progress(), progress(n_resumed=2)

    assert (fresh.overall.done, fresh.overall.total, fresh.overall.counts.n_errors) == (3, 20, 1)
    assert (fresh.episodes_per_s, fresh.eta_s) == (0.5, 34)
    assert resumed.episodes_per_s == pytest.approx(1 / 6)
    assert progress(n_resumed=3).eta_s is None
    assert progress(running_s=0.0).episodes_per_s is None
    assert progress(running_s=None).episodes_per_s is None


def test_the_rate_so_far_is_over_the_episodes_without_a_gap():
    """Not over all that have finished: successes finish first."""
    tasks = (TaskProgress("lion", 10, counts=counts(5), so_far=counts(1, 1)), TaskProgress("bear", 10, counts(1)))

    (line,) = plain(Progress(tasks, 10.0, 6.0))

    assert line.startswith("6/20 episodes · success so far 50 % (95% interval 9.5 … 90.5)")


def test_the_reward_so_far_takes_the_place_of_a_rate_that_is_not_reported():
    """Of two of three episodes, as the third has none that is finite."""
    silent = Counts(n_planned=3, n_unknown=3, total_sum_reward=5.0, n_sum_rewards=2)

    (line,) = plain(Progress((TaskProgress("lion", 10, silent, silent),), 10.0, 6.0))

    assert line.startswith("3/10 episodes · reward so far 2.50 (of 2), success not reported · ")


def test_plain_lines_come_every_ten_seconds_and_at_the_end():
    """A log of a long run stays short, and its last line is the last state."""
    now, out = [100.0], console()
    with PlainDisplay(out, clock=lambda: now[0]) as display:
        for second in range(25):
            now[0] = 100 + second
            display.update(progress(done=second % 10, elapsed_s=second))

    lines = out.file.getvalue().splitlines()
    assert [line.split(" ")[0] for line in lines] == ["0/20", "0/20", "4/20"]
    assert "1 error · 40.0 episodes/min · 24.0 s elapsed · 24.0 s left" in lines[-1]


def test_an_error_is_reported_once_with_its_reason():
    """So that one sees why before a long run is over."""
    error = (EpisodeSpec("zoo", 0, 3, 1003), AttemptError("raised", "the arm\nfell off\x1b[2J"))
    later = (EpisodeSpec("zoo", 0, 4, 1004), AttemptError("crashed", "SIGSEGV"))

    lines = plain(progress(last_error=error), progress(last_error=error), progress(last_error=later))

    assert [line for line in lines if line.startswith("Last")] == [
        "Last error: zoo/0 episode 3 (seed 1003): raised: the arm",
        "Last error: zoo/0 episode 4 (seed 1004): crashed: SIGSEGV",
    ]


def test_a_log_begins_with_where_the_results_go():
    """After a kill it is known what to resume; making videos needs no second line."""
    out = console()
    for update in (progress(), Stage("videos", 0, 1)):
        with make_display(out, "plain", "outputs/run") as display:
            display.update(update)

    assert [line.split(" ")[0] for line in out.file.getvalue().splitlines()] == ["outputs/run", "3/20", "videos"]


def test_plain_prints_nothing_twice():
    """What the last periodic line said is not said again at the end."""
    assert len(plain(progress())) == 1


def test_a_run_without_progress_prints_nothing():
    """Not even an empty line."""
    assert plain() == []


def test_a_start_shows_what_it_waits_for():
    """Loading a policy takes a while, and so does building simulators."""
    load = Load(starting=1, building=2, loading_policy=True)

    (line,) = plain(progress(done=0, running_s=None, load=load))

    assert line == "0/20 episodes · loading the policy, starting 1 worker, building 2 simulators · 10.0 s elapsed"


def test_how_busy_workers_and_inference_are():
    """Workers by where the time of finished episodes went, inference by its own clock."""
    load = Load(simulating=1, waiting=1, inference_share=0.25, mean_batch=1.5)

    (line,) = plain(progress(load=load, timings=Timings(step=3.0, inference=2.0, wait=5.0)))

    assert line.endswith("busy: 2 workers 30 %, inference 25 % (mean batch 1.5)")


def test_a_stage_has_its_own_line():
    """Videos are made after the measurements."""
    assert plain(progress(), Stage("videos", 2, 10, 8.0))[1] == "videos 2/10 · 8.0 s elapsed · 32.0 s left"
    assert Stage("videos", 0, 10, 8.0).eta_s is None


def test_the_display_fits_where_it_is_shown():
    """Live on a terminal that can redraw, lines in a log; plain and none whatever the place."""
    terminal, log = console(force_terminal=True), console()
    dumb = console(force_terminal=True, _environ={"TERM": "dumb"})

    assert isinstance(make_display(terminal, "auto"), LiveDisplay)
    assert isinstance(make_display(log, "auto"), PlainDisplay)
    assert isinstance(make_display(dumb, "auto"), PlainDisplay)
    assert isinstance(make_display(terminal, "plain"), PlainDisplay)
    assert isinstance(make_display(terminal, "none"), SilentDisplay)


def test_an_anytime_valid_interval_is_labelled_as_one():
    """The user asked for it to look at it while the run goes on."""
    (line,) = plain(progress(method=IntervalMethod.ANYTIME))

    assert "(95% anytime " in line


def test_a_log_that_cannot_be_written_does_not_end_a_run():
    """Its disk is full, or nobody reads the pipe."""

    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    now = [0.0]
    with PlainDisplay(Console(file=Full(), width=80), "outputs/run", clock=lambda: now[0]) as display:
        for _ in range(3):
            now[0] += 10
            display.update(progress())


def test_a_package_that_is_being_imported_is_named(monkeypatch, tmp_path):
    """torch takes seconds, and nobody knows what they are for."""
    (tmp_path / "ponderous").mkdir()
    (tmp_path / "ponderous" / "__init__.py").write_text("from ponderous import inner")
    (tmp_path / "ponderous" / "inner.py").write_text(
        "from proctor.reports import progress\nNAME = progress.package_being_imported()"
    )
    monkeypatch.syspath_prepend(tmp_path)

    import ponderous

    assert ponderous.inner.NAME == "ponderous"
    monkeypatch.setattr("proctor.reports.progress.package_being_imported", lambda: "ponderous")
    assert starting(Load(loading_policy=True)) == "loading the policy (importing ponderous)"


def test_silence_is_silent():
    """For scripts."""
    with SilentDisplay() as display:
        display.update(progress())
