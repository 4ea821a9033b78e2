"""What an environment returns, read strictly."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from proctor.benchmarks.returns import decided, if_finite, latched, real_number, shown, success_in, yes_or_no


class Unprintable:
    def __repr__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "reported"),
    [
        *[(value, True) for value in (True, 1, 1.0, np.True_, np.int64(1), np.float32(1), np.uint8(1))],
        *[(value, False) for value in (False, 0, 0.0, -0.0, np.False_, np.int8(0), np.float64(0))],
        *[(np.array(value), True) for value in (True, [1], [[1.0]])],
        *[(torch.tensor(value), False) for value in (False, [0], [0.0])],
        (None, None),
        (np.array([None]), None),
    ],
    ids=repr,
)
def test_a_bool_and_0_and_1_say_something_and_none_says_nothing(value, reported):
    """Of Python, numpy or torch, alone or as the only element."""
    assert yes_or_no(value, "it") is reported


@pytest.mark.parametrize(
    "value",
    [
        *({"task": False}, {}, [True], (1,), [], set(), "true", "", b"1", object(), Unprintable()),
        *(math.nan, math.inf, 0.5, 2, -1, 1j, Decimal(1) / 2, np.float32("nan"), np.complex64(1)),
        *(np.array([False, True]), np.array([]), np.array("1"), np.array([{"task": False}]), np.array([0.5])),
        *(torch.tensor([True, True]), torch.tensor([]), torch.tensor(0.5)),
        *(np.ma.masked, np.ma.masked_array([True], mask=[True])),
    ],
    ids=lambda value: type(value).__name__,
)
def test_nothing_else_does(value):
    """Although most of it is true to Python."""
    with pytest.raises(ValueError, match=r"^it is .+; expected a bool, 0 or 1, or an array that holds one of these$"):
        yes_or_no(value, "it")


def test_whether_an_episode_is_over_has_to_be_said():
    """A step that leaves it open ends in an error instead of going on to the limit."""
    assert decided(np.True_, "truncated") is True
    with pytest.raises(ValueError, match=r"^terminated is None; expected a bool, 0 or 1, or an array"):
        decided(None, "terminated")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *[(value, 2.5) for value in (2.5, np.float32(2.5), np.float64(2.5), np.longdouble(2.5), np.array([[2.5]]))],
        *[(value, 2.5) for value in (torch.tensor([2.5]), Fraction(5, 2), Decimal("2.5"))],
        *[(value, 1.0) for value in (True, np.True_, 1, np.int32(1))],
        *[(value, math.inf) for value in (math.inf, np.float32("inf"))],
    ],
    ids=repr,
)
def test_a_real_number_is_read_in_double_precision(value, number):
    """Exactly a float, as it travels to another process."""
    assert real_number(value, "it") == number
    assert type(real_number(value, "it")) is float


def test_nan_is_a_number_and_an_episode_with_it_has_no_reward():
    """Nor one with an infinite reward; of finite ones both are as they were."""
    assert math.isnan(real_number(np.float32("nan"), "it"))
    assert if_finite(math.nan, 3.0) == if_finite(math.inf, math.inf) == (None, None)
    assert if_finite(0.5, 0.25) == (0.5, 0.25)


@pytest.mark.parametrize(
    "value",
    [
        *(None, "1.5", b"1", 1j, np.complex64(1), {}, [1.0], 10**400, object()),
        *(np.array([1.0, 2.0]), np.array([]), np.ma.masked),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_real_number_is_no_reward(value):
    """A string is none although float() would take it."""
    with pytest.raises(ValueError, match=r"^it is .+; expected a real number, or an array that holds one$"):
        real_number(value, "it")


def test_the_first_key_that_says_something_counts():
    """None there is as good as no key; what it is not allowed to be names the key."""
    assert success_in({"is_success": False, "success": True}) is False
    assert success_in({"is_success": None, "success": True}) is True
    assert success_in({"solved": True}) is None
    assert success_in({"solved": 1}, ("solved",)) is True
    with pytest.raises(ValueError, match=r"^info\['success'\] is nan"):
        success_in({"success": math.nan})
    with pytest.raises(ValueError, match="the info of a step is None; expected a dict"):
        success_in(None)


def test_success_is_latched_and_silence_changes_nothing():
    """A failure is only what was said not to be a success."""
    reported = [None, False, None, True, False, None]

    known = [None]
    for step in reported:
        known.append(latched(known[-1], step))

    assert known == [None, None, False, False, True, True, True]


def test_a_foreign_value_is_shown_short_and_clean():
    """No control character of it reaches a terminal, and no megabyte a journal."""
    assert shown("\x1b[31mred\udcff") == r"'\x1b[31mred\udcff'"
    assert len(shown({str(i): "x" * 10_000 for i in range(10_000)})) < 400
    assert len(shown(np.zeros((100, 100)))) < 100
    assert "\n" not in shown(np.zeros((3, 3)))
    assert shown(Unprintable()).startswith("<Unprintable instance")
