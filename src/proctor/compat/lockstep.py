"""Episodes in a vector environment that Proctor has not made: all of a batch take each step together.

As with LeRobot's own loop, a batch takes as long as its longest episode. Each episode has its own history, memory and
random stream, as in the engine, so that its result does not depend on the others.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from proctor.benchmarks.base import features_of
from proctor.benchmarks.gym_package import Box
from proctor.benchmarks.gymnasium_spaces import ObservationNames, action_box, native_action, rgb_frame
from proctor.benchmarks.returns import (
    USUAL_SUCCESS_KEYS,
    decided,
    if_finite,
    latched,
    real_number,
    shown,
    success_in,
)
from proctor.engine.worker.video_file import H264Writer
from proctor.policies.actions import check_actions
from proctor.policies.base import EpisodeMemory, Policy
from proctor.streams import RandomStream
from proctor.types import Array, ArraySpec, EpisodeSpec, Observation, Outcome

_LEROBOTS_MODULE = "lerobot.envs.utils"
_USUAL_FPS = 30


@dataclass
class Row:
    """One environment of a batch, and the episode in it.

    ``seen``, ``actions`` and ``successes`` hold every step, and what was seen after the last one, if they are kept;
    ``pictures`` holds the frames of a video, uint8 ``(height, width, 3)``.
    """

    spec: EpisodeSpec
    history: deque[Mapping[str, Array]]
    memory: EpisodeMemory
    instruction: str = ""
    queue: deque[Array] = field(default_factory=deque)
    rewards: list[float] = field(default_factory=list)
    success: bool | None = None
    over: bool = False
    seen: list[Mapping[str, Array]] = field(default_factory=list)
    actions: list[Array] = field(default_factory=list)
    successes: list[bool] = field(default_factory=list)
    pictures: list[Array] = field(default_factory=list)

    def observation(self, offsets: tuple[int, ...]) -> Observation:
        """Give what the policy sees at the present step."""
        frames = [self.history[max(offset - 1, -len(self.history))] for offset in offsets]
        return Observation({key: np.stack([frame[key] for frame in frames]) for key in frames[-1]}, self.instruction)

    def result(self) -> dict[str, Any]:
        """Give the result of the episode as an entry of ``per_episode``."""
        sum_reward, max_reward = if_finite(sum(self.rewards), max(self.rewards))
        return {
            "episode_ix": self.spec.episode_index,
            "sum_reward": sum_reward,
            "max_reward": max_reward,
            "success": self.success,
            "seed": self.spec.seed,
            "outcome": Outcome.of_completed(self.success).value,
        }


@dataclass
class Lockstep:
    """A vector environment and the policy that acts in it.

    ``before`` and ``after`` are LeRobot's processors of the environment: what it observes passes the first, and actions
    pass the second. ``keeps_steps`` says whether a row keeps all its steps.
    """

    env: Any
    policy: Policy
    before: Any = None
    after: Any = None
    keeps_steps: bool = False

    def rows(self, n_episodes: int, seed: int, n_pictured: int = 0) -> Iterator[Row]:
        """Run episodes; yields each with its result, in their order. The first ``n_pictured`` have pictures.

        Raises:
            ContractError: policy and environment do not fit.
            PolicyError: the policy returned actions that cannot be executed.
            ValueError: the environment returned a success, an end or a reward that is none.
        """
        if not _steps(self.before):
            self.policy.check_contract(features_of(self._names.space, self._action_box))
        for first in range(0, n_episodes, self.env.num_envs):
            indices = range(first, first + self.env.num_envs)
            yield from self._batch(indices, seed, max(0, n_pictured - first))[: n_episodes - first]

    @cached_property
    def _names(self) -> ObservationNames:
        return ObservationNames(self.env.single_observation_space, "the environment")

    @cached_property
    def _action_box(self) -> Box:
        return action_box(self.env.single_action_space, "the environment")

    def _batch(self, indices: Sequence[int], seed: int, n_pictured: int) -> list[Row]:
        span, n_steps = 1 - self.policy.look_offsets[0], 0
        specs = [EpisodeSpec("env", 0, index, seed + index) for index in indices]
        seen, _ = self.env.reset(seed=[spec.seed for spec in specs], **_begin_options())
        instructions = _told(self.env, "task_description") or _told(self.env, "task") or [""] * len(specs)
        rows = [
            Row(spec, deque(maxlen=span), EpisodeMemory(RandomStream(spec)), str(instruction))
            for spec, instruction in zip(specs, instructions, strict=True)
        ]
        (most_steps,) = (_told(self.env, "_max_episode_steps") or [None])[:1]
        self._picture(rows[:n_pictured])
        while not all(row.over for row in rows):
            self._look(rows, seen)
            seen, rewards, terminated, truncated, info = self.env.step(self._actions(rows))
            n_steps += 1
            for i, row in enumerate(rows):
                if not row.over:
                    _count(row, rewards[i], terminated[i], truncated[i], _info_of(i, info))
                    row.over = row.over or n_steps == most_steps
                    if self.keeps_steps and "final_obs" in info and _holds(i, info, "final_obs"):
                        last = self._frames(_batch_of_one(info["final_obs"][i]), [row.instruction])
                        row.seen.append({name: frame[0] for name, frame in last.items()})
            self._picture(rows[:n_pictured])
        self._look(rows, seen)
        return rows

    def _look(self, rows: Sequence[Row], seen: Any) -> None:
        """Give each row its part of what the environment shows."""
        frames = self._frames(seen, [row.instruction for row in rows])
        for i, row in enumerate(rows):
            if row.over and len(row.seen) > len(row.actions):
                continue
            row.history.append({name: frame[i].copy() for name, frame in frames.items()})
            if self.keeps_steps:
                row.seen.append(row.history[-1])

    def _frames(self, seen: Any, instructions: Sequence[str]) -> Mapping[str, Array]:
        """Give an observation under the policy's names; as LeRobot does if its processors have something to do."""
        if not _steps(self.before):
            return self._names.of(seen)
        from lerobot.envs.utils import preprocess_observation

        processed = self.before({**preprocess_observation(seen), "task": list(instructions)})
        return {
            name: value.cpu().numpy()
            for name, value in processed.items()
            if name.startswith("observation.") and hasattr(value, "cpu")
        }

    def _actions(self, rows: Sequence[Row]) -> Array:
        """Take the next action of each row; one that is over gets zeros."""
        self._refill([row for row in rows if not row.over and not row.queue])
        space, box = self.env.single_action_space, self._action_box
        actions = np.stack([row.queue.popleft() if not row.over else np.zeros(box.shape) for row in rows])
        if _steps(self.after):
            import torch

            actions = self.after({"action": torch.from_numpy(actions)})["action"].cpu().numpy()
        native = np.stack([native_action(action, space, box) for action in actions])
        if self.keeps_steps:
            for row, action in zip(rows, native, strict=True):
                if not row.over:
                    row.actions.append(np.array(action, ndmin=1))
        return native

    def _refill(self, rows: Sequence[Row]) -> None:
        """Ask the policy for those that have no action left."""
        policy = self.policy
        if policy.runs_alone:
            for row in rows:
                with row.memory.stream.swapped_in():
                    (chunk,) = policy.predict([row.observation(policy.look_offsets)], [row.memory])
                row.queue.extend(self._checked(chunk))
        elif rows:
            observations = [row.observation(policy.look_offsets) for row in rows]
            chunks = policy.predict(observations, [row.memory for row in rows])
            for row, chunk in zip(rows, chunks, strict=True):
                row.queue.extend(self._checked(chunk))

    def _checked(self, chunk: Any) -> Array:
        """Give the actions of a chunk to execute. If they pass a processor, their size may not be the environment's."""
        size = np.shape(chunk)[1:] if _steps(self.after) else self._action_box.shape
        return check_actions(chunk, ArraySpec(size, self._action_box.dtype.name))[: self.policy.n_action_steps]

    def _picture(self, first: Sequence[Row]) -> None:
        """Draw a frame of each of the first rows. One that is over may show its next episode, so it gets none."""
        if not all(row.over for row in first):
            for row, picture in zip(first, self.env.call("render"), strict=False):
                if not row.over:
                    row.pictures.append(rgb_frame(picture))

    @property
    def fps(self) -> float:
        """The control steps per second that the environment declares."""
        return float((getattr(self.env, "metadata", None) or {}).get("render_fps") or _USUAL_FPS)

    def write_video(self, row: Row, file: Path) -> None:
        """Write the pictures of a row into a video that plays in real time.

        Raises:
            OSError: the file cannot be written.
        """
        writer = H264Writer(file, Fraction(self.fps).limit_denominator(1000), None)
        for picture in row.pictures:
            writer.add(picture)
        writer.close()


def _steps(pipeline: Any) -> Sequence[Any]:
    """Give the steps of a processor; none if there is no processor."""
    steps: Sequence[Any] = getattr(pipeline, "steps", ())
    return steps


def _begin_options() -> dict[str, Any]:
    """Give the options of a reset at which LeRobot's environments, which stand still after an end, go on."""
    option = getattr(sys.modules.get(_LEROBOTS_MODULE), "NEW_ROLLOUT_OPTION", None)
    return {} if option is None else {"options": {option: True}}


def _told(env: Any, name: str) -> list[Any] | None:
    """Ask the single environments for an attribute; None if they have none.

    Other processes' environments are asked only if they are LeRobot's, which have it: Gymnasium's end at a question
    that they cannot answer.
    """
    try:
        if (single := getattr(env, "envs", None)) is not None:
            return [each.get_wrapper_attr(name) for each in single]
        if type(env).__module__ == _LEROBOTS_MODULE:
            return list(env.get_attr(name))
    except AttributeError:
        pass
    return None


def _count(row: Row, reward: Any, terminated: Any, truncated: Any, info: Mapping[str, Any]) -> None:
    """Take note of what a step of a row returned."""
    row.rewards.append(real_number(reward, "the reward"))
    success = success_in(info)
    row.successes.append(bool(success))
    row.success = latched(row.success, success)
    row.over = decided(terminated, "terminated") or decided(truncated, "truncated")


def _info_of(i: int, info: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the part of a vector environment's info that holds the success of its environment number ``i``.

    Gymnasium gives an array for each key, and under ``_key`` for which environments it holds. If environments begin
    their next episode in the same step, ``final_info`` is such a dictionary of those whose episode has just ended.
    """
    final = info.get("final_info")
    if isinstance(final, Mapping) and _holds(i, info, "final_info"):
        info = final
    there = [key for key in USUAL_SUCCESS_KEYS if info.get(key) is not None and _holds(i, info, key)]
    return {key: _value_of(i, info[key], key) for key in there}


def _value_of(i: int, values: Any, key: str) -> Any:
    if isinstance(values, Mapping):  # each environment's value was a dictionary
        return values
    try:
        return values[i]
    except (TypeError, LookupError):
        raise ValueError(f"info['{key}'] is {shown(values)}; expected a value for each environment") from None


def _batch_of_one(observation: Any) -> Any:
    if isinstance(observation, Mapping):
        return {key: _batch_of_one(part) for key, part in observation.items()}
    return np.array(observation)[np.newaxis]


def _holds(i: int, info: Mapping[str, Any], key: str) -> bool:
    return f"_{key}" not in info or bool(info[f"_{key}"][i])
