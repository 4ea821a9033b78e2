"""Files that were written once, by the first version of each format, are read for ever.

``data/run_v1`` is a run of the bundled checkpoint on two Meta-World tasks; ``data/run_v1_shards`` the same in two
shards. ``data/run_v2`` is a run of Meta-World's expert, whose journal has version 2.
"""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest

from proctor.cli import main
from proctor.results import eval_info, journal_records, run_info
from proctor.results.eval_info import build_eval_info, canonical_info
from proctor.results.journal import read_actions, read_array, read_journal
from proctor.results.measured import read_measured
from proctor.results.run_dir import RunDirectory
from proctor.results.summary import load_summary

DATA = Path(__file__).parent / "data"
RUN, SHARDS, SECOND = DATA / "run_v1", DATA / "run_v1_shards", DATA / "run_v2"

OF_THE_MEAN = {"macro": ("pc_success_interval", "method"), "overall": ("pc_success_interval",)}
"""What the first version computed in a way that contained the mean over tasks too seldom; it is computed anew."""


def _stored():
    info = json.loads((RUN / "eval_info.json").read_bytes())
    for part, names in OF_THE_MEAN.items():
        info[part] = {name: value for name, value in info[part].items() if name not in names}
    return info


STORED = _stored()


def rebuilt(directory):
    """The results from plan and journal, as today's version writes them."""
    run, summary = load_summary(directory)
    return json.loads(json.dumps(build_eval_info(summary, run)))


def assert_holds(stored, now, where="eval_info"):
    """Everything that was stored is there now, equal to the bit; later versions may say more."""
    if isinstance(stored, dict):
        for name, value in stored.items():
            assert name in now, f"{where}.{name}"
            assert_holds(value, now[name], f"{where}.{name}")
    elif isinstance(stored, list):
        assert len(stored) == len(now), where
        for position, (one, other) in enumerate(zip(stored, now, strict=True)):
            assert_holds(one, other, f"{where}[{position}]")
    else:
        assert (type(stored), stored) == (type(now), now), where


@pytest.mark.parametrize("directory", [RUN, SHARDS], ids=["whole", "in shards"])
def test_a_stored_run_comes_to_the_numbers_that_were_stored(directory):
    """Rates, intervals, bootstrap, every episode: from its journals alone, whole or dealt to shards."""
    assert_holds(canonical_info(STORED), rebuilt(directory))


def test_what_is_stored_beside_the_numbers_is_read_too():
    """The whole file but for the start-up time, which no journal holds."""
    stored = {**STORED, "overall": {**STORED["overall"], "startup_s": None, "eval_s": None, "eval_ep_s": None}}
    now = rebuilt(RUN)

    assert_holds(stored, {**now, "overall": {**now["overall"], "eval_s": None, "eval_ep_s": None}})


def test_a_shard_s_own_file_agrees_with_the_whole():
    """Each of its episodes is one of the run's."""
    episodes = [
        episode
        for name in ("shard_0_of_2.json", "shard_1_of_2.json")
        for episode in canonical_info(json.loads((SHARDS / name).read_bytes()))["per_episode"]
    ]

    of_the_run = canonical_info(STORED)["per_episode"]
    assert len(episodes) == len(of_the_run) == 6
    assert all(episode in of_the_run for episode in episodes)


def test_recorded_actions_are_read():
    """Of every episode, as many as it has steps."""
    journal = read_journal(RUN / "journal.jsonl")

    assert journal.n_corrupt == 0
    for record in journal.episodes:
        assert read_actions(record).shape == (record.result.length, 4)
        assert read_array(record, "rewards") is None  # the first version did not keep them


def test_recorded_rewards_and_successes_are_read():
    """The rewards of the steps add up to the episode's, to the bit, and success is reported where the episode ends."""
    records = read_journal(SECOND / "journal.jsonl").episodes

    assert len(records) == 2
    for record in records:
        rewards, successes = read_array(record, "rewards"), read_array(record, "successes")
        assert np.cumsum(rewards)[-1] == record.result.sum_reward
        assert max(rewards) == record.result.max_reward
        assert len(successes) == record.result.length
        assert successes[-1] == 1


def test_reading_changes_nothing(capsys):
    """Not a byte, not a file."""
    before = {path: path.read_bytes() for path in sorted(RUN.iterdir())}

    assert main(["show", str(RUN)]) == 0
    assert "coffee-button-v3      2/3  66.7 %" in capsys.readouterr().out
    assert main(["show", str(SHARDS), "--json"]) == 0
    assert_holds(canonical_info(STORED), json.loads(capsys.readouterr().out))
    assert main(["compare", str(RUN), str(SHARDS)]) == 0
    assert "The same 6 episodes under both policies." in capsys.readouterr().out
    assert {path: path.read_bytes() for path in sorted(RUN.iterdir())} == before


def test_stored_shards_are_merged_to_the_stored_run(tmp_path, capsys):
    """By the command, into a directory of their own; not a byte of the shards is changed."""
    before = {path: path.read_bytes() for path in sorted(SHARDS.iterdir())}

    assert main(["merge", str(SHARDS), f"--output_dir={tmp_path}/merged"]) == 0

    assert_holds(canonical_info(STORED), json.loads((tmp_path / "merged" / "eval_info.json").read_bytes()))
    assert {path: path.read_bytes() for path in sorted(SHARDS.iterdir())} == before


def test_the_file_alone_says_what_the_run_says():
    """For a comparison with results whose journal is not at hand."""
    alone, whole = read_measured(RUN / "eval_info.json"), read_measured(RUN)

    assert {key: (task.counts.n_successes, task.successes) for key, task in alone.tasks.items()} == {
        key: (task.counts.n_successes, task.successes) for key, task in whole.tasks.items()
    }
    assert alone.fingerprint == whole.fingerprint


@pytest.mark.parametrize("name", ["run.json", "journal.jsonl", "eval_info.json"])
def test_a_newer_format_is_refused_in_a_sentence(tmp_path, capsys, name):
    """Rather than misread: which file, which version, what to do."""
    shutil.copytree(RUN, tmp_path / "run")
    path = tmp_path / "run" / name
    content = path.read_text()
    version = 3 if name == "journal.jsonl" else 2
    if name == "journal.jsonl":
        path.unlink()
        (path := tmp_path / "run" / "journal_2.jsonl").write_text(newer_journal())
    else:
        path.write_text(content.replace('"format_version": 1', '"format_version": 2'))
    given = path if name == "eval_info.json" else tmp_path / "run"

    assert main(["compare", str(RUN), str(given)]) == 2
    error = capsys.readouterr().err
    assert f"{path} has format version {version}" in error
    assert "update Proctor" in error
    assert "Traceback" not in error


def newer_journal():
    """A header of the next version, in today's frame."""
    raw = '{"kind":"header","format_version":3,"fingerprint":{}}'
    return f'{{"crc32":"{zlib.crc32(raw.encode()):08x}","record":{raw}}}\n'


@pytest.mark.parametrize("name", ["run.json", "eval_info.json"])
def test_a_damaged_file_is_refused_in_a_sentence(tmp_path, capsys, name):
    """Half of it is there."""
    shutil.copytree(RUN, tmp_path / "run")
    path = tmp_path / "run" / name
    path.write_bytes(path.read_bytes()[:300])

    assert main(["compare", str(RUN), str(path if name == "eval_info.json" else tmp_path / "run")]) == 2
    assert str(path) in (error := capsys.readouterr().err)
    assert "Traceback" not in error


def test_stored_runs_are_of_the_versions_there_are():
    """A new version of a format needs a stored sample here."""
    assert STORED["format_version"] == eval_info.FORMAT_VERSION
    assert RunDirectory(RUN).read_run().format_version == run_info.FORMAT_VERSION
    assert read_journal(SECOND / "journal.jsonl").header.format_version == journal_records.FORMAT_VERSION


def test_the_interval_of_the_mean_over_tasks_is_computed_anew():
    """The rate is the stored one; the interval is for it, and the same wherever it is given."""
    now = rebuilt(RUN)

    assert now["macro"]["method"] == "wilson-effective"
    assert now["headline"]["pc_success"] == STORED["macro"]["pc_success"]
    assert now["headline"]["pc_success_interval"] == now["macro"]["pc_success_interval"]
    assert now["headline"]["pc_success_interval"] == now["overall"]["pc_success_interval"]
