"""``proctor replay``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from proctor.cli import main
from proctor.results.journal import read_actions
from proctor.results.run_dir import RunDirectory
from proctor.results.run_status import RunStatus
from proctor.results.summary import load_summary
from proctor.testing.fakes import FAKE_BENCHMARK
from proctor.types import pack_arrays

ENV = {"type": FAKE_BENCHMARK, "max_steps": 12, "image_size": 32}


POLICY = """
import numpy as np

def act(observation):
    position = observation["observation.state"]
    goal = int(observation["instruction"].rsplit()[-1])
    return np.clip((goal - position) / 0.3, -1, 1) if position[0] > 0 else np.ones(2)
"""
"""Gets there in some episodes."""


def run(directory: Path, *more: str) -> None:
    """Two tasks of four episodes, without videos. The policy is gone afterwards."""
    flags = [f"--env.{name}={value}" for name, value in ENV.items()]
    flags += ["--eval.n_episodes=4", "--eval.batch_size=1", "--eval.video=none", "--eval.display=none"]
    module = directory.with_name("soon_gone.py")
    module.write_text(POLICY)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(module.parent)
        policy = ["--policy.type=function", "--policy.function=soon_gone:act"]
        assert main(["eval", *policy, *flags, f"--output_dir={directory}", *more]) == 0
    module.unlink()
    del sys.modules["soon_gone"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A run nobody may write to."""
    directory = tmp_path_factory.mktemp("replay") / "run"
    run(directory)
    return directory


@pytest.fixture
def run_dir(finished, tmp_path) -> Path:
    """A copy of it."""
    return shutil.copytree(finished, tmp_path / "run")


def replay(run_dir: Path, *options: str) -> int:
    return main(["replay", str(run_dir), *options])


def videos_in(run_dir: Path) -> list[str]:
    files = sorted(path for path in (run_dir / "videos").rglob("*") if path.is_file())
    assert {path.suffix for path in files} <= {".mp4"}
    return [f"{path.parent.name}/{path.stem.removeprefix('eval_episode_')}" for path in files]


def test_the_video_of_an_episode_is_rendered_and_reported(run_dir, capsys, watch):
    """How it went, that the replay was the same, and where its video is. The policy, gone by now, is not needed; the
    results stay as they are.
    """
    before = (run_dir / "eval_info.json").read_bytes()
    episode = json.loads(before)["per_episode"][6]
    assert "soon_gone" not in sys.modules

    assert replay(run_dir, "--task=task-1", "--episode=2") == 0

    out, err = capsys.readouterr()
    path = run_dir / "videos/fake_1/eval_episode_2.mp4"
    how = f"{episode['outcome']} after {episode['length']} steps, reward {episode['sum_reward']:.2f}"
    assert out == f"fake/1 episode 2 (seed 1002): {how}, as recorded: {path}\n"
    assert "Traceback" not in err
    assert len(watch(path).frames) == episode["length"] + 1
    assert videos_in(run_dir) == ["fake_1/2"]
    assert (run_dir / "eval_info.json").read_bytes() == before


@pytest.mark.parametrize(
    ("episode", "videos"),
    [
        ("3,0, 3", ["fake_0/0", "fake_0/3"]),
        ("all", ["fake_0/0", "fake_0/1", "fake_0/2", "fake_0/3"]),
        ("failures", ["fake_0/3"]),
    ],
)
def test_several_are_rendered_in_one_go(run_dir, capsys, episode, videos):
    """A line for each."""
    assert replay(run_dir, "--task=fake/0", f"--episode={episode}") == 0

    assert videos_in(run_dir) == videos
    assert capsys.readouterr().out.count("as recorded") == len(videos)


def test_another_camera_size_or_speed_gives_a_file_of_its_own(run_dir, capsys, watch):
    """The video that reports show stays as it is."""
    assert replay(run_dir, "--task=task-0", "--episode=3") == 0
    shown = (run_dir / "videos/fake_0/eval_episode_3.mp4").read_bytes()
    options = ["--camera=back", "--size=65x48", "--fps=5"]

    assert replay(run_dir, "--task=task-0", "--episode=3", *options) == 0

    file = run_dir / "videos/fake_0/eval_episode_3-back-65x48-5fps.mp4"
    assert capsys.readouterr().out.splitlines()[1].endswith(f"as recorded: {file}")
    assert (run_dir / "videos/fake_0/eval_episode_3.mp4").read_bytes() == shown
    (reported,) = load_summary(run_dir)[1].videos.values()
    assert reported == "videos/fake_0/eval_episode_3.mp4"
    assert RunStatus.of(run_dir).n_videos == 1
    video = watch(file)
    assert video.frames.shape == (7, 48, 64, 3)
    assert video.frame_rate == 5
    assert video.frames[0].mean() > 250


def test_a_replay_is_made_as_the_other_videos_of_the_run_are(tmp_path, watch):
    """With the camera, size and speed of the evaluation, so that a report shows videos that are alike."""
    run(tmp_path / "run", "--eval.video_camera=back", "--eval.video_size=64x48", "--eval.video_fps=5")

    assert replay(tmp_path / "run", "--task=task-0", "--episode=3") == 0
    assert replay(tmp_path / "run", "--task=task-0", "--episode=3", "--camera=front") == 0

    usual, other = (tmp_path / f"run/videos/fake_0/eval_episode_3{name}.mp4" for name in ("", "-front"))
    assert watch(usual).frames.shape == watch(other).frames.shape == (7, 48, 64, 3)
    assert watch(usual).frames[0].mean() > 250 > watch(other).frames[0].mean()


def test_two_replays_of_an_episode_at_a_time_do_not_disturb_each_other(tmp_path, watch):
    """Each writes a file of its own until its video is whole. Drawing is slow here, so that they overlap."""
    run_dir, scratch = tmp_path / "run", tmp_path / "scratch"
    scratch.mkdir()
    naps = json.dumps({f"0/1003/{step}/render": "nap" for step in (50, 60, 70, 79)})  # the encoder has begun to write
    env = ENV | {"max_steps": 80, "faults": naps, "times": 99, "scratch": scratch}
    flags = [f"--env.{name}={value}" for name, value in env.items()]
    flags += ["--eval.n_episodes=4", "--eval.batch_size=1", "--eval.video=none", f"--output_dir={run_dir}"]
    assert main(["eval", "--policy.type=zero", *flags]) == 0
    words = [sys.executable, "-m", "proctor", "replay", run_dir, "--task=task-0", "--episode=3"]
    processes = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]

    printed = [process.communicate(timeout=300)[0] for process in processes]

    assert [process.returncode for process in processes] == [0, 0]
    assert all("failure after 80 steps" in text for text in printed)
    assert videos_in(run_dir) == ["fake_0/3"]
    assert len(watch(run_dir / "videos/fake_0/eval_episode_3.mp4").frames) == 81


def tamper(run_dir: Path) -> None:
    """Turn round the actions of every third episode."""
    (journal,) = RunDirectory(run_dir).read_journals()
    kept = [(record.result, read_actions(record)) for record in journal.episodes]
    for path in run_dir.glob("journal.*"):
        path.unlink()
    with RunDirectory(run_dir).open_journal(journal.header.fingerprint) as writer:
        for result, actions in kept:
            writer.append(result, pack_arrays({"actions": -actions if result.spec.episode_index == 3 else actions}))


def test_a_replay_that_differs_gives_exit_status_1(run_dir, capsys):
    """It says in what, and leaves no video; the other episodes have theirs."""
    tamper(run_dir)

    assert replay(run_dir, "--task=task-1", "--episode=2,3") == 1

    out = capsys.readouterr().out
    assert "fake/1 episode 2 (seed 1002): " in out
    assert "No video    fake/1 episode 3 (seed 1003): its replay is another episode: " in out
    assert videos_in(run_dir) == ["fake_1/2"]


def test_actions_that_cannot_be_read_give_exit_status_1(run_dir, capsys):
    """Their episodes have no video, and the others have."""
    last = RunDirectory(run_dir).read_journals()[0].episodes[-1]
    os.truncate(last.actions_file, last.arrays["actions"].offset + 1)

    assert replay(run_dir, "--task=task-1", "--episode=all") == 1

    assert "No video    fake/1 episode 3 (seed 1003): the recorded actions cannot be read" in capsys.readouterr().out
    assert videos_in(run_dir) == ["fake_1/0", "fake_1/1", "fake_1/2"]


def test_a_run_without_recordings_is_reported_once(run_dir, capsys):
    """Its actions were not copied with it."""
    (run_dir / "journal.actions.bin").unlink()

    assert replay(run_dir, "--task=task-1", "--episode=all") == 1

    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("No video    fake/1 episode 0 (seed 1000) and 3 more: the recorded actions cannot be read")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--episode=0"], "Which task? Give --task, one of task-0, task-1."),
        (["--task=task-2", "--episode=0"], "The run has no task 'task-2'. Did you mean 'task-1'?"),
        (["--task=task-0", "--episode=4"], "task-0 has no completed episode 4; it has 4, numbered 0 to 3."),
        (["--task=task-0", "--episode=-1,2"], "task-0 has no completed episode -1"),
        (["--task=task-0", "--episode=first"], "--episode is 'first'; it is numbers with commas, failures, or all."),
        (["--task=task-0", "--episode=0", "--camera=side"], "task-0 has no camera 'side'; it has front, back."),
        (
            ["--task=task-0", "--episode=0", "--size=640"],
            "--size is '640'; it is WIDTHxHEIGHT in pixels, such as 640x480.",
        ),
        (["--task=task-0", "--episode=0", "--fps=0"], "--fps is 0.0; it must be positive."),
        (["--task=task-0"], "--episode"),
    ],
)
def test_a_users_mistake_is_one_sentence(run_dir, capsys, options, message):
    """And exit status 2."""
    assert replay(run_dir, *options) == 2

    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert videos_in(run_dir) == []


def test_a_directory_that_holds_no_run(tmp_path, capsys):
    """Exit status 2 too."""
    assert replay(tmp_path, "--episode=0") == 2
    assert "holds no run" in capsys.readouterr().err


def test_episodes_of_any_shard_can_be_replayed(tmp_path, capsys):
    """Shards in one directory are one run."""
    for shard in range(2):
        run(tmp_path / "run", f"--eval.shard_id={shard}", "--eval.num_shards=2")

    assert replay(tmp_path / "run", "--task=task-0", "--episode=all") == 0

    assert videos_in(tmp_path / "run") == ["fake_0/0", "fake_0/1", "fake_0/2", "fake_0/3"]
