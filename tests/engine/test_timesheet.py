"""Where a worker's time goes: nothing is left out, nothing is booked twice."""

from __future__ import annotations

import pytest

from proctor.engine.timesheet import Timesheet
from proctor.engine.worker.messages import Spent
from proctor.types import Timings


def test_every_moment_is_booked_once():
    """The timings of a worker's episodes add up to its time."""
    sheet = Timesheet(since=100.0)

    sheet.begin("first", 103.0)
    sheet.worked(Spent(construct=1.0), 104.5)
    sheet.worked(Spent(reset=0.25, look=0.5), 105.5)
    sheet.inferred(2.0, loaded_at=0.0, now=108.0)
    sheet.worked(Spent(step=3.0), 111.0)
    first = sheet.settle(111.0)
    sheet.begin("second", 115.0)
    sheet.worked(Spent(step=1.0), 116.0)
    second = sheet.settle(116.0)

    assert first == Timings(1.0, 0.25, 3.0, 0.5, 2.0, wait=0.5, startup=3.0, other=0.75)
    assert second == Timings(step=1.0, idle=4.0)
    assert first.total + second.total == 16.0


@pytest.mark.parametrize(
    ("loaded_at", "expected"),
    [
        (90.0, Timings(inference=2.0, wait=6.0)),
        (105.0, Timings(inference=2.0, wait=1.0, startup=5.0)),
        (120.0, Timings(inference=2.0, startup=6.0)),
    ],
)
def test_waiting_for_the_policy_to_load_is_start_up(loaded_at, expected):
    """What comes after it is waiting for a pass."""
    sheet = Timesheet(since=100.0)
    sheet.begin("episode", 100.0)

    sheet.inferred(2.0, loaded_at, now=108.0)

    assert sheet.settle(108.0) == expected


def test_an_attempt_that_failed_is_not_booked_on_the_next_episode():
    """Its time is in no episode's timings."""
    sheet = Timesheet(since=0.0)
    sheet.begin("fails", 1.0)
    sheet.worked(Spent(step=5.0), 6.0)
    sheet.settle(8.0)

    sheet.begin("succeeds", 9.0)

    assert sheet.settle(9.0) == Timings(idle=1.0)


def test_without_an_episode_there_is_nothing_to_settle():
    """A worker that is lost while it has none."""
    sheet = Timesheet(since=0.0)

    assert sheet.settle(5.0) == Timings()

    sheet.begin("first", 7.0)
    assert sheet.settle(7.0).startup == 7.0
