"""What a LIBERO simulator is, array by array, for comparing LIBERO's own code with the quick one."""

from __future__ import annotations

import hashlib
import re
from contextlib import contextmanager

import numpy as np

from proctor.benchmarks.libero_package import LiberoFiles
from proctor.benchmarks.libero_simulator import QuickSimulator, Simulator
from proctor.benchmarks.libero_tasks import SUITES

CAMERAS, SIZE = ("agentview", "robot0_eye_in_hand"), (128, 128)

# Scratch memory of the constraint solver, not read before it is written; what only the compiler writes.
UNREAD = re.compile(r"efc_|.*island|mesh_|skin_|hfield_|tex_|bvh_|oct_|name_|names|paths")


@contextmanager
def standing_simulator(kind, suite, task_id):
    """A simulator of a task: ``kind`` is one of the two classes."""
    files = LiberoFiles()
    simulator = kind(files.task_file(suite, SUITES[suite][task_id]), CAMERAS, SIZE)
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


def went_through(simulator, suite, task_id, seed, n_steps):
    """Everything that an episode of random actions is: arrays, random numbers, sensors and images, at every step."""
    state = LiberoFiles().init_states(suite, SUITES[suite][task_id])[seed % 50]
    actions = np.random.default_rng(seed).uniform(-1, 1, (n_steps, 7)).astype(np.float32)
    seen = simulator.reset(seed, state, absolute=False, look=True)
    moments = [(False, arrays(simulator), sensed(seen), np.random.get_state()[1].tobytes())]
    for i, action in enumerate(actions, start=1):
        success, seen = simulator.step(action, look=i == n_steps)
        moments.append((success, arrays(simulator), sensed(seen) if seen else None, np.random.get_state()[1].tobytes()))
    return moments


def sensed(seen):
    parts = {**seen.images, "eef_pos": seen.eef_pos, "eef_quat": seen.eef_quat, "gripper_qpos": seen.gripper_qpos}
    return {name: hashlib.sha256(np.ascontiguousarray(part).tobytes()).hexdigest()[:16] for name, part in parts.items()}


def differences(suite, task_id, seeds, n_steps):
    """Where episodes of the quick simulator differ from those of LIBERO's own code; empty where nowhere."""
    episodes = {}
    for kind in (Simulator, QuickSimulator):
        with standing_simulator(kind, suite, task_id) as simulator:
            episodes[kind] = [went_through(simulator, suite, task_id, seed, n_steps) for seed in seeds]
    found = []
    for seed, stock, quick in zip(seeds, *episodes.values(), strict=True):
        for step, (theirs, ours) in enumerate(zip(stock, quick, strict=True)):
            differ = sorted(name for name, value in theirs[1].items() if ours[1][name] != value)
            if theirs != ours:
                found.append((seed, step, differ or "success, sensors or random numbers"))
    return found
