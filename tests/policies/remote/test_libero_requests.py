"""What is sent of a real LIBERO simulator is what openpi's client beside that simulator would send."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is first imported

import numpy as np
import pytest

from proctor.benchmarks.libero.benchmark import Libero, LiberoConfig
from proctor.policies.remote.codec import pack, unpack
from proctor.policies.remote.openpi import nested
from proctor.policies.remote.presets import OPENPI
from proctor.testing.episodes import opened
from proctor.types import Observation

PROMPT = "put the bowl on the plate"


@pytest.fixture(scope="module")
def seen():
    """Of an episode's beginning: what the simulator gives, and what the environment makes of it."""
    raw = []
    with opened(Libero(LiberoConfig(task="libero_goal", task_ids=[0], protocol="openpi"))) as env:
        reset = env._simulator.reset

        def watched(*arguments, **named):
            raw.append(reset(*arguments, **named))
            return raw[-1]

        env._simulator.reset = watched
        observed = env.reset(7, 0, look=True)
        return raw[0], {name: np.array(array) for name, array in observed.items()}


@pytest.fixture(scope="module")
def theirs(openpi_python, seen, tmp_path_factory):
    """The message of the real client."""
    raw, folder = seen[0], tmp_path_factory.mktemp("openpi")
    nothing = {name: np.zeros((4, 4, 3), np.uint8) for name in ("top", "odd", "thin")}
    np.savez(
        folder / "case.npz",
        agentview=raw.images["agentview"],
        wrist=raw.images["robot0_eye_in_hand"],
        pos=raw.eef_pos,
        quat=raw.eef_quat,
        grip=raw.gripper_qpos,
        joints=np.zeros(14),
        **nothing,
    )
    subprocess.run([openpi_python, str(Path(__file__).with_name("oracle.py")), str(folder), "libero"], check=True)
    return (folder / "libero").read_bytes()


def test_a_request_is_that_of_openpis_client_to_the_byte(seen, theirs):
    """Keys, images, state and sentence, if the environment follows openpi's protocol."""
    arrays = {name: array[np.newaxis] for name, array in seen[1].items()}
    ours, expected = nested(OPENPI["libero"].items(Observation(arrays, PROMPT), {})), unpack(theirs)

    assert list(ours) == list(expected)
    assert all(ours[name].std() > 10 for name in ("observation/image", "observation/wrist_image"))
    assert ours["observation/state"].dtype == np.float64
    assert pack(ours) == theirs
