"""What is given to the Python API by mistake: one sentence each, that says what it is and what to give."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest

import proctor
from proctor import eval_policy, evaluate, make_env, make_policy, shard_episodes
from proctor.errors import ConfigError
from proctor.testing.fakes import FAKE_BENCHMARK, FakeBenchmark, FakeConfig, FakePolicy

ENV = {"type": FAKE_BENCHMARK, "max_steps": 6}


class Model:
    """As Stable-Baselines3's: no function, but it has one."""

    def predict(self, observation):
        return np.zeros(2), None


class OldGymEnv:
    """As the old Gym's, whatever it does."""

    action_space = observation_space = None

    def reset(self): ...

    def step(self, action): ...


def cartpole():
    return gymnasium.make("CartPole-v1")


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        (None, "policy: None is not callable; a policy is a checkpoint's path"),
        (3, "policy: 3 is not callable; a policy is a checkpoint's path"),
        ("", "policy: '' is not callable; a policy is a checkpoint's path"),
        (
            (FakePolicy(), None),
            r"a tuple of 2 \(FakePolicy, NoneType\) is not callable; give one policy, its",
        ),
        ([FakePolicy()], r"a list of 1 \(FakePolicy\) is not callable; give one policy"),
        (FakePolicy, "policy is the class FakePolicy, not an instance of it"),
        (Model(), r"policy: a Model is not callable; give a function that calls it, .* policy\.predict\(observation\)"),
        (cartpole(), "policy is the environment .*CartPole.*; the policy comes first"),
        (OldGymEnv(), "policy is the environment a OldGymEnv; the policy comes first"),
        ({"type": "pusht"}, "policy is the benchmark 'pusht'; the policy comes first"),
        ({}, "Which policy?"),
        ({"pth": "x"}, "a dict that has pth, and neither 'path' nor 'type'.*Did you mean 'path'"),
        ({"encoder.weight": np.zeros(2), "bias": np.zeros(2)}, "a dict that has encoder.weight, bias, and neither"),
        ({3: 4}, "policy is a dict with the key 3; its keys are names"),
        ({"type": "randon"}, "Unknown policy type 'randon'. Did you mean 'random'"),
        (Path("/nowhere/at/all"), "policy is the path /nowhere/at/all, which does not exist"),
        ("random", "policy is 'random', but a text is a checkpoint's path; give {'type': 'random'}"),
        ("pusht", "policy is the benchmark 'pusht'; the policy comes first"),
        ("my_module:predict", r"give the function itself, or \{'type': 'function', 'function': 'my_module:predict'\}"),
        ("nowhere/at/all", "There is no checkpoint at nowhere/at/all"),
        (np.zeros(2), "a ndarray is not callable; a policy is a checkpoint's path"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_policy_is_named(policy, sentence):
    """By every function that takes one."""
    for use in (
        lambda: evaluate(policy, ENV),
        lambda: make_policy(policy),
        lambda: eval_policy(make_env(ENV)["fake"][0], policy, 1),
    ):
        with pytest.raises(ConfigError, match=sentence) as error:
            use()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        (None, "env is None; env is a benchmark's name"),
        (7, "env is 7; env is a benchmark's name"),
        (["pusht"], r"env is a list of 1 \(str\); env is a benchmark's name"),
        (
            cartpole(),
            r"the environment .*CartPole.*, and Proctor makes .*: give \{'type': 'gymnasium', 'task': 'CartPole-v1'\}",
        ),
        (gymnasium.make_vec("CartPole-v1", 2, "sync"), r"the environment a? ?SyncVectorEnv.*'task': 'CartPole-v1'"),
        (OldGymEnv(), "the environment a OldGymEnv, and Proctor makes the environments itself"),
        (cartpole, "env is the function cartpole, and Proctor makes the environments itself"),
        (FakeBenchmark, "env is the class FakeBenchmark; env is a benchmark's name"),
        (make_env(ENV), "env is what make_env returned; give what make_env was given"),
        (
            "CartPole-v1",
            r"'CartPole-v1' is not a benchmark but a Gymnasium id: \{'type': 'gymnasium', 'task': 'CartPole-v1'\}",
        ),
        ("pushT", "Unknown benchmark 'pushT'. Did you mean 'pusht'"),
        (Path("pusht"), "env is the path pusht; env is a benchmark's name"),
        ({"type": "pusht", "episode_lenght": 3}, "Unknown field env.episode_lenght. Did you mean 'episode_length'"),
        ({}, "Which benchmark?"),
        (FakePolicy(), "env is a FakePolicy; env is a benchmark's name"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_environment_is_named(env, sentence):
    """By every function that takes one."""
    for use in (
        lambda: evaluate({"type": "random"}, env),
        lambda: make_env(env),
        lambda: make_policy({"type": "random"}, env) if env is not None else make_env(env),
    ):
        with pytest.raises(ConfigError, match=sentence) as error:
            use()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"n_epsiodes": 3}, "Unknown field eval.n_epsiodes. Did you mean 'n_episodes'"),
        ({"n_episodes": 0}, "eval.n_episodes is 0; it must be at least 1"),
        ({"n_episodes": 2.5}, "eval.n_episodes is 2.5"),
        ({"n_episodes": None}, "eval.n_episodes is None"),
        ({"seed": "one"}, "seed is 'one'; it is a whole number"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"seed": True}, "seed is True; it is a whole number"),
        ({"output_dir": 3}, "output_dir is 3; it is a path, or None"),
        ({"output_dir": ""}, "output_dir is ''; it is a path, or None"),
        ({"preprocessor": object()}, "preprocessor, postprocessor and device belong to a LeRobot policy object"),
    ],
    ids=" ".join,
)
def test_other_arguments_are_checked_as_the_command_lines_are(arguments, sentence):
    """By name, with the nearest one there is."""
    with pytest.raises(ConfigError, match=sentence):
        evaluate({"type": "random"}, ENV, **arguments)


def test_numpys_numbers_paths_and_configurations_are_taken(tmp_path):
    """They are what Python code computes with."""
    env = FakeConfig(type=FAKE_BENCHMARK, max_steps=np.int64(6), n_tasks=np.int32(1))
    fields = {"n_episodes": np.int64(2), "use_async_envs": np.bool_(False), "step_timeout_s": np.float32(60)}
    result = evaluate({"type": "random"}, env, seed=np.int64(7), output_dir=tmp_path / "run", **fields)

    assert [episode["seed"] for episode in result.info["per_episode"]] == [7, 8]
    made = make_env(FakeBenchmark(env), n_envs=np.int64(2), use_async_envs=np.False_)["fake"][0]
    assert eval_policy(made, FakePolicy(), np.int64(2), start_seed=np.int64(7))["n_episodes"] == 2


class Mine:
    """A step that is not LeRobot's."""


class Pipeline:
    steps = (Mine(),)


def eval_all(**arguments):
    usual = {"env_preprocessor": None, "env_postprocessor": None, "preprocessor": None, "postprocessor": None}
    return proctor.eval_policy_all(
        **{"envs": make_env(ENV), "policy": FakePolicy(), "n_episodes": 1, **usual, **arguments}
    )


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        (lambda: make_env(ENV, n_envs=0), "n_envs is 0; it must be at least 1"),
        (lambda: make_env(ENV, n_envs="two"), "n_envs is 'two'; it is a whole number"),
        (lambda: make_env(ENV, trust_remote_code="false"), "trust_remote_code is 'false'; it is True or False"),
        (lambda: eval_policy(make_env(ENV), FakePolicy(), 1), r"env is a dict; give one vector environment"),
        (lambda: eval_policy(cartpole(), FakePolicy(), 1), "env is the single environment .*SyncVectorEnv"),
        (lambda: eval_policy("pusht", FakePolicy(), 1), "env is 'pusht'; give a vector environment"),
        (lambda: eval_policy(make_env(ENV)["fake"][0], FakePolicy(), 0), "n_episodes is 0; it must be at least 1"),
        (lambda: eval_all(n_episodes=0), "n_episodes is 0; it must be at least 1"),
        (lambda: eval_all(max_episodes_rendered=1), "max_episodes_rendered is 1, but videos_dir is missing"),
        (lambda: eval_all(recording_dir="there"), "recording_dir and recording_repo_id are not supported here"),
        (lambda: eval_all(envs={"fake": {0: cartpole()}}), "env is the single environment"),
        (lambda: eval_all(env_preprocessor=Pipeline()), "env_preprocessor has Mine, which environments of proctor"),
        (lambda: make_env(ENV, 1, hub_cache_dir="there"), "hub_cache_dir is not supported: set HF_HUB_CACHE"),
        (lambda: shard_episodes(10, 5, 5), "shard_id is 5 and num_shards 5; shards are numbered from 0"),
        (lambda: shard_episodes(10, 0, 0), "shard_id is 0 and num_shards 0"),
        (lambda: make_policy({"type": "random"}, rename_map="a"), "rename_map is 'a'; it is a dict"),
    ],
)
def test_the_other_functions_check_theirs(use, sentence):
    """Before anything is built."""
    with pytest.raises(ConfigError, match=sentence):
        use()


def test_every_public_function_is_tried_here():
    """A new one is added above."""
    assert {name for name in proctor.__all__ if name[0].islower()} == {
        "evaluate",
        "eval_policy",
        "eval_policy_all",
        "make_env",
        "make_policy",
        "shard_episodes",
    }
