"""Measure a step of LIBERO with robosuite's own controller and with the compiled one, in alternating pairs.

    python bench/libero_step.py [--pairs 5] [--steps 60] [SUITE/TASK …]

Each pair runs the same episode of random actions, undrawn, by both, in the CPU time of this process, and compares the
state of every step to the bit. MuJoCo's share is measured by repeating the calls of MuJoCo of each step alone. The
default is ``libero_spatial/0`` and ``libero_10/2``, whose scenes are the largest and among the smallest.
"""

from __future__ import annotations

import argparse
import os
import statistics
from dataclasses import dataclass, field
from time import process_time
from typing import Any
from unittest.mock import patch

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # as in Proctor's workers

import mujoco
import numpy as np

from proctor.benchmarks.base import digest_of
from proctor.benchmarks.libero import arm as libero_arm
from proctor.evaluation.components import make_benchmark
from proctor.types import Array

N_SUBSTEPS = 25


@dataclass
class Costs:
    """Milliseconds of a step in each pair."""

    own: list[float] = field(default_factory=list)
    compiled: list[float] = field(default_factory=list)
    mujoco: list[float] = field(default_factory=list)


def simulator_of(env: Any) -> Any:
    return env._simulator  # noqa: SLF001 - a step's parts are inside


def episode(env: Any, seed: int, init_state: int | None, n_steps: int) -> tuple[float, str]:
    """Return the milliseconds of a step, and a digest of the last state, which any difference before would change."""
    env.reset(seed, init_state, look=False)
    actions = np.random.default_rng(seed).uniform(-1, 1, (n_steps, 7)).astype(np.float32)
    started = process_time()
    for action in actions:
        env.step(action, look=False)
    used = process_time() - started
    return used / n_steps * 1000, digest_of([*env.state(), simulator_of(env).data.qacc_warmstart])


def mujocos_share(env: Any, seed: int, init_state: int | None, n_steps: int) -> float:
    """Return the milliseconds of a step's calls of MuJoCo: the same ones on the same states, and nothing else."""
    simulator = simulator_of(env)
    model, data = simulator.model, simulator.data
    env.reset(seed, init_state, look=False)
    actions = np.random.default_rng(seed).uniform(-1, 1, (n_steps, 7)).astype(np.float32)
    used = 0.0
    for action in actions:
        before = data.qpos.copy(), data.qvel.copy(), data.qacc_warmstart.copy(), data.time
        torques = torques_of(env, action)
        after = data.qpos.copy()
        data.qpos[:], data.qvel[:], data.qacc_warmstart[:], data.time = before
        used += repeated(model, data, simulator.env.robots[0].eef_site_id, torques)
        if not np.array_equal(after, data.qpos):
            raise SystemExit("The repeated step differs, so its time says nothing.")
    return used / n_steps * 1000


def torques_of(env: Any, action: Array) -> list[Array]:
    """Do a step. Returns what MuJoCo's ``ctrl`` was before it, and in each of its substeps."""
    data, arm = simulator_of(env).data, simulator_of(env)._arm  # noqa: SLF001
    found, drive = [data.ctrl.copy()], arm.drive

    def watched() -> None:
        drive()
        found.append(data.ctrl.copy())

    arm.drive = watched
    try:
        env.step(action, look=False)
    finally:
        del arm.drive
    return found


def repeated(model: Any, data: Any, site: int, torques: list[Array]) -> float:
    """Return the seconds that MuJoCo needs for a step with known torques."""
    jacobian = np.zeros((3, model.nv)), np.zeros((3, model.nv))
    data.ctrl[:] = torques[0]
    started = process_time()
    for ctrl in torques[1:]:
        mujoco.mj_forwardSkip(model, data, 0, 1)
        mujoco.mj_fwdConstraint(model, data)
        mujoco.mj_jacSite(model, data, *jacobian, site)
        data.ctrl[:] = ctrl
        mujoco.mj_step2(model, data)
    return process_time() - started


def measure(suite: str, task_id: int, n_pairs: int, n_steps: int) -> Costs:
    benchmark, _ = make_benchmark({"type": "libero", "task": suite, "task_ids": [task_id]})
    (task,) = benchmark.tasks()
    compiled = benchmark.make_env(task)
    with patch.object(libero_arm, "compiled_for", lambda _: None):
        own = benchmark.make_env(task)
    costs = Costs()
    for seed in range(n_pairs):
        state = benchmark.init_state_id(task, seed)
        sides = [(own, costs.own), (compiled, costs.compiled)]
        states = {}
        for env, found in sides if seed % 2 else sides[::-1]:
            cost, states[env] = episode(env, seed, state, n_steps)
            found.append(cost)
        if states[own] != states[compiled]:
            raise SystemExit(f"{suite}/{task_id}, seed {seed}: the states differ.")
        costs.mujoco.append(mujocos_share(compiled, seed, state, n_steps))
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=["libero_spatial/0", "libero_10/2"], metavar="SUITE/TASK")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    from common import machine

    print(machine())
    print(f"{'milliseconds a step':20} {'own':>15} {'compiled':>15} {'MuJoCo alone':>15} {'compiled beside':>15}")
    for name in options.tasks:
        suite, task_id = name.split("/")
        costs = measure(suite, int(task_id), options.pairs, options.steps)
        beside = [whole - part for whole, part in zip(costs.compiled, costs.mujoco, strict=True)]
        columns = (costs.own, costs.compiled, costs.mujoco, beside)
        print(f"{name:20}", *(f"{statistics.median(c):6.2f} ({min(c):5.2f})".rjust(15) for c in columns), flush=True)


if __name__ == "__main__":
    main()
