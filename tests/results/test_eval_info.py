"""eval_info.json: LeRobot's users read it with the scripts they have."""

import json

import pytest
from msgspec import structs

from proctor.results.eval_info import build_eval_info, canonical_info, without_timing
from proctor.results.run_dir import RunDirectory, Shard
from proctor.results.summary import summarize
from proctor.types import AttemptError, Outcome
from result_samples import SPECS, TASKS, broken, done, run_info

RESULTS = [done(spec, success=spec.episode_index < 3) for spec in SPECS]


def info_of(results, wall_s=24.0, **config):
    return build_eval_info(summarize(TASKS, SPECS, results, wall_s), run_info(**config))


def lerobot_users_script(path):
    """What people do with LeRobot's file: a table per suite, and a mean recomputed from the episodes."""
    with path.open() as file:
        info = json.load(file)
    rows = []
    for suite, group in info["per_group"].items():
        tasks = [task for task in info["per_task"] if task["task_group"] == suite]
        successes = [success for task in tasks for success in task["metrics"]["successes"]]
        rewards = [reward for task in tasks for reward in task["metrics"]["sum_rewards"]]
        peaks = [reward for task in tasks for reward in task["metrics"]["max_rewards"]]
        assert group["n_episodes"] == len(successes) == len(rewards) == len(peaks)
        assert isinstance(group["video_paths"], list)
        assert sum(rewards) / len(rewards) == pytest.approx(group["avg_sum_reward"])
        assert sum(peaks) / len(peaks) == pytest.approx(group["avg_max_reward"])
        rows.append((suite, round(group["pc_success"], 1), sum(successes) / len(successes) * 100))
    overall = info["overall"]
    return rows, f"{overall['pc_success']:.1f}% in {overall['eval_s']:.0f}s, {overall['eval_ep_s']:.1f}s/ep"


def test_a_lerobot_users_script_reads_it(tmp_path):
    """Percent are percent, lists are of one length, averages are those of the lists."""
    path = RunDirectory(tmp_path).write_eval_info(info_of(RESULTS))

    rows, headline = lerobot_users_script(path)

    assert rows == [("zoo", 75.0, 75.0), ("attic", 75.0, 75.0)]
    assert headline == "75.0% in 24s, 2.0s/ep"


def test_errors_are_neither_failures_nor_hidden():
    """They are in no list and no average, counted at every level, and bound the rate."""
    info = info_of([*RESULTS[:-1], broken(SPECS[-1])])

    overall = info["overall"]
    assert (overall["n_episodes"], overall["n_errors"], overall["pc_success"]) == (11, 1, pytest.approx(100 * 9 / 11))
    assert overall["pc_success_bounds"] == pytest.approx([100 * 9 / 12, 100 * 10 / 12])
    assert info["per_task"][-1]["metrics"]["successes"] == [True, True, True]
    assert info["per_task"][-1]["n_errors"] == info["per_group"]["attic"]["n_errors"] == 1
    assert info["errors"] == {"n_episodes": 1, "n_attempts": 1, "attempts_by_kind": {"raised": 1}}
    assert info["per_episode"][-1]["success"] is None
    assert info["per_episode"][-1]["errors"][0]["message"] == "the arm fell off"
    assert info["complete"]


def test_without_a_completed_episode_numbers_are_null():
    """A hundred errors are no 0 %, and NaN is no JSON."""
    info = json.loads(json.dumps(info_of([broken(spec) for spec in SPECS]), allow_nan=False))

    for name in ("pc_success", "avg_sum_reward", "avg_max_reward", "pc_success_interval", "eval_ep_s"):
        assert info["overall"][name] is None
    assert info["macro"] is None


def test_a_reward_that_is_not_a_number_is_null(tmp_path):
    """The file stays valid JSON whatever a simulator gave, and says over how many episodes the mean is."""
    path = RunDirectory(tmp_path).write_eval_info(
        info_of([structs.replace(RESULTS[0], sum_reward=float("nan")), *RESULTS[1:]])
    )

    info = json.loads(path.read_text(), parse_constant=pytest.fail)

    assert info["per_task"][0]["metrics"]["sum_rewards"][0] is None
    assert info["overall"]["n_rewards"] == info["overall"]["n_episodes"] - 1
    assert info["overall"]["avg_sum_reward"] is not None


def test_of_an_unknown_success_there_is_no_rate():
    """Null, where a number would be a guess; what is known stands beside it."""
    info = info_of([structs.replace(RESULTS[0], outcome=Outcome.UNKNOWN), *RESULTS[1:]])
    task, other = info["per_task"][:2]

    assert info["macro"] is None
    for counts in (info["overall"], task):
        assert [counts[name] for name in ("pc_success", "pc_success_interval", "pc_success_bounds")] == [None] * 3
        assert (counts["n_successes"], counts["n_unknown"]) == (None, 1)
    assert other["pc_success"] is not None
    assert task["metrics"]["successes"][0] is None
    assert (info["per_episode"][0]["success"], info["per_episode"][0]["outcome"]) == (None, "unknown")


def test_intervals_are_given_at_every_level():
    """Per task, suite and overall, and for the mean over tasks; in percent, around the rate."""
    info = info_of(RESULTS)

    for level in (*info["per_task"], *info["per_group"].values(), info["overall"], info["macro"]):
        low, high = level["pc_success_interval"]
        assert 0 <= low < level["pc_success"] < high <= 100


def test_an_incomplete_run_says_so_and_counts_what_is_missing():
    """Overall and where."""
    info = info_of(RESULTS[:5])

    assert info["complete"] is False
    assert info["overall"]["n_missing"] == 7
    assert [task["n_missing"] for task in info["per_task"]] == [0, 3, 4]


def test_every_episode_can_be_run_again_from_its_entry():
    """Seed and initial state are in the file, in the order of the plan."""
    entries = info_of(RESULTS[::-1])["per_episode"]

    assert [(e["suite"], e["task_id"], e["episode_index"], e["seed"], e["init_state_id"]) for e in entries] == [
        (s.suite, s.task_id, s.episode_index, s.seed, s.init_state_id) for s in SPECS
    ]
    assert entries[0]["outcome"] == "success"
    assert entries[0]["attempts"] == 1


def test_two_runs_agree_in_every_byte_apart_from_time(tmp_path):
    """What tests compare, and what users may."""
    first = info_of(RESULTS)
    second = info_of([done(r.spec, success=r.success, seconds=9) for r in RESULTS[::-1]], wall_s=3.0)
    second["provenance"]["date"] = "2027-07-07"
    assert first != second

    one = RunDirectory(tmp_path / "one").write_eval_info(without_timing(first)).read_bytes()
    two = RunDirectory(tmp_path / "two").write_eval_info(without_timing(second)).read_bytes()

    assert one == two


def test_a_crash_on_the_way_does_not_change_the_canonical_part():
    """Nor do another batch size and another machine's provenance."""
    survived = structs.replace(RESULTS[0], errors=(AttemptError("crashed", "signal 11"),))
    crashed = info_of([survived, *RESULTS[1:]], batch_size=8)
    clean = info_of(RESULTS, batch_size=1)

    assert crashed["per_episode"][0]["attempts"] == 2
    assert without_timing(crashed) != without_timing(clean)
    assert canonical_info(crashed) == canonical_info(clean)


def test_a_shard_has_a_name_of_its_own(tmp_path):
    """So that forty of them share a directory."""
    path = RunDirectory(tmp_path, Shard(3, 40)).write_eval_info(info_of(RESULTS))

    assert path.name == "shard_3_of_40.json"
    assert RunDirectory(tmp_path).eval_info_file.name == "eval_info.json"


def test_secrets_in_the_configuration_are_redacted():
    """The file is made to be shared."""
    assert "hunter2" not in json.dumps(info_of(RESULTS, policy={"server_token": "hunter2"}))
