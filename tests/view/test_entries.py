"""What the index says of runs and sweeps: how far they are, how fast, and why they ended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from served_runs import STORED, ask, fake_run, fake_sweep, viewing

from proctor import evaluate
from proctor.errors import ContractError, Interrupted, NoResultError
from proctor.results.journal import read_actions, read_journal
from proctor.results.run_dir import RunDirectory
from proctor.testing.fakes import FAKE_BENCHMARK
from proctor.types import pack_arrays
from proctor.view import folder as view_folder
from proctor.view.folder import RunFolder
from proctor.view.pages import Pages, ShownRun
from proctor.view.sweeps import SweepEntry


def entry_of(run):
    (entry,) = RunFolder(run.parent).entries()
    return entry


@pytest.fixture
def unfinished(tmp_path):
    """The stored run before its last episode."""
    run = tmp_path / "runs" / "run"
    shutil.copytree(STORED, run)
    (run / "eval_info.json").unlink()
    journal = run / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
    return run


def test_an_entry_has_what_distinguishes_runs(tmp_path):
    """The training's step, n_action_steps, seed, notes; the path of a checkpoint in few words."""
    run = tmp_path / "runs" / "run"
    shutil.copytree(STORED, run)
    stored = RunDirectory(run).require_run()
    policy = {"path": "/data/outputs/train/act_pick/checkpoints/003000/pretrained_model"}
    config = {**stored.config, "policy": policy, "notes": "with more data", "job_name": "pick"}
    RunDirectory(run).write_run(replace(stored, config=config))

    entry = entry_of(run)

    assert (entry.policy, entry.policy_path, entry.step) == ("train/act_pick", policy["path"], 3000)
    assert (entry.n_action_steps, entry.seed, entry.notes, entry.job_name) == (20, 1000, "with more data", "pick")
    assert (entry.state, entry.reason, entry.n_completed, entry.n_planned) == ("finished", "", 6, 6)
    assert entry.seconds == pytest.approx(read_journal(run / "journal.jsonl").wall_s)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ContractError("They do not fit:\n  table"), "They do not fit:\n  table"),
        (Interrupted(2), "It was interrupted."),
        (ZeroDivisionError("division by zero"), "division by zero"),
    ],
)
def test_a_run_that_ended_early_says_why(unfinished, error, reason):
    """In the words of the error, which the run directory keeps until the next session."""
    files = RunDirectory(unfinished)

    with pytest.raises(type(error)), files.recording_end():
        raise error
    ended = entry_of(unfinished)
    with files.recording_end():
        pass

    assert (ended.state, ended.reason) == ("unfinished", reason)
    assert ended.resume == f"proctor resume {unfinished}"  # five episodes are there
    assert entry_of(unfinished).reason == "It ended before all of its episodes were run."


def test_a_run_that_was_refused_is_not_to_be_resumed(unfinished):
    """Another session would be refused alike; one that was interrupted before its first episode would not."""
    (unfinished / "journal.jsonl").unlink()
    for error, resume in ((ContractError("no"), ""), (Interrupted(15), f"proctor resume {unfinished}")):
        with pytest.raises(type(error)), RunDirectory(unfinished).recording_end():
            raise error
        assert entry_of(unfinished).resume == resume


def test_a_policy_that_always_fails_is_the_reason(tmp_path):
    """Written down by the evaluation."""
    env = {"type": FAKE_BENCHMARK}
    with pytest.raises(NoResultError):
        evaluate(lambda observation: 1 / 0, env, output_dir=tmp_path / "runs" / "run", use_async_envs=False)

    assert "division by zero" in entry_of(tmp_path / "runs" / "run").reason


def test_a_secret_is_not_in_the_reason(unfinished):
    """Whoever writes it down removes it."""
    with pytest.raises(ContractError), RunDirectory(unfinished).recording_end(lambda text: text.replace("pass", "***")):
        raise ContractError("pass is wrong")

    assert entry_of(unfinished).reason == "*** is wrong"


def test_a_run_that_was_withdrawn_leaves_no_reason(unfinished):
    """Its directory can be removed."""
    (unfinished / "run.json").unlink()
    with pytest.raises(ContractError), RunDirectory(unfinished).recording_end():
        raise ContractError("no")

    assert not RunDirectory(unfinished).end_file.exists()


def test_a_killed_writer_is_noticed_although_no_file_changes(unfinished):
    """Its lock file stays, and nobody holds it; before, the run goes on."""
    runs = RunFolder(unfinished.parent)
    lock = f"from proctor.results.lock import FileLock as L\nL(Path({str(unfinished)!r}, 'journal.lock')).acquire()"
    program = f"from pathlib import Path\n{lock}\nprint('held', flush=True)\ninput()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as writer:
        writer.stdout.readline()
        (running,) = runs.entries()
        writer.kill()
    (killed,) = runs.entries()

    assert (running.state, running.reason) == ("running", "")
    assert (killed.state, killed.reason) == ("unfinished", "Its process was killed, or the machine failed.")


def test_the_pace_is_that_of_the_session_that_writes(unfinished):
    """Its start-up does not count; the time that is left follows."""
    (journal,) = RunDirectory(unfinished).read_journals()
    last = read_journal(STORED / "journal.jsonl").episodes[-1]
    runs = RunFolder(unfinished.parent)
    with RunDirectory(unfinished).open_journal(journal.header.fingerprint) as writer:
        (before,) = runs.entries()
        writer.append(last.result, pack_arrays({"actions": read_actions(last)}))
        (after,) = runs.entries()

    assert (before.per_s, before.pace, before.left) == (None, "", "")
    assert after.per_s > 0
    assert (after.pace.endswith("episodes/min"), after.left, after.makes_videos) == (True, "0.0 s left", True)


def test_of_many_runs_the_newest_are_read_first(tmp_path, monkeypatch):
    """The others follow when the page asks again."""
    for name, age_s in (("old", 100), ("new", 0)):
        run = tmp_path / name
        shutil.copytree(STORED, run)
        time_s = (run / "run.json").stat().st_mtime - age_s
        os.utime(run / "run.json", (time_s, time_s))
    runs = RunFolder(tmp_path)
    clock = iter([0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    monkeypatch.setattr(view_folder, "thread_time", lambda: next(clock))

    first, second = ({entry.name: entry.state for entry in runs.entries()} for _ in range(2))

    assert first == {"new": "finished", "old": "unread"}
    assert second == {"new": "finished", "old": "finished"}


# -------------------------------------------------------------------------------------------------------------- sweeps


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept") / "sweep"
    fake_sweep(folder)
    return folder


@pytest.fixture
def sweep(swept, tmp_path):
    return shutil.copytree(swept, tmp_path / "runs" / "sweep")


def test_a_sweep_holds_its_runs(sweep):
    """The curve has the checkpoints with a rate; the verdict is that of the file."""
    fake_run(sweep.parent / "alone", video="none")

    entries = {entry.name: entry for entry in RunFolder(sweep.parent).entries()}
    found = entries["sweep"]

    assert set(entries) == {"sweep", "alone"}
    assert {run.name for run in found.runs} == {"sweep/001000", "sweep/002000"}
    assert [(row.step, row.status, row.problem) for row in found.rows] == [
        (1000, "", ""),
        (2000, "", ""),
        (3000, "failed", "its weights cannot be read"),
    ]
    assert found.rows[1].mark == "best"
    assert [point.x for point in found.points] == [4, 96]
    assert (found.n_done, found.n_failed, found.summary.best, found.is_live) == (2, 1, "002000", False)


def test_a_checkpoint_that_is_evaluated_now_is_in_the_sweep(sweep):
    """Although the file does not name it before it is done."""
    record = json.loads((sweep / "sweep.json").read_bytes())
    record["checkpoints"] = record["checkpoints"][:1]
    (sweep / "sweep.json").write_text(json.dumps(record))
    header = read_journal(sweep / "002000" / "journal.jsonl").header
    runs = RunFolder(sweep.parent)
    with RunDirectory(sweep / "002000").open_journal(header.fingerprint):
        (found,) = runs.entries()

    assert [row.status for row in found.rows] == ["", "running, 6 of 6"]
    assert found.is_live
    assert isinstance(runs.sweep(found.id), SweepEntry)


@pytest.mark.parametrize("content", ["", "[]", '{"checkpoints": [{"step": "x"}]}', '{"checkpoints": 3}'])
def test_a_damaged_record_is_a_sentence_and_its_runs_remain(sweep, content):
    """On the index, and on its page."""
    (sweep / "sweep.json").write_text(content)
    with viewing(sweep.parent) as viewer:
        index = ask(viewer, "/").text
        address = index.partition('href="/sweeps/')[2].partition('"')[0]
        page = ask(viewer, f"/sweeps/{address}")

    assert "sweep.json cannot be read" in index
    assert "sweep/002000" in index
    assert (page.status, "sweep.json cannot be read" in page.text) == (409, True)


def test_a_record_elsewhere_is_not_read(sweep, tmp_path):
    """A link may lead out of the folder, and a pipe may never end."""
    (tmp_path / "secret.json").write_text((sweep / "sweep.json").read_text())
    (sweep / "sweep.json").unlink()
    (sweep / "sweep.json").symlink_to(tmp_path / "secret.json")
    (linked,) = RunFolder(sweep.parent).entries()
    (sweep / "sweep.json").unlink()
    os.mkfifo(sweep / "sweep.json")
    (piped,) = RunFolder(sweep.parent).entries()

    assert linked.problem == "sweep is not shown: its sweep.json is a link out of the folder."
    assert piped.problem == "sweep is not shown: its sweep.json is neither file nor folder."
    assert (linked.rows, piped.rows) == ((), ())


def test_no_such_sweep_is_a_sentence(viewer):
    """As no such run is."""
    answer = ask(viewer, "/sweeps/..%2f..")
    assert answer.status == 404
    assert ask(viewer, "/sweeps/abc").status == 404


def test_a_page_is_made_anew_if_a_file_has_changed(unfinished):
    """Else the one that was made is given again, which shows in the time at its end."""
    folder = RunFolder(unfinished.parent)
    pages = Pages("token")
    (entry,) = folder.entries()

    def report():
        return pages.report({entry.id: ShownRun(unfinished, folder.entry(entry.id, unfinished))})

    first, second = report(), report()
    shutil.copy(STORED / "journal.jsonl", unfinished / "journal.jsonl")
    third = report()

    assert first is second
    assert "5/6" not in third.html
    assert third.html != first.html
