"""Where the workers' time went: parts and rest add up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from proctor.results.profile import Inference, plain_profile, profile_of
from proctor.results.summary import summarize
from proctor.types import Timings
from result_samples import SPECS, TASKS, broken, done


@pytest.fixture
def summary():
    """Twelve episodes, half a second of steps each, one of which ended in an error; two workers for five seconds."""
    results = [broken(SPECS[0]), *map(done, SPECS[1:])]
    return replace(summarize(TASKS, SPECS, results, wall_s=5.0), worker_s=10.0)


def test_the_parts_and_the_rest_are_wall_time_times_workers(summary):
    """What no episode took is the tail, and attempts that failed."""
    profile = profile_of(summary)

    assert profile.total == Timings(step=5.5)
    assert profile.rest_s == 4.5
    assert profile.total.total + profile.rest_s == profile.worker_s == 10.0


def test_tasks_add_up_to_the_total(summary):
    """Each with its own episodes."""
    profile = profile_of(summary)

    assert [task.timings.step for task in profile.tasks] == [1.5, 2.0, 2.0]
    assert [task.n_episodes for task in profile.tasks] == [4, 4, 4]
    assert sum((task.timings for task in profile.tasks), Timings()) == profile.total


def test_where_workers_were_not_recorded_the_rest_is_unknown(summary):
    """Journals of earlier versions do not say how many there were."""
    assert profile_of(replace(summary, worker_s=None)).rest_s is None


def test_as_json(summary):
    """Seconds by name, in total and for each task."""
    plain = plain_profile(profile_of(summary))

    assert (plain["wall_s"], plain["worker_s"]) == (5.0, 10.0)
    assert plain["total"]["step"] == 5.5
    assert plain["total"]["tail"] == 4.5
    assert plain["per_task"][0] == {
        "task_group": "zoo",
        "task_id": 0,
        "task": "feed-lion",
        "n_episodes": 4,
        "construct": 0.0,
        "reset": 0.0,
        "step": 1.5,
        "look": 0.0,
        "inference": 0.0,
        "wait": 0.0,
        "startup": 0.0,
        "idle": 0.0,
        "other": 0.0,
        "of_inference": None,
    }
    assert plain["of_inference"] is None


def test_the_inference_time_of_a_policy_behind_a_server_has_parts(summary):
    """The server's own work, the way there and back, and this process: together they are the inference time."""
    timed = Timings(inference=8.0, round_trip=6.0, server=5.0)

    assert Inference.of(timed) == Inference(round_trip_s=6.0, here_s=2.0, server_s=5.0, way_s=1.0)
    assert Inference.of(structs.replace(timed, server=None)) == Inference(6.0, 2.0, server_s=None, way_s=None)
    assert Inference.of(Timings(inference=8.0)) is None


def test_what_is_unknown_of_one_episode_is_unknown_of_their_sum():
    """Episodes without inference, such as errors, make nothing unknown."""
    known, untold = Timings(inference=3.0, round_trip=2.0, server=1.0), Timings(inference=3.0, round_trip=2.0)

    assert known + Timings() + known == Timings(inference=6.0, round_trip=4.0, server=2.0)
    assert known + untold == Timings(inference=6.0, round_trip=4.0)
    assert known + Timings(inference=3.0) == Timings(inference=6.0)
    assert known.total == 3.0
