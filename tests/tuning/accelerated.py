"""A policy that says it runs on an accelerator, and takes its time and memory there. There is none: it sleeps."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from proctor.policies.base import Policy

SECONDS = 0.002
"""Of a pass, and as much for each row."""


class Accelerated(Policy):
    """Five actions per pass. ``memory`` is the file in which the driver finds how many MiB are taken."""

    n_action_steps = 5
    batch_size = 4

    def __init__(self, memory: str) -> None:
        self._memory, self._taken = Path(memory), 0
        self._take(2000)
        self.rows: list[int] = []

    def predict(self, observations, memories):
        self.rows.append(len(observations))
        time.sleep(SECONDS * (1 + len(observations)))
        self._take(2000 + 100 * len(observations))
        return [np.zeros((5, 2), np.float32) for _ in observations]

    def fingerprint(self):
        return {"type": "accelerated", "device": "cuda:1"}

    def _take(self, mib: int) -> None:
        """As an allocator does that keeps what it once had. The driver never finds half a file."""
        self._taken = max(self._taken, mib)
        fresh = self._memory.with_name("fresh")
        fresh.write_text(str(self._taken))
        fresh.replace(self._memory)


class OneByOne(Accelerated):
    """One episode at a time."""

    randomness = "global"


class Source:
    """Takes the memory when it is opened, not before."""

    look_offsets, n_action_steps, episodes_per_pass = (0,), 5, 1
    distributions, sources, pinned, unidentified = (), (), {}, ""

    def __init__(self, memory: str) -> None:
        self._memory = memory
        self.per_device = (self,)

    def check_contract(self, features):
        pass

    def fingerprint(self):
        return {"type": "accelerated"}

    def open(self, n_threads):
        return OneByOne(self._memory)


def load(fields, rename_map=None):
    return Source(fields["memory"])


class Broken(Source):
    """Has a bug."""

    def open(self, n_threads):
        raise AssertionError("a bug of its own")


def load_broken(fields, rename_map=None):
    return Broken(fields["memory"])
