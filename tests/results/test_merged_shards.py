"""Putting shards together: directories of real runs of the fake benchmark, moved, doubled, cut and mixed up."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

import proctor
from proctor.cli import main
from proctor.errors import ConfigError, MergeError
from proctor.results.eval_info import without_timing
from proctor.results.journal import read_actions
from proctor.results.run_dir import RunDirectory
from proctor.results.shards import merge_shards
from proctor.results.summary import load_summary
from proctor.testing.fakes import FAKE_BENCHMARK, FakePolicy

N_SHARDS = 3


def evaluate(directory: Path, **fields):
    fields = {"n_episodes": 4, "batch_size": 1, "video": "first", "n_episodes_to_render": 2, **fields}
    env = {"type": FAKE_BENCHMARK, "max_steps": 12}
    return proctor.evaluate(FakePolicy(fields.pop("n_action_steps", 3)), env, output_dir=directory, **fields)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The whole run, its shards each in a directory of its own, and all of them in one."""
    place = tmp_path_factory.mktemp("runs")
    evaluate(place / "whole")
    for shard in range(N_SHARDS):
        for name in (f"shard{shard}", "together"):
            evaluate(place / name, shard_id=shard, num_shards=N_SHARDS)
    return place


@pytest.fixture
def shards(runs):
    return [runs / f"shard{shard}" for shard in range(N_SHARDS)]


def text_of(directory: Path) -> str:
    """``eval_info.json`` without times, the directory's own name, and the commit of the moment."""
    info = without_timing(json.loads((directory / "eval_info.json").read_text()))
    info["config"]["output_dir"] = info["provenance"]["git"] = None
    return json.dumps(info, indent=1)


def content(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_shards_together_are_the_run_without_shards(runs, shards, tmp_path, watch):
    """Byte for byte, timing aside. Videos show the same: of equal frames an encoder may make unequal bytes."""
    merge_shards(shards, tmp_path / "merged")

    assert text_of(tmp_path / "merged") == text_of(runs / "whole")
    assert len(json.loads(text_of(runs / "whole"))["overall"]["video_paths"]) == 4
    for name in content(runs / "whole" / "videos"):
        merged, whole = (watch(run / "videos" / name) for run in (tmp_path / "merged", runs / "whole"))
        assert merged.times == whole.times
        np.testing.assert_allclose(merged.frames.astype(int), whole.frames, rtol=0, atol=2)


def test_shards_of_one_directory_are_put_together_in_it(runs, tmp_path):
    """Without a place to be named."""
    shutil.copytree(runs / "together", tmp_path / "together")
    assert main(["merge", str(tmp_path / "together")]) == 0

    assert text_of(tmp_path / "together") == text_of(runs / "whole")


def test_the_order_does_not_matter_and_merging_again_changes_nothing(shards, tmp_path):
    """File by file."""
    merged = []
    for order in itertools.permutations(shards):
        shutil.rmtree(tmp_path / "merged", ignore_errors=True)
        merge_shards(order, tmp_path / "merged")
        merged.append(content(tmp_path / "merged"))
        merge_shards(order, tmp_path / "merged")
        merged.append(content(tmp_path / "merged"))

    assert all(one == merged[0] for one in merged)


def test_one_at_a_time_is_as_good_as_all_at_once(runs, shards, tmp_path):
    """Each into what there is; the output may be one of the shards."""
    for shard in shards:
        merge_shards([shard], tmp_path / "growing")
    shutil.copytree(shards[1], tmp_path / "second")
    merge_shards([shards[0], tmp_path / "second", shards[2]], tmp_path / "second")

    assert text_of(tmp_path / "growing") == text_of(tmp_path / "second") == text_of(runs / "whole")


def test_a_shard_may_be_there_twice(runs, shards, tmp_path):
    """As a copy, or run on two machines: journals of the same name with the same results."""
    evaluate(tmp_path / "again", shard_id=1, num_shards=N_SHARDS)
    merge_shards([*shards, tmp_path / "again"], tmp_path / "merged")

    assert text_of(tmp_path / "merged") == text_of(runs / "whole")
    assert len(RunDirectory(tmp_path / "merged").read_journals()) == N_SHARDS + 1


def test_missing_episodes_are_listed(shards, tmp_path, capsys):
    """As ranges; exit status 5, and the part that is there is summed up."""
    status = main(["merge", *map(str, shards[1:]), f"--output_dir={tmp_path / 'part'}"])

    assert status == 5
    assert "3 of 8 planned episodes are missing: fake/0 episodes 0, 3; fake/1 episodes 2." in capsys.readouterr().err
    assert json.loads((tmp_path / "part" / "eval_info.json").read_text())["complete"] is False


def test_a_journal_of_another_evaluation_is_refused(shards, tmp_path):
    """Its own header says so, whatever lies beside it."""
    shutil.copytree(shards[0], tmp_path / "other")
    evaluate(tmp_path / "source", n_action_steps=1)
    for suffix in ("jsonl", "actions.bin"):
        shutil.copy(tmp_path / "source" / f"journal.{suffix}", tmp_path / "other" / f"journal.{suffix}")

    with pytest.raises(MergeError, match=r"policy.n_action_steps: 1 in .*other, 3 in .*other/run.json"):
        merge_shards([*shards, tmp_path / "other"], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_shards_of_a_policy_that_cannot_be_recognised_are_not_put_together(tmp_path):
    """Each may have been another one."""
    policy = FakePolicy()
    policy.unidentified = "a stream of somebody's"
    env = {"type": FAKE_BENCHMARK, "max_steps": 12}
    for shard in (0, 1):
        options = {"n_episodes": 1, "batch_size": 1, "shard_id": shard, "num_shards": 2}
        proctor.evaluate(policy, env, output_dir=tmp_path / str(shard), **options)

    with pytest.raises(
        MergeError, match=r"is not known, because the policy cannot be recognised again: .* a stream of"
    ):
        merge_shards([tmp_path / "0", tmp_path / "1"], tmp_path / "merged")


def test_results_that_contradict_each_other_are_refused(shards, tmp_path, capsys):
    """Both are shown, and nothing is written."""
    shutil.copytree(shards[0], tmp_path / "other")
    (journal,) = RunDirectory(tmp_path / "other").read_journals()
    with RunDirectory(tmp_path / "other").open_journal(journal.header.fingerprint) as writer:
        writer.append(structs.replace(journal.episodes[0].result, length=1), None)

    status = main(["merge", *map(str, [*shards, tmp_path / "other"]), f"--output_dir={tmp_path / 'merged'}"])

    assert status == 5
    message = capsys.readouterr().err
    assert "contradict each other" in message
    assert str(tmp_path / "other") in message
    assert not (tmp_path / "merged").exists()


def test_shards_of_different_evaluations_are_refused(shards, tmp_path):
    """With what differs, and where."""
    evaluate(tmp_path / "other", shard_id=0, num_shards=N_SHARDS, n_action_steps=5)
    with pytest.raises(MergeError, match=r"policy.n_action_steps: 3 in .*shard1, 5 in .*other"):
        merge_shards([shards[1], tmp_path / "other"], tmp_path / "merged")

    evaluate(tmp_path / "longer", shard_id=0, num_shards=N_SHARDS, n_episodes=9)
    with pytest.raises(MergeError, match="they plan different episodes"):
        merge_shards([shards[1], tmp_path / "longer"], tmp_path / "merged")


def test_shards_on_different_devices_are_refused(shards, tmp_path):
    """What the policy ran on is part of what was measured."""
    for number in (0, 1):
        shutil.copytree(shards[number], tmp_path / str(number))
        file = tmp_path / str(number) / f"run_{number}_of_{N_SHARDS}.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "opened_policy": {"device": "cpu" * number}}))

    with pytest.raises(MergeError, match="device"):
        merge_shards([tmp_path / "0", tmp_path / "1"], tmp_path / "merged")


def test_what_is_no_run_is_reported(shards, tmp_path, capsys):
    """And that several need a place."""
    with pytest.raises(ConfigError, match="is not a run directory"):
        merge_shards([shards[0], tmp_path], tmp_path / "merged")

    assert main(["merge", *map(str, shards)]) == 2
    assert "Give --output_dir" in capsys.readouterr().err


def test_a_merged_run_is_a_run(tmp_path):
    """It can be shown, compared, rendered and gone on with; a lost shard is run again by resuming."""
    command = ["eval", "--policy.type=zero", f"--env.type={FAKE_BENCHMARK}", "--env.max_steps=6", "--eval.n_episodes=3"]
    command += ["--eval.batch_size=1", "--eval.video=none", "--eval.num_shards=2"]
    for shard in (0, 1):
        assert main([*command, f"--eval.shard_id={shard}", f"--output_dir={tmp_path / str(shard)}"]) == 0
    assert main(["merge", str(tmp_path / "0"), f"--output_dir={tmp_path / 'merged'}"]) == 5
    assert main(["resume", str(tmp_path / "merged")]) == 0
    assert main(["merge", str(tmp_path / "1"), f"--output_dir={tmp_path / 'merged'}"]) == 0
    assert main(["show", str(tmp_path / "merged")]) == 0
    assert main(["replay", str(tmp_path / "merged"), "--task=task-1", "--episode=0,1,2"]) == 0
    assert main(["compare", str(tmp_path / "merged"), str(tmp_path / "merged")]) == 0

    assert len(list((tmp_path / "merged" / "videos").glob("*/*.mp4"))) == 3
    assert load_summary(tmp_path / "merged")[1].complete


def test_errors_that_remain_are_in_the_exit_status(tmp_path):
    """As after a run without shards."""
    (tmp_path / "faults").mkdir()
    faults = json.dumps({"0/1001/1": "raise"})
    command = ["eval", "--policy.type=zero", f"--env.type={FAKE_BENCHMARK}", "--env.max_steps=6", "--eval.batch_size=1"]
    command += [f"--env.faults={faults}", f"--env.scratch={tmp_path / 'faults'}", "--env.times=9", "--eval.video=none"]
    command += ["--eval.n_episodes=2", "--eval.num_shards=2", f"--output_dir={tmp_path / 'run'}"]
    assert [main([*command, f"--eval.shard_id={shard}"]) for shard in (0, 1)] == [0, 3]

    assert main(["merge", str(tmp_path / "run")]) == 3


def test_a_shard_goes_on_as_a_shard(tmp_path):
    """In a directory that holds no other, and nothing merged."""
    command = ["eval", "--policy.type=zero", f"--env.type={FAKE_BENCHMARK}", "--env.max_steps=6", "--eval.batch_size=1"]
    command += ["--eval.video=none", "--eval.num_shards=2", "--eval.shard_id=1", f"--output_dir={tmp_path}"]
    assert main([*command, "--eval.n_episodes=3"]) == 0
    (tmp_path / "journal_1_of_2.jsonl").unlink()

    assert main(["resume", str(tmp_path)]) == 0

    assert {path.name for path in tmp_path.glob("journal*.jsonl")} == {"journal_1_of_2.jsonl"}
    assert len(RunDirectory(tmp_path).read_journals()[0].episodes) == 3


def test_actions_are_found_where_they_were_moved_to(shards, tmp_path):
    """Every episode of the merged run can be replayed."""
    merge_shards(shards, tmp_path / "merged")

    records = [record for journal in RunDirectory(tmp_path / "merged").read_journals() for record in journal.episodes]
    assert len(records) == 8
    assert all(len(read_actions(record)) == record.result.length for record in records)
