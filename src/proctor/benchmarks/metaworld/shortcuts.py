"""Three parts of Meta-World that take less time here, and compute the same to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from proctor.benchmarks.base import mujoco_state, set_mujoco_state
from proctor.types import Array

COMPARED = ("3.1.1",)
"""Versions of Meta-World whose episodes were shown to be equal with and without the shortcuts."""


def take_shortcuts(env: Any) -> None:
    """Make an environment of Meta-World, which has a task, reset and step in less time with the same results."""
    _iterate_contacts_quickly(env.data)
    if _is_compared():
        env._reset_hand = RememberedHand(env)  # noqa: SLF001 - a reset calls it twice


@contextmanager
def one_goal(metaworld: Any) -> Iterator[None]:
    """Have Meta-World's benchmarks draw one goal for each task, the first one, in place of 50 with two resets each."""
    before = metaworld._N_GOALS if _is_compared() else None  # noqa: SLF001 - ``num_goals`` of its registered ids
    if before is not None:
        metaworld._N_GOALS = 1  # noqa: SLF001
    try:
        yield
    finally:
        if before is not None:
            metaworld._N_GOALS = before  # noqa: SLF001


def _is_compared() -> bool:
    with suppress(PackageNotFoundError):
        return version("metaworld") in COMPARED
    return False


def _iterate_contacts_quickly(data: Any) -> None:
    """Give MuJoCo's list of contacts an iterator, if it has none. The elements are the same.

    Without an iterator Python takes one element after another until an ``IndexError`` ends the list. MuJoCo 3.3 throws
    it in C++, which takes 0.05 ms: twice in most steps of the 14 tasks that ask if the gripper touches the object, and
    that is a third to a half of the step.
    """
    contacts = type(data.contact)
    if not hasattr(contacts, "__iter__"):
        with suppress(TypeError):  # another MuJoCo may not allow it
            contacts.__iter__ = lambda listed: map(listed.__getitem__, range(len(listed)))


class RememberedHand:
    """Meta-World's ``_reset_hand``, which simulates only the last of 50 steps if it knows the state before that step.

    A reset moves the hand twice, which is nine tenths of the reset. The motion depends on the simulation's state and on
    the positions of the model's bodies. In every reset the first motion begins as in the last reset. In the 18 tasks in
    which the second one does not follow what the first run drew (it draws the places of objects that move freely, and
    of goals), the second motion does too. Goals are sites, which do not influence the motion; the last step computes
    where they are.
    """

    def __init__(self, env: Any) -> None:
        self._env = env
        self._move: Callable[[int], None] = env._reset_hand  # noqa: SLF001
        self._before_last_step: dict[tuple[int, bytes, bytes], Array] = {}

    def __call__(self, steps: int = 50) -> None:
        """Move the hand to where an episode begins, in ``steps`` control steps."""
        model, data = self._env.model, self._env.data
        start = steps, mujoco_state(model, data).tobytes(), model.body_pos.tobytes()
        if start in self._before_last_step:
            set_mujoco_state(model, data, self._before_last_step[start])
        else:
            self._move(steps - 1)
            self._remember(start)
        self._move(1)

    def _remember(self, start: tuple[int, bytes, bytes]) -> None:
        if len(self._before_last_step) < 2:
            self._before_last_step[start] = mujoco_state(self._env.model, self._env.data)
