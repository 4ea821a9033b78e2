"""A running episode: what the policy sees, what is executed, when it looks."""

from __future__ import annotations

import numpy as np
import pytest

from proctor.engine.episode import LookPlan
from proctor.errors import ConfigError, PolicyError
from proctor.policies.actions import check_actions
from proctor.types import ArraySpec

ACTION = ArraySpec((2,), "float32")


def test_a_policy_of_one_frame_looks_after_the_last_action_of_a_chunk():
    """49 of 50 renders are never made."""
    looks = LookPlan((0,), 50).looks(50)

    assert looks == (False,) * 49 + (True,)


@pytest.mark.parametrize(
    ("offsets", "n_actions", "expected"),
    [
        ((-1, 0), 4, "..xx"),
        ((-1, 0), 1, "x"),
        ((-4, -3, -2, -1, 0), 3, "xxx"),
        ((-4, -3, -2, -1, 0), 7, "..xxxxx"),
    ],
)
def test_a_policy_of_several_frames_looks_where_its_next_look_will_see(offsets, n_actions, expected):
    """The last frames of the chunk, as many as it sees."""
    assert "".join(".x"[look] for look in LookPlan(offsets, n_actions).looks(n_actions)) == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.uint8])
def test_real_numbers_of_the_right_shape_can_be_executed(dtype):
    """Whatever their width; a list of lists will do."""
    chunk = np.ones((3, 2), dtype)

    np.testing.assert_array_equal(check_actions(chunk, ACTION), chunk)
    np.testing.assert_array_equal(check_actions([[1, 2]], ACTION), [[1, 2]])


class Stubborn:
    """Cannot become an array, like a tensor on an accelerator."""

    def __repr__(self) -> str:
        return "Stubborn()"

    def __array__(self, dtype=None, copy=None):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (np.zeros((3, 4)), r"shape \(3, 4\).*\(steps, 2\)"),
        (np.zeros(2), r"shape \(2,\).*\(steps, 2\)"),
        (np.zeros((0, 2)), r"shape \(0, 2\)"),
        (np.float64(1), r"shape \(\)"),
        (None, "gave None"),
        (np.zeros((3, 2), complex), "dtype complex128; expected real numbers"),
        (np.zeros((3, 2), bool), "dtype bool"),
        (np.array([["a", "b"]]), "dtype <U1"),
        (np.array([[0, 0], [0, np.nan]]), r"nan as action\[1\] of step 1; expected finite"),
        (np.array([[-np.inf, 0]]), r"-inf as action\[0\] of step 0"),
        ([[1.0, 2.0], [3.0]], r"shapes \(2,\) and \(1,\)"),
        (np.zeros((1, 3, 2)), r"shape \(1, 3, 2\).*\(steps, 2\): its first axis is a batch, return \[0\] of it"),
        (Stubborn(), "cuda:0"),
    ],
    ids=str,
)
def test_a_chunk_that_cannot_be_executed_is_the_policys_error(chunk, message):
    """It says what it got and what was expected, and never reaches the simulator."""
    with pytest.raises(PolicyError, match=message):
        check_actions(chunk, ACTION)


@pytest.mark.parametrize("offsets", [(), (0, -1), (-1, -1, 0), (0, 1)])
def test_what_a_policy_wants_to_see_ascends_to_the_present(offsets):
    """Anything else is said before a run begins."""
    with pytest.raises(ConfigError, match="must ascend"):
        LookPlan(offsets)
