"""The data types of an evaluation: task, episode, observation, result.

Everything here is plain data. An evaluation is a fixed list of :class:`EpisodeSpec`; running one gives an
:class:`EpisodeResult`. An episode is determined by its spec and the policy alone, so nothing else can change its
outcome.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

if sys.version_info >= (3, 11):  # noqa: UP036 - a worker's interpreter may be Python 3.10 (``--env.python``)
    from enum import StrEnum as StrEnum  # noqa: PLC0414 - exported
else:

    class StrEnum(str, Enum):  # noqa: UP042 - it takes that class's place
        """``enum.StrEnum``, which Python 3.10 does not have."""

        __str__ = str.__str__
        __format__ = str.__format__


Array = NDArray[Any]

INSTRUCTION = "instruction"
"""Observation key of an instruction that replaces its task's at this step: UTF-8 text, padded with zeros, uint8
(n,)."""


class TaskKey(NamedTuple):
    """Identifies a task within one evaluation."""

    suite: str
    task_id: int


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a suite, as plan and workers use it.

    ``suite`` is the group that a result is reported under, ``task_id`` the task's number in it and ``name`` the
    simulator's own name. ``instruction`` is the sentence for a language-conditioned policy, "" if there is none.
    """

    suite: str
    task_id: int
    name: str
    instruction: str
    max_episode_steps: int

    @property
    def key(self) -> TaskKey:
        return TaskKey(self.suite, self.task_id)


class EpisodeSpec(msgspec.Struct, frozen=True, order=True, cache_hash=True, gc=False):
    """Everything that determines an episode, apart from the policy. It is fixed before anything runs.

    ``seed`` seeds the simulator's reset; it is None only of an episode that was read from a file of LeRobot's, which
    does not say it. ``init_state_id`` is the index of a stored initial state, or None if the
    benchmark has no stored states.
    """

    suite: str
    task_id: int
    episode_index: int
    seed: int | None
    init_state_id: int | None = None

    @property
    def task(self) -> TaskKey:
        return TaskKey(self.suite, self.task_id)

    def __str__(self) -> str:
        seed = "unknown" if self.seed is None else self.seed
        return f"{self.suite}/{self.task_id} episode {self.episode_index} (seed {seed})"


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """Shape (without a time axis) and dtype of an observed array or of an action."""

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


@dataclass(frozen=True, slots=True)
class Features:
    """The interface of an environment: the arrays that it observes (no time axis) and the action that it takes."""

    observation: Mapping[str, ArraySpec]
    action: ArraySpec


@dataclass(frozen=True, slots=True)
class Observation:
    """The input of a policy: named arrays, each with a leading time axis, and the instruction.

    Keys are LeRobot's (``observation.image``, ``observation.images.<camera>``, ``observation.state``,
    ``observation.environment_state``). Images are uint8 ``(time, height, width, channel)``, vectors ``(time, size)``.
    The last entry along the time axis is the current one. The memory of the arrays may be reused for the next
    observation, so a policy must copy arrays that it keeps.
    """

    arrays: Mapping[str, Array]
    instruction: str = ""


class Outcome(StrEnum):
    """The way an episode ended. An ``error`` is not a ``failure``: that episode could not be run to its end.

    ``unknown`` means that the episode ran to its end, but the environment did not report success or failure.
    """

    SUCCESS = "success"
    FAILURE = "failure"
    UNKNOWN = "unknown"
    ERROR = "error"

    @classmethod
    def of_completed(cls, success: bool | None) -> Outcome:  # noqa: FBT001 - the only argument
        """Return the outcome of an episode that ran to its end; ``success`` is None if it was not reported."""
        if success is None:
            return cls.UNKNOWN
        return cls.SUCCESS if success else cls.FAILURE

    @property
    def success(self) -> bool | None:
        """True or False; None for an error, and if the environment did not report it."""
        return {Outcome.SUCCESS: True, Outcome.FAILURE: False}.get(self)


class Timings(msgspec.Struct, frozen=True, gc=False):
    """The time of a worker in seconds, from the end of its previous episode to the end of this one, by purpose.

    ``construct`` is zero unless the environment was built for this episode; ``inference`` is the time of the forward
    passes that the episode took part in; ``wait`` is the time before they began. ``startup`` is the worker's own start,
    if this is its first episode, and the time until the policy was loaded; ``idle`` is the time before the episode in
    which the worker had none; ``other`` is the time of messages and of the engine's loop. These parts
    (:data:`TIME_PARTS`) add up to the whole time.

    If the policy is behind a server, ``round_trip`` is the time within ``inference`` from sending requests until their
    replies had arrived, and ``server`` is the time within ``round_trip`` that the server states for its own work.
    ``round_trip`` is None if there is no server or the time was not recorded; ``server`` also if the server did not
    state its time in every reply.
    """

    construct: float = 0.0
    reset: float = 0.0
    step: float = 0.0
    look: float = 0.0
    inference: float = 0.0
    wait: float = 0.0
    startup: float = 0.0
    idle: float = 0.0
    other: float = 0.0
    round_trip: float | None = None
    server: float | None = None

    @classmethod
    def sum_of(cls, timings: Iterable[Timings]) -> Timings:
        """Add timings up. A time of the server that is unknown in timings with inference is unknown in the sum."""
        timings = list(timings)
        sums = map(math.fsum, zip(*map(attrgetter(*TIME_PARTS), timings), strict=True))
        inferred = [each for each in timings if each.inference]
        return cls(
            **dict(zip(TIME_PARTS, sums, strict=False)),  # there are no sums of no timings
            round_trip=_sum_if_known([each.round_trip for each in inferred]),
            server=_sum_if_known([each.server for each in inferred]),
        )

    def __add__(self, other: Timings) -> Timings:
        return Timings.sum_of((self, other))

    @property
    def total(self) -> float:
        return float(sum(self.parts.values()))

    @property
    def parts(self) -> dict[str, float]:
        """The parts by their name, in seconds."""
        return {part: float(getattr(self, part)) for part in TIME_PARTS}


TIME_PARTS = ("construct", "reset", "step", "look", "inference", "wait", "startup", "idle", "other")
"""The parts of :class:`Timings` that add up to the whole time."""


def _sum_if_known(seconds: list[float | None]) -> float | None:
    known = [each for each in seconds if each is not None]
    return math.fsum(known) if known and len(known) == len(seconds) else None


POLICY_FAILED = "policy"
"""The ``kind`` of an :class:`AttemptError` that the policy caused."""


class AttemptError(msgspec.Struct, frozen=True, gc=False):
    """The reason that one attempt at an episode did not reach the end.

    ``kind`` is one of ``raised`` (the simulator raised), ``crashed`` (its process died), ``hung`` (it missed its
    deadline) and ``policy`` (the policy raised, or returned actions that cannot be executed).
    """

    kind: str
    message: str
    traceback: str = ""


EpisodeArrays = Mapping[str, Array]
"""What an episode's steps left, by name; the first axis of each array but ``audit`` is ``length``, the number of steps.

``actions`` ``(length, action_size)``: the executed actions. ``rewards`` float64 ``(length,)``: each step's reward.
``successes`` int8 ``(length,)``: 1 if the simulator reported success at the step, 0 if it reported none, and -1 if it
did not say. ``audit`` uint8 ``(n,)``, if there is one: a sketch of what the policy was given
(:mod:`proctor.engine.input_sketch`).
"""


class ArrayBytes(msgspec.Struct, frozen=True, gc=False):
    """A small array in a message or in a journal's file: numpy's name of its dtype, its shape and its bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def pack(cls, array: Array) -> ArrayBytes:
        """Copy an array of any shape into bytes."""
        return cls(array.dtype.str, array.shape, np.ascontiguousarray(array).tobytes())

    def unpack(self) -> Array:
        """Return the array, which cannot be written to."""
        return np.frombuffer(self.data, self.dtype).reshape(self.shape)


PackedArrays = Mapping[str, ArrayBytes]
""":data:`EpisodeArrays` as bytes, as they are sent and written."""


def pack_arrays(arrays: EpisodeArrays) -> dict[str, ArrayBytes]:
    """Copy an episode's arrays into bytes."""
    return {name: ArrayBytes.pack(array) for name, array in arrays.items()}


class EpisodeResult(msgspec.Struct, frozen=True, gc=False):
    """The outcome of one episode.

    ``sum_reward`` and ``max_reward`` cover exactly the ``length`` steps of the episode. They are None for an error, and
    if a reward was NaN or infinite. ``length`` is None in a result file that does not hold it, such as LeRobot's.
    ``final_state_hash`` is a digest of the simulator's state after the last step: two runs with equal hashes had the
    same physics, not only the same rewards. ``errors`` lists every attempt that did not succeed, even if a later one
    did.
    """

    spec: EpisodeSpec
    outcome: Outcome
    sum_reward: float | None = None
    max_reward: float | None = None
    length: int | None = 0
    n_looks: int = 0
    final_state_hash: str | None = None
    errors: tuple[AttemptError, ...] = ()
    timings: Timings = Timings()

    @property
    def success(self) -> bool | None:
        """True or False; None for an error, and if the environment did not report it."""
        return self.outcome.success
