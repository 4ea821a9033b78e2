"""What policies return: taken whichever library's array it is, else described in a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from proctor.errors import PolicyError
from proctor.policies.actions import to_array


class Jax:
    """An array of another library: all it has is the protocol."""

    def __array__(self, dtype=None, copy=None):
        return np.array([0.5, 1.5])


@pytest.mark.parametrize(
    "returned",
    [
        torch.tensor([0.5, 1.5], requires_grad=True),
        torch.tensor([0.5, 1.5], dtype=torch.bfloat16, requires_grad=True),
        torch.tensor([0.5, 1.5], dtype=torch.float16),
        torch.tensor([0.5, 1.5], dtype=torch.float8_e4m3fn),
        [torch.tensor(0.5, requires_grad=True), torch.tensor(1.5, dtype=torch.bfloat16)],
        Jax(),
        [0.5, 1.5],
        (0.5, np.float32(1.5)),
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}",
)
def test_numbers_of_any_library_are_taken(returned):
    """With a gradient, in any width, one by one."""
    assert to_array(returned).tolist() == [0.5, 1.5]


def test_numbers_of_numpys_types_keep_their_bits():
    """A float64 tensor is no float32."""
    assert to_array(torch.tensor([0.1], dtype=torch.float64)).tolist() == [0.1]
    assert to_array([[1, 2], [3, 4]]).dtype == np.int64


async def asynchronous():
    return [0.0]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ((np.zeros(2), None), r"a tuple of 2: ndarray \(2,\), NoneType; return the actions alone, such as \[0\]"),
        ((np.zeros(2), np.zeros(2)), r"a tuple of 2: ndarray \(2,\), ndarray \(2,\); .*numpy.stack"),
        ((np.zeros(2),), r"a tuple of 1: ndarray \(2,\); return \[0\] of it"),
        ({"actions": np.zeros((5, 2)), "timing": {}}, "a dict with the keys 'actions', 'timing'; return its 'actions'"),
        ({"a": 1, "b": 2}, "a dict with the keys 'a', 'b'; return an array"),
        ({}, "a dict with the keys none; return an array"),
        (None, "None, so it may lack a return statement"),
        ("left", "the text 'left'; return an array"),
        ([np.zeros(2), np.zeros(3)], r"a list whose parts have the shapes \(2,\) and \(3,\)"),
        ([np.zeros(2), None], "a list that holds None"),
        (iter([1.0]), "a list_iterator"),
        (object(), "a object; return an array"),
        (torch.zeros(2).to_sparse(), r"a Tensor \(2,\) that is not an array"),
        (np.ma.masked_invalid([np.nan, 1.0]), "a masked array"),
        (asynchronous(), "a coroutine"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_array_is_described(returned, message):
    """In one sentence that says what to return."""
    with pytest.raises(PolicyError, match=f"the policy gave .*{message}") as error:
        to_array(returned)

    assert "\n" not in str(error.value)
