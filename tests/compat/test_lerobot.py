"""LeRobot's three functions, as its users call them."""

from __future__ import annotations

import json

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

import proctor
from proctor import eval_policy, make_env, make_policy
from proctor.errors import ConfigError, ContractError, PolicyError
from proctor.policies.base import LocalPolicy, Policy
from proctor.results.result_file import read_result_file
from proctor.testing.fakes import FAKE_BENCHMARK, FakeEnv, FakePolicy

ENV = {"type": FAKE_BENCHMARK, "max_steps": 12}


@pytest.fixture
def built(monkeypatch):
    """How many simulators have been built in this process."""
    built = []
    whole = FakeEnv.__init__
    monkeypatch.setattr(FakeEnv, "__init__", lambda self, *args: built.append(1) or whole(self, *args))
    return built


def test_environments_come_by_suite_and_task_and_none_is_built(built):
    """They are built when they are first used."""
    envs = make_env(ENV | {"n_tasks": 3}, n_envs=4, use_async_envs=False)

    assert set(envs) == {"fake"}
    assert set(envs["fake"]) == {0, 1, 2}
    assert all(isinstance(env, VectorEnv) and env.num_envs == 4 for env in envs["fake"].values())
    assert not built

    seen, _ = envs["fake"][1].reset(seed=[5, 6, 7, 8])

    assert len(built) == 4
    assert seen["observation.state"].shape == (4, 2)
    for env in envs["fake"].values():
        env.close()


def test_one_that_is_stepped_gives_what_the_simulator_gives():
    """Rewards, success, and the end at the step limit."""
    env = make_env(ENV, n_envs=2, use_async_envs=False)["fake"][0]
    env.reset(seed=[1000, 1001])
    ends = []
    for _ in range(12):
        _, rewards, terminated, truncated, info = env.step(np.zeros((2, 2), np.float32))
        assert rewards.shape == (2,)
        ends.append((terminated.any(), truncated.all(), info["is_success"].any()))

    assert ends == [(False, False, False)] * 11 + [(False, True, False)]
    env.close()


def test_our_environments_are_evaluated_by_the_engine(tmp_path, built):
    """The same episodes as in a run of that task, in as many simulators as were asked for; LeRobot's keys twice."""
    policy = FakePolicy(7)
    whole = proctor.evaluate(policy, ENV, n_episodes=5, batch_size=1, output_dir=tmp_path / "run")
    built.clear()

    metrics = eval_policy(env=make_env(ENV)["fake"][1], policy=policy, n_episodes=5)

    expected = [episode for episode in whole.info["per_episode"] if episode["task_id"] == 1]
    names = ("sum_reward", "max_reward", "success", "seed")
    assert [[episode[name] for name in names] for episode in metrics["per_episode"]] == [
        [episode[name] for name in names] for episode in expected
    ]
    assert [episode["episode_ix"] for episode in metrics["per_episode"]] == list(range(5))
    assert metrics["pc_success"] == metrics["aggregated"]["pc_success"] == 20 * sum(e["success"] for e in expected)
    assert metrics["n_episodes"] == 5
    assert len(built) == 1


def test_an_environment_can_be_stepped_after_it_was_evaluated():
    """Its simulators were given back in between; the next use starts new ones, and closing closes those."""
    env = make_env(ENV, n_envs=2, use_async_envs=False)["fake"][0]
    env.reset(seed=1)
    eval_policy(env, FakePolicy(), 2)

    seen, _ = env.reset(seed=1)

    assert seen["observation.state"].shape == (2, 2)
    env.close()
    assert "started" not in env.__dict__


@pytest.mark.parametrize(("policy", "percent"), [({"type": "expert"}, 100), ({"type": "zero"}, 0)])
def test_policies_without_weights_are_evaluated_too(policy, percent):
    """Where they live is no concern of the caller's."""
    made = make_policy(policy, env_cfg=ENV)
    assert isinstance(made, LocalPolicy)

    assert eval_policy(make_env(ENV)["fake"][0], made, 3)["pc_success"] == percent


def test_a_policy_is_made_for_a_benchmark_that_exists():
    """Else it is said at once."""
    with pytest.raises(ConfigError, match="Unknown benchmark 'nope'"):
        make_policy({"type": "zero"}, env_cfg="nope")


class Toy(gymnasium.Env):
    """Counts; the reward is the action, success is to have summed up five."""

    observation_space = gymnasium.spaces.Dict({"agent_pos": gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)})
    action_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seed, self.n_steps, self.total = seed or 0, 0, 0.0
        return self._look(), {}

    def step(self, action):
        self.n_steps += 1
        self.total += float(action[0])
        success = self.total >= 5
        return self._look(), float(action[0]), success, self.n_steps >= 8, {"is_success": success}

    def _look(self):
        return {"agent_pos": np.array([self.seed, self.n_steps], np.float64)}


class Counting(Policy):
    """Acts by its number of looks in the episode, and by what it sees; notes what that was."""

    n_action_steps = 2

    def __init__(self, look_offsets=(0,)) -> None:
        self.look_offsets = look_offsets
        self.seen: list[list[float]] = []
        self.features = None

    def check_contract(self, features):
        self.features = features

    def predict(self, observations, memories):
        chunks = []
        for observation, memory in zip(observations, memories, strict=True):
            (key,) = observation.arrays
            assert key == "observation.state"
            self.seen.append(observation.arrays[key][:, 1].tolist())
            memory.state["n"] = memory.state.get("n", 0) + 1
            seed = observation.arrays[key][-1, 0]
            chunks.append(np.full((3, 1), memory.state["n"] if seed % 2 else 0.25))
        return chunks


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("n_envs", [1, 2, 3])
def test_anybodys_environment_is_evaluated_in_lockstep(n_envs, mode):
    """The number of environments does not change the results, nor does what they do after an episode's end."""
    env = SyncVectorEnv([Toy] * n_envs, autoreset_mode=mode)

    metrics = eval_policy(env, Counting(), n_episodes=5, start_seed=1000)

    # Odd seeds act 1, 1, 2, 2 and have five after the fourth step; even ones a quarter, for all eight steps.
    assert [episode["seed"] for episode in metrics["per_episode"]] == [1000, 1001, 1002, 1003, 1004]
    assert [episode["sum_reward"] for episode in metrics["per_episode"]] == [2, 6, 2, 6, 2]
    assert [episode["max_reward"] for episode in metrics["per_episode"]] == [0.25, 2, 0.25, 2, 0.25]
    assert [episode["success"] for episode in metrics["per_episode"]] == [False, True, False, True, False]
    assert metrics["pc_success"] == 40
    assert metrics["n_episodes"] == 5


class Telling(Toy):
    """Says of success what ``told`` gives for the number of the step; nothing where that is None."""

    def __init__(self, *reported, reward=1.0):
        self.reported, self.reward = reported, reward

    def step(self, action):
        seen, _, _, _, _ = super().step(action)
        reported = self.reported[self.n_steps - 1]
        info = {} if reported is None else {"success": reported}
        return seen, self.reward, False, self.n_steps == len(self.reported), info


def lockstep(*envs, mode=AutoresetMode.NEXT_STEP):
    made = SyncVectorEnv([lambda env=env: env for env in envs], autoreset_mode=mode)
    return eval_policy(made, Counting(), n_episodes=len(envs))


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_of_an_episode_that_says_nothing_of_success_nothing_is_known(mode):
    """Beside others that say something, and have their place in the same arrays."""
    metrics = lockstep(Telling(None, None), Telling(None, False), Telling(True, None), mode=mode)

    assert [episode["success"] for episode in metrics["per_episode"]] == [None, False, True]
    assert (metrics["pc_success"], metrics["n_episodes"], metrics["avg_sum_reward"]) == (None, 3, 2.0)
    assert lockstep(Telling(None, False), Telling(None, True), mode=mode)["pc_success"] == 50


@pytest.mark.parametrize("reported", [{"task": False}, 0.5, float("nan"), "yes", [True, False]], ids=str)
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_what_is_no_success_in_lockstep_is_an_error(reported, mode):
    """Named with its key."""
    with pytest.raises(ValueError, match=r"^info\['success'\] is .*; expected a bool"):
        lockstep(Telling(None, reported), mode=mode)


class Choosing(Toy):
    """Takes one of three."""

    action_space = gymnasium.spaces.Discrete(3)

    def step(self, action):
        return super().step([action])


def test_a_discrete_action_is_the_nearest_number_in_lockstep_too():
    """As in the engine."""
    env = SyncVectorEnv([Choosing] * 2)

    metrics = eval_policy(env, lambda _: [0.6 if env.envs[0].n_steps % 2 else 9.0], n_episodes=2)

    assert [episode["sum_reward"] for episode in metrics["per_episode"]] == [5, 5]


@pytest.mark.parametrize("answer", [[1.0, 1.0], [float("nan")], 1j], ids=str)
def test_what_cannot_be_executed_is_an_error_in_lockstep(answer):
    """It is not left to the environment what to make of it."""
    with pytest.raises(PolicyError, match=r"^the policy gave"):
        eval_policy(SyncVectorEnv([Toy]), lambda _: answer, n_episodes=1)


class Halving(Toy):
    """Writes into the action that it is given."""

    def step(self, action):
        action *= 0.5
        return super().step(action)


@pytest.mark.parametrize("mode", AutoresetMode)
def test_the_steps_are_those_of_the_episode(mode):
    """The action as the policy gave it, and at the end what was seen then, not the next episode's beginning."""
    env = SyncVectorEnv([Halving] * 2, autoreset_mode=mode)

    metrics = eval_policy(env, lambda _: [2.0], n_episodes=2, start_seed=1000, return_episode_data=True)

    assert metrics["episodes"]["observation.state"][:, 0].tolist() == [1000] * 6 + [1001] * 6
    assert metrics["episodes"]["observation.state"][:, 1].tolist() == [0, 1, 2, 3, 4, 5] * 2
    assert metrics["episodes"]["action"].unique().tolist() == [2]
    assert metrics["episodes"]["next.reward"].unique().tolist() == [1]


def test_a_reward_that_is_not_finite_is_in_no_average():
    """The episode is, with its success."""
    metrics = lockstep(Telling(True, reward=float("nan")), Telling(False, reward=3.0))

    assert [episode["sum_reward"] for episode in metrics["per_episode"]] == [None, 3.0]
    assert (metrics["avg_sum_reward"], metrics["avg_max_reward"], metrics["pc_success"]) == (3.0, 3.0, 50)


def test_our_environments_may_say_nothing_of_success(tmp_path):
    """Stepped, their info has no such key; evaluated, there is no rate, nor in a file of the metrics."""
    silent = ENV | {"says": "never"}
    env = make_env(silent, use_async_envs=False)["fake"][0]
    env.reset(seed=1)

    assert "is_success" not in env.step(np.zeros((1, 2), np.float32))[-1]
    metrics = eval_policy(env, FakePolicy(), 2)

    assert [episode["success"] for episode in metrics["per_episode"]] == [None, None]
    assert (metrics["pc_success"], metrics["n_episodes"]) == (None, 2)
    assert metrics["avg_sum_reward"] is not None
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    _, summary = read_result_file(tmp_path / "metrics.json")
    assert (summary.overall.n_unknown, summary.overall.n_errors) == (2, 0)


def test_a_history_is_repeated_at_the_beginning_there_too():
    """And holds the frames before the look, not those of the last looks."""
    policy = Counting((-2, -1, 0))

    eval_policy(SyncVectorEnv([Toy]), policy, n_episodes=1, start_seed=1000)

    assert policy.seen == [[0, 0, 0], [0, 1, 2], [2, 3, 4], [4, 5, 6]]


def test_the_contract_is_checked_with_what_anybodys_environment_gives():
    """Under LeRobot's names."""
    policy = Counting()
    eval_policy(SyncVectorEnv([Toy]), policy, n_episodes=1)

    assert {name: str(spec) for name, spec in policy.features.observation.items()} == {
        "observation.state": "float64[2]"
    }
    assert str(policy.features.action) == "float32[1]"

    class Fussy(Counting):
        def check_contract(self, features):
            raise ContractError("no")

    with pytest.raises(ContractError):
        eval_policy(SyncVectorEnv([Toy]), Fussy(), n_episodes=1)


def test_randomness_is_the_episodes_there_too():
    """A function that draws from the global generators does the same in any batch."""

    def noisy(observation):
        return np.random.normal(size=(2, 1))

    runs = [eval_policy(SyncVectorEnv([Toy] * n), noisy, n_episodes=4)["per_episode"] for n in (1, 3)]

    assert runs[0] == runs[1]
    assert len({episode["sum_reward"] for episode in runs[0]}) == 4


def test_a_policy_of_the_workers_needs_our_environments():
    """There are no workers in anybody's."""
    with pytest.raises(ConfigError, match="make_env"):
        eval_policy(SyncVectorEnv([Toy]), make_policy({"type": "zero"}), 1)
