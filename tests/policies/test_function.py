"""Any callable as a policy."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from proctor import evaluate
from proctor.errors import ConfigError, ContractError
from proctor.policies.base import EpisodeMemory
from proctor.policies.function import FunctionPolicy, load
from proctor.streams import RandomStream
from proctor.testing.fakes import FAKE_BENCHMARK
from proctor.types import ArraySpec, EpisodeSpec, Features, Observation

UNIT = ArraySpec((1,), "float32")


def observation() -> Observation:
    frames = {"observation.state": np.array([[1.0, 2.0]]), "observation.image": np.zeros((1, 4, 4, 3), np.uint8)}
    return Observation(frames, "pick it up")


def ask(function, **options):
    memory = EpisodeMemory(RandomStream(EpisodeSpec("suite", 0, 0, 1000)))
    (chunk,) = FunctionPolicy(function, **options).predict([observation()], [memory])
    return chunk


def test_it_is_given_one_observation_without_a_time_axis():
    """Arrays under LeRobot's names, and the instruction."""
    seen = {}
    ask(lambda obs: seen.update(obs) or [0.0])

    assert {name: getattr(value, "shape", value) for name, value in seen.items()} == {
        "observation.state": (2,),
        "observation.image": (4, 4, 3),
        "instruction": "pick it up",
    }


def test_what_it_is_given_is_its_own():
    """The engine uses its memory again: a function may keep and change what it was given."""
    given, kept = observation(), []
    memory = EpisodeMemory(RandomStream(EpisodeSpec("suite", 0, 0, 1000)))
    FunctionPolicy(lambda obs: kept.append(obs["observation.state"]) or [0.0]).predict([given], [memory])

    kept[0][:] = 99

    assert given.arrays["observation.state"].tolist() == [[1, 2]]


def test_it_is_not_given_two_arrays_under_one_name():
    """One would hide the other."""
    seen = Features({"observation.a": ArraySpec((2,), "float32"), "state": ArraySpec((2,), "float32")}, UNIT)

    with pytest.raises(ContractError, match=r"observation\.a and state of the environment are both state"):
        FunctionPolicy(lambda obs: [0.0], rename_map={"observation.a": "state"}).check_contract(seen)


def test_what_it_gives_may_be_the_same_memory_each_time():
    """A function may write its next action into the array of the last one."""
    memory = EpisodeMemory(RandomStream(EpisodeSpec("suite", 0, 0, 1000)))
    buffer = np.zeros(1)
    policy = FunctionPolicy(lambda obs: np.add(buffer, 1, out=buffer))

    (first,), (second,) = (policy.predict([observation()], [memory]) for _ in range(2))

    assert (first.tolist(), second.tolist()) == ([[1]], [[2]])


@pytest.mark.parametrize(
    ("answer", "chunk"),
    [
        ([0.5, -0.5], [[0.5, -0.5]]),
        (np.float32([0.5, -0.5]), [[0.5, -0.5]]),
        ([[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        (3.0, [[3.0]]),
    ],
    ids=str,
)
def test_it_gives_an_action_or_a_chunk(answer, chunk):
    """One action is a chunk of one."""
    assert ask(lambda obs: answer).tolist() == chunk


def test_all_of_a_chunk_is_executed_unless_said_otherwise(tmp_path):
    """``n_action_steps`` bounds it."""
    steps = []
    for n_action_steps in (None, 2):
        asked = []
        policy = FunctionPolicy(lambda obs, asked=asked: asked.append(1) or np.zeros((5, 2)), n_action_steps)
        env = {"type": FAKE_BENCHMARK, "n_tasks": 1, "max_steps": 10}
        evaluate(policy, env, n_episodes=1, output_dir=tmp_path / str(n_action_steps))
        steps.append(len(asked))

    assert steps == [2, 5]


def predict(observation):
    return observation["observation.state"]


class Callable:
    def __call__(self, observation):
        return observation["observation.state"]


def test_what_identifies_it_is_its_name_and_source():
    """Two functions are two policies, the same one is one."""
    one, same = FunctionPolicy(predict).fingerprint(), FunctionPolicy(predict, None).fingerprint()
    other, steps = FunctionPolicy(observation).fingerprint(), FunctionPolicy(predict, 3).fingerprint()

    assert one == same
    assert one["function"].endswith(":predict")
    assert len({str(fingerprint) for fingerprint in (one, other, steps)}) == 3


@pytest.mark.parametrize("function", [Callable(), functools.partial(predict), np.negative, len, lambda x: x])
def test_any_callable_has_a_fingerprint(function):
    """Also where there is no source to be had."""
    assert FunctionPolicy(function).fingerprint()["type"] == "function"


def test_what_is_not_callable_is_refused():
    """At once, not at the first episode."""
    with pytest.raises(ConfigError, match="3 is not callable"):
        FunctionPolicy(3)


def test_it_is_found_by_name_also_in_the_working_directory(tmp_path, monkeypatch):
    """Like a script's own modules."""
    (tmp_path / "my_policy_of_the_test.py").write_text("def predict(obs):\n    return [7.0]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in __import__("sys").path if path])

    policy = load({"type": "function", "function": "my_policy_of_the_test:predict", "n_action_steps": "3"}, None)

    assert policy.n_action_steps == 3
    assert policy._function({}) == [7.0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "missing required field `function`"),
        ({"function": "no_such_module:f"}, "Cannot import no_such_module"),
        ({"function": "json:loads", "n_action_steps": 0}, "policy.n_action_steps is 0; it must be at least 1"),
        ({"function": "json:loads", "n_steps": 1}, "Unknown field policy.n_steps. Did you mean 'n_action_steps'?"),
    ],
    ids=str,
)
def test_a_wrong_field_is_named(fields, message):
    """As the command line spells it."""
    with pytest.raises(ConfigError, match=message):
        load(fields, None)
