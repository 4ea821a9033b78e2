"""Runs and shards that share a directory: what binds them, and whom they must not disturb."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from proctor.config import EvalConfig, RunConfig
from proctor.errors import FingerprintError, Note, RunLockedError
from proctor.evaluation.prepared_run import prepare
from proctor.policies.base import Policy
from proctor.policies.function import FunctionPolicy
from proctor.results.journal import read_journal
from proctor.results.lock import FileLock
from proctor.results.run_dir import WHOLE, RunDirectory, Shard
from proctor.testing.fakes import FAKE_BENCHMARK, FakePolicy
from proctor.types import EpisodeResult, Outcome


def prepared_in(
    directory: Path, shard_id: int = 0, num_shards: int = 1, *, n_episodes: int = 4, n_action_steps: int = 3
):
    evaluation = EvalConfig(n_episodes=n_episodes, batch_size=1, shard_id=shard_id, num_shards=num_shards)
    config = RunConfig(env={"type": FAKE_BENCHMARK}, eval=evaluation, output_dir=str(directory))
    return prepare(config, FakePolicy(n_action_steps))


def measure(prepared, n: int = 1) -> None:
    """Keep so many results of a run."""
    with prepared.open_session() as session:
        for spec in prepared.specs[:n]:
            session.journal.append(EpisodeResult(spec, Outcome.SUCCESS, 1.0, 1.0, 5, 1, "hash"), None)


def test_shards_share_one_run_and_keep_what_is_their_own(tmp_path):
    """The plan is the whole one; part, machine and command are each shard's."""
    for shard in (1, 0):
        measure(prepared_in(tmp_path, shard, 2))

    runs = RunDirectory(tmp_path).read_runs()
    assert {path.name for path in tmp_path.glob("run*")} == {"run.json", "run_0_of_2.json", "run_1_of_2.json"}
    assert set(runs) == {WHOLE, Shard(0, 2), Shard(1, 2)}
    assert {len(run.specs) for run in runs.values()} == {8}
    assert [runs[Shard(n, 2)].config["eval"]["shard_id"] for n in (0, 1)] == [0, 1]
    whole = runs[WHOLE].config["eval"]
    assert (whole["shard_id"], whole["num_shards"]) == (0, 1)


def test_the_run_file_of_shards_is_that_of_the_run_without_them(tmp_path):
    """Apart from the directory's name and the time."""
    for name, shards in {"whole": 1, "shards": 2}.items():
        measure(prepared_in(tmp_path / name, 0, shards))
    whole, ours = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("whole", "shards"))

    for run in (whole, ours):
        run["config"]["output_dir"] = run["provenance"]["date"] = run["provenance"]["git"] = None
    assert ours == whole


def test_another_shard_of_the_same_run_changes_nothing(tmp_path):
    """So two may begin at the same moment."""
    measure(prepared_in(tmp_path, 0, 2))
    before = (tmp_path / "run.json").read_bytes()
    measure(prepared_in(tmp_path, 1, 2))

    assert (tmp_path / "run.json").read_bytes() == before


def test_more_episodes_may_be_asked_for(tmp_path):
    """The plan of all shards grows."""
    measure(prepared_in(tmp_path, 0, 2))
    measure(prepared_in(tmp_path, 1, 2, n_episodes=6))

    assert len(RunDirectory(tmp_path).read_run().specs) == 12


def test_a_shard_of_another_evaluation_is_refused(tmp_path):
    """As a run would be."""
    measure(prepared_in(tmp_path, 0, 2))

    with pytest.raises(FingerprintError, match=r"policy.n_action_steps: was 3, now 5"):
        prepared_in(tmp_path, 1, 2, n_action_steps=5).open_session()


def test_shards_must_open_the_policy_on_the_same_kind_of_device(tmp_path):
    """Also those that open it at the same time, before anything is measured."""
    one, other = (prepared_in(tmp_path, shard, 2) for shard in (0, 1))
    with one.open_session() as first, other.open_session() as second:
        first.write_opened_policy({"device": "cuda"})
        with pytest.raises(FingerprintError, match='device: was "cuda", now "cpu"'):
            second.write_opened_policy({"device": "cpu"})

    assert RunDirectory(tmp_path).read_runs()[Shard(0, 2)].opened_policy == {"device": "cuda"}


def test_of_two_that_open_it_at_the_same_moment_one_sees_the_other(tmp_path, monkeypatch):
    """Neither had written it down when the other looked."""
    one, other = (prepared_in(tmp_path, shard, 2) for shard in (0, 1))

    write = RunDirectory.write_run

    def write_after_the_other(directory, run):
        write(other.run_directory, replace(other.run_info, opened_policy={"device": "cuda"}))
        write(directory, run)

    with one.open_session() as session, other.open_session():
        monkeypatch.setattr(RunDirectory, "write_run", write_after_the_other)
        with pytest.raises(FingerprintError, match='device: was "cuda", now "cpu"'):
            session.write_opened_policy({"device": "cpu"})


def test_a_shard_that_never_measured_anything_binds_nobody(tmp_path):
    """It was refused, or killed, before its first episode."""
    prepared = prepared_in(tmp_path, 0, 2)
    with prepared.open_session() as session:
        session.write_opened_policy({"device": "cpu"})
    other = prepared_in(tmp_path, 1, 2)
    measure(other)

    with other.open_session() as session:
        session.write_opened_policy({"device": "cuda"})

    assert RunDirectory(tmp_path).read_runs()[Shard(1, 2)].opened_policy == {"device": "cuda"}


def test_what_a_run_opened_stays_written_down_when_it_goes_on(tmp_path):
    """A run begun on a GPU must not go on on a CPU."""
    for shards in (1, 2):
        prepared = prepared_in(tmp_path / str(shards), 0, shards)
        measure(prepared)
        with prepared.open_session() as session:
            session.write_opened_policy({"device": "cuda"})

        with prepared.open_session() as session, pytest.raises(FingerprintError, match="device"):
            session.write_opened_policy({"device": "cpu"})
        assert prepared.run_directory.read_run().opened_policy == {"device": "cuda"}


@pytest.mark.parametrize(("there", "coming"), [((0, 2), (0, 1)), ((0, 1), (0, 2))])
def test_a_whole_run_and_a_shard_exclude_each_other(tmp_path, there, coming):
    """Each would run what the other runs; the holder is named."""
    one, other = prepared_in(tmp_path, *there), prepared_in(tmp_path, *coming)
    with one.open_session(), pytest.raises(RunLockedError, match="this process"):
        other.open_session()


def test_shards_do_not_exclude_each_other(tmp_path):
    """They run side by side."""
    with prepared_in(tmp_path, 0, 2).open_session(), prepared_in(tmp_path, 1, 2).open_session():
        assert RunDirectory(tmp_path).read_run() is not None


def test_a_mismatch_may_be_allowed(tmp_path):
    """At one's own risk."""
    measure(prepared_in(tmp_path, 0, 2))
    other = prepared_in(tmp_path, 1, 2, n_action_steps=5)
    config = replace(other.config, eval=replace(other.config.eval, allow_mismatch=True))

    with replace(other, config=config).open_session() as session:
        session.write_opened_policy({"device": "cpu"})


def test_the_headers_of_the_journal_bind_also_when_run_json_is_lost(tmp_path):
    """They say whose episodes follow; of a shard's journal too."""
    for shards in (1, 2):
        measure(prepared_in(tmp_path / str(shards), 0, shards))
        for file in (tmp_path / str(shards)).glob("run*.json"):
            file.unlink()

        with pytest.raises(FingerprintError, match=r"policy.n_action_steps: was 3, now 5"):
            prepared_in(tmp_path / str(shards), 0, shards, n_action_steps=5).open_session()
        with pytest.warns(Note, match="does not say on which kind of device"):
            measure(prepared_in(tmp_path / str(shards), 0, shards), 0)


def test_a_session_that_another_evaluation_appended_is_seen(tmp_path):
    """Whatever run.json says by now."""
    measure(prepared_in(tmp_path))
    other = prepared_in(tmp_path, n_action_steps=5)
    with RunDirectory(tmp_path).open_journal(other.run_info.fingerprint) as journal:
        journal.append(EpisodeResult(other.specs[1], Outcome.SUCCESS, 1.0, 1.0, 5, 1, "hash"), None)

    with pytest.raises(FingerprintError, match=r"policy.n_action_steps: was 5, now 3"):
        prepared_in(tmp_path).open_session()


def test_what_is_compared_was_read_after_the_journal_was_locked(tmp_path, monkeypatch):
    """Until the lock is held another evaluation may run to its end."""
    measured_meanwhile = prepared_in(tmp_path, n_action_steps=5)
    acquire = FileLock.acquire

    def acquire_late(lock):
        monkeypatch.setattr(FileLock, "acquire", acquire)
        measure(measured_meanwhile)
        acquire(lock)

    monkeypatch.setattr(FileLock, "acquire", acquire_late)
    with pytest.raises(FingerprintError, match="now 3"):
        prepared_in(tmp_path).open_session()


def test_a_session_that_is_refused_changes_nothing_and_holds_no_lock(tmp_path):
    """The run that is there can go on."""
    measure(prepared_in(tmp_path))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(FingerprintError):
        prepared_in(tmp_path, n_action_steps=5).open_session()

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("shards", [1, 2])
def test_every_journal_is_read_once_in_a_session(tmp_path, monkeypatch, shards):
    """A journal may hold a million lines; what this session appends is known without reading."""
    for shard in range(shards):
        measure(prepared_in(tmp_path, shard, shards))
    read = []

    def counted(path):
        read.append(path.name)
        return read_journal(path)

    monkeypatch.setattr("proctor.results.run_dir.read_journal", counted)
    prepared = prepared_in(tmp_path, 0, shards)
    with prepared.open_session() as session:
        session.journal.append(EpisodeResult(prepared.specs[1], Outcome.FAILURE, 0.0, 0.0, 5, 1, "hash"), None)
        outcomes = {key.episode_index: record.result.outcome for key, record in session.records.items()}

    assert read == sorted(path.name for path in tmp_path.glob("*.jsonl"))
    assert outcomes[prepared.specs[1].episode_index] is Outcome.FAILURE
    assert len(outcomes) == shards + 1


def test_a_session_without_an_episode_binds_nobody(tmp_path):
    """It ended before its first one."""
    measure(prepared_in(tmp_path))
    with RunDirectory(tmp_path).open_journal(prepared_in(tmp_path, n_action_steps=5).run_info.fingerprint):
        pass

    measure(prepared_in(tmp_path))


def test_results_of_which_nothing_says_whose_they_are_are_nobodys(tmp_path):
    """Their only header is damaged, and run.json is gone."""
    measure(prepared_in(tmp_path))
    (tmp_path / "run.json").unlink()
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"kind":"header"', b'"kind":"hoader"', 1))

    with pytest.raises(FingerprintError, match=r"neither its run\.json nor the header of its journal can be read"):
        prepared_in(tmp_path).open_session()


class Unidentified(FakePolicy):
    unidentified = "a stream of somebody's"


class Nameless(FakePolicy):
    fingerprint = Policy.fingerprint


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (Unidentified(), "the policy cannot be recognised again: it is or holds a stream of somebody's"),
        (Nameless(), "it is or holds a Nameless without a fingerprint of its own"),
    ],
)
def test_what_cannot_be_recognised_is_not_added_to_results(tmp_path, policy, why):
    """A new directory it may have; where there are results it must be allowed."""
    prepared = replace(prepared_in(tmp_path), policy=policy)
    measure(prepared)
    assert why in prepared.resume_hint

    with pytest.raises(FingerprintError, match=f"{why}.*Choose another --output_dir"):
        prepared.open_session()
    evaluation = replace(prepared.config.eval, allow_mismatch=True)
    measure(replace(prepared, config=replace(prepared.config, eval=evaluation)))


def test_the_code_that_an_earlier_version_did_not_record_is_reported(tmp_path, monkeypatch, recwarn):
    """In a line; what it did record still binds."""
    measure(prepared_in(tmp_path))
    now = prepared_in(tmp_path)
    now.run_info.fingerprint["code"] = {"env": {"my_env": "5f1e"}}
    measure(now, 0)
    notes = [str(warning.message) for warning in recwarn if warning.category is Note]
    assert "did not record the code of my_env: whether that has changed since is not known" in notes[0]

    now.run_info.fingerprint["seed"] = 7
    with pytest.raises(FingerprintError) as caught:
        now.open_session()
    assert "seed: was 1000, now 7" in str(caught.value)
    assert "my_env" not in str(caught.value)


def test_code_that_has_changed_is_another_evaluation(tmp_path):
    """By its name, for nobody knows a digest."""
    prepared = prepared_in(tmp_path)
    prepared.run_info.fingerprint["code"] = {"env": {"my_env": "5f1e"}}
    measure(prepared)
    changed = prepared_in(tmp_path)
    changed.run_info.fingerprint["code"] = {"env": {"my_env": "77aa"}}

    with pytest.raises(FingerprintError, match=r"code.env.my_env: the code has changed since"):
        changed.open_session()
    with pytest.raises(FingerprintError, match=r'code.env.my_env: was "5f1e", now absent'):
        prepared_in(tmp_path).open_session()


def test_another_checkpoint_is_named(tmp_path):
    """And one whose files have changed by that."""

    def prepared(path, digest):
        prepared = prepared_in(tmp_path)
        prepared = replace(prepared, config=replace(prepared.config, policy={"path": path}))
        prepared.run_info.fingerprint["policy"]["sha256"] = digest
        return prepared

    measure(prepared("checkpoints/000010", "aa"))

    with pytest.raises(FingerprintError, match="policy: was the checkpoint checkpoints/000010, now checkpoints/000020"):
        prepared("checkpoints/000020", "bb").open_session()
    with pytest.raises(FingerprintError, match="policy: the files of checkpoints/000010 have changed since"):
        prepared("checkpoints/000010", "bb").open_session()


def test_a_function_that_an_earlier_version_knew_by_its_source_alone_is_not_taken_on_trust(tmp_path):
    """It is the same text for all that a factory makes."""
    before, now = (replace(prepared_in(tmp_path), policy=FunctionPolicy(len)) for _ in range(2))
    policy = before.run_info.fingerprint["policy"]
    policy["source_sha256"] = policy.pop("sha256")
    measure(before)

    with pytest.raises(FingerprintError, match="recorded the source alone, and not what that depends on"):
        now.open_session()
