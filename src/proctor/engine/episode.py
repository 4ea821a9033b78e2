"""A running episode in the engine. It has all that a policy may use: the history, the memory and the random stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from proctor.engine.delay import DelayedChunks
from proctor.engine.input_sketch import InputRecorder
from proctor.engine.worker.arrays import SharedArrays
from proctor.engine.worker.messages import Act, Finished, Observed
from proctor.errors import ConfigError
from proctor.policies.actions import check_actions
from proctor.policies.base import EpisodeMemory
from proctor.streams import RandomStream
from proctor.types import (
    INSTRUCTION,
    Array,
    ArrayBytes,
    ArraySpec,
    AttemptError,
    EpisodeResult,
    EpisodeSpec,
    Observation,
    Outcome,
    PackedArrays,
    Task,
    Timings,
    pack_arrays,
)


@dataclass(frozen=True, slots=True)
class LookPlan:
    """At which steps a policy looks, and at which steps' observations it looks then.

    ``offsets`` and ``n_action_steps`` are the policy's ``look_offsets`` and ``n_action_steps``, see
    :class:`~proctor.policies.base.Policy`.

    Raises:
        ConfigError: the policy declares offsets that do not ascend up to 0, or no action steps.
    """

    offsets: tuple[int, ...] = (0,)
    n_action_steps: int = 1

    def __post_init__(self) -> None:
        if not self.offsets or self.offsets[-1] > 0 or list(self.offsets) != sorted(set(self.offsets)):
            raise ConfigError(f"A policy's look_offsets are {self.offsets}; they must ascend, up to 0, the present.")
        if self.n_action_steps < 1:
            raise ConfigError(f"A policy's n_action_steps is {self.n_action_steps}; it must be at least 1.")

    def looks(self, n_actions: int) -> tuple[bool, ...]:
        """For each of a chunk's actions, return whether the observation after it is needed at the next look or later.

        If the offsets have gaps, a step that lies in a gap now may be needed at a later look.
        """
        return tuple(done - n_actions >= self.offsets[0] for done in range(1, n_actions + 1))


class Episode:
    """One attempt at one episode. If ``delayed`` is given, its chunks arrive late. ``inputs`` takes in what the policy
    is given.
    """

    def __init__(
        self,
        spec: EpisodeSpec,
        task: Task,
        looks: LookPlan,
        delayed: DelayedChunks | None = None,
        inputs: InputRecorder | None = None,
    ) -> None:
        self.spec = spec
        self.task = task
        self._inputs = inputs
        n_delay_steps = 0 if delayed is None else delayed.n_delay_steps
        self.memory = EpisodeMemory(RandomStream(spec), whole_chunks=delayed is not None, n_delay_steps=n_delay_steps)
        self._looks = looks
        self._delayed = delayed
        self._seen: dict[int, dict[str, Array]] = {}
        self._expected_steps: tuple[int, ...] = (0,)
        """The steps whose observations the next reply brings."""
        self._n_steps = 0
        self._observation: Observation | None = None

    @property
    def observation(self) -> Observation:
        """The observation that the policy sees now, with the history that it declared."""
        assert self._observation is not None
        return self._observation

    def observe(self, reply: Observed, arrays: SharedArrays) -> None:
        """Take in a worker's observation. The memory is read in place, and copied only if a later look needs it."""
        self._observation = self._present(reply, arrays)
        if self._inputs is not None:
            self._inputs.look(self._n_steps, self._observation)

    def _present(self, reply: Observed, arrays: SharedArrays) -> Observation:
        frames = {placed.key: arrays.read(placed) for placed in reply.arrays}
        instruction = self._instruction(frames.pop(INSTRUCTION, None))
        if self._looks.offsets == (0,):
            return Observation(frames, instruction)
        for index, step in enumerate(self._expected_steps):
            self._seen[step] = {key: array[index].copy() for key, array in frames.items()}
        wanted = [max(0, self._n_steps + offset) for offset in self._looks.offsets]
        self._seen = {step: frame for step, frame in self._seen.items() if step >= wanted[0]}
        history = {key: np.stack([self._seen[step][key] for step in wanted]) for key in frames}
        return Observation(history, instruction)

    def _instruction(self, observed: Array | None) -> str:
        """The instruction that the environment gives now, if it gives one, else the task's."""
        return self.task.instruction if observed is None else observed[-1].tobytes().rstrip(b"\0").decode()

    def act(self, chunk: Array, action: ArraySpec) -> Act:
        """Turn a chunk ``(steps, action_size)`` into the request that executes it.

        Raises:
            PolicyError: the chunk cannot be executed.
        """
        actions = check_actions(chunk, action)
        if self._delayed is None:
            actions = actions[: self._looks.n_action_steps]
        else:
            actions = self._delayed.until_next_look(actions)
        actions = actions[: self.task.max_episode_steps - self._n_steps]
        before, self._n_steps = self._n_steps, self._n_steps + len(actions)
        looks = self._looks.looks(len(actions))
        if self._n_steps >= self.task.max_episode_steps:
            looks = (False,) * len(actions)  # the episode ends here, so there is no next look
        self._expected_steps = tuple(before + done for done, look in enumerate(looks, start=1) if look)
        self._observation = None
        return Act(ArrayBytes.pack(actions), looks)

    def arrays(self, reply: Finished) -> PackedArrays:
        """The arrays of the episode, which has finished with ``reply``."""
        return reply.arrays if self._inputs is None else {**reply.arrays, **pack_arrays(self._inputs.arrays())}

    def result(self, reply: Finished, errors: Sequence[AttemptError], timings: Timings) -> EpisodeResult:
        """The result of the episode, which has finished with ``reply``."""
        return EpisodeResult(
            spec=self.spec,
            outcome=Outcome.of_completed(reply.success),
            sum_reward=reply.sum_reward,
            max_reward=reply.max_reward,
            length=reply.arrays["actions"].shape[0],
            n_looks=reply.n_looks,
            final_state_hash=reply.final_state_hash,
            errors=tuple(errors),
            timings=msgspec.structs.replace(timings, round_trip=self.memory.round_trip, server=self.memory.server),
        )
