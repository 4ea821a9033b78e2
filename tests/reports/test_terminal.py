"""The block at the end of a run."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs
from rich.console import Console

from proctor.reports.terminal import print_nothing_to_do, print_run, print_summary, print_videos, rate_bar
from proctor.reports.text import duration, policy_name
from proctor.results.headline import headline_of
from proctor.results.lock import FileLock
from proctor.results.provenance import Provenance
from proctor.results.run_info import RunInfo
from proctor.results.run_status import RunStatus
from proctor.results.summary import summarize
from proctor.types import AttemptError, EpisodeResult, EpisodeSpec, Outcome, Task, Timings
from result_samples import run_info


def plan(n_tasks, n_episodes=4, suite="zoo"):
    tasks = [Task(suite, number, f"feed-animal-{number}", "", 100) for number in range(n_tasks)]
    specs = [EpisodeSpec(suite, task.task_id, index, 1000 + index) for task in tasks for index in range(n_episodes)]
    return tasks, specs


def result(spec, *, success=True):
    return EpisodeResult(spec, Outcome.SUCCESS if success else Outcome.FAILURE, 1.5, 1.0, 20)


def broken(spec, message="boom"):
    return EpisodeResult(spec, Outcome.ERROR, errors=(AttemptError("raised", message),))


def printed(summary, width=110, directory="outputs/run", **whereabouts):
    buffer = io.StringIO()
    print_summary(Console(file=buffer, width=width), summary, RunStatus(Path(directory), **whereabouts))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("n", "init_states", "endings", "n_repeated"),
    [
        (5, [None], ["a"], 4),  # the seed decides nothing
        (4, [None], ["a"], 0),  # too few to tell
        (6, [None], ["a", "b"], 0),  # a simulator may have few ends
        (6, [0, 1, 2, 3], ["a", "b", "c", "d"], 2),  # four stored states for six episodes
        (6, [0, 1, 2, 3], ["a", "b", "c", "d", "e", "f"], 0),  # and a policy that draws random numbers
        (5, [None], [None], 0),  # a file of LeRobot's does not say
    ],
)
def test_that_episodes_are_repeated_is_said(n, init_states, endings, n_repeated):
    """The interval takes each for a new one."""
    tasks, specs = plan(2, n)
    specs = [structs.replace(spec, init_state_id=init_states[spec.episode_index % len(init_states)]) for spec in specs]
    results = [
        structs.replace(result(spec), final_state_hash=endings[spec.episode_index % len(endings)]) for spec in specs
    ]

    summary = summarize(tasks, specs, results)

    sentence = f"{n_repeated} of {n} episodes of feed-animal-0 repeat another one, with the same length, rewards and"
    assert [task.n_repeated for task in summary.tasks] == [n_repeated] * 2
    assert (sentence in " ".join(printed(summary).split())) == (n_repeated > 0)
    assert ("So it is with 1 other task." in " ".join(printed(summary).split())) == (n_repeated > 0)


def test_a_clean_run_shows_rates_with_intervals_and_speed():
    """The headline is never a bare number."""
    tasks, specs = plan(2)

    text = printed(summarize(tasks, specs, [result(spec, success=spec.episode_index > 0) for spec in specs], wall_s=16))

    assert "feed-animal-1" in text
    assert (
        "Success rate 75.0 %  (95% interval 40.3 … 94.4, wilson-effective; mean over 2 tasks, 6 of 8 episodes)" in text
    )
    assert text.count("75.0 %") == 3, "one for each task, and one for the run"
    assert "Mean reward 1.50 (1.50 … 1.50), mean steps 20.0 (20.0 … 20.0)  (95% bootstrap)" in text
    assert "8 episodes in 16.0 s, 30.0 episodes/min with start-up" in text
    assert "Results     outputs/run" in text
    assert "Watch       proctor replay outputs/run --task feed-animal-0 --episode 0   the first failure" in text
    assert "View        proctor view outputs/run   in the browser" in text
    assert "Report      proctor report outputs/run   as one page" in text
    assert text.index("Success rate") < text.index("feed-animal-0"), "the headline comes first"
    assert "resume" not in text


def test_one_task_has_no_second_headline():
    """The mean over one task is that task."""
    tasks, specs = plan(1)

    text = printed(summarize(tasks, specs, [result(spec) for spec in specs]))

    assert "Success rate 100.0 %  (95% interval 51.0 … 100.0, wilson; 4 of 4 episodes)" in text
    assert "Pooled" not in text
    assert "tasks" not in text


def test_errors_are_shown_with_bounds_reason_and_the_next_command():
    """Beside the rate, never in it."""
    tasks, specs = plan(1)
    results = [result(spec) for spec in specs[:3]] + [broken(specs[3], "\n  the arm fell off\nmore")]

    text = printed(summarize(tasks, specs, results), directory="my runs/a")

    assert "Success rate" not in text
    assert (
        "No final success rate; of the completed episodes 100.0 %  (95% interval 43.9 … 100.0, wilson; 3 of 3 ep"
        in text
    )
    assert "1 episode ended in an error" in text
    assert "75.0 … 100.0 %" in text
    assert "First error: zoo/0 episode 3 (seed 1003): raised: the arm fell off" in text
    assert "Go on       proctor resume 'my runs/a'" in text


def test_an_incomplete_run_shows_how_much_is_missing():
    """And how to get it."""
    tasks, specs = plan(2)

    text = printed(summarize(tasks, specs, [result(spec) for spec in specs[:3]]))

    assert "Missing     5 of 8 episodes have no result yet" in text
    assert "Go on       proctor resume outputs/run" in text
    assert "No final success rate; one so far needs a completed episode 0 of every task, and some of these " in text
    assert "3/3" in text


def test_the_rate_of_a_run_that_goes_on_is_over_complete_rounds_and_may_be_looked_at_as_often_as_one_likes():
    """Of what finishes first too much is a success: the second task's two failures are the same rounds as the first's
    successes, and its third is not there yet.
    """
    tasks, specs = plan(2)
    results = [result(spec, success=spec.task_id == 0) for spec in (*specs[:4], *specs[4:6])]

    text = printed(summarize(tasks, specs, results))

    assert "No final success rate; so far 50.0 %  (95% interval " in text
    assert "anytime; 2 of 4 episodes)" in text


def test_who_watches_a_run_is_not_told_to_resume_it():
    """It goes on by itself."""
    tasks, specs = plan(2)

    text = printed(summarize(tasks, specs, [result(spec) for spec in specs[:3]]), writer="process 7 on abel")

    assert "Running     process 7 on abel" in text
    assert "resume" not in text


def test_the_block_shows_where_videos_are_or_that_they_are_being_made():
    """They come after the results."""
    tasks, specs = plan(1)
    summary = summarize(tasks, specs, [result(spec) for spec in specs])

    assert "videos" not in printed(summary)
    assert "Videos      4 are being made in outputs/run/videos" in printed(summary, n_videos=1, n_videos_to_come=4)
    assert "Videos      4 in outputs/run/videos" in printed(summary, n_videos=4)


def test_of_videos_that_could_not_be_made_each_reason_is_given_once():
    """The first few reasons; what they leave is counted."""
    _, specs = plan(1, n_episodes=12)
    buffer = io.StringIO()
    problems = {spec: f"no ball {max(4, spec.episode_index)}\nTraceback" for spec in specs[2:]}

    print_videos(Console(file=buffer, width=80), Path("run"), specs[:2], problems)

    lines = buffer.getvalue().splitlines()
    assert lines[0] == "Videos      2 in run/videos"
    assert lines[1] == "No video    zoo/0 episode 2 (seed 1002) and 2 more: no ball 4"
    assert lines[2] == "No video    zoo/0 episode 5 (seed 1005): no ball 5"
    assert lines[-1] == "No video    of 3 more episodes"
    assert len(lines) == 7


def test_the_replay_command_names_the_task_so_that_it_is_found():
    """By its name, unless another suite has one of the same name; quoted for the shell."""
    tasks = [Task(suite, 0, "feed it", "", 100) for suite in ("zoo", "farm")]
    specs = [EpisodeSpec(task.suite, 0, 3, 1003) for task in tasks]
    results = [result(specs[0]), result(specs[1], success=False)]

    assert "--task farm/0 --episode 3   the first failure" in printed(summarize(tasks, specs, results))
    assert "--task 'feed it' --episode 3   the first success" in printed(summarize(tasks[:1], specs[:1], results[:1]))


def test_where_the_time_went_is_for_the_profile_to_show():
    """Who wants a result does not want it."""
    tasks, specs = plan(1, n_episodes=1)
    timed = structs.replace(result(specs[0]), timings=Timings(step=3.0, look=0.98, reset=0.02, wait=6.0))

    assert "waiting" not in printed(summarize(tasks, specs, [timed], wall_s=10.0))


def test_whereabouts_are_read_off_the_directory(tmp_path):
    """Who writes there holds a journal's lock; videos are the files in their folder."""
    for name in ("a_0/eval_episode_0.mp4", "a_1/eval_episode_0.mp4", "a_1/notes.txt"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).touch()

    with FileLock(tmp_path / "journal_1_of_2.lock"):
        assert RunStatus.of(tmp_path) == RunStatus(tmp_path, "this process", n_videos=2)
    assert RunStatus.of(tmp_path) == RunStatus(tmp_path, None, n_videos=2)


def test_a_runs_title_states_what_is_evaluated():
    """Benchmark, task, policy, seed and date, whatever characters they hold."""
    config = {"policy": {"path": "a/b\x1b[2J", "type": "act"}, "env": {"type": "zoo", "task": "lion"}, "seed": 7}
    provenance = Provenance("2026-11-21", "3.12", "Linux", "", 2, {}, None, None)
    buffer = io.StringIO()

    print_run(Console(file=buffer, width=80), RunInfo(config, {}, provenance, (), ()))

    assert buffer.getvalue().startswith("zoo lion · a/b\N{REPLACEMENT CHARACTER}[2J · seed 7 · 2026-11-21\n")


def test_nothing_completed_prints_no_rate():
    """A hundred errors are not 0.0 %."""
    tasks, specs = plan(1)

    text = printed(summarize(tasks, specs, [broken(spec) for spec in specs]))

    assert "No final success rate; no episode was completed." in text
    assert "0/0" in text


def test_many_tasks_stay_readable():
    """The suite in one row, then the tasks one must know of: with errors, and the weakest."""
    tasks, specs = plan(90)
    results = [result(spec, success=spec.task_id != 70) for spec in specs if spec.task_id != 80]
    results += [broken(spec) for spec in specs if spec.task_id == 80]

    text = printed(summarize(tasks, specs, results))

    assert len(text.splitlines()) < 35
    assert "feed-animal-70" in text
    assert "feed-animal-80" in text
    assert "352/356" in text
    assert "70 more tasks" in text


def test_tasks_that_were_named_one_by_one_need_no_suites():
    """Each would be a suite of its own name; of many the weakest are shown, and no second list of them all."""
    for n_tasks, n_lines in ((2, 2), (50, 20)):
        tasks = [Task(f"feed-{number}", 0, f"feed-{number}", "", 100) for number in range(n_tasks)]
        specs = [EpisodeSpec(task.suite, 0, 0, 1000) for task in tasks]

        text = printed(summarize(tasks, specs, [result(spec) for spec in specs]))

        assert "\ntask " in text
        assert len([line for line in text.splitlines() if line.startswith("feed-")]) == n_lines


def test_of_many_tasks_those_with_results_come_before_those_without():
    """An unfinished run is looked at for what it has."""
    tasks, specs = plan(90)

    text = printed(summarize(tasks, specs, [result(spec) for spec in specs if spec.task_id >= 80]))

    assert [f"feed-animal-{number} " in text for number in (80, 89, 0, 30)] == [True, True, True, False]


@pytest.mark.parametrize("evil", ["\x1b]0;owned\x07", "\x1b[2J", "a\rb", "\u202egnp", "[bold red]markup[/]", "\ud800"])
def test_foreign_names_cannot_drive_the_terminal(evil):
    """Escape sequences, carriage returns, text direction and rich's markup are shown, not obeyed."""
    tasks = [Task(f"s{evil}", 0, f"t{evil}", "", 10)]
    specs = [EpisodeSpec(f"s{evil}", 0, 0, 1)]

    text = printed(summarize(tasks, specs, [broken(specs[0], evil)]), width=300, directory=f"d{evil}")

    assert not any(char in text for char in "\x1b\x07\r\u202e\ud800")
    if evil.startswith("[bold"):
        assert "t[bold red]markup[/]" in text


@pytest.mark.parametrize("width", [72, 80, 200])
def test_numbers_fit_terminals_of_usual_widths(width):
    """Numbers are never cut off; names are, after the task's number."""
    tasks, specs = plan(2, suite="a_suite_with_quite_a_long_name")

    rows = printed(summarize(tasks, specs, [result(spec) for spec in specs]), width=width).splitlines()

    assert [row.split()[-6:] for row in rows if "4/4" in row] == [["%", "51.0", "…", "100.0", "1.50", "20.0"]] * 2
    (start,) = [number for number, row in enumerate(rows) if row.startswith("a_suite_with")]
    assert all(len(row) <= width for row in rows[start : start + 3])


def test_durations_read_like_time():
    """Seconds, minutes, hours."""
    assert [duration(s) for s in (8.34, 59.97, 125, 3720, None)] == ["8.3 s", "60.0 s", "2 min 05 s", "1 h 02 min", "-"]


def test_a_checkpoint_in_the_working_directory_is_called_by_its_relative_path(tmp_path, monkeypatch):
    """A run writes down the absolute one, which is long and tells of the machine."""
    monkeypatch.chdir(tmp_path)

    assert policy_name({"path": str(tmp_path / "outputs" / "act"), "type": "act"}) == "outputs/act"
    assert policy_name({"path": "/elsewhere/act"}) == "/elsewhere/act"
    assert policy_name({"path": "user/act@0123abc"}) == "user/act@0123abc"
    assert policy_name({"type": "random"}) == "random"


def delayed(run, delay):
    return replace(run, fingerprint={**run.fingerprint, "inference": {"delay": delay}})


def test_whose_protocol_and_how_exact_the_results_are_stand_above_the_paths():
    """So does a delay of inference. A run with the only protocol and a policy in its process has no such lines."""
    tasks, specs = plan(1)
    summary = summarize(tasks, specs, [result(spec) for spec in specs])
    run = run_info()
    texts = []
    for each in (
        run,
        replace(
            run,
            config={**run.config, "env": {"type": "libero", "protocol": "openpi"}},
            opened_policy={"exactness": "statistical"},
        ),
        delayed(run, {"steps": 5, "when_late": "hold"}),
        delayed(run, {"ms": 62.5, "when_late": "zero"}),
    ):
        buffer = io.StringIO()
        print_summary(Console(file=buffer, width=110), summary, RunStatus(Path("outputs/run")), each)
        texts.append(buffer.getvalue())

    assert "Protocol" not in texts[0]
    assert "Exactness" not in texts[0]
    assert "Protocol    libero as openpi runs it\nExactness   statistical: the policy's server draws" in texts[1]
    assert texts[1].index("Exactness") < texts[1].index("Results ")
    assert "Delay" not in texts[0] + texts[1]
    assert "Delay       each chunk of actions takes over 5 steps late (when_late=hold)" in texts[2]
    assert "Delay       each chunk of actions takes over 62.5 ms late (when_late=zero)" in texts[3]


LIBERO = [
    "pick_up_the_black_bowl_next_to_the_ramekin_and_place_it_on_the_plate",
    "pick_up_the_black_bowl_from_table_center_and_place_it_on_the_plate",
    "pick_up_the_black_bowl_on_the_stove_and_place_it_on_the_plate",
]


def libero():
    tasks = [Task("libero_spatial", number, name, "", 100) for number, name in enumerate(LIBERO)]
    specs = [EpisodeSpec("libero_spatial", task.task_id, index, 1000 + index) for task in tasks for index in range(4)]
    return summarize(tasks, specs, [result(spec, success=spec.episode_index > 0) for spec in specs], wall_s=60)


def test_long_names_are_cut_where_they_are_alike():
    """At 80 columns one sees which task a row is of; there is room for whole names where there is room."""
    narrow, wide = printed(libero(), width=80), printed(libero(), width=140)

    for words in ("0 …next_to_the_ramekin", "1 …from_table_center", "2 …on_the_stove"):
        assert f"\n{words}" in narrow
    assert f"\n0 {LIBERO[0]}" in wide
    assert "--task libero_spatial/0 --episode 0" in narrow, "a command with the name would be two lines long"


def on_a_terminal(summary, width=80, height=24, colours=None, **run):
    buffer = io.StringIO()
    console = Console(file=buffer, width=width, height=height, force_terminal=True, color_system=colours)
    print_summary(console, summary, RunStatus(Path("outputs/run")), **run)
    return buffer.getvalue()


def test_a_terminal_shows_the_headline_with_a_bar_and_two_lines_of_numbers():
    """Four lines in all, each within 80 columns; the bar is full up to the rate, and shows the interval's ends."""
    lines = on_a_terminal(libero()).splitlines()

    rate, bar = lines[0].split("  ")
    assert rate == "Success rate 75.0 %"
    assert set(bar) == {"█", "▓", "▒", "░"}
    assert (bar.count("█") + bar.count("▓")) / len(bar) == pytest.approx(0.75, abs=0.02)
    assert lines[1] == "95% interval 45.9 … 92.5, wilson-effective · 9 of 12 episodes · 3 tasks"
    assert lines[2].startswith("Mean reward")
    assert lines[3] == "12 episodes in 1 min 00 s, 12.0 episodes/min with start-up"
    assert lines[4] == ""
    assert max(map(len, lines[:5])) <= 80


def test_the_headline_is_green_once_it_is_final():
    """And yellow as long as something is missing."""
    tasks, specs = plan(1)
    results = [result(spec) for spec in specs]

    assert "\x1b[1;32mSuccess rate 100.0 %" in on_a_terminal(summarize(tasks, specs, results), colours="standard")
    assert "\x1b[1;33mNo final success rate" in on_a_terminal(summarize(tasks, specs, results[:3]), colours="standard")


@pytest.mark.parametrize(("height", "n_rows"), [(24, 10), (30, 14), (60, 20)])
def test_the_headline_stays_visible_above_many_tasks(height, n_rows):
    """A log has no height, and shows twenty."""
    tasks, specs = plan(50, n_episodes=1)
    summary = summarize(tasks, specs, [result(spec) for spec in specs])

    def rows(text):
        return sum("feed-animal" in line and "1/1" in line for line in text.splitlines())

    assert rows(on_a_terminal(summary, height=height)) == n_rows
    assert rows(printed(summary)) == 20


def test_a_bar_has_the_width_that_it_is_given():
    """Whatever the rate."""
    for wins in range(5):
        tasks, specs = plan(1)
        shown = headline_of(summarize(tasks, specs, [result(spec, success=i < wins) for i, spec in enumerate(specs)]))

        assert len(rate_bar(shown, 40)) == 40


def test_a_run_without_anything_left_to_do_says_so():
    """Else it would look as if it had run just now."""
    buffer = io.StringIO()
    print_nothing_to_do(Console(file=buffer, width=200), libero())

    assert buffer.getvalue().startswith("Nothing to do: all 12 episodes had a result already.")
