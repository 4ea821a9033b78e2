"""The nouns of an evaluation: task, episode, observation, action chunk, result.

Everything here is plain data. An evaluation is a fixed list of :class:`EpisodeSpec`; running one gives an
:class:`EpisodeResult`. Nothing else decides what an episode is, so nothing else can change its outcome.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, NamedTuple

from numpy.typing import NDArray

Array = NDArray[Any]

INSTRUCTION = "instruction"
"""Under this name an environment observes a text, UTF-8 padded with zeros, uint8 (n,): the instruction of this moment,
in place of its task's."""


class TaskKey(NamedTuple):
    """What identifies a task within one evaluation."""

    suite: str
    task_id: int


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a suite, as the plan and the workers know it.

    ``suite`` is the group a result is reported under, ``task_id`` the task's number in it, ``name`` the simulator's
    own name. ``instruction`` is the sentence a language-conditioned policy reads ("" where there is none).
    """

    suite: str
    task_id: int
    name: str
    instruction: str
    max_episode_steps: int

    @property
    def key(self) -> TaskKey:
        return TaskKey(self.suite, self.task_id)


@dataclass(frozen=True, slots=True, order=True)
class EpisodeSpec:
    """Everything that determines an episode, apart from the policy. Written down before anything runs.

    ``seed`` seeds the simulator's reset; ``init_state_id`` names a stored initial state where the benchmark has them.
    """

    suite: str
    task_id: int
    episode_index: int
    seed: int
    init_state_id: int | None = None

    @property
    def task(self) -> TaskKey:
        return TaskKey(self.suite, self.task_id)

    def __str__(self) -> str:
        return f"{self.suite}/{self.task_id} episode {self.episode_index} (seed {self.seed})"


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """Shape and dtype of an array: what an environment gives under a key, or takes as its action."""

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


@dataclass(frozen=True, slots=True)
class Features:
    """The two sides of an environment: the arrays it gives when looked at (no time axis), and the action it takes."""

    observation: Mapping[str, ArraySpec]
    action: ArraySpec


@dataclass(frozen=True, slots=True)
class Observation:
    """What a policy sees when it looks: named arrays, each with a leading time axis, and the instruction.

    Keys are LeRobot's (``observation.image``, ``observation.images.<camera>``, ``observation.state``,
    ``observation.environment_state``). Images are uint8 ``(time, height, width, channel)``, vectors ``(time, size)``.
    The last entry along the time axis is the present. The arrays may lie in memory that is reused for the next
    observation: a policy that keeps them copies them.
    """

    arrays: Mapping[str, Array]
    instruction: str = ""


class Outcome(StrEnum):
    """How an episode ended. An ``error`` is not a ``failure``: that episode could not be run to its end.

    ``unknown``: the episode ran to its end, and the environment said nothing of success.
    """

    SUCCESS = "success"
    FAILURE = "failure"
    UNKNOWN = "unknown"
    ERROR = "error"

    @classmethod
    def of_completed(cls, success: bool | None) -> Outcome:  # noqa: FBT001 - the one thing that matters
        """The outcome of an episode that ran to its end; ``success`` is None if nothing was said of it."""
        if success is None:
            return cls.UNKNOWN
        return cls.SUCCESS if success else cls.FAILURE


@dataclass(frozen=True, slots=True)
class Timings:
    """Where a worker's time went, in seconds, from the end of its episode before this one to the end of this one.

    ``construct`` is zero unless this episode had its environment built; ``inference`` is the time of the forward
    passes it took part in; ``wait`` is what it waited for them to begin. ``startup`` is the worker's own start, if this
    is its first episode, and what it waited for the policy to be loaded; ``idle`` the time before the episode in which
    the worker had none; ``other`` what messages and the engine's turns took. Nothing of the time is left out.
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

    def __add__(self, other: Timings) -> Timings:
        return Timings(*(getattr(self, part.name) + getattr(other, part.name) for part in fields(self)))

    @property
    def total(self) -> float:
        return float(sum(getattr(self, part.name) for part in fields(self)))


POLICY_FAILED = "policy"
"""The ``kind`` of an :class:`AttemptError` that is the policy's."""


@dataclass(frozen=True, slots=True)
class AttemptError:
    """Why one attempt at an episode did not reach the end.

    ``kind`` is one of ``raised`` (the simulator raised), ``crashed`` (its process died), ``hung`` (it missed its
    deadline) and ``policy`` (the policy raised, or gave actions that cannot be executed).
    """

    kind: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """The outcome of one episode.

    ``sum_reward`` and ``max_reward`` cover exactly the ``length`` steps of the episode and are None for an error, and
    if a reward was NaN or infinite.
    ``final_state_hash`` is a digest of the simulator's state after the last step: two runs with equal hashes had the
    same physics, not only the same rewards. ``errors`` records every attempt that did not succeed, also when a later
    one did.
    """

    spec: EpisodeSpec
    outcome: Outcome
    sum_reward: float | None = None
    max_reward: float | None = None
    length: int = 0
    n_looks: int = 0
    final_state_hash: str | None = None
    errors: tuple[AttemptError, ...] = ()
    timings: Timings = field(default_factory=Timings)

    @property
    def success(self) -> bool | None:
        """None if nothing is known of it: for an error, and where the environment said nothing."""
        return {Outcome.SUCCESS: True, Outcome.FAILURE: False}.get(self.outcome)
