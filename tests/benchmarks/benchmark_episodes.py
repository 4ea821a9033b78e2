"""The real simulators that are tested, and what tests of several of them share."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from proctor.benchmarks.aloha import Aloha, AlohaConfig
from proctor.benchmarks.base import digest_of
from proctor.benchmarks.gymnasium import Gymnasium, GymnasiumConfig
from proctor.benchmarks.libero.benchmark import Libero, LiberoConfig
from proctor.benchmarks.metaworld.benchmark import MetaWorld, MetaWorldConfig
from proctor.benchmarks.pusht import PushT, PushTConfig
from proctor.benchmarks.robosuite import Robosuite, RobosuiteConfig
from proctor.testing.episodes import always, episode, random_actions
from proctor.testing.episodes import opened as standing

__all__ = ["SAMPLES", "always", "digest", "episode", "from_script", "random_actions", "standing"]

SAMPLES = {
    "pusht": PushT(PushTConfig()),
    "pusht-corners": PushT(PushTConfig(obs_type="environment_state_agent_pos")),
    "push-v3": MetaWorld(MetaWorldConfig(task="push-v3")),
    "drawer-open-v3": MetaWorld(MetaWorldConfig(task="drawer-open-v3")),
    "AlohaInsertion-v0": Aloha(AlohaConfig(task="AlohaInsertion-v0")),
    "libero_goal": Libero(LiberoConfig(task="libero_goal")),
    "libero_goal_task": Libero(LiberoConfig(task="libero_goal_task", task_ids=[7])),
    "Lift": Robosuite(RobosuiteConfig(task="Lift")),
    "PickPlaceCan": Robosuite(RobosuiteConfig(task="can")),
    "CartPole-v1": Gymnasium(GymnasiumConfig(task="CartPole-v1")),
    "Pendulum-v1": Gymnasium(GymnasiumConfig(task="Pendulum-v1")),
    "FetchReach-v4": Gymnasium(GymnasiumConfig(task="FetchReach-v4", module="gymnasium_robotics")),
}
"""A benchmark of one task each."""


def digest(array):
    """As :func:`proctor.testing.episodes.digests` has it for each array of an observation."""
    return digest_of([np.asarray(array)])


def from_script(script, *arguments):
    """What a script beside this one prints as its last line: JSON. In a fresh process."""
    command = [sys.executable, str(Path(__file__).parent / script), *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])
