"""Runs and shards that share a directory: what binds them, and whom they must not disturb."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from proctor.claim import Claim
from proctor.config import EvalConfig, RunConfig
from proctor.errors import FingerprintError, RunLockedError
from proctor.job import prepare
from proctor.results.journal import JournalWriter
from proctor.results.run_dir import read_run, read_runs, write_run
from proctor.testing.fakes import FAKE_BENCHMARK, FakePolicy
from proctor.types import EpisodeResult, Outcome


def job_of(directory: Path, shard_id: int = 0, num_shards: int = 1, *, n_episodes: int = 4, n_action_steps: int = 3):
    evaluation = EvalConfig(n_episodes=n_episodes, batch_size=1, shard_id=shard_id, num_shards=num_shards)
    config = RunConfig(env={"type": FAKE_BENCHMARK}, eval=evaluation, output_dir=str(directory))
    return prepare(config, FakePolicy(n_action_steps))


def measure(job, n: int = 1) -> None:
    """Keep so many results of a job."""
    claim = Claim(job)
    with JournalWriter(job.directory, job.run_info.fingerprint, job.journal_stem) as journal:
        claim.write_down()
        for spec in job.specs[:n]:
            journal.append(EpisodeResult(spec, Outcome.SUCCESS, 1.0, 1.0, 5, 1, "hash"), None)


def test_shards_share_one_run_and_keep_what_is_their_own(tmp_path):
    """The plan is the whole one; part, machine and command are each shard's."""
    for shard in (1, 0):
        measure(job_of(tmp_path, shard, 2))

    runs = read_runs(tmp_path)
    assert set(runs) == {"run.json", "run_0_of_2.json", "run_1_of_2.json"}
    assert {len(run.specs) for run in runs.values()} == {8}
    assert [runs[f"run_{n}_of_2.json"].config["eval"]["shard_id"] for n in (0, 1)] == [0, 1]
    whole = runs["run.json"].config["eval"]
    assert (whole["shard_id"], whole["num_shards"]) == (0, 1)


def test_the_run_file_of_shards_is_that_of_the_run_without_them(tmp_path):
    """Apart from the directory's name and the time."""
    for name, shards in {"whole": 1, "shards": 2}.items():
        measure(job_of(tmp_path / name, 0, shards))
    whole, ours = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("whole", "shards"))

    for run in (whole, ours):
        run["config"]["output_dir"] = run["provenance"]["date"] = run["provenance"]["git"] = None
    assert ours == whole


def test_another_shard_of_the_same_run_changes_nothing(tmp_path):
    """So two may begin at the same moment."""
    measure(job_of(tmp_path, 0, 2))
    before = (tmp_path / "run.json").read_bytes()
    measure(job_of(tmp_path, 1, 2))

    assert (tmp_path / "run.json").read_bytes() == before


def test_more_episodes_may_be_asked_for(tmp_path):
    """The plan of all shards grows."""
    measure(job_of(tmp_path, 0, 2))
    measure(job_of(tmp_path, 1, 2, n_episodes=6))

    assert len(read_run(tmp_path).specs) == 12


def test_a_shard_of_another_evaluation_is_refused(tmp_path):
    """As a run would be."""
    measure(job_of(tmp_path, 0, 2))

    with pytest.raises(FingerprintError, match=r"policy.n_action_steps: was 3, now 5"):
        Claim(job_of(tmp_path, 1, 2, n_action_steps=5))


def test_shards_must_open_the_policy_on_the_same_kind_of_device(tmp_path):
    """Also those that open it at the same time, before anything is measured."""
    jobs = [job_of(tmp_path, shard, 2) for shard in (0, 1)]
    claims = [Claim(job) for job in jobs]
    with (
        JournalWriter(tmp_path, {}, jobs[0].journal_stem),
        JournalWriter(tmp_path, {}, jobs[1].journal_stem),
    ):
        for claim in claims:
            claim.write_down()
        claims[0].write_down_policy({"device": "cuda"})
        with pytest.raises(FingerprintError, match='device: was "cuda", now "cpu"'):
            claims[1].write_down_policy({"device": "cpu"})

    assert read_runs(tmp_path)["run_0_of_2.json"].opened_policy == {"device": "cuda"}


def test_of_two_that_open_it_at_the_same_moment_one_sees_the_other(tmp_path, monkeypatch):
    """Neither had written it down when the other looked."""
    one, other = (job_of(tmp_path, shard, 2) for shard in (0, 1))

    def write_after_the_other(directory, run, name):
        write_run(directory, replace(other.run_info, opened_policy={"device": "cuda"}), other.run_file)
        write_run(directory, run, name)

    with JournalWriter(tmp_path, {}, one.journal_stem), JournalWriter(tmp_path, {}, other.journal_stem):
        claim = Claim(one)
        claim.write_down()
        monkeypatch.setattr("proctor.claim.write_run", write_after_the_other)
        with pytest.raises(FingerprintError, match='device: was "cuda", now "cpu"'):
            claim.write_down_policy({"device": "cpu"})


def test_a_shard_that_never_measured_anything_binds_nobody(tmp_path):
    """It was refused, or killed, before its first episode."""
    job = job_of(tmp_path, 0, 2)
    claim = Claim(job)
    claim.write_down()
    claim.write_down_policy({"device": "cpu"})
    other = job_of(tmp_path, 1, 2)
    measure(other)

    Claim(other).write_down_policy({"device": "cuda"})

    assert read_runs(tmp_path)["run_1_of_2.json"].opened_policy == {"device": "cuda"}


def test_what_a_run_opened_stays_written_down_when_it_goes_on(tmp_path):
    """A run begun on a GPU must not go on on a CPU."""
    for shards in (1, 2):
        job = job_of(tmp_path / str(shards), 0, shards)
        measure(job)
        Claim(job).write_down_policy({"device": "cuda"})
        claim = Claim(job)
        claim.write_down()

        with pytest.raises(FingerprintError, match="device"):
            claim.write_down_policy({"device": "cpu"})
        assert read_run(job.directory, job.run_file).opened_policy == {"device": "cuda"}


@pytest.mark.parametrize(("there", "coming"), [((0, 2), (0, 1)), ((0, 1), (0, 2))])
def test_a_whole_run_and_a_shard_exclude_each_other(tmp_path, there, coming):
    """Each would run what the other runs; the holder is named."""
    one, other = job_of(tmp_path, *there), job_of(tmp_path, *coming)
    with JournalWriter(tmp_path, {}, one.journal_stem), pytest.raises(RunLockedError, match="this process"):
        Claim(other).write_down()


def test_shards_do_not_exclude_each_other(tmp_path):
    """They run side by side."""
    with JournalWriter(tmp_path, {}, job_of(tmp_path, 0, 2).journal_stem):
        Claim(job_of(tmp_path, 1, 2)).write_down()

    assert read_run(tmp_path) is not None


def test_a_mismatch_may_be_allowed(tmp_path):
    """At one's own risk."""
    measure(job_of(tmp_path, 0, 2))
    other = job_of(tmp_path, 1, 2, n_action_steps=5)
    config = replace(other.config, eval=replace(other.config.eval, allow_mismatch=True))

    Claim(replace(other, config=config)).write_down_policy({"device": "cpu"})
