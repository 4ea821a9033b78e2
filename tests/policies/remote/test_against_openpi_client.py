"""What is sent is what the real openpi-client from PyPI would send, to the byte."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from proctor.policies.remote.codec import pack, unpack
from proctor.policies.remote.images import resize_with_pad
from proctor.policies.remote.openpi import nested
from proctor.policies.remote.presets import OPENPI
from proctor.types import Observation

PROMPT = "put the bowl on the plate"


@pytest.fixture(scope="module")
def case():
    generator = np.random.default_rng(7)

    def pixels(height, width):
        return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)

    quat = generator.normal(size=4)
    return {
        "agentview": pixels(256, 256),
        "wrist": pixels(256, 256),
        "top": pixels(480, 640),
        "odd": pixels(37, 101),
        "thin": pixels(500, 30),
        "pos": generator.normal(size=3),
        "quat": quat / np.linalg.norm(quat),
        "grip": generator.normal(size=2),
        "joints": generator.normal(size=14),
    }


@pytest.fixture(scope="module")
def oracle(openpi_python, case, tmp_path_factory):
    """The folder with what the real client makes of the case."""
    folder = tmp_path_factory.mktemp("openpi")
    np.savez(folder / "case.npz", **case)
    (folder / "ours").write_bytes(pack({"x": np.arange(4.0).reshape(2, 2), "y": np.zeros((2, 2, 3), np.uint8)}))
    subprocess.run([openpi_python, str(Path(__file__).with_name("oracle.py")), str(folder)], check=True)
    return folder


def sent(preset, **arrays):
    """The bytes of a request, of an observation as of this moment."""
    seen = {f"observation.{name}": array[np.newaxis] for name, array in arrays.items()}
    return pack(nested(OPENPI[preset].items(Observation(seen, PROMPT), {})))


def test_an_observation_of_libero_as_robosuite_gives_it(oracle, case):
    """Turned, resized, its quaternion as axis times angle."""
    ours = sent(
        "libero_raw",
        agentview_image=case["agentview"],
        robot0_eye_in_hand_image=case["wrist"],
        robot0_eef_pos=case["pos"],
        robot0_eef_quat=case["quat"],
        robot0_gripper_qpos=case["grip"],
    )

    assert ours == (oracle / "libero").read_bytes()


def test_an_observation_of_libero_as_proctor_gives_it(oracle, case):
    """Its images are turned and its state has an axis times an angle already; what is sent is the same."""
    there = unpack((oracle / "libero").read_bytes())
    ours = sent(
        "libero",
        **{
            "images.image": np.ascontiguousarray(case["agentview"][::-1, ::-1]),
            "images.image2": np.ascontiguousarray(case["wrist"][::-1, ::-1]),
            "state": there["observation/state"],
        },
    )

    assert ours == (oracle / "libero").read_bytes()


def test_an_observation_of_aloha(oracle, case):
    ours = sent("aloha", **{"state": case["joints"], "images.top": case["top"]})

    assert ours == (oracle / "aloha").read_bytes()


def test_an_observation_of_droid(oracle, case):
    ours = sent(
        "droid",
        **{
            "images.exterior_image_1_left": case["top"],
            "images.wrist_image_left": case["wrist"],
            "state": case["joints"][:8],
        },
    )

    assert ours == (oracle / "droid").read_bytes()


@pytest.mark.parametrize("size", [(224, 224), (100, 37), (300, 500)])
@pytest.mark.parametrize("name", ["agentview", "top", "odd", "thin"])
def test_images_are_resized_alike(oracle, case, name, size):
    assert np.array_equal(resize_with_pad(case[name], *size), np.load(oracle / f"{name}_{size[0]}_{size[1]}.npy"))


def test_numbers_of_numpy_and_arrays_of_any_layout_are_packed_alike(oracle):
    values = {"a": np.float32(1.5), "b": np.arange(6, dtype=np.int16).reshape(2, 3).T, "c": [np.bool_(True), 1, None]}

    assert pack(values) == (oracle / "values").read_bytes()


def test_what_the_real_client_packs_is_read(oracle):
    values = unpack((oracle / "values").read_bytes())

    assert values["a"] == np.float32(1.5)
    assert values["a"].dtype == np.float32
    assert values["b"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert values["c"] == [True, 1, None]
