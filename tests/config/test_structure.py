"""From loose fields to a configuration, or to a sentence about what is wrong with them."""

from __future__ import annotations

import pytest

from proctor.compat import PeftConfig
from proctor.config import DatasetConfig, EnvConfig, EvalConfig, RunConfig, WandBConfig, structure
from proctor.errors import ConfigError


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, EvalConfig()),
        ({"n_episodes": 7}, EvalConfig(n_episodes=7)),
        ({"n_episodes": "7"}, EvalConfig(n_episodes=7)),
        ({"n-episodes": "7"}, EvalConfig(n_episodes=7)),
        ({"use_async_envs": "false"}, EvalConfig(use_async_envs=False)),
        ({"use_async_envs": "False"}, EvalConfig(use_async_envs=False)),
        ({"use_async_envs": False}, EvalConfig(use_async_envs=False)),
        ({"step_timeout_s": "2.5"}, EvalConfig(step_timeout_s=2.5)),
        ({"step_timeout_s": 2}, EvalConfig(step_timeout_s=2.0)),
    ],
    ids=str,
)
def test_strings_are_read_as_the_field_asks(fields, expected):
    """The command line has nothing but strings; Python has the values themselves."""
    assert structure(EvalConfig, fields, "eval") == expected


def test_json_is_read_in_a_string():
    """Lists, objects and null."""
    config = structure(DatasetConfig, {"repo_id": "a/b", "episodes": "[3, 1]", "root": "null"}, "dataset")
    assert (config.episodes, config.root) == ([3, 1], None)

    run = structure(RunConfig, {"rename_map": '{"observation.image": "observation.images.top"}'}, "run")
    assert run.rename_map == {"observation.image": "observation.images.top"}


@pytest.mark.parametrize(
    ("cls", "prefix", "fields", "message"),
    [
        (EvalConfig, "eval", {"n_episode": 3}, "Unknown field eval.n_episode. Did you mean 'n_episodes'?"),
        (EvalConfig, "eval", {"n_episodes": "many"}, "eval.n_episodes is 'many': expected `int`, got `str`."),
        (EvalConfig, "eval", {"n-episodes": "x"}, "eval.n_episodes is 'x': expected `int`, got `str`."),
        (EvalConfig, "eval", {"n_episodes": 2.5}, "eval.n_episodes is 2.5: expected `int`, got `float`."),
        (EvalConfig, "eval", {"n_episodes": True}, "eval.n_episodes is True: expected `int`, got `bool`."),
        (EvalConfig, "eval", {"use_async_envs": "maybe"}, "eval.use_async_envs is 'maybe': expected `bool`"),
        (DatasetConfig, "dataset", {}, "dataset: Object missing required field `repo_id`."),
        (DatasetConfig, "dataset", {"repo_id": "a", "episodes": "[1, "}, "'[1, ' is neither JSON nor YAML"),
        (
            DatasetConfig,
            "dataset",
            {"repo_id": "a", "episodes": [1, "x"]},
            "dataset.episodes[1]: expected `int`, got `str`.",
        ),
        (RunConfig, "run", {"eval": {"n_episodes": "x"}}, "run.eval.n_episodes: expected `int`, got `str`."),
        (RunConfig, "run", {"rename_map": {"a": [1]}}, "run.rename_map[...]: expected `str`"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_named_as_the_user_wrote_it(cls, prefix, fields, message):
    """The flag, the value, what was expected."""
    with pytest.raises(ConfigError) as caught:
        structure(cls, fields, prefix)

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_episodes": 0}, "eval.n_episodes is 0; it must be at least 1."),
        ({"batch_size": -1}, "eval.batch_size is -1; it must be at least 0."),
        ({"num_shards": 0}, "eval.num_shards is 0; it must be at least 1."),
        ({"shard_id": -1}, "eval.shard_id is -1; it must be at least 0."),
        ({"shard_id": 4, "num_shards": 4}, "shards are numbered 0 to 3."),
        ({"max_attempts": 0}, "eval.max_attempts is 0"),
        ({"inference_threads": 0}, "eval.inference_threads is 0"),
        ({"inference_batch_size": -1}, "eval.inference_batch_size is -1"),
        ({"step_timeout_s": 0}, "eval.step_timeout_s is 0"),
        ({"reset_timeout_s": float("nan")}, "eval.reset_timeout_s is nan"),
        ({"inference_delay_steps": -1}, "eval.inference_delay_steps is -1; it must be at least 0."),
        ({"inference_delay_ms": -0.5}, "eval.inference_delay_ms is -0.5; it must be a number of at least 0."),
        ({"inference_delay_ms": float("nan")}, "eval.inference_delay_ms is nan"),
        ({"inference_delay_ms": float("inf")}, "eval.inference_delay_ms is inf"),
        (
            {"inference_delay_ms": 40.0, "inference_delay_steps": 2},
            "either in steps or in milliseconds; leave one out.",
        ),
        ({"when_late": "guess"}, "eval.when_late is 'guess'; it must be one of hold, zero, wait."),
        ({"display": "loud"}, "eval.display is 'loud'; it must be one of auto, plain, none."),
    ],
    ids=str,
)
def test_an_evaluation_is_validated_once_wherever_it_comes_from(fields, message):
    """As a class and by structure alike."""
    with pytest.raises(ConfigError) as direct:
        EvalConfig(**fields)
    with pytest.raises(ConfigError) as structured:
        structure(EvalConfig, fields, "eval")

    assert message in str(direct.value)
    assert message in str(structured.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"episode_length": 0}, "env.episode_length is 0"), ({"max_parallel_tasks": -1}, "env.max_parallel_tasks is -1")],
)
def test_an_environment_is_validated(fields, message):
    """What every benchmark has in common."""
    with pytest.raises(ConfigError, match=message):
        EnvConfig(type="x", **fields)


def test_task_names_are_separated_by_commas():
    """Blanks around them do not matter."""
    assert EnvConfig(type="x", task="reach-v3, push-v3,,").task_names() == ["reach-v3", "push-v3"]
    assert EnvConfig(type="x").task_names() == []


@pytest.mark.parametrize("seed", [-1, 2**31, 2**40])
def test_a_seed_is_one_that_every_simulator_can_be_seeded_with(seed):
    """numpy's global generator takes 32 bits, and the last episode's seed is larger."""
    with pytest.raises(ConfigError, match=f"seed is {seed}"):
        RunConfig(seed=seed)

    assert RunConfig(seed=2**31 - 1).seed == 2**31 - 1


def test_dataset_episodes_name_the_offenders():
    """Negative ones, and those that are named twice."""
    with pytest.raises(ConfigError, match=r"dataset\.episodes contains \[-7, -1\]"):
        DatasetConfig(repo_id="a", episodes=[0, -1, 3, -7])
    with pytest.raises(ConfigError, match=r"\[2, 9\] more than once"):
        DatasetConfig(repo_id="a", episodes=[9, 2, 2, 5, 9])

    assert DatasetConfig(repo_id="a", episodes=list(range(20_000))).episodes[-1] == 19_999


def test_wandb_modes_are_those_there_are():
    """None leaves it to the environment."""
    with pytest.raises(ConfigError, match=r"wandb\.mode is 'of'; it must be one of online, offline, disabled"):
        WandBConfig(mode="of")
    for mode in (None, "online", "offline", "disabled"):
        assert WandBConfig(mode=mode).mode == mode


def test_the_classes_lerobots_users_know_have_the_fields_and_defaults_they_know():
    """Their scripts construct them."""
    dataset, wandb, peft, evaluation = DatasetConfig(repo_id="a"), WandBConfig(), PeftConfig(), EvalConfig()

    assert (dataset.root, dataset.episodes, dataset.revision) == (None, None, None)
    assert (dataset.use_imagenet_stats, dataset.streaming) == (True, False)
    assert (wandb.enable, wandb.disable_artifact, wandb.project, wandb.add_tags) == (False, False, "lerobot", True)
    assert (wandb.entity, wandb.notes, wandb.run_id, wandb.mode) == (None, None, None, None)
    assert (peft.method_type, peft.r, peft.target_modules) == ("LORA", 16, None)
    assert (peft.full_training_modules, peft.init_type) == (None, None)
    assert (evaluation.n_episodes, evaluation.batch_size, evaluation.use_async_envs) == (50, 0, True)
    assert (evaluation.shard_id, evaluation.num_shards) == (0, 1)
