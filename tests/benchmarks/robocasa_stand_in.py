"""RoboCasa's adapter around a scene of robosuite in place of a kitchen, whose 3D models cannot be had here.

The scene is robosuite's Lift with RoboCasa's robot. robocasa's own ``create_env`` and Gymnasium wrapper are used. A
script: prints as JSON what the adapter and that wrapper, rendering always, see of the same episode.
"""

import json
import os
import sys
from unittest.mock import patch
from xml.etree import ElementTree as ET

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
import robocasa  # noqa: F401 - registers its tasks
from robosuite.environments.base import REGISTERED_ENVS
from robosuite.environments.manipulation.lift import Lift

from proctor.benchmarks.base import digest_of
from proctor.benchmarks.robocasa import RoboCasa, RoboCasaConfig, benchmark
from proctor.benchmarks.robosuite.simulator import seed_everything
from proctor.testing.episodes import always, episode, never, opened, random_actions

KITCHENS_OWN = {
    "obj_instance_split", "generative_textures", "randomize_cameras", "layout_and_style_ids", "layout_ids",
    "style_ids", "translucent_robot", "obj_registries",
}  # fmt: skip


class StandIn(Lift):
    """A cube on a table, and an instruction."""

    def __init__(self, **kwargs):
        super().__init__(**{name: value for name, value in kwargs.items() if name not in KITCHENS_OWN})

    def edit_model_xml(self, xml_str):
        """Add the two cameras that kitchens add."""
        root = ET.fromstring(super().edit_model_xml(xml_str))
        for side, x in (("left", -0.3), ("right", 0.3)):
            where = {"name": f"robot0_agentview_{side}", "pos": f"{x} -1 2", "xyaxes": "1 0 0 0 1 1"}
            ET.SubElement(root.find("worldbody"), "camera", where)
        return ET.tostring(root, encoding="unicode")

    def get_ep_meta(self):
        return {**super().get_ep_meta(), "lang": f"lift the cube of {float(self.cube.size[0]):.4f} m"}


REGISTERED_ENVS["StandIn"] = StandIn
SEED, N_STEPS = 7, 8


def without_adapter(actions):
    """The images, states and instructions that robocasa's wrapper gives, digests of each moment."""
    from robocasa.wrappers.gym_wrapper import RoboCasaGymEnv

    env = RoboCasaGymEnv(env_name="StandIn", camera_widths=64, camera_heights=64, split="all")
    seed_everything(env.env, SEED)
    seen, _ = env.reset()
    moments = [_moment(seen)]
    for action in actions:
        parts = {f"action.{name}": action[at] for name, at in benchmark._ACTION.items()}
        moments.append(_moment(env.step(parts)[0]))
    env.close()
    return moments


def _moment(seen):
    images = [digest_of([seen[f"video.{camera}"]]) for camera in benchmark.CAMERAS]
    state = np.concatenate([seen[f"state.{name}"] for name in benchmark._STATE]).astype(np.float32)
    return [*images, digest_of([state]), seen["annotation.human.task_description"]]


def main():
    config = RoboCasaConfig(task="StandIn", episode_length=20, observation_width=64, observation_height=64)
    given = RoboCasa(config)
    with patch.object(benchmark, "require_assets"), opened(given) as env:
        first = env.reset(SEED, None, look=True)
        actions = random_actions(env, SEED, N_STEPS)
        looked = episode(env, SEED, N_STEPS, look=always)
        unlooked = episode(env, SEED, N_STEPS, look=never)
        again = episode(env, SEED, N_STEPS, look=always)
        spaces = {name: [space.dtype.name, list(space.shape)] for name, space in env.observation_space.items()}
        fits = all(env.observation_space[name].contains(array) for name, array in first.items())
    seen = [list(moment.seen.values()) for moment in looked]
    stock = without_adapter(actions)
    names = ["observation.images." + camera for camera in benchmark.CAMERAS] + ["observation.state"]
    ours = [[moment.seen[name] for name in names] for moment in looked]
    sys.stdout.write("\n" + json.dumps({
        "spaces": spaces, "fits": fits, "moments": len(seen),
        "same_without_looks": [m[:4] for m in looked] == [m[:4] for m in unlooked],
        "same_again": looked == again,
        "same_as_robocasa": ours == [moment[:4] for moment in stock],
        "instruction": [bytes(first["instruction"]).rstrip(b"\0").decode(), stock[0][4]],
        "tasks": len(REGISTERED_ENVS),
    }))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
