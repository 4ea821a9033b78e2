"""Simulators under a Python of their own: ``--env.python``."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import av
import msgspec
import numpy as np
import pytest

from proctor import evaluate
from proctor.benchmarks.elsewhere import BenchmarkElsewhere
from proctor.cli import main
from proctor.engine.worker.processes import SpawnStarter
from proctor.errors import ConfigError, FingerprintError
from proctor.evaluation.components import interpreter_of, make_benchmark
from proctor.results.eval_info import canonical_info
from proctor.testing.fakes import FAKE_BENCHMARK, FakePolicy

ENV = {"type": FAKE_BENCHMARK, "max_steps": 12}
_ENCODERS_CHOICE = 0.5
"""The most by which a frame of a video may differ on average, of 255."""
CARTPOLE = {"type": "gymnasium", "task": "CartPole-v1"}


def run(directory, python, policy=None, env=None, **fields):
    """Two tasks of three episodes in two workers."""
    env = {**ENV, **(env or {}), "python": python}
    return evaluate(policy or FakePolicy(), env, output_dir=directory, **{"n_episodes": 3, "batch_size": 2, **fields})


def results(result, *, fingerprint=True):
    """The results as text, without how they were come by."""
    info = canonical_info(result.info)
    return json.dumps(info if fingerprint else {**info, "fingerprint": None}, indent=1)


def versions(directory):
    return json.loads((directory / "run.json").read_text())["fingerprint"]["versions"]


def shown(capsys):
    captured = capsys.readouterr()
    return captured.out + captured.err


@pytest.fixture
def scratch(tmp_path):
    (tmp_path / "scratch").mkdir()
    return str(tmp_path / "scratch")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The episodes of the fake benchmark, in workers of this Python."""
    return run(tmp_path_factory.mktemp("here") / "run", None)


def test_this_very_interpreter_gives_the_same_results_and_fingerprint(here, tmp_path):
    """To the bit, states included."""
    there = run(tmp_path / "there", sys.executable)

    assert results(there) == results(here)
    assert versions(tmp_path / "there") == versions(here.directory)
    assert json.loads((tmp_path / "there/run.json").read_text())["config"]["env"]["python"] == sys.executable


@pytest.mark.parametrize("env", [CARTPOLE, {"type": "gymnasium", "task": "MountainCar-v0", "episode_length": 50}])
def test_a_real_benchmark_has_the_same_fingerprint_under_this_very_interpreter(tmp_path, env):
    """Its distributions, and the code of the environment."""
    fields = {"n_episodes": 2, "batch_size": 2}
    found = [
        evaluate({"type": "random"}, {**env, "python": python}, output_dir=tmp_path / name, **fields)
        for name, python in (("here", None), ("there", sys.executable))
    ]

    assert results(found[0]) == results(found[1])


def test_the_oldest_python_simulates_the_same_episodes(here, python_310, tmp_path):
    """With numpy 1; the observations go to a policy in this process, which has numpy 2."""
    there = run(tmp_path / "there", python_310)

    assert results(there, fingerprint=False) == results(here, fingerprint=False)
    assert versions(tmp_path / "there").items() >= {"numpy": "1.26.4"}.items()
    assert versions(tmp_path / "there")["python"].startswith("3.10.")


def test_a_newer_python_simulates_the_same_episodes(here, python_313, tmp_path):
    there = run(tmp_path / "there", python_313)

    assert results(there, fingerprint=False) == results(here, fingerprint=False)
    assert versions(tmp_path / "there")["python"].startswith("3.13.")


def test_workers_that_are_started_one_by_one_do_so_too(here, python_310, tmp_path, monkeypatch):
    """As on macOS."""
    monkeypatch.setattr(
        "proctor.engine.worker.pool.make_starter", lambda setup, log, interpreter: SpawnStarter(interpreter)
    )
    there = run(tmp_path / "there", python_310)

    assert results(there, fingerprint=False) == results(here, fingerprint=False)


@pytest.mark.parametrize("fault", ["kill", "exit", "raise", "segfault"])
def test_a_worker_that_is_lost_is_replaced(here, python_310, tmp_path, scratch, fault):
    """The results are those of a run without it."""
    env = {"faults": {"1/1001/4": fault}, "scratch": scratch}
    there = run(tmp_path / "there", python_310, env=env)

    assert list(Path(scratch).iterdir())
    (struck,) = [episode for episode in there.info["per_episode"] if episode["errors"]]
    assert (struck["task_id"], struck["seed"]) == (1, 1001)
    assert [episode["sum_reward"] for episode in there.info["per_episode"]] == [
        episode["sum_reward"] for episode in here.info["per_episode"]
    ]


def test_registered_environments_run_as_they_are_registered_there(python_310, python_310_gym, python_313, tmp_path):
    """With Gymnasium 0.29, the old gym and Gymnasium of today CartPole has the same physics."""
    fields = {"n_episodes": 3, "batch_size": 2}
    pythons = {"here": None, "gymnasium": python_310, "gym": python_310_gym, "new": python_313}
    found = {
        name: evaluate({"type": "random"}, {**CARTPOLE, "python": python}, output_dir=tmp_path / name, **fields)
        for name, python in pythons.items()
    }

    rewards = {name: [episode["sum_reward"] for episode in run.info["per_episode"]] for name, run in found.items()}
    assert len({tuple(each) for each in rewards.values()}) == 1
    assert versions(tmp_path / "gymnasium")["gymnasium"] == "0.29.1"
    assert versions(tmp_path / "gym")["gymnasium"] is None


def test_what_is_not_registered_there_is_said(python_310):
    with pytest.raises(ConfigError, match=r"No Gymnasium environment 'CartPole-v11' is registered. Did you mean"):
        evaluate({"type": "random"}, {**CARTPOLE, "task": "CartPole-v11", "python": python_310})


def test_a_package_that_is_missing_there_is_named_with_the_command(python_310):
    with pytest.raises(ConfigError) as refused:
        evaluate({"type": "random"}, {**CARTPOLE, "module": "gym_nowhere", "python": python_310})
    assert f"install it with: {python_310} -m pip install gym-nowhere" in str(refused.value)


def test_a_simulator_that_is_missing_there_is_named_with_the_command(python_310, tmp_path):
    with pytest.raises(ConfigError) as refused:
        evaluate({"type": "random"}, {"type": "pusht", "python": python_310}, output_dir=tmp_path / "run")
    assert f"{python_310} -m pip install gym-pusht" in str(refused.value)


# ------------------------------------------------------------------------------------------------------------- videos


def videos(directory):
    return {path.relative_to(directory): frames_of(path) for path in sorted(directory.rglob("*.mp4"))}


def frames_of(path):
    """The frames of a video as they are seen, ``(frames, height, width)`` uint8."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])


def assert_same_videos(ours, theirs):
    """Their bytes may differ: the encoder reads memory that nobody has written, as ``MALLOC_PERTURB_`` shows."""
    assert ours.keys() == theirs.keys()
    for name, frames in ours.items():
        assert frames.shape == theirs[name].shape
        assert np.abs(frames.astype(int) - theirs[name]).mean(axis=(1, 2)).max() < _ENCODERS_CHOICE


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_video_shows_the_same_wherever_its_frames_are_encoded(python_310, python_313, tmp_path, deterministic):
    """By replay or as it is measured: here, in a worker that has PyAV, and by the engine for one that has none."""
    env = {"deterministic": deterministic}
    for name, python in {"here": None, "worker": python_313, "engine": python_310}.items():
        found = run(tmp_path / name, python, env=env, video="all", video_size="64x48", video_camera="back")
        assert not found.video_problems

    expected = videos(tmp_path / "here")
    assert len(expected) == 6
    assert_same_videos(videos(tmp_path / "worker"), expected)
    assert_same_videos(videos(tmp_path / "engine"), expected)


def test_a_policy_in_the_worker_is_recorded_as_it_is_measured(python_310, tmp_path):
    """Its episode is one request, in the midst of which frames are sent."""
    for name, python in {"here": None, "engine": python_310}.items():
        run(tmp_path / name, python, {"type": "expert"}, {"deterministic": False}, video="all")

    assert len(videos(tmp_path / "here")) == 6
    assert_same_videos(videos(tmp_path / "engine"), videos(tmp_path / "here"))


def test_a_frame_that_cannot_be_drawn_costs_its_video_and_nothing_else(python_310, tmp_path, scratch):
    env = {"faults": {"0/1000/2/render": "raise"}, "scratch": scratch}
    found = run(tmp_path / "run", python_310, env=env, video="all")

    assert list(found.video_problems.values()) == ["cannot be drawn (RuntimeError: a scripted fault)"]
    assert len(videos(tmp_path / "run")) == 5
    assert not list(tmp_path.rglob("*.part"))


def test_a_file_that_cannot_be_written_costs_its_video_and_nothing_else(python_310, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("proctor.engine.worker.video_file.H264Writer.add", full)
    found = run(tmp_path / "run", python_310, video="all")

    assert set(found.video_problems.values()) == {"the video cannot be written (No space left on device)"}
    assert found.summary.overall.n_completed == 6
    assert not list(tmp_path.rglob("*.part"))


def test_a_file_that_cannot_be_completed_costs_its_video(python_310, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("proctor.engine.worker.video_file.H264Writer.close", full)
    found = run(tmp_path / "run", python_310, video="all")

    assert set(found.video_problems.values()) == {"the video cannot be written (No space left on device)"}
    assert not list(tmp_path.rglob("*.part"))


def test_a_worker_that_is_lost_in_the_midst_of_a_video_leaves_no_part_of_it(python_310, tmp_path, scratch):
    """The next attempt makes the whole one, and nothing of the first attempt gets into its file."""
    env = {"max_steps": 60, "n_tasks": 1, "faults": {"0/1000/50/render": "kill"}, "scratch": scratch}
    found = run(tmp_path / "run", python_310, {"type": "zero"}, env, video="all", n_episodes=1)
    run(tmp_path / "here", None, {"type": "zero"}, {"max_steps": 60, "n_tasks": 1}, video="all", n_episodes=1)

    assert list(Path(scratch).iterdir())
    assert not found.video_problems
    assert len(videos(tmp_path / "here")) == 1
    assert_same_videos(videos(tmp_path / "run"), videos(tmp_path / "here"))
    assert not list(tmp_path.rglob("*.part"))


# ------------------------------------------------------------------------------------------- planning, and continuing


def test_planning_imports_nothing_of_the_benchmark_here(python_310, tmp_path, monkeypatch):
    """A benchmark that only the other interpreter has is described there: tasks, starts, options, cautions."""
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "only_there.py").write_text(_ONLY_THERE)
    metadata = tmp_path / "site-packages" / "only_there-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: only-there\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[proctor.benchmarks]\ncounting = only_there:Counting\n")
    monkeypatch.setattr("proctor.child.other_python.BROUGHT", _with_packages(tmp_path, monkeypatch))
    fields = {"type": "only_there:Counting", "python": python_310, "friction": "0.5", "episode_length": 7}
    benchmark, address = make_benchmark(fields)

    assert address == "only_there:Counting"
    assert isinstance(benchmark, BenchmarkElsewhere)
    assert "only_there" not in sys.modules
    assert benchmark.name == "counting"
    assert benchmark.protocol == "counting-1"
    assert benchmark.config.friction == 0.5
    assert benchmark.config.episode_length == 7
    (task,) = benchmark.tasks()
    assert [benchmark.init_state_id(task, index) for index in (0, 49, 50, 1000)] == [0, 49, 0, 0]
    assert benchmark.cautions() == ["Counting is slow today."]
    assert benchmark.known_here() == {"word": "hello"}
    with pytest.raises(ConfigError, match=r"leave env.python out to have its simulator in this process"):
        benchmark.make_env(task)
    with pytest.raises(ConfigError, match=r"Unknown field env.frictoin"):
        make_benchmark({**fields, "frictoin": 1})
    assert make_benchmark({**fields, "type": "counting"})[1] == address, "by the name that it is registered with there"
    with pytest.raises(ConfigError, match=r"Unknown benchmark 'counts'"):
        make_benchmark({**fields, "type": "counts"})


_ONLY_THERE = """
from dataclasses import dataclass
from proctor import Benchmark, EnvConfig, Task

@dataclass(frozen=True, kw_only=True)
class CountingConfig(EnvConfig):
    type: str = "counting"
    friction: float = 0.1

class Counting(Benchmark):
    name, extra, protocol = "counting", "", "counting-1"
    config_class = CountingConfig
    def tasks(self):
        return [Task("counting", 0, "count", "", 9)]
    def init_state_id(self, task, index):
        return index % 50
    def cautions(self):
        return ["Counting is slow today."]
    def known_here(self):
        return {"word": "hello"}
    def make_env(self, task):
        raise NotImplementedError
"""


def _with_packages(tmp_path, monkeypatch):
    """The folder that brings Proctor, and one of packages that only the other interpreter searches."""
    from proctor.child import BROUGHT

    return f"{BROUGHT}:{tmp_path / 'site-packages'}"


def test_a_module_of_the_users_is_found_by_workers_there(python_310, tmp_path, monkeypatch):
    """By its address, in a folder that PYTHONPATH names."""
    (tmp_path / "steering.py").write_text(
        "from proctor.testing.fakes import FakeBenchmark\n\n\nclass Steering(FakeBenchmark):\n    name = 'steering'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = {
        name: run(tmp_path / name, python, env={"type": "steering:Steering"}, n_episodes=1)
        for name, python in (("here", None), ("there", python_310))
    }

    assert results(found["there"], fingerprint=False) == results(found["here"], fingerprint=False)
    codes = [json.loads((tmp_path / name / "run.json").read_text()) for name in found]
    assert codes[0]["fingerprint"]["code"] == codes[1]["fingerprint"]["code"]
    assert codes[0]["code_places"] == codes[1]["code_places"] == {"steering": str(tmp_path)}


def test_a_run_goes_on_under_another_interpreter_of_the_same_versions_and_under_no_other(
    python_310, python_313, tmp_path
):
    run(tmp_path / "run", python_310, n_episodes=1)
    link = tmp_path / "environment"
    link.symlink_to(Path(python_310).parents[1])

    again = run(tmp_path / "run", str(link / "bin/python"), n_episodes=2)
    assert again.summary.overall.n_completed == 4
    with pytest.raises(FingerprintError, match=r'versions.python: was "3.10'):
        run(tmp_path / "run", python_313, n_episodes=2)


def test_shards_run_their_workers_under_it(here, python_310, tmp_path, capsys):
    words = f"parallel --num_shards=2 --policy.type=expert --env.type={FAKE_BENCHMARK} --env.python={python_310} "
    words += f"--eval.n_episodes=3 --eval.display=none --output_dir={tmp_path / 'run'} --eval.video=none"
    assert main(words.split()) == 0, shown(capsys)
    alone = evaluate({"type": "expert"}, {"type": FAKE_BENCHMARK}, output_dir=tmp_path / "alone", n_episodes=3)

    info = json.loads((tmp_path / "run" / "eval_info.json").read_text())
    assert json.dumps({**canonical_info(info), "fingerprint": None}) == json.dumps(
        {**canonical_info(alone.info), "fingerprint": None}
    )
    assert versions(tmp_path / "run")["numpy"] == "1.26.4"


def test_simulators_in_this_process_are_refused(python_310, tmp_path):
    with pytest.raises(ConfigError, match=r"use_async_envs is false, but simulators under env.python=.* leave one"):
        run(tmp_path / "run", python_310, use_async_envs=False)


def test_one_simulator_at_a_time_is_one_worker(here, python_310, tmp_path):
    """Although a batch size of 1 otherwise means this process."""
    there = run(tmp_path / "run", python_310, batch_size=1)

    assert results(there, fingerprint=False) == results(here, fingerprint=False)


def test_an_interpreter_that_a_run_directory_names_is_started_with_consent_only(python_310, tmp_path, capsys):
    """It may be any program, and the directory somebody else's."""
    run(tmp_path / "run", python_310, n_episodes=1)
    marker = tmp_path / "was-run"
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\ntouch {shlex.quote(str(marker))}\n")
    program.chmod(0o755)
    file = tmp_path / "run" / "run.json"
    written = msgspec.json.decode(file.read_bytes())
    written["config"]["env"]["python"] = str(program)
    file.write_bytes(msgspec.json.encode(written))

    for command in ("replay --task=task-0 --episode=0", "resume"):
        assert main([*command.split(), str(tmp_path / "run")]) == 2
        assert f"not installed here (the interpreter {program})" in shown(capsys)
    assert not marker.exists()


def test_a_video_is_rendered_later_with_consent(python_310, tmp_path, capsys):
    run(tmp_path / "run", python_310, n_episodes=1)
    command = f"replay {tmp_path / 'run'} --task=task-0 --episode=0 --trust_remote_code=true"

    assert main(command.split()) == 0, shown(capsys)
    assert len(videos(tmp_path / "run")) == 1


def test_no_interpreter_is_looked_for_unless_it_is_asked_for():
    assert interpreter_of("gymnasium", {}) is None
    assert interpreter_of("gymnasium", {"python": None}) is None
    assert interpreter_of("gymnasium", {"python": "null"}) is None
