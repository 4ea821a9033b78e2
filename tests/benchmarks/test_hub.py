"""Environment code from the Hub, or a folder: run with consent only, and then that code and no other."""

from __future__ import annotations

import json
import shutil

import pytest
from benchmark_episodes import always, episode, standing

from proctor import make_env
from proctor.benchmarks.gymnasium import Gymnasium, GymnasiumConfig
from proctor.benchmarks.hub import Hub, HubConfig, find_code
from proctor.benchmarks.lerobot_env import LeRobotEnv, LeRobotEnvConfig
from proctor.cli import main
from proctor.errors import ConfigError
from proctor.evaluation.components import make_benchmark

POLES = """
from pathlib import Path
import gymnasium

Path(__file__).with_name("it_ran").touch()


class Talking(gymnasium.Wrapper):
    task, task_description = "balance", "Keep the pole upright"


def make_env(n_envs=1, use_async_envs=False, length=500):
    def one():
        return Talking(gymnasium.make("CartPole-v1", max_episode_steps=length))

    vector = gymnasium.vector.SyncVectorEnv([one] * n_envs)
    return {"poles": {0: vector, 1: vector}, "swings": {7: gymnasium.make("Pendulum-v1")}}
"""


def folder_with(folder, text):
    folder.mkdir(parents=True)
    (folder / "env.py").write_text(text)
    return folder


@pytest.fixture
def poles(tmp_path):
    return folder_with(tmp_path / "poles", POLES)


def trusted(repo, **fields):
    return Hub(HubConfig(repo=str(repo), trust_remote_code=True, **fields))


def test_without_consent_nothing_runs(poles, capsys):
    """The sentence says what would."""
    arguments = ["eval", "--policy.type=random", "--env.type=hub", f"--env.repo={poles}"]

    assert main(arguments) == 2

    errors = capsys.readouterr().err
    assert f"would run code: make_env of env.py in {poles}" in errors
    assert "--trust_remote_code=true" in errors
    assert not (poles / "it_ran").exists()


def test_with_consent_it_is_evaluated_and_goes_on_with_the_same_code(poles, tmp_path, capsys):
    """The digest is in the fingerprint; a resumed run refuses code that was changed."""
    run = tmp_path / "run"
    arguments = ["eval", "--policy.type=random", "--env.type=hub", f"--env.repo={poles}", "--env.task=poles"]
    arguments += ["--eval.n_episodes=1", "--eval.batch_size=1", "--eval.display=none", "--eval.video=none"]
    arguments += ["--trust_remote_code=true", "--env.success_threshold=5", f"--output_dir={run}"]

    assert main(arguments) == 0
    written = json.loads((run / "run.json").read_text())
    assert written["fingerprint"]["env"]["code_sha256"] == find_code(str(poles)).sha256
    assert json.loads((run / "eval_info.json").read_text())["overall"]["pc_success"] == 100
    assert main(["resume", str(run), "--trust_remote_code=true"]) == 0

    capsys.readouterr()
    (poles / "helper.py").write_text("GRAVITY = 0")
    assert main(["resume", str(run), "--trust_remote_code=true"]) == 2
    assert "is not the one that was consented to" in capsys.readouterr().err
    assert main(arguments) == 2
    assert "env.code_sha256: was" in capsys.readouterr().err


def test_every_environment_is_a_task_of_its_suite(poles):
    """With what it says of itself, or as it is registered; ``task`` chooses suites, ``kwargs`` go to make_env."""
    tasks = trusted(poles, kwargs={"length": 9}).tasks()

    assert [(t.suite, t.task_id, t.name, t.instruction, t.max_episode_steps) for t in tasks] == [
        ("poles", 0, "balance", "Keep the pole upright", 9),
        ("poles", 1, "balance", "Keep the pole upright", 9),
        ("swings", 7, "swings-7", "", 200),
    ]
    assert [t.suite for t in trusted(poles, task="swings").tasks()] == ["swings"]
    with pytest.raises(ConfigError, match=r"has no suite 'pole'\. Did you mean 'poles'\?"):
        trusted(poles, task="pole").tasks()


def test_an_episode_is_what_gymnasium_makes_of_it(poles):
    """The same as without the detour."""
    with standing(trusted(poles, task="swings")) as env:
        theirs = episode(env, 7, 20, look=always)
    with standing(Gymnasium(GymnasiumConfig(task="Pendulum-v1"))) as env:
        ours = episode(env, 7, 20, look=always)

    assert theirs == ours


def test_a_repository_of_an_offline_cache_is_held_to_its_commit(poles, tmp_path, monkeypatch):
    """A branch may move on; workers and later sessions do not."""
    cache, commit = tmp_path / "cache", "a" * 40
    repository = cache / "models--somebody--poles"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(poles, repository / "snapshots" / commit / "envs")
    for name, value in (("HF_HUB_CACHE", str(cache)), ("HF_HUB_OFFLINE", "1")):
        monkeypatch.setenv(name, value)
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", cache if name == "HF_HUB_CACHE" else True)
    benchmark = trusted("somebody/poles@main:envs/env.py", task="poles")
    names = [task.name for task in benchmark.tasks()]
    (repository / "refs" / "main").write_text("b" * 40)

    assert names == ["balance", "balance"]
    assert benchmark.config.repo == f"somebody/poles@{commit}:envs/env.py"
    with standing(Hub(benchmark.config)) as env:
        assert env.observation_space.keys() == {"observation.state"}
    with pytest.raises(ConfigError, match=r"Cannot get the code of somebody/drawers: .*its cache has it"):
        trusted("somebody/drawers").tasks()
    with pytest.raises(ConfigError, match=r"consent with --trust_remote"):
        make_env("somebody/poles")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "does not define make_env"),
        ("import no_such_package", "needs something that is not installed: No module named 'no_such_package'"),
        ("def make_env(**_): raise RuntimeError('no gripper')", "raised RuntimeError: no gripper"),
        ("def make_env(**_): return 3", "returned a int; .* it must return an Env, a SyncVectorEnv"),
        ("import os\ndef make_env(**_): os._exit(7)", "ended its process when it was called"),
        ("import gymnasium\ndef make_env(**_): return gymnasium.make('CartPole-v1', max_episode_steps=-1)",
         "has no maximum number of steps"),
    ],
)  # fmt: skip
def test_code_that_gives_no_environment_is_a_sentence(tmp_path, text, words):
    """Whatever it does instead."""
    with pytest.raises(ConfigError, match=words):
        trusted(folder_with(tmp_path / "broken", text)).tasks()


@pytest.mark.parametrize(
    ("repo", "words"),
    [
        (None, "hub needs --env.repo"),
        ("no_folder", r"is 'no_folder'; it must be user/repo\[@revision\]\[:path\]"),
        ("{poles}:../env.py", "must be inside"),
        ("{poles}:envs.py", r"has no envs.py\. Did you mean 'env.py'\?"),
    ],
)
def test_a_place_without_code_is_a_sentence(poles, repo, words):
    """Before anything runs."""
    config = HubConfig(repo=repo and repo.format(poles=poles), trust_remote_code=True)

    with pytest.raises(ConfigError, match=words):
        Hub(config).tasks()
    assert not (poles / "it_ran").exists()


def test_consent_may_name_the_code(poles):
    """A user who has read it gives its digest; other code is refused."""
    known = find_code(str(poles)).sha256

    assert trusted(poles, code_sha256=known, task="swings").tasks()
    with pytest.raises(ConfigError, match="is not the one that was consented to"):
        trusted(poles, code_sha256="0" * 64).tasks()


def test_a_configuration_that_is_demanded_is_given(tmp_path):
    """As LeRobot does; one that may be left out is left out."""
    text = """
import gymnasium
def make_env(n_envs, use_async_envs, cfg):
    return gymnasium.make("CartPole-v1", max_episode_steps=cfg.kwargs.get("steps", 11))
"""
    (task,) = trusted(folder_with(tmp_path / "demanding", text)).tasks()

    assert (task.suite, task.max_episode_steps) == ("CartPole-v1", 11)


def test_an_environment_that_a_lerobot_plug_in_brings_is_found(tmp_path, monkeypatch):
    """By the name under which the plug-in registers it; its distribution is recorded."""
    pytest.importorskip("lerobot")
    info = tmp_path / "lerobot_env_toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lerobot_env_toy\nVersion: 1.0\n")
    (tmp_path / "lerobot_env_toy.py").write_text("""
from dataclasses import dataclass, field
import gymnasium
from lerobot.envs.configs import EnvConfig

gymnasium.register("lerobot_env_toy/Toy-v0", "gymnasium.envs.classic_control:PendulumEnv", max_episode_steps=33)


@EnvConfig.register_subclass("toy")
@dataclass
class ToyConfig(EnvConfig):
    task: str = "Toy-v0"
    episode_length: int = 33

    @property
    def package_name(self):
        return "lerobot_env_toy"

    @property
    def gym_id(self):
        return "lerobot_env_toy/Toy-v0"

    @property
    def gym_kwargs(self):
        return {}
""")
    monkeypatch.syspath_prepend(tmp_path)
    benchmark = LeRobotEnv(LeRobotEnvConfig(name="toy"))
    with pytest.raises(ConfigError, match=r"lerobot_env needs --env\.name"):
        LeRobotEnv(LeRobotEnvConfig()).tasks()

    assert [(t.suite, t.task_id, t.max_episode_steps) for t in benchmark.tasks()] == [("toy", 0, 33)]
    as_lerobot_writes_it, _ = make_benchmark({"type": "toy", "task": "Toy-v0", "fps": "30", "episode-length": "20"})
    assert as_lerobot_writes_it.config == LeRobotEnvConfig(
        name="toy", episode_length=20, kwargs={"task": "Toy-v0", "fps": 30, "episode_length": 20}
    )
    assert [task.max_episode_steps for task in as_lerobot_writes_it.tasks()] == [33]  # what the plug-in registered
    with pytest.raises(ConfigError, match=r"env\.kwargs do not fit LeRobot's environment toy"):
        make_benchmark({"type": "toy", "flavour": "sweet"})[0].tasks()
    assert "lerobot_env_toy" in benchmark.distributions


@pytest.mark.parametrize("name", ["vlabench", "robotwin", "robomme", "isaaclab_arena", "gym_manipulator"])
def test_lerobots_own_types_without_an_adapter_go_to_lerobot(name):
    """A pasted command runs LeRobot's environment; its fields keep their names and get LeRobot's types."""
    fields = {"type": name, "task": "a, b", "render_mode": "rgb_array", "observation_height": "128", "name": "x"}

    benchmark, address = make_benchmark({**fields, "max_parallel_tasks": "2"})

    assert address == "proctor.benchmarks.lerobot_env:LeRobotEnv"
    assert (benchmark.config.name, benchmark.config.max_parallel_tasks) == (name, 2)
    assert benchmark.config.kwargs == {
        "task": "a, b", "render_mode": "rgb_array", "observation_height": 128, "name": "x",
    }  # fmt: skip


def test_an_environment_of_lerobots_that_is_code_of_the_hub_names_the_type_that_runs_it():
    """Only there is the code pinned and part of the fingerprint; LeRobot's own sentence names a call of its own."""
    with pytest.raises(ConfigError, match=r"--env\.type=hub --env\.repo=nvidia/isaaclab-arena-envs --trust_remote"):
        make_benchmark({"type": "isaaclab_arena"})[0].make()


def test_a_type_that_nobody_knows_is_refused_with_the_nearest():
    """No benchmark speaks for a slip."""
    with pytest.raises(ConfigError, match=r"Unknown benchmark 'metawrld'\. Did you mean 'metaworld'\?"):
        make_benchmark({"type": "metawrld"})
