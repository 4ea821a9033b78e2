"""Runs in the environment of the real openpi-client: ``python oracle.py FOLDER`` does there what openpi's clients do.

The folder holds ``case.npz``, raw observations as robosuite and gym-aloha give them; what the real client would send is
written beside it.
"""

import math
import sys
from pathlib import Path

import numpy as np
from openpi_client import image_tools, msgpack_numpy


def axis_angle(quat):
    w = min(max(quat[3], -1.0), 1.0)
    den = np.sqrt(1.0 - w * w)
    return np.zeros(3) if math.isclose(den, 0.0) else (quat[:3] * 2.0 * math.acos(w)) / den


def image(pixels):
    return image_tools.convert_to_uint8(image_tools.resize_with_pad(pixels, 224, 224))


def main():
    folder = Path(sys.argv[1])
    case = np.load(folder / "case.npz")
    packer = msgpack_numpy.Packer()
    libero = {
        "observation/image": image(np.ascontiguousarray(case["agentview"][::-1, ::-1])),
        "observation/wrist_image": image(np.ascontiguousarray(case["wrist"][::-1, ::-1])),
        "observation/state": np.concatenate((case["pos"], axis_angle(case["quat"]), case["grip"])),
        "prompt": "put the bowl on the plate",
    }
    (folder / "libero").write_bytes(packer.pack(libero))
    if "libero" in sys.argv:
        return
    aloha = {"state": case["joints"], "images": {"cam_high": np.transpose(image(case["top"]), (2, 0, 1))}}
    (folder / "aloha").write_bytes(packer.pack(aloha))
    droid = {
        "observation/exterior_image_1_left": image(case["top"]),
        "observation/wrist_image_left": image(case["wrist"]),
        "observation/joint_position": case["joints"][:7],
        "observation/gripper_position": case["joints"][7:8],
        "prompt": "put the bowl on the plate",
    }
    (folder / "droid").write_bytes(packer.pack(droid))
    for height, width in ((224, 224), (100, 37), (300, 500)):
        for name in ("agentview", "top", "odd", "thin"):
            resized = image_tools.resize_with_pad(case[name], height, width)
            np.save(folder / f"{name}_{height}_{width}.npy", resized)
    values = {"a": np.float32(1.5), "b": np.arange(6, dtype=np.int16).reshape(2, 3).T, "c": [np.bool_(True), 1, None]}
    (folder / "values").write_bytes(packer.pack(values))
    ours = msgpack_numpy.unpackb((folder / "ours").read_bytes())
    assert ours["x"].dtype == np.float64
    assert ours["x"].tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert ours["y"].dtype == np.uint8


main()
