"""Compare evaluations within a training loop: ``proctor.Evaluator``, a new ``proctor.evaluate`` each time, and LeRobot.

    python bench/evaluator.py [pusht|metaworld] [--calls 4] [--episodes 4] [--steps 60] [--envs 2]

All three evaluate the same policy object, in this process, with the same number of environments. LeRobot does what its
training script does at each evaluation: it makes environments, calls ``eval_policy_all`` and closes them; without
videos, and with its fastest kind of environments that works here (PushT's fail in other processes). Each method is
called once before, to import what it needs; the first call of each is printed apart, since an evaluator builds its
simulators then. Episodes end after the same number of steps. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
from common import machine
from lerobot_peer import limit_steps

CASES = {"pusht": ("PushtEnv", {}, False), "metaworld": ("MetaworldEnv", {"task": "reach-v3"}, True)}
"""LeRobot's configuration of the environment, its fields, and whether its environments are processes of their own."""


def main() -> None:
    """Measure, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="?", default="pusht", choices=CASES)
    for name, default in (("calls", 4), ("episodes", 4), ("steps", 60), ("envs", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        seconds = measure(options, policy_and_processors(options.case, Path(folder)))
    ours = statistics.median(seconds["Evaluator"][1:])
    print(f"{options.case}: {options.episodes} episodes of at most {options.steps} steps, {options.envs} environments")
    for name, times in seconds.items():
        usual = statistics.median(times[1:])
        print(
            f"{name:>10}: first call {times[0]:6.2f} s, later {usual:6.2f} s, {usual / ours:5.2f} times the Evaluator"
        )


def policy_and_processors(case: str, folder: Path) -> dict[str, Any]:
    """Return a small ACT as LeRobot's functions make it, as arguments."""
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    from checkpoint_makers.checkpoints import METAWORLD, PUSHT, make_act

    directory = make_act(folder / "act", METAWORLD if case == "metaworld" else PUSHT, chunk_size=20, n_action_steps=10)
    config = PreTrainedConfig.from_pretrained(directory)
    config.pretrained_path = directory
    policy = get_policy_class(config.type).from_pretrained(directory, config=config)
    preprocessor, postprocessor = make_pre_post_processors(config, str(directory))
    return {"policy": policy, "preprocessor": preprocessor, "postprocessor": postprocessor}


def measure(options: argparse.Namespace, given: dict[str, Any]) -> dict[str, list[float]]:
    """Return the seconds of each call, by method; the methods take turns."""
    import proctor

    fields = {"n_episodes": options.episodes, "batch_size": options.envs}
    env = {"type": options.case, "episode_length": options.steps, **CASES[options.case][1]}
    with proctor.Evaluator(env, **fields) as evaluator:
        methods: dict[str, Callable[[], Any]] = {
            "Evaluator": lambda: evaluator(**given),
            "evaluate": lambda: proctor.evaluate(env=env, **given, **fields),
            "LeRobot": lambda: lerobots(options, given),
        }
        for name in ("evaluate", "LeRobot"):
            methods[name]()
        seconds: dict[str, list[float]] = {name: [] for name in methods}
        for _ in range(options.calls):
            for name, call in methods.items():
                began = perf_counter()
                call()
                seconds[name].append(perf_counter() - began)
    return seconds


def lerobots(options: argparse.Namespace, given: dict[str, Any]) -> None:
    """Evaluate as LeRobot's training script does."""
    from lerobot.envs import configs, utils
    from lerobot.envs.factory import make_env
    from lerobot.processor import PolicyProcessorPipeline
    from lerobot.scripts.lerobot_eval import eval_policy_all

    kind, fields, use_async = CASES[options.case]
    if options.case == "pusht":
        fields = {**fields, "episode_length": options.steps}
    elif not hasattr(lerobots, "limited"):
        limit_steps(options.steps)
        lerobots.limited = True  # type: ignore[attr-defined]
    envs = make_env(getattr(configs, kind)(**fields), n_envs=options.envs, use_async_envs=use_async)
    nothing = {name: PolicyProcessorPipeline(steps=[]) for name in ("env_preprocessor", "env_postprocessor")}
    try:
        eval_policy_all(envs, n_episodes=options.episodes, start_seed=1000, **nothing, **given)
    finally:
        utils.close_envs(envs)


if __name__ == "__main__":
    main()
