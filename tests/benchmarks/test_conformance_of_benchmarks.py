"""What every adapter promises, kept by each of ours with its real simulator."""

import inspect
import math
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from benchmark_episodes import SAMPLES, always, episode, standing

from proctor.benchmarks.base import Step
from proctor.testing.conformance import BenchmarkConformance
from proctor.testing.fakes import FakeBenchmark, FakeConfig, FakeEnv

DRAWN = {
    "pusht",
    "push-v3",
    "drawer-open-v3",
    "AlohaInsertion-v0",
    "libero_goal",
    "libero_goal_task",
    "Lift",
    "PickPlaceCan",
}
"""Those that show images, and draw them only when somebody looks."""

SIZED = {"pusht", "push-v3", "AlohaInsertion-v0", "libero_goal", "libero_goal_task", "Lift"}
"""One of each that can draw a video at any size."""


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        (Step(0.5, terminated=False, truncated=False, success=None), ""),
        (Step(0.5, terminated=False, truncated=False, success=0.5), "success is 0.5, not True, False or None"),
        (Step(0.5, terminated=np.True_, truncated=False, success=True), "terminated or truncated is "),
        (Step(math.nan, terminated=False, truncated=False, success=True), "a reward is nan"),
    ],
)
def test_what_a_step_says_is_asked_for_by_the_kit(monkeypatch, step, problem):
    """A benchmark may say nothing of success, but what it says must be a bool."""
    monkeypatch.setattr(FakeEnv, "step", lambda self, action, look: step)
    with standing(FakeBenchmark(FakeConfig(type="fake"))) as env:
        moments = episode(env, 7, 3)
    recording = SimpleNamespace(observed=moments)

    with pytest.raises(AssertionError, match=problem) if problem else nullcontext():
        BenchmarkConformance().test_rewards_are_numbers(recording)


SECOND_OF_THEIR_KIND = {"drawer-open-v3", "libero_goal_task"}
"""Push-v3 and libero_goal test the same adapters in `make test`, so only `make prove` runs these two."""


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.prove] * (name in SECOND_OF_THEIR_KIND)) for name in SAMPLES]
)
def name(request):
    return request.param


class TestOurs(BenchmarkConformance):
    """What is asked of everybody's, and more."""

    @pytest.fixture
    def benchmark(self, name):
        return SAMPLES[name]

    def test_all_of_ours_are_deterministic(self, recording):
        """So that nothing above is skipped."""
        assert recording.deterministic

    def test_the_last_step_truncates_and_shows_nothing(self, benchmark):
        """An episode of three steps is over after three, and nobody looks any more."""
        with standing(type(benchmark)(replace(benchmark.config, episode_length=3))) as env:
            moments = episode(env, 7, 10, look=always)

        assert [m.over for m in moments] == [False, False, False, True]
        assert moments[-1].seen is None

    def test_time_spent_looking_is_kept_apart(self, name, recording):
        """Where something is drawn, it takes time; images are not black."""
        assert (recording.look_seconds[0] > 0) == (name in DRAWN | {"pusht-corners"})
        for array in recording.observation.values():
            assert array.ndim == 1 or array.std() > 10

    def test_frames_have_the_size_that_is_asked_for(self, name, benchmark, recording):
        """Also one for which the simulator needs more room to draw than it has; every camera shows something else."""
        if name not in SIZED:
            pytest.skip("it draws at its own size")
        usual = benchmark.config.visualization_height, benchmark.config.visualization_width, 3
        large = [frame for frame in recording.frames if frame.size == (1000, 700)]
        cameras = {frame.camera for frame in recording.frames}

        assert len(recording.frames) == 4 * len(cameras)
        assert all(frame.deviation > 10 for frame in recording.frames)
        assert {frame.shape for frame in large} == {(700, 1000, 3)}
        assert {frame.shape for frame in recording.frames if frame.size is None} == {usual}
        assert len({frame.digest for frame in large}) == len(cameras)

    def test_the_docstring_says_what_is_seen_and_done(self, name, benchmark, recording):
        """Keys, shapes and dtypes, how many steps of how long; so docs/benchmarks.md is true."""
        if name in ("CartPole-v1", "Pendulum-v1"):
            pytest.skip("its protocol is its own")
        docstring = " ".join(inspect.getdoc(type(benchmark)).split())
        (task,) = benchmark.tasks()[:1]

        assert str(task.max_episode_steps) in docstring
        assert f"steps of {1 / recording.fps:g} s" in docstring or f"steps of 1/{recording.fps:g} s" in docstring
        if name == "FetchReach-v4":
            return
        assert f"{recording.action.dtype} {recording.action.shape}" in docstring
        for key, array in recording.observation.items():
            assert f"``{key}``" in docstring
            assert f"{array.dtype} {array.shape}" in docstring


def test_listing_tasks_imports_no_simulator():
    """The main process plans an evaluation; only workers simulate."""
    program = """
import sys
from proctor.benchmarks.aloha import Aloha, AlohaConfig
from proctor.benchmarks.hil import Hil, HilConfig
from proctor.benchmarks.libero.benchmark import Libero, LiberoConfig
from proctor.benchmarks.metaworld.benchmark import MetaWorld, MetaWorldConfig
from proctor.benchmarks.pusht import PushT, PushTConfig
from proctor.benchmarks.robocasa import RoboCasa
from proctor.benchmarks.robosuite import Robosuite, RobosuiteConfig
from proctor.benchmarks.xarm import Xarm, XarmConfig
Xarm(XarmConfig()).tasks(), Hil(HilConfig()).tasks(), Robosuite(RobosuiteConfig(task="robomimic")).tasks()
Aloha(AlohaConfig()).tasks(), Libero(LiberoConfig()).tasks()
PushT(PushTConfig()).tasks(), MetaWorld(MetaWorldConfig(task="MT50")).tasks()
simulators = {"metaworld", "mujoco", "gym_aloha", "dm_control", "libero", "robosuite", "gym_pusht", "pymunk", "pygame",
              "gym_xarm", "gym_hil", "robocasa"}
loaded = (simulators | {"torch"}) & sys.modules.keys()
sys.exit(f"loaded: {loaded}" if loaded else 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
