"""run.json says what a directory is an evaluation of, before anything ran."""

import functools
import json
from dataclasses import replace

import pytest

from proctor.errors import ConfigError, FingerprintError, ResourceError
from proctor.results import files
from proctor.results.run_dir import RUN_FILE, check_fingerprint, read_run, write_run
from result_samples import FINGERPRINT, SPECS, TASKS, run_info


def test_a_run_is_read_back_as_it_was_written(tmp_path):
    """Configuration, plan, fingerprint and provenance: all that a resume needs."""
    run = run_info(env={"type": "zoo"}, seed=1000)

    write_run(tmp_path / "run", run)

    assert read_run(tmp_path / "run") == run
    assert read_run(tmp_path / "run").specs == SPECS
    assert read_run(tmp_path / "run").tasks == TASKS


def test_a_directory_without_a_run_has_none(tmp_path):
    """Absent is not damaged."""
    assert read_run(tmp_path) is None
    assert read_run(tmp_path / "absent") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"config": 3}'])
def test_a_damaged_run_file_is_a_sentence(tmp_path, content):
    """A user's error names the file and a way out."""
    (tmp_path / RUN_FILE).write_bytes(content)

    with pytest.raises(ConfigError, match=r"run\.json cannot be read .* --output_dir"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    "path", ["config.policy", "config.env", "config.eval", "fingerprint.code", "fingerprint.code.env"]
)
def test_an_edited_run_file_whose_fields_are_no_mappings_is_a_sentence(tmp_path, path):
    """Every command reads these."""
    write_run(tmp_path, run_info())
    edited = json.loads((tmp_path / RUN_FILE).read_text())
    *groups, last = path.split(".")
    functools.reduce(lambda fields, name: fields.setdefault(name, {}), groups, edited)[last] = None
    (tmp_path / RUN_FILE).write_text(json.dumps(edited))

    with pytest.raises(ConfigError, match=rf"run\.json cannot be read \({path} is no mapping"):
        read_run(tmp_path)


def test_a_run_of_a_later_version_is_refused(tmp_path):
    """What a newer Proctor wrote is not half understood."""
    write_run(tmp_path, replace(run_info(), format_version=99))

    with pytest.raises(ConfigError, match="update Proctor"):
        read_run(tmp_path)


def test_secrets_do_not_reach_the_file(tmp_path):
    """Neither by the configuration nor by the command line."""
    run = replace(run_info(policy={"api_key": "hunter2"}), command=("proctor", "--hf-token", "hunter2", "key=hunter2"))

    write_run(tmp_path, run)

    assert "hunter2" not in (tmp_path / RUN_FILE).read_text()


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    """Readers find the old file or the new one, and no temporary one beside it."""
    write_run(tmp_path, run_info(old=True))

    def full_disk(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full_disk)
    with pytest.raises(ResourceError, match="No space left"):
        write_run(tmp_path, run_info(old=False))

    assert json.loads((tmp_path / RUN_FILE).read_text())["config"] == {"old": True}
    assert [path.name for path in tmp_path.iterdir()] == [RUN_FILE]


def test_equal_fingerprints_have_no_differences():
    """A tuple that a file turned into a list is no difference."""
    assert check_fingerprint({"a": {"shape": [1, 2]}}, {"a": {"shape": (1, 2)}}, allow_mismatch=False) == []


def test_a_different_fingerprint_is_refused_with_every_difference():
    """Each is named with its old and new value, and the message says what to do."""
    new = {"policy": {"hash": "cd34", "dtype": "float16"}, "seed": 1000}

    with pytest.raises(FingerprintError) as error:
        check_fingerprint(FINGERPRINT, new, allow_mismatch=False)

    assert [line.strip() for line in str(error.value).splitlines()[1:-1]] == [
        'policy.dtype: was absent, now "float16"',
        'policy.hash: was "ab12", now "cd34"',
        "policy.n_action_steps: was 8, now absent",
    ]
    assert "--output_dir" in str(error.value)
    assert "--eval.allow_mismatch=true" in str(error.value)


def test_a_mismatch_can_be_allowed_and_is_returned():
    """The caller has something to warn with."""
    assert check_fingerprint({"seed": 1}, {"seed": 2}, allow_mismatch=True) == ["seed: was 1, now 2"]
