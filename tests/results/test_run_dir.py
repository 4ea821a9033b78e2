"""run.json says what a directory is an evaluation of, before anything ran."""

import functools
import json
from dataclasses import replace

import pytest

from proctor.errors import ConfigError, ResourceError
from proctor.results import files
from proctor.results.run_dir import RUN_FILE, WHOLE, RunDirectory, Shard
from result_samples import FINGERPRINT, SPECS, TASKS, run_info


def test_a_run_is_read_back_as_it_was_written(tmp_path):
    """Configuration, plan, fingerprint and provenance: all that a resume needs."""
    run = run_info(env={"type": "zoo"}, seed=1000)

    RunDirectory(tmp_path / "run").write_run(run)

    assert RunDirectory(tmp_path / "run").read_run() == run
    assert RunDirectory(tmp_path / "run").read_run().specs == SPECS
    assert RunDirectory(tmp_path / "run").read_run().tasks == TASKS


def test_a_directory_without_a_run_has_none(tmp_path):
    """Absent is not damaged."""
    assert RunDirectory(tmp_path).read_run() is None
    assert RunDirectory(tmp_path / "absent").read_run() is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"config": 3}'])
def test_a_damaged_run_file_is_a_sentence(tmp_path, content):
    """A user's error names the file and a way out."""
    (tmp_path / RUN_FILE).write_bytes(content)

    with pytest.raises(ConfigError, match=r"run\.json cannot be read .* --output_dir"):
        RunDirectory(tmp_path).read_run()


@pytest.mark.parametrize(
    "path", ["config.policy", "config.env", "config.eval", "fingerprint.code", "fingerprint.code.env"]
)
def test_an_edited_run_file_whose_fields_are_no_mappings_is_a_sentence(tmp_path, path):
    """Every command reads these."""
    RunDirectory(tmp_path).write_run(run_info())
    edited = json.loads((tmp_path / RUN_FILE).read_text())
    *groups, last = path.split(".")
    functools.reduce(lambda fields, name: fields.setdefault(name, {}), groups, edited)[last] = None
    (tmp_path / RUN_FILE).write_text(json.dumps(edited))

    with pytest.raises(ConfigError, match=rf"run\.json cannot be read \({path} is not a mapping"):
        RunDirectory(tmp_path).read_run()


def test_a_run_of_a_later_version_is_refused(tmp_path):
    """What a newer Proctor wrote is not half understood."""
    RunDirectory(tmp_path).write_run(replace(run_info(), format_version=99))

    with pytest.raises(ConfigError, match="update Proctor"):
        RunDirectory(tmp_path).read_run()


def test_secrets_do_not_reach_the_file(tmp_path):
    """Neither by the configuration nor by the command line."""
    run = replace(run_info(policy={"api_key": "hunter2"}), command=("proctor", "--hf-token", "hunter2", "key=hunter2"))

    RunDirectory(tmp_path).write_run(run)

    assert "hunter2" not in (tmp_path / RUN_FILE).read_text()


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    """Readers find the old file or the new one, and no temporary one beside it."""
    RunDirectory(tmp_path).write_run(run_info(old=True))

    def full_disk(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full_disk)
    with pytest.raises(ResourceError, match="No space left"):
        RunDirectory(tmp_path).write_run(run_info(old=False))

    assert json.loads((tmp_path / RUN_FILE).read_text())["config"] == {"old": True}
    assert [path.name for path in tmp_path.iterdir()] == [RUN_FILE]


def test_the_names_of_a_shard_s_files_say_which_it_is(tmp_path):
    """So that shards share a directory; what they have in common has the name it has in a whole run."""
    whole, shard = RunDirectory(tmp_path), RunDirectory(tmp_path, Shard(3, 40))

    names = [(files.run_file, files.journal_file, files.lock_file, files.eval_info_file) for files in (whole, shard)]
    assert [[path.name for path in each] for each in names] == [
        ["run.json", "journal.jsonl", "journal.lock", "eval_info.json"],
        ["run_3_of_40.json", "journal_3_of_40.jsonl", "journal_3_of_40.lock", "shard_3_of_40.json"],
    ]
    assert shard.worker_log == whole.worker_log
    assert shard.whole == whole


def test_runs_are_read_by_shard_and_other_files_are_left_alone(tmp_path):
    """In the order of shards, which is not that of their names; a user's copy beside them is none of them."""
    for shard in (Shard(10, 12), Shard(9, 12), WHOLE):
        RunDirectory(tmp_path, shard).write_run(run_info())
    (tmp_path / "run_before.json").write_text("{")

    assert list(RunDirectory(tmp_path).read_runs()) == [WHOLE, Shard(9, 12), Shard(10, 12)]


def test_what_a_page_shows_of_a_run_is_in_the_files_that_are_watched(tmp_path):
    """A writer of a whole run or of a shard changes one of them; logs and traces are not shown."""
    files = RunDirectory(tmp_path, Shard(0, 2))
    before = set(files.shown_files())
    with files.open_journal(FINGERPRINT):
        assert set(files.shown_files()) - before == {files.lock_file, files.journal_file}
        assert RunDirectory(tmp_path).writer() == "this process"
    files.worker_log.touch()
    files.new_trace_file().touch()
    files.write_eval_info({})

    assert set(files.shown_files()) - before == {files.eval_info_file, files.journal_file}
    assert RunDirectory(tmp_path).writer() is None
