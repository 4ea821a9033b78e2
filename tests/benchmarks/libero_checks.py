"""What a LIBERO simulator is, array by array, for comparing LIBERO's own code with the quick one."""

from __future__ import annotations

import hashlib
import re
from contextlib import contextmanager
from unittest.mock import patch

import mujoco
import numpy as np

from proctor.benchmarks.base import digest_of
from proctor.benchmarks.libero.arm import CompiledArm, OwnArm
from proctor.benchmarks.libero.package import LiberoFiles
from proctor.benchmarks.libero.simulator import QuickSimulator, Simulator
from proctor.benchmarks.libero.tasks import SUITES
from proctor.benchmarks.robosuite.drawing import View

VIEW = View(("agentview", "robot0_eye_in_hand"), (128, 128))

# Scratch memory of the constraint solver, not read before it is written; what only the compiler writes.
UNREAD = re.compile(r"efc_|.*island|mesh_|skin_|hfield_|tex_|bvh_|oct_|name_|names|paths")


def liberos(suite, task_id):
    """The scene and the stored initial states of a task of LIBERO or LIBERO-PRO."""
    files, name = LiberoFiles(), SUITES[suite][task_id]
    return files.scene(suite, name), files.init_states(suite, name)


@contextmanager
def standing_simulator(kind, scene):
    """A simulator of a task: ``kind`` is one of the two classes."""
    simulator = kind(scene, VIEW)
    try:
        yield simulator
    finally:
        simulator.close()


def arrays(simulator):
    """A digest of each array of MuJoCo's model and simulation: all that a step or an image can depend on."""
    return {
        f"{part}.{name}": hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:16]
        for part in ("model", "data")
        for holder in [getattr(simulator, part)]
        for name in dir(holder)
        if not name.startswith("_") and not UNREAD.match(name)
        if isinstance(value := getattr(holder, name), np.ndarray)
    }


def put_at_goal(simulator):
    """Put every object and joint where the task wants it, so that LIBERO says the goal holds; whether it does."""
    env = simulator.env
    for predicate, name, *places in sorted(env.parsed_problem["goal_state"], key=len):  # joints first: drawers move
        if places:
            place_in_reach_of_success(simulator, [predicate, name, *places])
        else:
            ranges = env.get_object(_whole(env, name)).object_properties["articulation"]
            env.object_states_dict[name].set_joint(np.mean(ranges[f"default_{predicate}_ranges"]))
            env.sim.forward()
    return bool(env._check_success())


def _whole(env, name):
    """The object a region such as a drawer belongs to."""
    return getattr(env.object_states_dict[name], "parent_name", name)


def place_in_reach_of_success(simulator, goal):
    """Put an object into the middle of its place, or lower it onto it until LIBERO says that it is there."""
    env = simulator.env
    predicate, name, place = goal
    joint, there = env.get_object(name).joints[-1], env.object_states_dict[place].get_geom_state()["pos"].copy()
    pose = env.sim.data.get_joint_qpos(joint).copy()
    for height in ([0.0] if predicate == "in" else []) + list(np.arange(0.2, -0.05, -0.001)):
        env.sim.data.set_joint_qpos(joint, np.concatenate([there + np.array([0, 0, height]), pose[3:]]))
        env.sim.forward()
        if env._eval_predicate(goal):
            return


def went_through(simulator, states, seed, n_steps, *, look_every=2):
    """Everything that an episode of random actions is: success, arrays, random numbers and sensors at every step.

    Images at the first one and every ``look_every`` steps. Before the last step all is put at its goal.
    """
    state = states[seed % len(states)]
    actions = np.random.default_rng(seed).uniform(-1, 1, (n_steps, 7)).astype(np.float32)
    seen = simulator.reset(seed, state, absolute=False, look=True)
    moments = [(False, arrays(simulator), sensed(seen), np.random.get_state()[1].tobytes())]
    for i, action in enumerate(actions, start=1):
        if i == n_steps:
            put_at_goal(simulator)
        success, seen = simulator.step(action, look=i % look_every == 0)
        moments.append((success, arrays(simulator), sensed(seen) if seen else None, np.random.get_state()[1].tobytes()))
    return moments


def sensed(seen):
    parts = {**seen.images, "eef_pos": seen.eef_pos, "eef_quat": seen.eef_quat, "gripper_qpos": seen.gripper_qpos}
    return {name: hashlib.sha256(np.ascontiguousarray(part).tobytes()).hexdigest()[:16] for name, part in parts.items()}


def both_kinds(scene, states, seeds, n_steps, *, look_every=2):
    """Episodes of LIBERO's own code, and of the quick simulator: two lists of what :func:`went_through` gives."""
    episodes = []
    for kind in (Simulator, QuickSimulator):
        with standing_simulator(kind, scene) as simulator:
            episodes.append([went_through(simulator, states, seed, n_steps, look_every=look_every) for seed in seeds])
    return episodes


def both_arms(suite, task_id, seeds, n_steps, *, absolute=False):
    """Episodes of one quick simulator, driven by robosuite's controller, then by the compiled one: two lists of what
    :func:`drove_through` gives. Constraints are solved for robosuite's as they were before there was the other one.
    """
    scene, states = liberos(suite, task_id)
    with standing_simulator(QuickSimulator, scene) as simulator:
        assert isinstance(simulator._arm, CompiledArm)
        compiled = [drove_through(simulator, states, seed, n_steps, absolute=absolute) for seed in seeds]
        simulator._arm = OwnArm(simulator.env.robots[0], simulator.model, simulator.data)
        with patch.object(mujoco, "mj_fwdConstraint", lambda *of: mujoco.mj_forwardSkip(*of, 1, 1)):
            own = [drove_through(simulator, states, seed, n_steps, absolute=absolute) for seed in seeds]
    return own, compiled


def drove_through(simulator, states, seed, n_steps, *, absolute):
    """Success and the digest of the state after each step of an episode whose actions go far, or do not turn."""
    generator = np.random.default_rng(seed)
    directions = np.repeat(generator.uniform(-1, 1, (n_steps // 6 + 1, 7)), 6, axis=0)[:n_steps]
    actions = (directions + 0.3 * generator.normal(size=(n_steps, 7))).astype(np.float32)
    actions[::17, 3:6] = 0
    simulator.reset(seed, states[seed % len(states)], absolute=absolute, look=False)
    return [(simulator.step(action, look=False)[0], driven_state(simulator)) for action in actions]


def driven_state(simulator):
    """A digest of what a step leaves behind: of MuJoCo's data, the controller and the gripper."""
    data, controller = simulator.data, simulator.controller
    parts = [data.qpos, data.qvel, data.qacc, data.qacc_warmstart, data.ctrl, data.sensordata, data.cfrc_ext]
    parts += [data.xpos, data.xquat, data.site_xpos, simulator.gripper.current_action]
    return digest_of([*parts, controller.goal_pos, controller.goal_ori])


def differences(stock, quick):
    """Where two lists of episodes differ: (episode, step, arrays); empty where nowhere."""
    found = []
    for number, (theirs, ours) in enumerate(zip(stock, quick, strict=True)):
        for step, (their, our) in enumerate(zip(theirs, ours, strict=True)):
            if their != our:
                arrays_that_differ = sorted(name for name, value in their[1].items() if our[1][name] != value)
                found.append((number, step, arrays_that_differ or "success, sensors or random numbers"))
    return found
