"""A policy that fails everywhere: no result object pretends, the rest is not run, and repairing it goes on."""

from __future__ import annotations

import pytest

import proctor
from proctor.cli import main
from proctor.config import RunConfig
from proctor.errors import NoResultError
from proctor.evaluation.prepared_run import prepare
from proctor.parallel.driver import Sharding, run_in_shards
from proctor.results.run_dir import RunDirectory
from proctor.testing.fakes import FAKE_BENCHMARK, FakePolicy

ENV = {"type": FAKE_BENCHMARK, "max_steps": 6}


def wrong_key(observation):
    return observation["observation.images.top"]


def wrong_shape(observation):
    return [0.0, 0.0, 0.0]


def one_sentence_only(observation):
    if observation["instruction"] == "steer to 0":
        raise ValueError("cannot read this")
    return [0.0, 0.0]


class Failing(FakePolicy):
    """Raises in every episode, each time with another number in the message, unless ``fails`` says otherwise."""

    def __init__(self, fails=lambda memory: True) -> None:
        super().__init__()
        self._fails, self._n = fails, 0

    def predict(self, observations, memories):
        if any(self._fails(memory) for memory in memories):
            self._n += 1
            raise RuntimeError(f"attempt {self._n} on <Net object at {hex(id(memories[0]))}>")
        return super().predict(observations, memories)


def episodes_in(directory):
    """What the journal holds: task and number of each episode."""
    (journal,) = RunDirectory(directory).read_journals()
    return sorted((episode.result.spec.task_id, episode.result.spec.episode_index) for episode in journal.episodes)


def test_an_evaluation_of_nothing_but_errors_raises_with_the_first_traceback(tmp_path):
    """Two episodes are the whole plan. What was recorded stays on disk."""
    with pytest.raises(
        NoResultError, match=r"KeyError: 'observation.images.top' \(test_failing.*, in wrong_key\)"
    ) as error:
        proctor.evaluate(wrong_key, ENV | {"n_tasks": 1}, n_episodes=2, output_dir=tmp_path / "run")

    assert 'return observation["observation.images.top"]' in str(error.value.__cause__)
    assert episodes_in(tmp_path / "run") == [(0, 0), (0, 1)]


def test_errors_of_the_simulator_alone_are_no_result_either(tmp_path):
    """All episodes are tried: the next one's simulator may well run."""
    faults = {f"0/{1000 + index}/1": "raise" for index in range(5)}
    (tmp_path / "faults").mkdir()
    env = ENV | {"n_tasks": 1, "faults": faults, "times": 9, "scratch": str(tmp_path / "faults")}
    with pytest.raises(NoResultError, match=r"Every episode ended in an error.*a scripted fault"):
        proctor.evaluate(FakePolicy(), env, n_episodes=5, batch_size=1, output_dir=tmp_path / "run")

    assert len(episodes_in(tmp_path / "run")) == 5


@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("n_tasks", [1, 2, 4])
def test_three_first_episodes_that_fail_alike_end_the_run(tmp_path, n_tasks, batch_size):
    """Whatever the number of workers and tasks; what differs from call to call in the message is no difference."""
    with pytest.raises(
        NoResultError, match="fails alike in each of the first 3 episodes of the plan: RuntimeError"
    ) as error:
        proctor.evaluate(
            Failing(), ENV | {"n_tasks": n_tasks}, n_episodes=40, batch_size=batch_size, output_dir=tmp_path / "run"
        )

    assert f"0 of {40 * n_tasks} episodes are kept; once the policy is repaired, go on with" in error.value.hint
    first = {1: [(0, 0), (0, 1), (0, 2)], 2: [(0, 0), (0, 1), (1, 0)], 4: [(0, 0), (1, 0), (2, 0)]}[n_tasks]
    recorded = episodes_in(tmp_path / "run")
    assert set(first) <= set(recorded)
    assert len(recorded) <= 4 or batch_size > 1  # other workers may have gone ahead


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_policy_that_fails_at_one_instruction_goes_on_with_the_others(tmp_path, batch_size):
    """The first three episodes of its task fail alike, those of other tasks do not."""
    result = proctor.evaluate(
        one_sentence_only, ENV | {"n_tasks": 2}, n_episodes=4, batch_size=batch_size, output_dir=tmp_path / "run"
    )

    assert (result.n_errors, result.summary.overall.n_completed) == (4, 4)


def test_a_policy_that_fails_differently_goes_on(tmp_path):
    """Nobody knows what the fourth episode would do."""
    kinds = iter(range(100))

    def moody(observation):
        raise [ValueError, KeyError, IndexError, OSError][next(kinds) // 2 % 4]("mood")

    with pytest.raises(NoResultError, match="Every episode ended in an error"):
        proctor.evaluate(moody, ENV | {"n_tasks": 1}, n_episodes=5, batch_size=1, output_dir=tmp_path / "run")

    assert len(episodes_in(tmp_path / "run")) == 5


def test_a_failing_policy_whose_third_episode_runs_goes_on(tmp_path):
    """It is the plan's first three that count, whichever finish first."""
    policy = Failing(lambda memory: memory.stream.spec.episode_index != 2)
    result = proctor.evaluate(policy, ENV | {"n_tasks": 1}, n_episodes=6, batch_size=3, output_dir=tmp_path / "run")

    assert result.summary.overall.n_completed == 1


def test_a_repaired_policy_goes_on_where_the_failing_one_stopped(tmp_path):
    """Errors bind nobody to the code that made them; a result does."""
    with pytest.raises(NoResultError):
        proctor.evaluate(wrong_key, ENV, n_episodes=3, output_dir=tmp_path / "run")
    with pytest.raises(NoResultError):
        proctor.evaluate(wrong_key, ENV, n_episodes=3, output_dir=tmp_path / "run")

    result = proctor.evaluate(one_sentence_only, ENV | {"n_tasks": 2}, n_episodes=3, output_dir=tmp_path / "run")

    assert result.summary.overall.n_completed == 3


def test_the_command_ends_with_three_and_one_sentence(tmp_path, capsys):
    """So does proctor resume, until the policy is repaired."""
    run = str(tmp_path / "run")
    options = [f"--policy.function={__name__}:wrong_key", f"--env.type={FAKE_BENCHMARK}", "--eval.n_episodes=50"]
    status = main(["eval", "--policy.type=function", *options, f"--output_dir={run}", "--eval.batch_size=2"])

    errors = capsys.readouterr().err
    assert status == 3
    assert "KeyError: 'observation.images.top' (test_failing_policies.py, line" in errors
    assert f"proctor resume {run}" in errors
    assert main(["resume", run]) == 3


def test_shards_stop_as_one_process_does(tmp_path):
    """The plan's first three, whichever shards ran them."""
    policy = {"type": "function", "function": f"{__name__}:wrong_key"}
    fields = {"env": ENV | {"n_tasks": 3}, "output_dir": str(tmp_path / "run")}
    evaluation = proctor.EvalConfig(n_episodes=40, batch_size=1, display="none", video="none")
    prepared = prepare(RunConfig(policy=policy, eval=evaluation, **fields))
    with pytest.raises(NoResultError, match="fails alike in each of the first 3 episodes"):
        run_in_shards(prepared, Sharding(2, launcher="inline"))

    assert len(episodes_in(tmp_path / "run")) < 20


def test_one_task_with_lockstep_environments_raises_too(tmp_path):
    """eval_policy gives no numbers of nothing."""
    env = proctor.make_env(ENV, n_envs=2, use_async_envs=False)["fake"][0]
    with pytest.raises(NoResultError):
        proctor.eval_policy(env, wrong_key, 5)


def test_a_result_shows_itself_in_a_line(tmp_path):
    """It is the last line of many a notebook's cell."""
    result = proctor.evaluate(FakePolicy(7), ENV, n_episodes=5, batch_size=1, output_dir=tmp_path / "run")

    low, high = result.interval
    numbers = f"pc_success={result.pc_success:.1f} ({low:.1f} … {high:.1f}), n_episodes=10, n_errors=0"
    assert repr(result) == f"EvalResult({numbers}, directory='{tmp_path / 'run'}')"
