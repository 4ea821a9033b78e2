"""The verdict on open loop beside closed loop, and the thresholds between which nothing is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proctor.evaluation.open_loop.evaluation import Beside
from proctor.evaluation.open_loop.verdict import verdict_beside
from proctor.results.open_loop import Error, Errors, Finding
from proctor.statistics.intervals import Interval


def errors(mae, low, high):
    interval = None if low is None else Interval(low, high)
    return Errors(100, Error(1.0, 2.0), Error(mae, mae**2, interval, None))


def run_with(folder: Path, successes: int, n: int) -> Path:
    """A run in closed loop, as LeRobot writes it."""
    metrics = {
        "sum_rewards": [0.0] * n,
        "max_rewards": [0.0] * n,
        "successes": [index < successes for index in range(n)],
        "video_paths": [],
    }
    info = {"per_task": [{"task_group": "reach", "task_id": 0, "metrics": metrics}], "overall": {}, "per_group": {}}
    (folder / "eval_info.json").write_text(json.dumps(info))
    return folder


@pytest.mark.parametrize(
    ("found", "successes", "finding", "word"),
    [
        (errors(0.02, 0.01, 0.03), 0, Finding.INPUTS_DIFFER, "Open loop is good (MAE 0.02 of a standard deviation)"),
        (errors(0.02, 0.01, 0.03), 45, Finding.CONSISTENT, "the two agree"),
        (errors(0.9, 0.7, 1.1), 0, Finding.POLICY_IS_WRONG, "look at the policy first"),
        (errors(0.9, 0.7, 1.1), 45, Finding.SUCCEEDS_OTHERWISE, "in several ways"),
        (errors(0.3, 0.2, 0.4), 0, Finding.UNKNOWN, "neither surely below 0.4 nor surely above 0.6"),
        (errors(0.02, 0.01, 0.03), 15, Finding.UNKNOWN, "neither surely below 25 % nor surely above 50 %"),
        (errors(0.02, None, None), 0, Finding.UNKNOWN, "one episode gives no interval"),
    ],
)
def test_what_both_sides_say_together(tmp_path, found, successes, finding, word):
    """Of fifty episodes; a constant prediction has an error of 0.8 standard deviations."""
    verdict = verdict_beside(run_with(tmp_path, successes, 50), found, 0.8, "")

    assert verdict.finding == finding
    assert word in verdict.sentence
    assert f"closed loop is {2 * successes}.0 %" in verdict.sentence
    if finding is Finding.INPUTS_DIFFER:
        assert f"see proctor audit {tmp_path}" in verdict.sentence


def test_few_episodes_in_closed_loop_are_no_evidence(tmp_path):
    """No success in three episodes is compatible with a rate of one half."""
    verdict = verdict_beside(run_with(tmp_path, 0, 3), errors(0.02, 0.01, 0.03), 0.8, "")

    assert verdict.finding == Finding.UNKNOWN


def test_nothing_is_said_of_a_run_of_another_policy(tmp_path):
    """Its rate is shown, and the reason."""
    verdict = verdict_beside(run_with(tmp_path, 0, 50), errors(0.02, 0.01, 0.03), 0.8, "the run is of another policy")

    assert verdict.finding == Finding.UNKNOWN
    assert verdict.sentence.endswith("cannot be said: the run is of another policy.")
    assert Beside.read(tmp_path).other_policy({"type": "act"}) == "the file does not say which policy it is of"
