"""The worker's work, as a function from request to reply."""

from __future__ import annotations

import sys
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pytest

from proctor.benchmarks.base import Step
from proctor.child.other_python import Companions
from proctor.engine.worker.arrays import SharedArrays, anonymous_file
from proctor.engine.worker.messages import (
    Act,
    Build,
    Built,
    Finished,
    Observed,
    Ready,
    RequestFailed,
    Setup,
    Start,
    VideoSpec,
    encode,
)
from proctor.engine.worker.simulation import Simulation
from proctor.testing.fakes import FAKE_BENCHMARK, FakeBenchmark, FakeConfig, FakeEnv
from proctor.types import ArrayBytes, EpisodeSpec

CONFIG = {"type": "fake", "n_tasks": 2, "max_steps": 10}
TASK = FakeBenchmark(FakeConfig(**CONFIG)).tasks()[1]
START = Start(EpisodeSpec("fake", 1, 0, 1000), 10)


@pytest.fixture
def simulation():
    """One that is set up."""
    simulation = Simulation(SharedArrays(anonymous_file()))
    assert simulation.handle(Setup(FAKE_BENCHMARK, CONFIG, None, Companions(sys.path))) == Ready()
    yield simulation
    simulation.arrays.close()


@pytest.fixture
def built(simulation):
    """One whose simulator is built."""
    assert isinstance(simulation.handle(Build(TASK)), Built)
    return simulation


def act(n: int, looks: str) -> Act:
    return Act(ArrayBytes.pack(np.zeros((n, 2), np.float32)), tuple(look == "x" for look in looks))


def test_what_is_built_says_what_it_gives_and_takes(simulation):
    """Shapes and dtypes of both sides, as numpy names them."""
    reply = simulation.handle(Build(TASK))

    assert isinstance(reply, Built)
    assert str(reply.features.action) == "float32[2]"
    assert {key: str(spec) for key, spec in reply.features.observation.items()} == {
        "observation.image": "uint8[8, 8, 3]",
        "observation.state": "float64[2]",
    }


def test_only_what_is_asked_for_is_looked_at(built):
    """A chunk of five, looked at after the fourth and the fifth: three looks with that of the reset."""
    assert isinstance(built.handle(START), Observed)
    assert built.episode.n_looks == 1

    reply = built.handle(act(5, "...xx"))

    assert isinstance(reply, Observed)
    images = {placed.key: built.arrays.read(placed) for placed in reply.arrays}["observation.image"]
    assert images[:, 1, 1, 1].tolist() == [4, 5]
    assert built.episode.n_looks == 3


def test_nothing_after_the_end_counts(built):
    """Of a chunk beyond the limit only the steps up to it are executed."""
    built.handle(START)

    reply = built.handle(act(15, "." * 15))

    assert isinstance(reply, Finished)
    assert reply.arrays["actions"].shape == (10, 2)
    assert reply.n_looks == 1
    assert built.episode is None


def test_success_is_latched_and_rewards_are_summed(built, monkeypatch):
    """A success at any step is one, whatever comes after."""
    steps = iter([Step(1.0, False, False, False), Step(5.0, False, False, True), Step(-2.0, False, True, False)])
    built.handle(START)
    monkeypatch.setattr(FakeEnv, "step", lambda self, action, look: next(steps))

    reply = built.handle(act(3, "..."))

    assert (reply.success, reply.sum_reward, reply.max_reward) == (True, 4.0, 5.0)
    assert reply.arrays["rewards"].unpack().tolist() == [1.0, 5.0, -2.0]
    assert reply.arrays["successes"].unpack().tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("observed", "message"),
    [
        (np.zeros(3), "is float64[3], but the environment's observation space has float64[2]"),
        (np.zeros((2, 1)), "is float64[2, 1], but"),
        (np.zeros(2, np.float32), "is float32[2], but"),
        (np.array([{"a": 1}, [1, 2]], object), "is object[2], but"),
        ([0.0, 0.0], "is [0.0, 0.0], but"),
        (None, "is None, but"),
    ],
    ids=str,
)
def test_an_observation_that_is_not_as_declared_is_an_error_of_the_episode(built, monkeypatch, observed, message):
    """Pointers would be followed in another process, and a policy would be given what it was not told of."""
    image = np.zeros((8, 8, 3), np.uint8)
    monkeypatch.setattr(FakeEnv, "_look", lambda _: {"observation.image": image, "observation.state": observed})

    reply = built.handle(START)

    assert isinstance(reply, RequestFailed)
    assert f"ValueError: the observation 'observation.state' {message}" in reply.message


@pytest.mark.parametrize(
    ("reported", "known"), [([None, None], None), ([None, False], False), ([False, None], False), ([True, None], True)]
)
def test_nothing_is_known_of_success_until_a_step_says_something(built, monkeypatch, reported, known):
    """Silence is no failure."""
    steps = iter([Step(1.0, False, False, reported[0]), Step(1.0, False, True, reported[1])])
    built.handle(START)
    monkeypatch.setattr(FakeEnv, "step", lambda self, action, look: next(steps))

    assert built.handle(act(2, "..")).success is known


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("position", [0, 1])
def test_a_reward_that_is_not_finite_leaves_the_episode_without_one(built, monkeypatch, reward, position):
    """And with its success; wherever it stands among the others."""
    rewards = [1.0, 1.0]
    rewards[position] = reward
    steps = iter([Step(rewards[0], False, False, True), Step(rewards[1], False, True, False)])
    built.handle(START)
    monkeypatch.setattr(FakeEnv, "step", lambda self, action, look: next(steps))

    reply = built.handle(act(2, ".."))

    assert (reply.success, reply.sum_reward, reply.max_reward) == (True, None, None)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Step("1", False, False, False), "the reward is '1'; expected a real number"),
        (Step(1.0, np.array([True, False]), False, False), "terminated is array([ True, False]); expected a bool"),
        (Step(1.0, False, 2, False), "truncated is 2; expected a bool"),
        (Step(1.0, False, False, {"task": False}), "success is {'task': False}; expected a bool"),
    ],
)
def test_a_step_of_any_adapter_is_read_strictly(built, monkeypatch, step, message):
    """What it says is not taken for true because Python takes most objects for true."""
    built.handle(START)
    monkeypatch.setattr(FakeEnv, "step", lambda self, action, look: step)

    reply = built.handle(act(1, "."))

    assert isinstance(reply, RequestFailed)
    assert message in reply.message
    assert not reply.users_fault


def test_numbers_of_numpy_can_be_sent(built, monkeypatch):
    """A simulator's float32 reward and bool_ success are plain numbers in the reply, and summed in double precision."""
    rewards = [np.float32(0.1)] * 9 + [np.float32(3)]
    steps = iter([Step(reward, np.bool_(False), np.bool_(False), np.bool_(True)) for reward in rewards])
    built.handle(START)
    monkeypatch.setattr(FakeEnv, "step", lambda self, action, look: next(steps))

    reply = built.handle(act(10, "." * 10))

    assert encode(reply)
    assert reply.sum_reward == reduce(add, map(float, rewards))
    assert reply.success is True


def failing(*_args, **_kwargs):
    raise OSError("the simulator is on strike")


@pytest.mark.parametrize(
    ("method", "request_"),
    [("reset", START), ("step", act(2, ".x")), ("state", act(10, "." * 10)), ("_look", act(2, ".x"))],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whatever_the_simulator_raises_is_an_answer(built, monkeypatch, method, request_):
    """With its traceback; the simulator is closed and the next Build works."""
    if isinstance(request_, Act):
        built.handle(START)
    with monkeypatch.context() as patch:
        patch.setattr(FakeEnv, method, failing)
        reply = built.handle(request_)

    assert isinstance(reply, RequestFailed)
    assert reply.message == "OSError: the simulator is on strike"
    assert "failing" in reply.traceback
    assert not reply.users_fault
    assert built.env is None
    assert isinstance(built.handle(Build(TASK)), Built)
    assert isinstance(built.handle(START), Observed)


def test_a_simulator_that_cannot_be_closed_after_a_failure_does_not_hide_the_failure(built, monkeypatch):
    """The first reason is the one that helps."""
    built.handle(START)
    monkeypatch.setattr(FakeEnv, "close", failing)
    monkeypatch.setattr(FakeEnv, "step", lambda self, action, look: 1 / 0)

    reply = built.handle(act(1, "x"))

    assert isinstance(reply, RequestFailed)
    assert reply.message.startswith("ZeroDivisionError")


def test_a_simulator_that_gives_nothing_when_looked_at_is_refused(built, monkeypatch):
    """An adapter's bug, said as one."""
    monkeypatch.setattr(FakeEnv, "reset", lambda self, seed, init_state_id, look: None)

    assert "gave no observation" in built.handle(START).message


def test_the_old_simulator_is_closed_before_the_next_is_built(built, monkeypatch):
    """Never more simulators than workers."""
    events = []
    monkeypatch.setattr(FakeEnv, "close", lambda self: events.append("close"))
    monkeypatch.setattr(
        FakeBenchmark, "make_env", lambda self, task: events.append("build") or FakeEnv(task, self.config)
    )

    built.handle(Build(TASK))

    assert events == ["close", "build"]


def test_what_would_fail_everywhere_is_the_users_fault(simulation):
    """A field that the benchmark does not have."""
    reply = simulation.handle(Setup(FAKE_BENCHMARK, {**CONFIG, "n_task": 1}, None, Companions(sys.path)))

    assert reply.users_fault
    assert reply.message == "Unknown field env.n_task. Did you mean 'n_tasks'?"


def test_a_benchmark_may_keep_parts_of_the_simulator_that_another_one_replaces(built, monkeypatch):
    """It is asked while that simulator is still open, and not if there is none, or if that one has failed."""
    events = []
    monkeypatch.setattr(FakeBenchmark, "keep_parts", lambda _, env: events.append(("keep", env)))
    monkeypatch.setattr(FakeEnv, "close", lambda env: events.append(("close", env)))
    first = built.env

    assert isinstance(built.handle(Build(TASK)), Built)
    assert events == [("keep", first), ("close", first)]

    monkeypatch.setattr(FakeEnv, "reset", lambda *_, **__: sys.exit(1))
    assert isinstance(built.handle(START), RequestFailed)
    events.clear()
    assert isinstance(built.handle(Build(TASK)), Built)
    assert events == []


def test_a_local_policy_runs_the_whole_episode_in_one_request():
    """No message per step, and no look at all."""
    simulation = Simulation(SharedArrays(anonymous_file()))
    simulation.handle(Setup(FAKE_BENCHMARK, CONFIG, "proctor.policies.local:Expert", Companions(sys.path)))
    simulation.handle(Build(TASK))

    reply = simulation.handle(START)

    assert isinstance(reply, Finished)
    assert reply.success
    assert reply.n_looks == 0
    assert simulation.arrays.heartbeat == 1 + reply.arrays["actions"].shape[0]
    simulation.arrays.close()


def test_a_video_ends_with_its_attempt(built, tmp_path):
    """Where the policy fails, an episode ends without a word; the next one in this simulator is not in its video."""
    video_spec = VideoSpec(str(tmp_path / "first.mp4"))
    built.handle(Start(START.spec, 1000, video_spec))
    built.handle(act(100, "." * 99 + "x"))
    assert list(tmp_path.iterdir()) == [Path(video_spec.unfinished)]

    built.handle(Start(EpisodeSpec("fake", 1, 1, 1001), 10))
    reply = built.handle(act(10, "." * 10))

    assert isinstance(reply, Finished)
    assert not list(tmp_path.iterdir())


def test_an_action_is_recorded_as_the_policy_gave_it(built, monkeypatch):
    """Also if the simulator writes into it, and whether it comes from a message or from this process."""
    whole = FakeEnv.step

    def halving(env, action, *, look):
        action *= 0.5
        return whole(env, action, look=look)

    monkeypatch.setattr(FakeEnv, "step", halving)
    built.handle(START)
    reply = built.handle(Act(ArrayBytes.pack(np.ones((10, 2), np.float32)), (False,) * 10))

    assert isinstance(reply, Finished)
    assert (reply.arrays["actions"].unpack() == 1).all()
