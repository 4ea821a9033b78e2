"""ManiSkill's own environments as its users make them, for comparing ours with them to the bit."""

import warnings

import gymnasium
import numpy as np
from benchmark_episodes import digest

from proctor.benchmarks.maniskill.package import import_maniskill
from proctor.benchmarks.maniskill.tasks import TEXTURES


def own(task, **options):
    """ManiSkill's environment on the CPU, drawn after every step; it gives what is not batched, in numpy."""
    import_maniskill(None)
    from mani_skill.utils.wrappers.gymnasium import CPUGymWrapper

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = gymnasium.make(
            task,
            obs_mode=TEXTURES.get(task, "rgb"),
            sim_backend="physx_cpu",
            render_backend="cpu",
            num_envs=1,
            **options,
        )
    return CPUGymWrapper(env)


def own_episode(env, seed, actions):
    """The images, joint positions, reward and success of a reset and of each step, as digests and numbers."""
    seen, _ = env.reset(seed=seed)
    moments = [(looked(seen), 0.0, False)]
    for action in actions:
        seen, reward, _, _, info = env.step(np.array(action))
        moments.append((looked(seen), float(reward), bool(info["success"])))
    return moments


def looked(seen):
    """Digests of the images of each camera, and of the positions of one robot's joints."""
    images = {f"observation.images.{name}": digest(image["rgb"]) for name, image in seen["sensor_data"].items()}
    return images | {"observation.state": digest(seen["agent"]["qpos"])}


def summary(moments):
    """Ours, in the same form."""
    return [(moment.seen, moment.reward, bool(moment.success)) for moment in moments]
