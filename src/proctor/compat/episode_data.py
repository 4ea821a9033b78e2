"""The steps of episodes in the form in which LeRobot's ``eval_policy`` returns them: ``return_episode_data=True``.

Source: ``_compile_episode_data`` in ``lerobot/scripts/lerobot_eval.py`` of LeRobot 0.6.1. An episode of *n* steps has
*n* + 1 rows: what was seen before each step and after the last one, whose other values are those of the row before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proctor.benchmarks.base import Benchmark
from proctor.compat.vector_env import SimGymEnv
from proctor.types import Array, EpisodeSpec, Task


@dataclass(frozen=True)
class EpisodeSteps:
    """All steps of an episode: ``seen`` has one entry more than the others, which is the last one."""

    seen: Sequence[Mapping[str, Array]]
    actions: Sequence[Array]
    rewards: Sequence[float]
    successes: Sequence[bool]


def replayed_steps(
    benchmark: Benchmark, task: Task, episodes: Mapping[EpisodeSpec, Array]
) -> tuple[list[EpisodeSteps], float]:
    """Run episodes again in a simulator of this process, with the actions that they executed, ``(steps, size)``.

    The last observation is repeated if the simulator shows none after the episode's end. Returns also the steps per
    simulated second.
    """
    env = SimGymEnv(benchmark, task)
    try:
        return [_steps_of(env, spec, actions) for spec, actions in episodes.items()], env.fps
    finally:
        env.close()


def _steps_of(env: SimGymEnv, spec: EpisodeSpec, actions: Array) -> EpisodeSteps:
    options = {} if spec.init_state_id is None else {"init_state_id": spec.init_state_id}
    seen = [env.reset(seed=spec.seed, options=options)[0]]
    rewards, successes = [], []
    for action in actions:
        observation, reward, _, _, info = env.step(action)
        seen.append(observation)
        rewards.append(float(reward))
        successes.append(bool(info.get("is_success", False)))
    return EpisodeSteps(seen, list(actions), rewards, successes)


def episode_data(episodes: Sequence[EpisodeSteps], fps: float) -> dict[str, Any]:
    """Join episodes to tensors whose first axis is the row, under LeRobot's names.

    Images are float32 ``(rows, channels, height, width)`` in [0, 1], other observations float32 ``(rows, …)``.
    """
    import torch

    parts: list[dict[str, Any]] = []
    for number, steps in enumerate(episodes):
        n = len(steps.actions)
        index = torch.arange(n)
        columns = {
            "action": torch.from_numpy(np.stack(steps.actions)),
            "episode_index": torch.full((n,), number),
            "frame_index": index,
            "timestamp": index / fps,
            "next.done": index == n - 1,
            "next.success": torch.tensor(list(steps.successes)),
            "next.reward": torch.tensor(list(steps.rewards), dtype=torch.float32),
        }
        part = {name: torch.cat([column, column[-1:]]) for name, column in columns.items()}
        part |= {name: _tensor(np.stack([each[name] for each in steps.seen])) for name in steps.seen[0]}
        parts.append(part)
    data = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    data["index"] = torch.arange(len(data["action"]))
    return data


def _tensor(values: Array) -> Any:
    """Convert images to channels first in [0, 1], and all to float32, as LeRobot's ``preprocess_observation`` does."""
    import torch

    tensor = torch.from_numpy(values)
    if tensor.dtype == torch.uint8 and tensor.ndim == 4:
        return tensor.permute(0, 3, 1, 2).contiguous().float().div_(255)
    return tensor.float()
