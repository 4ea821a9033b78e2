"""Converts what a policy returned, from any library, to an array of actions, or raises an error that describes it."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from proctor.errors import PolicyError
from proctor.types import Array, ArraySpec

_GIVE = "return an array of one action, or of a chunk of actions (steps, action size)"
_KEYS = ("actions", "action", "action_chunk", "action_pred")
"""Names under which libraries return actions in a dict."""


def to_array(returned: Any) -> Array:
    """Give the numbers of an array, a tensor (with a gradient, on an accelerator, of any width), or lists of these, in
    their shape and dtype; types that numpy does not have become float32.

    Raises:
        PolicyError: it is something else; the message says what it is, and what to return.
    """
    if isinstance(returned, np.ndarray):
        if isinstance(returned, np.ma.MaskedArray) and returned.mask.any():
            raise PolicyError("the policy gave a masked array, some of whose numbers are not valid; fill them in")
        return _widened(returned)
    if problem := _no_array(returned):
        raise PolicyError(f"the policy gave {problem}")
    try:
        array = np.asarray(_detached(returned))
    except Exception as error:  # noqa: BLE001 - whatever a library of the user's raises
        if isinstance(returned, list | tuple):
            return _stacked(returned)
        raise PolicyError(f"the policy gave a {_kind(returned)} that is not an array ({error}); {_GIVE}") from None
    if array.dtype != object:
        return _widened(array)
    if isinstance(returned, list):
        return _stacked(returned)
    raise PolicyError(f"the policy gave a {_kind(returned)}; {_GIVE}")


def _no_array(returned: Any) -> str:
    """Describe a value that is never an array; "" if it may be one."""
    problem = ""
    match returned:
        case None:
            problem = f"None, so it may lack a return statement; {_GIVE}"
        case str() | bytes():
            problem = f"the text {returned!r:.40}; {_GIVE}"
        case Mapping():
            problem = f"a {_dict(returned)}"
        case tuple() if not all(isinstance(each, int | float | np.number) for each in returned):
            problem = f"a {_tuple(returned)}"
        case Coroutine():
            returned.close()
            problem = "a coroutine, as it is an async function; give a function that is not"
        case Iterator():
            problem = f"a {type(returned).__name__}, which may have no end; {_GIVE}"
    return problem


def check_actions(returned: Any, action: ArraySpec) -> Array:
    """Give what a policy returned as a chunk that an environment can execute: ``(steps, *action.shape)`` with at least
    one step, of real and finite numbers.

    Raises:
        PolicyError: it is not such a chunk; the message says what it is, and what is expected.
    """
    actions = to_array(returned)
    if not actions.ndim or not len(actions) or actions.shape[1:] != action.shape:
        expected = ", ".join(map(str, ("steps", *action.shape)))
        hint = ""
        if actions.ndim == 2 + len(action.shape) and len(actions) == 1 and actions.shape[2:] == action.shape:
            hint = ": its first axis is a batch, return [0] of it"
        raise PolicyError(f"the policy gave actions of shape {actions.shape}; the environment takes ({expected}){hint}")
    if actions.dtype.kind not in "fiu":
        raise PolicyError(f"the policy gave actions of dtype {actions.dtype}; expected real numbers")
    if not np.isfinite(actions).all():
        step, *index = np.argwhere(~np.isfinite(actions))[0].tolist()
        raise PolicyError(f"the policy gave {actions[(step, *index)]} as action{index} of step {step}; expected finite")
    return actions


def _detached(tensor: Any) -> Any:
    """Give a tensor that numpy can read: without its gradient, in main memory, of a type that numpy has."""
    if not hasattr(tensor, "detach"):
        return tensor
    tensor = tensor.detach().cpu()
    narrow = tensor.is_floating_point() and tensor.element_size() < np.float32().itemsize
    return tensor.float() if narrow else tensor


def _widened(array: Array) -> Array:
    """Give numbers of a type that a library has added to numpy (bfloat16, float8) as float32, which holds them all."""
    return array.astype(np.float32) if array.dtype.kind == "V" and array.dtype.names is None else array


def _stacked(parts: Sequence[Any]) -> Array:
    """Give the array of a list whose parts numpy cannot read as they are."""
    for part in parts:
        if problem := _no_array(part):
            raise PolicyError(f"the policy gave a list that holds {problem}")
    arrays = [to_array(part) for part in parts]
    shapes = list(dict.fromkeys(array.shape for array in arrays))
    if len(shapes) > 1:
        raise PolicyError(f"the policy gave a list whose parts have the shapes {shapes[0]} and {shapes[1]}; {_GIVE}")
    return np.asarray(arrays)


def _dict(returned: Mapping[Any, Any]) -> str:
    names = ", ".join(map(repr, list(returned)[:4]))
    key = next((key for key in _KEYS if key in returned), None)
    if key is None and len(returned) == 1:
        (key,) = returned
    return f"dict with the keys {names or 'none'}; " + (_GIVE if key is None else f"return its {key!r}")


def _tuple(returned: tuple[Any, ...]) -> str:
    kinds = f"tuple of {len(returned)}: {', '.join(map(_kind, returned))}"
    if len(returned) > 1:
        return f"{kinds}; return the actions alone, such as [0] of it, or numpy.stack of the steps of a chunk"
    return f"{kinds}; return [0] of it"


def _kind(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ + (f" {tuple(shape)}" if isinstance(shape, tuple) else "")
