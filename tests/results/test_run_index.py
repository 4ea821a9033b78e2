"""Finding a run by no name or a part of one, and the link to the last run."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from proctor.errors import ConfigError
from proctor.results import run_index
from proctor.results.run_index import (
    EVALUATIONS,
    find_run,
    last_runs,
    register_run,
    runs_here,
    unregister_run,
    without_latest,
)

MORNING = EVALUATIONS / "2026-11-21" / "09-00-00_pusht_act"
NOON = EVALUATIONS / "2026-11-21" / "12-00-00_pusht_diffusion"


@pytest.fixture(autouse=True)
def here(in_an_empty_folder):
    """Each test has a working directory and a state folder of its own."""
    return in_an_empty_folder


def begin(directory, second):
    """Begin a run at a moment: what a session does."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "run.json").write_text("{}")
    os.utime(directory / "run.json", (second, second))
    register_run(directory)
    return directory


def test_the_last_run_is_the_one_that_began_last():
    """Wherever it lies: in the folder of evaluations, in that of sweeps, or in a directory of the user's."""
    begin(MORNING, 1), begin(NOON, 2)
    begin(Path("outputs/sweep/2026-11-21/act/003000"), 3)
    begin(Path("mine/act"), 4)

    assert runs_here() == [Path("mine/act"), Path("outputs/sweep/2026-11-21/act/003000"), NOON, MORNING]
    assert last_runs(2) == [Path("mine/act"), Path("outputs/sweep/2026-11-21/act/003000")]

    begin(MORNING, 5)  # it is resumed

    assert last_runs(1) == [MORNING]


def test_a_shard_that_begins_makes_its_run_the_last_one():
    """It writes a file of its own beside run.json."""
    begin(MORNING, 1), begin(NOON, 2)
    (MORNING / "run_1_of_2.json").write_text("{}")
    os.utime(MORNING / "run_1_of_2.json", (3, 3))

    assert last_runs(1) == [MORNING]


def test_runs_begun_elsewhere_are_found_from_where_they_were_begun_and_from_above(here, monkeypatch):
    """Not from any other folder: the last run of another project is no default."""
    outside = here.parent / f"{here.name}_results"
    begin(outside / "act", 1)
    assert runs_here() == [outside / "act"]

    monkeypatch.chdir(outside)
    assert runs_here() == [Path("act")]

    (here / "another").mkdir()
    monkeypatch.chdir(here / "another")
    assert runs_here() == []


def test_runs_in_the_usual_folders_need_no_record(monkeypatch):
    """They may have been copied here, or the state folder may be gone or unwritable."""
    monkeypatch.setenv("XDG_STATE_HOME", os.devnull)
    begin(MORNING, 1), begin(Path("mine/act"), 2)

    assert runs_here() == [MORNING]


def test_a_run_that_was_removed_is_passed_over():
    """Its record stays until there are very many."""
    begin(Path("mine/act"), 1), begin(Path("mine/other"), 2)
    shutil.rmtree("mine/other")

    assert runs_here() == [Path("mine/act")]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"directory": 3, "started_in": ""}', "\x00"])
def test_a_damaged_record_is_passed_over(content):
    """Nothing that is in the state folder ends a command."""
    begin(Path("mine/act"), 1)
    (run_index._records() / "0.json").write_text(content)

    assert runs_here() == [Path("mine/act")]


def test_records_do_not_pile_up(monkeypatch):
    """The oldest are removed."""
    monkeypatch.setattr(run_index, "_MOST_RECORDS", 10)
    for number in range(25):
        begin(Path(f"mine/{number}"), number)

    assert len(list(run_index._records().glob("*.json"))) <= 10
    assert runs_here()[0] == Path("mine/24")


def test_processes_and_threads_may_begin_runs_at_the_same_moment():
    """Each is found, and the link leads to one of them."""
    directories = [EVALUATIONS / f"run-{number}" for number in range(16)]
    threads = [threading.Thread(target=begin, args=(directory, 1)) for directory in directories]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(runs_here()) == sorted(directories)
    assert (EVALUATIONS / "latest" / "run.json").exists()
    assert not list(EVALUATIONS.glob(".latest*"))


# ---------------------------------------------------------------------------------------------------- parts of names


@pytest.fixture
def three():
    begin(MORNING, 1), begin(NOON, 2), begin(Path("mine/act"), 3)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("act", Path("mine/act")),  # the whole name of one, and a part of another's
        ("diffusion", NOON),
        ("DIFFUSION", NOON),
        ("09-00", MORNING),
        ("mine", Path("mine/act")),
        ("pusht_act", MORNING),
        ("2026-11-21/12", NOON),
        ("last", Path("mine/act")),
        ("latest", Path("mine/act")),
        (str(MORNING), MORNING),
        ("mine/act/", Path("mine/act")),
    ],
)
def test_a_part_of_a_name_is_enough_if_no_other_run_has_it(name, found):
    """A whole name counts more than a part, and a name more than the path above it."""
    assert find_run(Path(name)) == found


@pytest.mark.usefixtures("three")
def test_of_several_runs_with_the_same_part_the_candidates_are_listed():
    """The last one first; the user chooses."""
    with pytest.raises(ConfigError) as raised:
        find_run(Path("pusht"))

    assert str(raised.value) == f"'pusht' is in the names of 2 runs; give more of one name:\n  {NOON}\n  {MORNING}"


@pytest.mark.usefixtures("three")
def test_an_unknown_name_gets_the_nearest_one():
    """As everywhere."""
    with pytest.raises(ConfigError, match=r"No run here has .*_difusion' in its name"):
        find_run(Path("12-00-00_pusht_difusion"))


@pytest.mark.usefixtures("three")
def test_a_folder_of_the_same_name_that_is_no_run_does_not_hide_a_run():
    """Such as a package beside the outputs."""
    Path("diffusion").mkdir()

    assert find_run(Path("diffusion")) == NOON


@pytest.mark.parametrize("name", ["nothing", "a/b", "/no/such/run"])
def test_a_path_to_nothing_is_left_to_its_reader_to_refuse(name):
    """Which says what it expects there."""
    assert find_run(Path(name)) == Path(name)


def test_a_result_file_is_itself(here):
    """LeRobot's are compared, too."""
    (here / "theirs").mkdir()
    (here / "theirs" / "eval_info.json").write_text(json.dumps({}))

    assert find_run(Path("theirs")) == Path("theirs")
    assert find_run(Path("theirs/eval_info.json")) == Path("theirs/eval_info.json")


@pytest.mark.parametrize(("n_runs", "message"), [(0, "There is no run in outputs/eval"), (1, "There is only one run")])
def test_if_there_are_too_few_runs_the_user_is_asked_for_names(n_runs, message):
    """A sentence."""
    for number in range(n_runs):
        begin(EVALUATIONS / f"run-{number}", number)

    with pytest.raises(ConfigError, match=f"{message}.*name RUN_DIR"):
        last_runs(2)


# ------------------------------------------------------------------------------------------------------ the link latest


def target():
    return (EVALUATIONS / "latest").readlink()


def test_the_link_leads_to_the_last_run_of_its_folder():
    """It is relative, so that the folder may be moved; a run elsewhere does not move it."""
    begin(MORNING, 1)
    assert target() == MORNING.relative_to(EVALUATIONS)

    begin(NOON, 2), begin(Path("mine/act"), 3)
    assert target() == NOON.relative_to(EVALUATIONS)
    assert runs_here() == [Path("mine/act"), NOON, MORNING], "what the link leads to is listed once"


def test_a_file_or_folder_of_that_name_is_the_users():
    """It is not touched."""
    (EVALUATIONS / "latest").mkdir(parents=True)
    begin(MORNING, 1)

    assert (EVALUATIONS / "latest").is_dir()
    assert not (EVALUATIONS / "latest").is_symlink()


def test_a_run_that_is_taken_back_leaves_the_link_to_the_one_before():
    """Without any, there is no link, and no empty folder."""
    begin(MORNING, 1), begin(NOON, 2)
    for run, left in ((NOON, MORNING), (MORNING, None)):
        shutil.rmtree(run)
        unregister_run(run)
        if left is not None:
            assert target() == left.relative_to(EVALUATIONS)
    assert not (EVALUATIONS / "latest").is_symlink()


def test_nothing_is_read_or_written_through_the_link():
    """It may lead elsewhere a moment later."""
    begin(MORNING, 1)

    assert find_run(EVALUATIONS / "latest") == MORNING
    assert without_latest(EVALUATIONS / "latest") == MORNING
    assert without_latest(NOON) == NOON
