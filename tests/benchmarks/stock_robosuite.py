"""robosuite made as robomimic makes it, and the adapter: what both see, for comparison. A script, too: prints JSON."""

from __future__ import annotations

import json
import os
import random
import sys

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np

from proctor.benchmarks.base import digest_of
from proctor.benchmarks.robosuite.benchmark import Robosuite, RobosuiteConfig
from proctor.benchmarks.robosuite.simulator import CONTROL_HZ, OSC_POSE, seed_everything
from proctor.benchmarks.robosuite.tasks import TASKS
from proctor.testing.episodes import opened

CAMERAS = ("agentview", "robot0_eye_in_hand")
SEEDS = (5, 6, 5)
N_STEPS = 4


def actions_of(seed, size):
    return np.random.default_rng(seed).uniform(-1, 1, (N_STEPS, size)).astype(np.float32)


def digest(array):
    return digest_of([np.ascontiguousarray(array)])


def stock_episodes(task):
    """Episodes of robosuite's own environment, which renders in every step."""
    import robosuite

    n_arms = TASKS[task].n_arms
    if robosuite.__version__ < "1.5":
        controllers, newer = [{**OSC_POSE, "control_delta": True}] * n_arms, {}
    else:
        from robosuite.controllers.composite.composite_controller_factory import refactor_composite_controller_config

        arm = {**OSC_POSE, "input_type": "delta", "input_ref_frame": "world"}
        controllers = [refactor_composite_controller_config(arm, "Panda", ["right"]) for _ in range(n_arms)]
        newer = {"lite_physics": False, "renderer": "mujoco"}
    env = robosuite.make(
        task, robots=["Panda"] * n_arms, controller_configs=controllers, has_renderer=False,
        has_offscreen_renderer=True, use_camera_obs=True, use_object_obs=True, camera_names=list(CAMERAS),
        camera_heights=84, camera_widths=84, camera_depths=False, ignore_done=True, control_freq=CONTROL_HZ,
        reward_shaping=False, **newer,
    )  # fmt: skip
    found = []
    for seed in SEEDS:
        seed_everything(env, seed)
        seen = env.reset()
        found.append(_stock_moment(env, seen, 0.0))
        for action in actions_of(seed, env.action_dim):
            seen, reward, _, _ = env.step(action.astype(np.float64))
            found.append(_stock_moment(env, seen, float(reward)))
    env.close()
    return found


def _stock_moment(env, seen, reward):
    keys = [f"robot{arm}_{key}" for arm in range(len(env.robots)) for key in ("eef_pos", "eef_quat", "gripper_qpos")]
    state = np.concatenate([seen[key] for key in keys if key in seen]).astype(np.float32)
    images = [digest(seen[f"{camera}_image"][::-1]) for camera in CAMERAS]
    physics = digest(np.concatenate([env.sim.data.qpos, env.sim.data.qvel, env.sim.data.qacc_warmstart]))
    return [*images, digest(state), digest(seen["object-state"].astype(np.float32)), reward, physics,
            bool(env._check_success())]  # fmt: skip


def our_episodes(task, look_every=1):
    """The same episodes of the adapter; where nothing is looked at, there is None for what would have been seen."""
    found = []
    with opened(
        Robosuite(
            RobosuiteConfig(task=task, camera_name=",".join(CAMERAS), observation_width=84, observation_height=84)
        )
    ) as env:
        for seed in SEEDS:
            seen = env.reset(seed, None, look=True)
            found.append(_our_moment(env, seen, 0.0))
            for i, action in enumerate(actions_of(seed, env.action_space.shape[0]), start=1):
                step = env.step(action, look=i % look_every == 0)
                found.append(_our_moment(env, step.observation, step.reward))
    return found


def _our_moment(env, seen, reward):
    data = env._simulator.data
    physics = digest(np.concatenate([data.qpos, data.qvel, data.qacc_warmstart]))
    last = [reward, physics, env._simulator.succeeded()]
    if seen is None:
        return [None] * 4 + last
    images = [digest(seen[f"observation.images.{camera}"]) for camera in CAMERAS]
    objects = env._simulator.env._get_observations()["object-state"].astype(np.float32)
    return [*images, digest(seen["observation.state"]), digest(objects), *last]


def differences(task):
    """The moments at which the adapter differs from robosuite, looked at always, and at every second step."""
    random.seed(0)
    ours, at_times, stock = our_episodes(task), our_episodes(task, 2), stock_episodes(task)
    always = [i for i, (a, b) in enumerate(zip(ours, stock, strict=True)) if a != b]
    seldom = [
        i
        for i, (a, b) in enumerate(zip(at_times, stock, strict=True))
        if any(x is not None and x != y for x, y in zip(a, b, strict=True))
    ]
    return {"always": always, "seldom": seldom, "moments": len(stock), "images": len({moment[0] for moment in stock})}


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps({task: differences(task) for task in sys.argv[1:]}))
