"""Run ``lerobot-eval`` as shipped, and record the data that a comparison needs. ``vs_lerobot.py`` uses it.

Only two things are changed: the number of steps after which an episode ends (its environments ignore
``--env.episode_length``), and, with ``--no-videos``, that episodes are not rendered a second time for video. The record
contains the time from the first reset to the last result, and each episode's rewards up to its end, because
lerobot-eval's own sum counts one step too many.

    python bench/lerobot_peer.py RECORD.json STEPS [--no-videos] -- --policy.path=… --env.type=…
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import gymnasium
import lerobot.envs.utils
import lerobot.scripts.lerobot_eval as peer


def main() -> None:
    """Patch, run, record."""
    split = sys.argv.index("--")
    record, max_steps, *options = sys.argv[1:split]
    sys.argv = ["lerobot-eval", *sys.argv[split + 1 :]]
    limit_steps(int(max_steps))
    found: dict[str, Any] = {"episodes": []}
    record_rollouts(found)
    _time_evaluation(found, videos="--no-videos" not in options)
    peer.eval_main()
    Path(record).write_text(json.dumps(found))


def limit_steps(max_steps: int) -> None:
    """Change the vector environment's limit, which the loop reads."""
    lazy = getattr(lerobot.envs.utils, "_LazyAsyncVectorEnv", None)  # LeRobot 0.4 does not have it
    for kind in filter(None, (gymnasium.vector.SyncVectorEnv, gymnasium.vector.AsyncVectorEnv, lazy)):
        stock = kind.call

        def call(self: Any, name: str, *args: Any, stock: Any = stock, **kwargs: Any) -> Any:
            answers = stock(self, name, *args, **kwargs)
            return (max_steps,) * self.num_envs if name == "_max_episode_steps" else answers

        kind.call = call


def record_rollouts(found: dict[str, Any]) -> None:
    stock = peer.rollout

    def rollout(*args: Any, **kwargs: Any) -> Any:
        if "first_reset" not in found:
            kwargs["env"].call("_max_episode_steps")  # starting the environments' processes is start-up
            found["first_reset"] = perf_counter()
        data = stock(*args, **kwargs)
        for seed, reward, done, success in zip(
            kwargs["seeds"], data["reward"], data["done"], data["success"], strict=True
        ):
            length = int(done.int().argmax()) + 1
            rewards = reward[:length].tolist()
            episode = {"seed": seed, "sum_reward": sum(rewards), "max_reward": max(rewards), "length": length}
            found["episodes"].append(episode | {"success": bool(success[:length].any())})
        return data

    peer.rollout = rollout


def _time_evaluation(found: dict[str, Any], *, videos: bool) -> None:
    stock = peer.eval_policy_all

    def eval_policy_all(*args: Any, **kwargs: Any) -> Any:
        if not videos:
            kwargs["max_episodes_rendered"] = 0
        info = stock(*args, **kwargs)
        found["seconds"] = perf_counter() - found["first_reset"]
        return info

    peer.eval_policy_all = eval_policy_all


if __name__ == "__main__":
    main()
