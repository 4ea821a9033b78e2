"""Run directories that somebody else has made, read by the commands that only read."""

from __future__ import annotations

import json
import os
import re
import shutil
import zlib
from pathlib import Path

import pytest

from proctor.cli import main
from proctor.errors import ConfigError, ResourceError
from proctor.reports.html import embedded_videos, read_report_run
from proctor.results.audit import read_audit
from proctor.results.lock import holder_of
from proctor.results.result_file import read_result_file
from proctor.results.run_dir import RunDirectory
from proctor.view.folder import RunFolder

STORED = Path(__file__).parents[1] / "data" / "run_v2"


@pytest.fixture
def run(tmp_path):
    """A copy of a run of two successes of one task."""
    return Path(shutil.copytree(STORED, tmp_path / "run"))


def edit(file, change):
    content = json.loads(file.read_bytes())
    change(content)
    file.write_text(json.dumps(content))


def edit_results(run, change):
    """Replace every result of the journal by those that ``change`` makes of it, with checksums that are right."""
    lines = []
    for line in (run / "journal.jsonl").read_bytes().splitlines():
        record = json.loads(line)["record"]
        for each in [record] if record["kind"] == "header" else change(record):
            text = json.dumps(each, separators=(",", ":")).encode()
            lines.append(b'{"crc32":"%08x","record":%b}\n' % (zlib.crc32(text), text))
    (run / "journal.jsonl").write_bytes(b"".join(lines))


def make(path, kind):
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")


# ------------------------------------------------------------------------------------------------ files that are none


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("name", ["run.json", "journal.jsonl", "run_0_of_2.json", "journal.actions.bin"])
def test_what_is_no_file_is_refused_and_not_waited_for(run, tmp_path, capsys, name, kind):
    """Reading a pipe would wait for its writer, and reading a device would never end."""
    make(run / name, kind)

    assert main(["merge", str(run), f"--output_dir={tmp_path / 'merged'}"]) in {2, 4}
    assert "not a regular file" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("name", ["journal.lock", "ended.json", "journal.actions.bin", "eval_info.json"])
def test_a_run_is_shown_although_another_of_its_files_is_none(run, capsys, name, kind):
    make(run / name, kind)

    assert main(["show", str(run)]) == 0
    assert "Success rate 100.0 %" in capsys.readouterr().out
    assert holder_of(run / name) is None


@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_an_audit_that_is_no_file_is_refused(run, kind):
    if kind == "directory":
        (run / "audit.json").mkdir()
    else:
        make(run / "audit.json", kind)

    with pytest.raises(ConfigError, match=r"audit\.json cannot be read"):
        read_audit(run)


@pytest.mark.parametrize("name", ["journal.jsonl", "journal.lock"])
def test_a_pipe_in_place_of_a_file_is_not_written_to(tmp_path, name):
    os.mkfifo(tmp_path / name)

    with pytest.raises((ConfigError, ResourceError), match="not a regular file"):
        RunDirectory(tmp_path).open_journal({})


def test_a_file_of_options_may_be_a_pipe_and_not_an_endless_one(capsys):
    assert main(["eval", "--config_path=/dev/zero"]) == 2
    assert "larger than" in capsys.readouterr().err


def test_a_video_that_is_a_link_out_of_the_run_becomes_part_of_nothing(run, tmp_path):
    """Of no page that is passed on, and of no merged run."""
    (tmp_path / "secret").write_text("a key")
    video = run / "videos" / "reach-v3_0" / "eval_episode_0.mp4"
    video.parent.mkdir(parents=True)
    video.symlink_to(tmp_path / "secret")

    page = read_report_run(run)
    assert main(["merge", str(run), f"--output_dir={tmp_path / 'merged'}"]) == 0

    assert [embedded_videos(page, spec) for spec in page.summary.tasks[0].specs] == [None, None]
    assert not (tmp_path / "merged" / "videos").exists()


def test_links_that_go_round_are_no_run(tmp_path, capsys):
    (tmp_path / "loop").symlink_to("loop")

    assert main(["merge", str(tmp_path / "loop"), f"--output_dir={tmp_path / 'merged'}"]) == 2
    assert "loop" in capsys.readouterr().err


def test_merging_writes_through_no_link(run, tmp_path):
    """The names of unfinished copies can be guessed."""
    (tmp_path / "other").write_text("somebody's")
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / ".journal.jsonl.tmp").symlink_to(tmp_path / "other")

    assert main(["merge", str(run), f"--output_dir={tmp_path / 'merged'}"]) == 0

    assert (tmp_path / "other").read_text() == "somebody's"


def test_a_trace_is_written_through_no_link(tmp_path):
    """A link to what does not exist yet would make it."""
    (tmp_path / "trace.json").symlink_to(tmp_path / "elsewhere")

    assert RunDirectory(tmp_path).new_trace_file().name == "trace-2.json"


# ----------------------------------------------------------------------------------------- contradictions, and numbers


@pytest.mark.parametrize(
    "repeat",
    [
        lambda content: content["plan"].append(content["plan"][0]),
        lambda content: content["plan"][0]["episodes"].append(content["plan"][0]["episodes"][0]),
    ],
    ids=["task", "episode"],
)
def test_no_result_is_counted_twice(run, capsys, repeat):
    """Two episodes would be four, with a narrower interval."""
    edit(run / "run.json", repeat)

    assert main(["show", str(run)]) == 2
    assert "twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda info: info["per_task"].append(info["per_task"][0]), "a task twice"),
        (lambda info: info["per_episode"].append(info["per_episode"][0]), "an episode twice"),
        (lambda info: info["per_task"][0]["metrics"].update(successes=[False, False]), "not those of its episodes"),
        (lambda info: info["per_episode"][0].update(success=False), "an episode's success is False and its outcome"),
        (lambda info: info["per_task"][0].update(n_missing=10**10), "n_missing"),
    ],
    ids=["task", "episode", "successes", "outcome", "missing"],
)
def test_a_result_file_that_contradicts_itself_is_refused(run, change, reason):
    edit(run / "eval_info.json", change)

    with pytest.raises(ConfigError, match=reason):
        read_result_file(run / "eval_info.json")


def test_a_result_file_that_is_nested_too_deep_is_refused(run):
    (run / "eval_info.json").write_bytes(b"[" * 200_000)

    with pytest.raises(ConfigError, match="nested"):
        read_result_file(run / "eval_info.json")


def test_rewards_whose_sum_is_no_number_have_no_mean(run, tmp_path, capsys):
    """They are in no chart either, and nothing else is lost."""

    def enlarge(record):
        record["result"].update(sum_reward=1e308, max_reward=1e308)
        return [record]

    edit_results(run, enlarge)

    assert main(["show", str(run)]) == 0
    assert main(["report", str(run), f"--output={tmp_path / 'page.html'}"]) == 0

    out = capsys.readouterr().out
    assert "Success rate 100.0 %" in out
    assert not re.search(r"\b(inf|nan)\b", out)


@pytest.mark.parametrize("change", [{"plan": []}, {"config": {"policy": {"path": 5}}}], ids=["no plan", "no path"])
def test_a_page_is_made_of_a_run_with_odd_values(run, tmp_path, change):
    edit(run / "run.json", lambda content: content.update(change))

    assert main(["report", str(run), f"--output={tmp_path / 'page.html'}"]) == 0


def test_a_duration_without_end_is_not_shown(run, tmp_path):
    edit(run / "eval_info.json", lambda info: info["overall"].update(eval_s=float("inf")))

    assert main(["report", str(run / "eval_info.json"), f"--output={tmp_path / 'page.html'}"]) == 0


# ------------------------------------------------------------------------------------------------------ texts and paths


@pytest.mark.parametrize("name", ["$\\frac{$", "\x1b[31m\x00"])
def test_a_name_is_drawn_as_it_is(run, tmp_path, name):
    """It is no formula, and a drawing holds no control character."""

    def rename(content):
        first = content["plan"][0]
        first["task"]["name"] = name
        content["plan"].append({**first, "task": {**first["task"], "task_id": 1, "name": f"{name} 1"}})

    def repeat(record):
        return [record, json.loads(json.dumps(record).replace('"task_id": 0', '"task_id": 1'))]

    edit(run / "run.json", rename)
    edit_results(run, repeat)

    assert main(["report", str(run), f"--output={tmp_path / 'page.html'}"]) == 0
    assert all("\x1b" not in drawing for drawing in re.findall(r"<svg.*?</svg>", (tmp_path / "page.html").read_text()))


def test_json_on_the_terminal_holds_nothing_that_the_terminal_obeys(run, capsys):
    """It holds the same text nevertheless."""
    name = "\x9b31m\u202e\u2028é"
    edit(run / "run.json", lambda content: content["plan"][0]["task"].update(name=name))

    assert main(["show", "--json", str(run)]) == 0

    out = capsys.readouterr().out
    assert json.loads(out)["per_task"][0]["task"] == name
    assert all(char.isprintable() or char == "\n" for char in out)
    assert "é" in out


@pytest.mark.parametrize("path", ["x/" * 3000, "y" * 500, "~nobody-of-this-name/checkpoint"])
def test_a_path_that_cannot_be_one_is_refused(capsys, path):
    assert main(["eval", f"--policy.path={path}", "--env.type=pusht"]) == 2
    assert capsys.readouterr().err.startswith("Error: ")


def test_one_run_that_cannot_be_read_hides_no_other(run, tmp_path, monkeypatch):
    """Whatever is wrong with it."""
    shutil.copytree(run, tmp_path / "other")
    shutil.copytree(run, tmp_path / "third")
    (tmp_path / "third" / "ended.json").symlink_to("ended.json")
    read = RunDirectory.read_journals

    def read_or_fail(directory):
        if directory.path.name == "run":
            raise RuntimeError("odd")
        return read(directory)

    monkeypatch.setattr(RunDirectory, "read_journals", read_or_fail)

    entries = {entry.name: entry for entry in RunFolder(tmp_path).entries()}

    assert entries["run"].problem == "It cannot be read (RuntimeError: odd)."
    assert entries["other"].n_completed == entries["third"].n_completed == 2
