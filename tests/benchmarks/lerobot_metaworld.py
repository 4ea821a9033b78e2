"""Episodes of LeRobot's own Meta-World wrapper, for comparison: ``python lerobot_metaworld.py SEED N_STEPS TASK...``.

LeRobot 0.4.4 ignores the seed of ``reset``; there the environment inside is seeded by hand, as 0.6.1 does itself.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from benchmark_episodes import digest
from lerobot.envs.metaworld import MetaworldEnv


def episode(task, seed, n_steps):
    env = MetaworldEnv(task=task, obs_type="pixels_agent_pos")
    if hasattr(env, "_ensure_env"):
        env._ensure_env()
    env._env.seeded_rand_vec = True
    env._env.seed(seed)
    seen, _ = env.reset(seed=seed)
    moments = [[0.0, False, digest(seen["pixels"]), digest(seen["agent_pos"])]]
    for action in np.random.default_rng(seed).uniform(-1, 1, (n_steps, 4)).astype(np.float32):
        seen, reward, terminated, _, _ = env.step(action)
        moments.append([float(reward), bool(terminated), digest(seen["pixels"]), digest(seen["agent_pos"])])
    env.close()  # before the next one draws
    return moments


sys.stdout.write(json.dumps({task: episode(task, int(sys.argv[1]), int(sys.argv[2])) for task in sys.argv[3:]}))
