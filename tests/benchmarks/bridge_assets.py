"""A small stand-in for the downloads of SimplerEnv-Bridge: an arm of boxes, objects, tables and backgrounds.

ManiSkill's own code loads them. What is tested with them is that code and ours; the real robot, objects and photographs
are not here.
"""

import json

import numpy as np
from PIL import Image

OBJECTS = {
    "info_bridge_custom_v0.json": (
        "bridge_carrot_generated_modified",
        "bridge_plate_objaverse_larger",
        "bridge_spoon_generated_modified",
        "table_cloth_generated_shorter",
        "eggplant",
        "dummy_sink_target_plane",
        "sink",
    ),
    "info_bridge_custom_baked_tex_v0.json": ("baked_green_cube_3cm", "baked_yellow_cube_3cm"),
}
FLAT = {"bridge_plate_objaverse_larger", "table_cloth_generated_shorter", "dummy_sink_target_plane", "sink"}
ARM = {  # joints of the arm: axis, and the way to the next link in metres
    "waist": ("0 0 1", "0 0 0.11"),
    "shoulder": ("0 1 0", "0.05 0 0.25"),
    "elbow": ("0 1 0", "0.25 0 0"),
    "forearm_roll": ("1 0 0", "0.08 0 0"),
    "wrist_angle": ("0 1 0", "0.07 0 0"),
    "wrist_rotate": ("1 0 0", "0.09 0 0"),
}


def write(folder):
    """Write the stand-in into a folder, as ``MS_ASSET_DIR`` names it."""
    data = folder / "data"
    bridge = data / "tasks" / "bridge_v2_real2sim_dataset"
    for part in ("stages", "custom/models", "real_inpainting"):
        (bridge / part).mkdir(parents=True)
    (data / "robots" / "widowx").mkdir(parents=True)
    (data / "robots" / "widowx" / "wx250s.urdf").write_text(_robot())
    rng = np.random.default_rng(0)
    for name in ("bridge_real_eval_1.png", "bridge_sink.png"):
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)).save(bridge / "real_inpainting" / name)
    for name in ("bridge_table_1_v1.glb", "bridge_table_1_v2.glb"):
        _box((0.8, 0.01, 0.8), (2.0634, 0.855, -2.8313)).export(bridge / "stages" / name)
    for listing, names in OBJECTS.items():
        about = {}
        for name in names:
            size = (0.08, 0.08, 0.004) if name in FLAT else (0.03, 0.03, 0.03)
            model = bridge / "custom" / "models" / name
            model.mkdir()
            for file in ("collision.obj", "textured.obj"):
                _box(size).export(model / file)
            half = [side / 2 for side in size]
            about[name] = {"bbox": {"min": [-side for side in half], "max": half}, "scales": [1.0], "density": 500}
        (bridge / "custom" / listing).write_text(json.dumps(about))


def _box(size, center=(0, 0, 0)):
    import trimesh

    box = trimesh.creation.box(size)
    box.apply_translation(center)
    return box


def _robot():
    links, joints = ['<link name="base_link">' + _body("0.1 0.1 0.05") + "</link>"], []
    parent, way = "base_link", "0 0 0.05"
    for joint, (axis, next_way) in ARM.items():
        link = f"{joint}_link"
        links.append(f'<link name="{link}">{_body("0.03 0.03 0.03")}</link>')
        joints.append(_joint(joint, "revolute", parent, link, way, axis, "-3.14", "3.14"))
        parent, way = link, next_way
    links.append(f'<link name="ee_gripper_link">{_body("0.01 0.01 0.01")}</link>')
    joints.append(_joint("ee", "fixed", parent, "ee_gripper_link", way, "1 0 0", "0", "0"))
    for side, sign in (("left", ""), ("right", "-")):
        links.append(f'<link name="{side}_finger_link">{_body("0.03 0.005 0.01")}</link>')
        axis = f"0 {sign}1 0"
        joints.append(_joint(f"{side}_finger", "prismatic", parent, f"{side}_finger_link", way, axis, "0.015", "0.037"))
    return f'<robot name="wx250s">{"".join(links)}{"".join(joints)}</robot>'


def _body(size):
    shape = f'<geometry><box size="{size}"/></geometry>'
    inertia = '<inertia ixx="1e-3" iyy="1e-3" izz="1e-3" ixy="0" ixz="0" iyz="0"/>'
    return f"<visual>{shape}</visual><collision>{shape}</collision><inertial><mass value='0.2'/>{inertia}</inertial>"


def _joint(name, kind, parent, child, way, axis, lower, upper):  # noqa: PLR0917 - as a URDF has them
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/><origin xyz="{way}"/>'
        f'<axis xyz="{axis}"/><limit lower="{lower}" upper="{upper}" effort="100" velocity="2"/></joint>'
    )
