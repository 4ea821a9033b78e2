"""When a batch is closed: the rule by itself, with times that are written down."""

from __future__ import annotations

import pytest

from proctor.engine.batching import Batching
from proctor.types import TaskKey

TASK = TaskKey("suite", 0)
PASS_S = 5.0


def taught(*seconds: float, pass_s: float = PASS_S) -> Batching:
    """A rule that knows how long a pass takes, and a worker's chunk of one action."""
    batching = Batching()
    batching.passed(pass_s)
    for duration in seconds:
        batching.left(99, TASK, 1, 0.0)
        batching.came(99, duration)
    batching.closed(0, 0.0)
    return batching


def test_nothing_is_waited_for_before_anything_is_known():
    """Neither passes nor workers."""
    batching = Batching()
    batching.left(1, TASK, 1, 0.0)

    assert batching.seconds_to_wait(1, 16, 0.0) == 0.0


def test_one_who_comes_in_a_moment_is_waited_for():
    """It would wait nearly a whole pass otherwise: 1 x 5 s gained, 1 s x 2 lost."""
    batching = taught(10.0)
    batching.left(1, TASK, 1, now=0.0)

    assert batching.seconds_to_wait(1, 16, now=9.0) == pytest.approx(1.0)


def test_one_who_comes_late_is_not():
    """1 x 5 s gained, 3 s x 2 lost."""
    batching = taught(10.0)
    batching.left(1, TASK, 1, now=0.0)

    assert batching.seconds_to_wait(1, 16, now=7.0) == 0.0


def test_many_who_are_ready_do_not_wait_for_one():
    """1 x 5 s gained, 1 s x (8 + 1) lost."""
    batching = taught(10.0)
    batching.left(1, TASK, 1, now=0.0)

    assert batching.seconds_to_wait(8, 16, now=9.0) == 0.0


def test_a_few_who_are_ready_wait_for_a_bunch():
    """The last of six comes in 2 s: 6 x 5 s gained, 2 s x (2 + 6) lost."""
    batching = taught(10.0)
    for worker in range(6):
        batching.left(worker, TASK, 1, now=worker * 0.2)

    assert batching.seconds_to_wait(2, 16, now=9.0) == pytest.approx(2.0)


def test_nobody_is_waited_for_whom_the_batch_has_no_room():
    """Of the same six only four have room: the fourth comes in 1.6 s."""
    batching = taught(10.0)
    for worker in range(6):
        batching.left(worker, TASK, 1, now=worker * 0.2)

    assert batching.seconds_to_wait(2, 6, now=9.0) == pytest.approx(1.6)
    assert batching.seconds_to_wait(6, 6, now=9.0) == 0.0


def test_of_those_that_come_evenly_spread_nobody_is_waited_for():
    """Waiting gains exactly nothing then."""
    batching = taught(10.0)
    for worker in range(10):
        batching.left(worker, TASK, 1, now=0.5 * (worker + 1))

    assert batching.seconds_to_wait(1, 16, now=10.0) == 0.0


def test_a_worker_that_is_late_is_expected_by_how_far_it_usually_is_off():
    """Chunks of 10 ± 2 s: after 11 s one is expected in about a mean deviation."""
    batching = taught(*[8.0, 12.0] * 40, pass_s=50.0)
    batching.left(1, TASK, 1, now=0.0)

    assert batching.seconds_to_wait(1, 16, now=11.0) == pytest.approx(2.0, abs=0.3)


def test_nobody_waits_longer_than_a_pass():
    """A worker that never comes does not hold up the others."""
    batching = taught(10.0, 10.5)
    batching.left(1, TASK, 1, now=0.0)
    batching.left(2, TASK, 1, now=0.0)

    assert batching.seconds_to_wait(1, 16, now=9.9) > 0
    assert batching.seconds_to_wait(1, 16, now=9.9 + PASS_S) == 0.0


def test_one_who_is_lost_is_not_waited_for():
    """Its episode is over."""
    batching = taught(10.0)
    batching.left(1, TASK, 1, now=0.0)
    batching.lost(1)

    assert batching.seconds_to_wait(1, 16, now=9.0) == 0.0


def test_a_time_that_the_user_gives_replaces_the_rule():
    """Counted from the first observation that came since the last batch was closed."""
    batching = Batching(wait_s=3.0)
    for worker in (1, 2):
        batching.left(worker, TASK, 1, now=0.0)
        batching.came(worker, now=10.0 + worker)

    assert batching.seconds_to_wait(2, 16, now=12.0) == pytest.approx(2.0)
    assert batching.seconds_to_wait(2, 2, now=12.0) == 0.0
    assert batching.seconds_to_wait(2, 16, now=14.0) == 0.0

    batching.closed(n_left=0, now=14.0)
    batching.left(1, TASK, 1, now=14.0)
    batching.came(1, now=20.0)
    assert batching.seconds_to_wait(1, 16, now=20.0) == pytest.approx(3.0)
