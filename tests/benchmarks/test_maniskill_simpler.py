"""SimplerEnv-Bridge on ManiSkill's own code, with a stand-in for its downloads (``bridge_assets.py``).

ManiSkill reads the folder of downloads once in a process, so this happens in a process of its own.
"""

import json
import subprocess
import sys

import bridge_assets
import numpy as np
import pytest

from proctor.benchmarks.maniskill.simpler import SCENES, Simpler, SimplerConfig
from proctor.errors import ConfigError

PROGRAM = """
import json, sys
import proctor.benchmarks.maniskill.simpler as simpler
from proctor.testing.episodes import always, episode, never, opened

def moments(env, seed, state, look=never):
    return [[*moment] for moment in episode(env, seed, 4, look=look, init_state_id=state)]

def of(name, success, n_steps):
    benchmark = simpler.Simpler(
        simpler.SimplerConfig(assets=sys.argv[1], task=name, success=success, episode_length=n_steps)
    )
    with opened(benchmark) as env:
        own = env._simulator.env
        seen = env.reset(0, 5, look=True)
        told = {
            "observed": {key: [str(array.dtype), [*array.shape]] for key, array in seen.items()},
            "fits": env.observation_space.contains(seen),
            "action": [str(env.action_space.dtype), [*env.action_space.shape], env.fps],
            "state": seen["observation.state"].tolist(),
            "corner": seen["observation.images.image_0"][:4, :4].std().item(),
            "frame": [*env.render().shape],
            "n_states": len(own.xyz_configs) * len(own.quat_configs),
            "instruction": own.get_language_instruction()[0],
            "horizon": REGISTERED_ENVS[simpler.SCENES[name].maniskill].max_episode_steps,
        }
        if name == "widowx_carrot_on_plate" and success == "end" and n_steps == 4:
            told |= {"looked": moments(env, 1, 3, always), "unlooked": moments(env, 1, 3)}
            told |= {"other": moments(env, 1, 4), "again": moments(env, 1, 3, always)}
        own.evaluate = lambda **_: {"success": own.elapsed_steps == 2}  # it holds after the second step alone
        told["success"] = [[m.success, m.over] for m in episode(env, 1, 9, init_state_id=3)]
    return told

simpler.preload(sys.argv[1], "cpu")
from mani_skill.utils.registration import REGISTERED_ENVS
wanted = [[name, "end", 4] for name in simpler.SCENES]
wanted += [["widowx_carrot_on_plate", "end", 2], ["widowx_carrot_on_plate", "any", 4]]
print(json.dumps({"/".join(map(str, which)): of(*which) for which in wanted}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory, vulkan):
    """What one process says of all tasks, by name, rule of success and number of steps."""
    folder = tmp_path_factory.mktemp("assets")
    bridge_assets.write(folder)
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", SCENES)
def test_every_task_is_made_and_steps(told, name):
    """With ManiSkill's instruction, step limit and number of stored states."""
    scene, answer = SCENES[name], told[f"{name}/end/4"]

    assert (answer["instruction"], answer["horizon"], answer["n_states"]) == scene[1:]
    assert answer["observed"] == {
        "observation.images.image_0": ["uint8", [480, 640, 3]],
        "observation.state": ["float32", [8]],
    }
    assert answer["fits"]
    assert answer["action"] == ["float32", [7], 5.0]
    assert np.isclose(np.linalg.norm(answer["state"][3:7]), 1)
    assert answer["state"][7] == 1.0  # the gripper is open
    assert answer["corner"] > 10  # the photograph behind the scene
    assert len(answer["frame"]) == 3


def test_an_episode_is_its_seeds_and_stored_states(told):
    """Looked at or not, after others or not; another stored state is another episode."""
    answer = told["widowx_carrot_on_plate/end/4"]

    assert answer["again"] == answer["looked"]
    assert [moment[:4] for moment in answer["unlooked"]] == [moment[:4] for moment in answer["looked"]]
    assert answer["other"][0][0] != answer["looked"][0][0]


def test_success_counts_at_the_end_or_at_any_step(told):
    """A success that is lost again counts by one rule and not by the other; the other rule ends the episode."""
    at_the_end = told["widowx_carrot_on_plate/end/4"]["success"]
    last = told["widowx_carrot_on_plate/end/2"]["success"]
    anywhere = told["widowx_carrot_on_plate/any/4"]["success"]

    assert at_the_end == [[False, False], [False, False], [False, False], [False, False], [False, True]]
    assert last == [[False, False], [False, False], [True, True]]
    assert anywhere == [[False, False], [False, False], [True, True]]


def test_tasks_have_simplerenvs_names_or_maniskills():
    """Alone, or all four; an episode starts from a stored state."""
    both = Simpler(SimplerConfig(task="PutCarrotOnPlateInScene-v1,widowx_stack_cube")).tasks()
    everything = Simpler(SimplerConfig())

    assert [task.name for task in both] == ["widowx_carrot_on_plate", "widowx_stack_cube"]
    assert [task.name for task in everything.tasks()] == [*SCENES]
    assert [everything.init_state_id(everything.tasks()[3], i) for i in (0, 63, 64)] == [0, 63, 0]
    with pytest.raises(ConfigError, match="Did you mean 'widowx_carrot_on_plate'"):
        Simpler(SimplerConfig(task="widowx_carrot_on_plates")).tasks()


@pytest.mark.usefixtures("vulkan")
def test_without_the_downloads_a_sentence_says_what_to_fetch(tmp_path):
    """In a process of its own, with an empty folder."""
    program = """
import sys
from proctor.benchmarks.maniskill.simpler import Simpler, SimplerConfig
benchmark = Simpler(SimplerConfig(assets=sys.argv[1]))
try:
    benchmark.make_env(benchmark.tasks()[0])
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)

    fetch = "python -m mani_skill.utils.download_asset"
    assert f"MissingFilesError: PutSpoonOnTableClothInScene-v1 needs files that are not in {tmp_path}" in done.stdout
    assert f"`{fetch} bridge_v2_real2sim` and `{fetch} widowx250s`" in done.stdout
    assert not [*tmp_path.iterdir()]
