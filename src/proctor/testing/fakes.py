"""A benchmark and policies without a simulator and without weights: outcomes are a pure function of task, seed and
actions, and faults strike at the places of a script. For testing engines, launchers and reports; measures nothing real.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from proctor.benchmarks.base import Benchmark, SimEnv, Step
from proctor.benchmarks.gym_package import Box, Dict
from proctor.config import EnvConfig
from proctor.policies.base import EpisodeMemory, Policy
from proctor.types import Array, Observation, Task

FAKE_BENCHMARK = "proctor.testing.fakes:FakeBenchmark"


@dataclass(frozen=True, kw_only=True)
class FakeConfig(EnvConfig):
    """``faults`` maps ``"<task>/<seed>/<step>"`` to what happens there: ``raise``, ``kill``, ``segfault``, ``abort``,
    ``exit``, ``hang``, ``seize`` (hangs in native code that holds the GIL, and ignores SIGTERM), ``stop`` (SIGSTOP),
    ``nap`` (half a second), ``quit`` (SystemExit), ``panic`` (no Exception), ``ask`` (input()), ``babble`` (writes into
    every open socket), ``interrupt`` (KeyboardInterrupt, without a Ctrl-C).
    Step 0 is the reset, ``"<task>/construct"`` the constructor, ``"<task>/<seed>/<step>/render"`` a video's frame. A
    fault strikes ``times`` times; ``scratch`` is the folder in which workers remember how often it has.

    With ``drifts`` an episode never runs the same way twice, whatever ``deterministic`` claims. ``says`` selects the
    steps that report success: ``always``, ``successes`` (nothing otherwise), ``never``. Each reset takes ``leaks_mb``
    megabytes of memory for good.
    """

    n_tasks: int = 2
    max_steps: int = 20
    step_seconds: float = 0.0
    image_size: int = 8
    deterministic: bool = True
    drifts: bool = False
    says: str = "always"
    faults: dict[str, str] = field(default_factory=dict)
    times: int = 1
    scratch: str = ""
    leaks_mb: int = 0


class FakeBenchmark(Benchmark):
    """``n_tasks`` tasks in which a number must be steered to a goal."""

    name: ClassVar[str] = "fake"
    extra: ClassVar[str] = ""
    protocol: ClassVar[str] = "fake-1"
    draws_with_gl = False
    config_class = FakeConfig
    config: FakeConfig

    def tasks(self) -> list[Task]:
        n_steps = self.config.max_steps
        return [Task("fake", i, f"task-{i}", f"steer to {i}", n_steps) for i in range(self.config.n_tasks)]

    def make_env(self, task: Task) -> SimEnv:
        return FakeEnv(task, self.config)


class FakeEnv(SimEnv):
    """The state is one number that moves by the action and a little by itself; close to the goal is success."""

    fps = 10.0
    cameras = ("front", "back")

    def __init__(self, task: Task, config: FakeConfig) -> None:
        self._task, self._config = task, config
        self.deterministic = config.deterministic
        size = config.image_size
        self.observation_space = Dict(
            {
                "observation.image": Box(0, 255, (size, size, 3), np.uint8),
                "observation.state": Box(-np.inf, np.inf, (2,), np.float64),
            }
        )
        self.action_space = Box(-1.0, 1.0, (2,), np.float32)
        self._seed = self._n_steps = 0
        self._position: Array = np.zeros(2)
        self._leak = bytearray()
        self.n_looks = 0
        self._strike(f"{task.task_id}/construct")

    def reset(self, seed: int, init_state_id: int | None, *, look: bool) -> Mapping[str, Array] | None:
        self._seed, self._n_steps = seed, 0
        self._generator = np.random.default_rng(None if self._config.drifts else seed)
        self._position = self._generator.normal(size=2)
        self._strike_here()
        self._leak += b"\1" * (self._config.leaks_mb << 20)
        return self._look() if look else None

    def step(self, action: Array, *, look: bool) -> Step:
        self._n_steps += 1
        self._strike_here()
        if self._config.step_seconds:
            time.sleep(self._config.step_seconds)
        self._position = self._position + 0.3 * np.asarray(action, np.float64) + 0.01 * self._generator.normal(size=2)
        distance = float(np.linalg.norm(self._position - self._task.task_id))
        done = distance < 0.1
        success = {"always": done, "successes": done or None, "never": None}[self._config.says]
        return Step(-distance, done, False, success, self._look() if look and not done else None)

    def render(self, camera: str | None = None, size: tuple[int, int] | None = None) -> Array:
        """Grey that grows brighter with every step; from behind it is the negative."""
        self._strike(f"{self._task.task_id}/{self._seed}/{self._n_steps}/render")
        width, height = size or (self._config.image_size,) * 2
        grey = min(10 * self._n_steps, 255)
        return np.full((height, width, 3), 255 - grey if camera == "back" else grey, np.uint8)

    def state(self) -> Iterable[Array]:
        return [self._position]

    def expert_action(self) -> Array:
        return np.clip((self._task.task_id - self._position) / 0.3, -1, 1).astype(np.float32)

    def _look(self) -> Mapping[str, Array]:
        with self.looking():
            return {"observation.image": self._image(), "observation.state": self._position.copy()}

    def _image(self) -> Array:
        size = self._config.image_size
        image = np.full((size, size, 3), self._n_steps % 256, np.uint8)
        image[0, 0, 0] = self._seed % 256
        return image

    def _strike_here(self) -> None:
        self._strike(f"{self._task.task_id}/{self._seed}/{self._n_steps}")

    def _strike(self, where: str) -> None:
        fault = self._config.faults.get(where)
        if fault is None:
            return
        marks = Path(self._config.scratch) / where.replace("/", "-")
        struck = len(marks.read_bytes()) if marks.exists() else 0
        if struck >= self._config.times:
            return
        with marks.open("ab") as file:
            file.write(b"x")
        _FAULTS[fault]()


def _raise() -> None:
    raise RuntimeError("a scripted fault")


def _quit() -> None:
    raise SystemExit(0)


class _Panic(BaseException):
    """An exception that is not an Exception, such as PyO3 raises for a panic in Rust."""


def _panic() -> None:
    raise _Panic


def _interrupt() -> None:
    raise KeyboardInterrupt


def _seize() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ctypes.PyDLL(None).sleep(3600)


def _babble() -> None:
    for descriptor in list(Path("/proc/self/fd").iterdir()):
        with suppress(OSError):
            if descriptor.is_socket():
                os.write(int(descriptor.name), b"\0\0\0\2no")


_FAULTS: dict[str, Any] = {
    "raise": _raise,
    "quit": _quit,
    "panic": _panic,
    "interrupt": _interrupt,
    "ask": input,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "seize": _seize,
    "babble": _babble,
    "exit": lambda: os._exit(0),
    "nap": lambda: time.sleep(0.5),
    "hang": lambda: time.sleep(3600),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
}


class FakePolicy(Policy):
    """Steers half-heartedly towards the goal its instruction names, with noise if asked for."""

    def __init__(self, n_action_steps: int = 3, look_offsets: tuple[int, ...] = (0,), noise: float = 0.0) -> None:
        self.n_action_steps = n_action_steps
        self.look_offsets = look_offsets
        self.noise = noise
        self.randomness = "global" if noise else "none"
        self.n_slots = 2

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.n_action_steps}, {self.look_offsets}, {self.noise})"

    def predict(self, observations: Sequence[Observation], memories: Sequence[EpisodeMemory]) -> list[Array]:
        return [self._chunk(observation) for observation in observations]

    def fingerprint(self) -> Mapping[str, Any]:
        return {"type": "fake", "n_action_steps": self.n_action_steps, "noise": self.noise}

    def _chunk(self, observation: Observation) -> Array:
        position = observation.arrays["observation.state"].mean(axis=0)
        goal = int(observation.instruction.rsplit(maxsplit=1)[-1])
        action = np.clip(goal - position, -1, 1)
        chunk = np.tile(action, (self.n_action_steps, 1))
        if self.noise:
            chunk = chunk + self.noise * np.random.normal(size=chunk.shape)  # noqa: NPY002 - the point of it
        return chunk.astype(np.float32)
