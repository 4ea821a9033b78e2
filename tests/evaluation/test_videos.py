"""Videos of an evaluation: of which episodes, that they show them, and that they cost no result."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep
from unittest.mock import patch

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv

import proctor
from proctor.cli import main
from proctor.config import EvalConfig, RunConfig, structure
from proctor.engine import VideoOptions
from proctor.engine.plan import plan_tasks
from proctor.evaluation import videos as videos_module
from proctor.evaluation.components import make_benchmark
from proctor.evaluation.prepared_run import prepare
from proctor.evaluation.run import run
from proctor.evaluation.videos import budget_of, wanted_videos
from proctor.rendering import choose_renderer
from proctor.results.journal import read_actions
from proctor.results.run_dir import RunDirectory
from proctor.testing.fakes import FAKE_BENCHMARK
from proctor.types import EpisodeResult, EpisodeSpec, Outcome

FAKE = {"type": FAKE_BENCHMARK, "max_steps": 12, "image_size": 32}


def evaluate(directory: Path, env=FAKE, **fields):
    """Two tasks of three episodes of the fake benchmark, in this process, each with a video."""
    fields = {"n_episodes": 3, "batch_size": 1, "video": "first", **fields}
    return proctor.evaluate({"type": "random"}, env, output_dir=directory, **fields)


def command(directory: Path, *more: str, **env) -> list[str]:
    """The same as a command line."""
    return [
        *("eval", "--policy.type=random", f"--output_dir={directory}", "--eval.n_episodes=3", "--eval.batch_size=1"),
        "--eval.n_episodes_to_render=10",
        *(f"--env.{name}={value}" for name, value in (FAKE | env).items()),
        *("--eval.display=none", *more),
    ]


def videos_in(directory: Path) -> list[str]:
    """``suite_task/episode`` of each; and there is nothing else in the folder."""
    files = sorted(path for path in (directory / "videos").rglob("*") if path.is_file())
    assert {path.suffix for path in files} <= {".mp4"}
    return [f"{path.parent.name}/{path.stem.removeprefix('eval_episode_')}" for path in files]


def info_in(directory: Path) -> dict:
    return json.loads((directory / "eval_info.json").read_text())


# --------------------------------------------------------------------------------------- on the real simulators

CONTROL_HZ = {"pusht": 10, "pusht-small": 10, "metaworld": 80, "metaworld-topview": 80, "CartPole": 50}
CONTROL_HZ |= {"InvertedPendulum": 25}
REAL = {
    "pusht": ({"type": "pusht"}, {}, (384, 384), 10),
    "pusht-small": ({"type": "pusht"}, {"video_size": "81x49"}, (80, 48), 10),
    "metaworld": ({"type": "metaworld", "task": "reach-v3"}, {}, (640, 480), 20),
    "metaworld-topview": (
        {"type": "metaworld", "task": "push-v3"},
        {"video_camera": "topview", "video_size": "1001x300", "video_fps": 40},
        (1000, 300),
        40,
    ),
    "CartPole": ({"type": "gymnasium", "task": "CartPole-v1"}, {}, (600, 400), 50 / 3),
    "InvertedPendulum": (
        {"type": "gymnasium", "task": "InvertedPendulum-v5"},
        {"video_size": "320x320"},
        (320, 320),
        12.5,
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_a_video_shows_its_episode(name, tmp_path, watch):
    """From the reset to the last step, at the size, speed and by the camera asked for; only what was asked for."""
    env, fields, (width, height), rate = REAL[name]
    env = env | {"episode_length": 18}
    n_episodes = 1 if env["type"] == "metaworld" else 2
    batch_size = 1 if name in ("pusht", "metaworld", "InvertedPendulum") else 2

    result = evaluate(tmp_path, env, n_episodes=n_episodes, n_episodes_to_render=1, batch_size=batch_size, **fields)

    assert result.video_problems == {}
    (path,) = result.info["overall"]["video_paths"]
    video, episode = watch(tmp_path / path), result.summary.episodes[0]
    assert (video.codec, video.pixel_format) == ("h264", "yuv420p")
    assert video.frames.shape[1:] == (height, width, 3)
    assert float(video.frame_rate) == pytest.approx(rate)
    first, last = frames_of(env, tmp_path, episode, fields)
    for shown, drawn in ((video.frames[0], first), (video.frames[-1], last)):
        assert np.abs(shown.astype(int) - like(drawn, shown)).mean() < 5
    assert (first != last).any()
    assert 0 <= video.seconds - episode.length / CONTROL_HZ[name] <= 2 / rate


def frames_of(env, directory, episode, fields):
    """The first and the last frame as the simulator draws them here, having run the recorded actions."""
    size = EvalConfig(video_size=fields.get("video_size")).video_pixels
    benchmark, _ = make_benchmark(env)
    choose_renderer(benchmark)
    (task,) = plan_tasks(benchmark)
    simulator = benchmark.make_env(task)
    try:
        simulator.reset(episode.spec.seed, None, look=False)
        first = simulator.render(fields.get("video_camera"), size)
        (record,) = [
            r for j in RunDirectory(directory).read_journals() for r in j.episodes if r.result.spec == episode.spec
        ]
        for action in read_actions(record):
            simulator.step(action, look=False)
        return first, simulator.render(fields.get("video_camera"), size)
    finally:
        simulator.close()


def like(drawn, shown):
    """Scaled to the size of what is shown."""
    import cv2

    return cv2.resize(drawn, shown.shape[1::-1], interpolation=cv2.INTER_AREA)


# ------------------------------------------------------------------------------------------- of which episodes


def results_of(outcomes: str) -> list[EpisodeResult]:
    """Two tasks with these outcomes each: s, f, u (unknown) or e."""
    meaning = {"s": Outcome.SUCCESS, "f": Outcome.FAILURE, "u": Outcome.UNKNOWN, "e": Outcome.ERROR}
    return [
        EpisodeResult(EpisodeSpec("zoo", task_id, index, 1000 + index), meaning[outcome])
        for task_id in (0, 1)
        for index, outcome in enumerate(outcomes)
    ]


@pytest.mark.parametrize(
    ("fields", "indices"),
    [
        ({"n_episodes_to_render": 10}, [0, 1, 2, 4, 5, 6, 7]),
        ({"n_episodes_to_render": 4}, [0, 1, 2]),
        ({"n_episodes_to_render": 0}, []),
        ({"video": "first", "n_episodes_to_render": 5}, [0, 1, 2, 4]),
        ({"video": "failures", "n_episodes_to_render": 9}, [1, 4, 6]),
        ({"video": "failures", "n_episodes_to_render": 2}, [1, 4]),
        ({"video": "failures", "n_episodes_to_render": 0}, []),
        ({"video": "all", "n_episodes_to_render": 1}, [0, 1, 2, 4, 5, 6, 7]),
        ({"video": "none"}, []),
    ],
)
def test_which_episodes_get_a_video_if_their_number_is_given(fields, indices):
    """Of each task the first ones, the first failures, all or none; never what ended in an error."""
    wanted = wanted_videos(VideoOptions.of(EvalConfig(**fields)), results_of("sfsefsfs"))

    assert [(result.spec.task_id, result.spec.episode_index) for result in wanted] == [
        (task_id, index) for task_id in (0, 1) for index in indices
    ]


@pytest.mark.parametrize(
    ("video", "outcomes", "episodes"),
    [
        ("auto", "sfsefsfs", ["0/1", "1/1", "0/0", "1/0", "0/4", "1/4", "0/2", "1/2"]),
        ("auto", "sss", ["0/0", "1/0", "0/1", "1/1"]),
        ("auto", "uufu", ["0/2", "1/2", "0/0", "1/0", "0/1", "1/1"]),
        ("first", "sfsefsfs", ["0/0", "1/0", "0/1", "1/1", "0/2", "1/2"]),
        ("failures", "sfffsff", ["0/1", "1/1", "0/2", "1/2", "0/3", "1/3", "0/5", "1/5"]),
    ],
)
def test_without_a_number_every_task_has_a_video_before_any_has_two(video, outcomes, episodes):
    """They are few, and of every outcome; which they are, and in which order, follows from the plan."""
    options = VideoOptions.of(EvalConfig(video=video))

    wanted = wanted_videos(options, results_of(outcomes))

    assert [f"{result.spec.task_id}/{result.spec.episode_index}" for result in wanted] == episodes
    assert options.has_budget


def test_of_what_was_recorded_while_it_ran_the_first_episodes_have_a_video():
    """The outcome of an episode is not known while it is recorded."""
    results, options = results_of("sfsefsfs"), VideoOptions()
    recorded = [result.spec for result in results if result.spec.task_id and options.may_include(result.spec)]

    wanted = wanted_videos(options, results, recorded)

    assert {result.spec.episode_index for result in wanted if result.spec.task_id} == {0, 1, 2}
    assert {result.spec.episode_index for result in wanted if not result.spec.task_id} == {0, 1, 2, 4}


@pytest.mark.parametrize(
    ("fields", "wall_s", "seconds"),
    [
        ({}, 2.0, 10.0),
        ({}, 100.0, 25.0),
        ({"video": "failures"}, None, 10.0),
        ({"n_episodes_to_render": 3}, 100.0, math.inf),
        ({"video": "all"}, 100.0, math.inf),
    ],
)
def test_the_time_for_videos_is_bounded_unless_their_number_is_given(fields, wall_s, seconds):
    """A quarter of the measured time, or ten seconds if that is more."""
    assert budget_of(VideoOptions.of(EvalConfig(**fields)), wall_s) == seconds


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"video": "some"}, "eval.video is 'some'; it must be one of auto, first, failures, all, none"),
        ({"video_size": "640"}, "it must be WIDTHxHEIGHT in pixels, such as 640x480"),
        ({"video_size": "1x480"}, "it must be WIDTHxHEIGHT in pixels, such as 640x480"),
        ({"video_fps": 0}, "eval.video_fps is 0.*; it must be positive"),
        ({"n_episodes_to_render": -1}, "it must be at least 0"),
    ],
)
def test_what_cannot_be_rendered_is_refused_before_anything_runs(fields, words):
    """In one sentence."""
    with pytest.raises(proctor.errors.ConfigError, match=words):
        structure(EvalConfig, fields, "eval")


def test_videos_are_found_where_lerobots_readers_look_for_them(tmp_path):
    """Per task, per group and overall, relative to the run directory; and with each episode."""
    info = evaluate(tmp_path, n_episodes_to_render=2).info

    expected = [f"videos/fake_{task_id}/eval_episode_{index}.mp4" for task_id in (0, 1) for index in (0, 1)]
    assert info["overall"]["video_paths"] == info["per_group"]["fake"]["video_paths"] == expected
    assert [task["metrics"]["video_paths"] for task in info["per_task"]] == [expected[:2], expected[2:]]
    assert [episode["video"] for episode in info["per_episode"]] == [*expected[:2], None, *expected[2:], None]
    assert info_in(tmp_path) == json.loads(json.dumps(info))
    assert all((tmp_path / path).is_file() for path in expected)


def test_from_python_there_are_no_videos_unless_asked_for(tmp_path):
    """They take time, and nobody looks at them."""
    proctor.evaluate({"type": "random"}, FAKE, n_episodes=1, output_dir=tmp_path)

    assert not (tmp_path / "videos").exists()


# ------------------------------------------------------------------------------------------- results come first


def test_results_are_on_disk_and_shown_before_the_first_video_is_made(tmp_path):
    """The time that rendering takes is not the evaluation's."""
    shown = []

    def on_measured(result):
        shown.append((result.n_videos_to_come, info_in(tmp_path), videos_in(tmp_path)))

    config = RunConfig(
        policy={"type": "random"},
        env=FAKE,
        eval=EvalConfig(n_episodes=3, batch_size=2, n_episodes_to_render=10, display="none"),
        output_dir=str(tmp_path),
    )
    final = run(prepare(config), on_measured)

    ((n_to_come, info, videos),) = shown
    assert (n_to_come, videos, len(videos_in(tmp_path))) == (6, [], 6)
    assert info["complete"]
    assert info["overall"]["video_paths"] == []
    for name in ("eval_s", "eval_ep_s", "pc_success"):
        assert info["overall"][name] == final.info["overall"][name]


def test_what_is_missing_is_made_when_a_run_goes_on_and_nothing_twice(tmp_path, capsys):
    """A complete run without videos gets them; one with videos keeps them as they are."""
    assert main(command(tmp_path, "--eval.video=none")) == 0
    assert videos_in(tmp_path) == []
    journal = (tmp_path / "journal.jsonl").read_bytes().count(b'"kind":"episode"')

    assert main(command(tmp_path)) == 0
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "videos").rglob("*.mp4")}
    assert len(made) == 6
    next(iter(made)).unlink()
    assert main(["resume", str(tmp_path)]) == 0

    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "videos").rglob("*.mp4")}
    assert again.keys() == made.keys()
    assert sum(again[path] != made[path] for path in made) == 1
    assert (tmp_path / "journal.jsonl").read_bytes().count(b'"kind":"episode"') == journal
    assert len(info_in(tmp_path)["overall"]["video_paths"]) == 6
    assert capsys.readouterr().err == ""


def test_videos_that_nobody_asked_for_end_with_their_time(tmp_path, capsys, monkeypatch):
    """It is said how many were left out and how to get them. To go on with what is complete makes no more of them."""
    monkeypatch.setattr(videos_module, "LEAST_SECONDS", 4.0)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    slow = [f"0/{seed}" for seed in range(1001, 1009)] + [f"1/{seed}" for seed in range(1000, 1009)]
    naps = {f"{episode}/{step}/render": "nap" for episode in slow for step in range(13)}  # six seconds for each
    more = ["--eval.n_episodes=9", "--eval.video=failures"]
    words = command(tmp_path, *more, faults=json.dumps(naps), scratch=scratch)
    unasked = [word for word in words if "to_render" not in word]

    assert main(unasked) == 0

    out, there = capsys.readouterr().out, videos_in(tmp_path)
    assert there == ["fake_0/0"]
    (n,) = re.findall(rf"Videos      up to (\d) are being made in {tmp_path}/videos, for at most 4.0 s\n", out)
    assert f"Videos      1 in {tmp_path}/videos\n" in out
    assert f"Left out    {int(n) - 1} videos that would take longer than 4.0 s; any is made on a click in" in out
    assert main(unasked) == 0
    assert videos_in(tmp_path) == there


def test_an_interruption_while_rendering_costs_no_result(tmp_path):
    """Exit status 130, what there is and the way to go on, whole videos only; going on makes the rest."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    faults = {f"{task_id}/{seed}/1/render": "nap" for task_id in (0, 1) for seed in range(1000, 1004)}
    arguments = command(
        tmp_path / "run", "--eval.n_episodes=4", "--eval.batch_size=2", faults=json.dumps(faults), scratch=scratch
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "proctor", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until = monotonic() + 120
    while not list((tmp_path / "run").glob("videos/*/*.mp4")):
        assert monotonic() < until
        assert process.poll() is None
        sleep(0.01)

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)

    assert process.returncode == 130, err
    assert "Success rate" in out
    info = info_in(tmp_path / "run")
    n = len(videos_in(tmp_path / "run"))
    there = f"{n} video{'s' if n > 1 else ''} can be found in {tmp_path / 'run/videos'}"
    assert f"The results are complete, and {there}. For the" in err
    assert "For the videos that are missing, go on with: proctor resume" in err
    assert info["complete"]
    assert 1 <= len(videos_in(tmp_path / "run")) < 8
    assert len(info["overall"]["video_paths"]) == len(videos_in(tmp_path / "run"))

    assert main(["resume", str(tmp_path / "run")]) == 0
    assert len(videos_in(tmp_path / "run")) == 8


# ------------------------------------------------------------------------------------------- and cost no result


def problem_lines(directory, capsys, *more, **env) -> list[str]:
    """What a command that exits with 0 says of videos that are not there."""
    assert main(command(directory, *more, **env)) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert info_in(directory)["complete"]
    assert info_in(directory)["overall"]["n_episodes"] == info_in(directory)["overall"]["n_episodes"] > 0
    return [line.removeprefix("No video").strip() for line in out.splitlines() if line.startswith("No video")]


def test_a_folder_that_takes_no_videos(tmp_path, capsys):
    """One line, however many episodes."""
    tmp_path.joinpath("videos").touch()

    assert problem_lines(tmp_path, capsys) == [
        "fake/0 episode 0 (seed 1000) and 5 more: the video cannot be written (Not a directory)"
    ]


def test_a_simulator_that_is_secretly_not_deterministic(tmp_path, capsys):
    """Each replay differs in its own way; a few are shown."""
    lines = problem_lines(tmp_path, capsys, drifts="true")

    assert len(lines) == 6
    assert all("its replay is another episode" in line for line in lines[:5])
    assert lines[5] == "of 1 more episode"
    assert videos_in(tmp_path) == []


def test_recorded_actions_that_cannot_be_read(tmp_path, capsys):
    """The last episodes' are cut off; the others are rendered."""
    problem_lines(tmp_path, capsys, "--eval.video=none")
    actions = tmp_path / "journal.actions.bin"
    os.truncate(actions, actions.stat().st_size // 2)

    lines = problem_lines(tmp_path, capsys)

    (line,) = lines
    assert line.startswith("fake/1 episode 0 (seed 1000) and 2 more: the recorded actions cannot be read from ")
    assert "(the file is too short)" in line
    assert videos_in(tmp_path) == ["fake_0/0", "fake_0/1", "fake_0/2"]


class Blind(CartPoleEnv):
    """Has no way to be drawn."""

    metadata = {"render_modes": [], "render_fps": 50}  # noqa: RUF012 - as Gymnasium has it

    def __init__(self):
        super().__init__()


@pytest.fixture
def registered():
    """CartPole that cannot be drawn, and CartPole that is said never to be the same twice."""
    gymnasium.register("Blind-v0", Blind, max_episode_steps=20)
    gymnasium.register("Loose-v0", CartPoleEnv, max_episode_steps=200, nondeterministic=True)
    yield
    del gymnasium.registry["Blind-v0"], gymnasium.registry["Loose-v0"]


def test_a_simulator_that_cannot_be_drawn(tmp_path, registered):
    """One reason for all."""
    result = evaluate(tmp_path, {"type": "gymnasium", "task": "Blind-v0"}, n_episodes=5, video="all")

    assert set(result.video_problems.values()) == {
        "Blind-v0 cannot be rendered: it has no render mode rgb_array, or its constructor takes no render_mode."
    }
    assert len(result.video_problems) == result.info["overall"]["n_episodes"] == 5


def test_a_renderer_that_is_not_installed(tmp_path):
    """What would install it is said."""
    with patch.dict(sys.modules, {"pygame": None}):
        result = evaluate(tmp_path, {"type": "gymnasium", "task": "CartPole-v1"})

    (problem,) = set(result.video_problems.values())
    assert problem.startswith("cannot be drawn (DependencyNotInstalled: pygame is not installed")
    assert result.info["overall"]["n_episodes"] == 3


@pytest.mark.parametrize("video", ["first", "failures", "none"])
def test_what_cannot_be_replayed_is_recorded_live_and_only_what_is_wanted_stays(tmp_path, registered, watch, video):
    """Of the failures it is known at their end that they are."""
    env = {"type": "gymnasium", "task": "Loose-v0", "success_threshold": 20}

    result = evaluate(tmp_path, env, n_episodes=12, n_episodes_to_render=3, video=video)

    failed = [episode.spec.episode_index for episode in result.summary.episodes if not episode.success]
    assert 3 < len(failed) < 12
    expected = {"first": [0, 1, 2], "failures": failed[:3], "none": []}[video]
    assert [episode["episode_index"] for episode in result.info["per_episode"] if episode["video"]] == expected
    assert videos_in(tmp_path) == [f"gymnasium_0/{index}" for index in expected]
    assert result.video_problems == {}
    for index in expected:
        seconds = watch(tmp_path / f"videos/gymnasium_0/eval_episode_{index}.mp4").seconds
        assert seconds == pytest.approx(result.summary.episodes[index].length / 50, abs=0.12)
