"""A video file: what is in it, how fast it plays, and what becomes of it when it cannot be made."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from proctor.engine.worker.messages import VideoSpec
from proctor.engine.worker.video_file import keep_video
from proctor.engine.worker.video_recorder import VideoRecorder
from proctor.errors import ConfigError
from proctor.testing.fakes import FakeBenchmark, FakeConfig, FakeEnv


@pytest.fixture
def env():
    """Grey that grows brighter by 10 with every step."""
    benchmark = FakeBenchmark(FakeConfig(type="fake", max_steps=1000, image_size=32))
    env = benchmark.make_env(benchmark.tasks()[0])
    env.reset(1000, None, look=False)
    return env


@pytest.fixture
def video_spec(tmp_path):
    return VideoSpec(str(tmp_path / "videos" / "fake_0" / "eval_episode_0.mp4"))


def take(env, video_spec, n_steps):
    """Record that many steps; the file has its name if there is one."""
    recorder = VideoRecorder(env, video_spec)
    for i in range(n_steps):
        env.step(np.zeros(2, np.float32), look=False)
        recorder.after_step(last=i == n_steps - 1)
    recorder.finish()
    if not recorder.problem:
        assert keep_video(video_spec) == ""
    return recorder


def files_beside(video_spec):
    return [path.name for path in Path(video_spec.path).parents[1].rglob("*") if path.is_file()]


def test_a_video_begins_with_the_reset_and_ends_with_the_end(env, video_spec, watch):
    """A frame for each step between; H.264 with the pixel format that every browser plays, its index in front."""
    take(env, video_spec, 12)

    video = watch(video_spec.path)
    assert (video.codec, video.pixel_format) == ("h264", "yuv420p")
    assert video.frames.shape == (13, 32, 32, 3)
    np.testing.assert_allclose(video.frames.mean((1, 2, 3)), 10 * np.arange(13), atol=3)
    content = Path(video_spec.path).read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert files_beside(video_spec) == ["eval_episode_0.mp4"]


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ((10, 20, 30), (10, 31)),  # no frame that is not there
        ((80, 20, 500), (20, 126)),
        ((50, 20, 100), (Fraction(50, 3), 35)),  # 99 steps are 33 intervals, and the last step has a frame in any case
        ((30, 20, 31), (15, 17)),
        ((80, 80, 40), (80, 41)),
        ((80, 1000, 40), (80, 41)),
        ((10, 0.004, 30), (Fraction(1, 250), 2)),
    ],
)
def test_a_video_plays_at_the_speed_of_the_simulation(env, video_spec, watch, taken, expected):
    """With at most so many frames per second, evenly spaced; the first and the last step always have one."""
    fps, max_fps, n_steps = taken
    rate, n_frames = expected
    env.fps = float(fps)

    take(env, VideoSpec(video_spec.path, max_fps), n_steps)

    video = watch(video_spec.path)
    assert video.frame_rate == rate <= max(fps, max_fps)
    assert len(video.frames) == n_frames
    assert video.times == pytest.approx([i / float(rate) for i in range(n_frames)], abs=1e-3)
    assert 0 <= video.times[-1] - n_steps / fps < 1 / rate
    assert video.seconds == pytest.approx(n_frames / float(rate), abs=1e-3)


@pytest.mark.parametrize(
    ("asked", "given"),
    [(None, (32, 32)), ((64, 48), (64, 48)), ((97, 31), (96, 30)), ((2, 3), (2, 2)), ((1920, 1080), (1920, 1080))],
)
def test_a_video_has_the_size_asked_for(env, video_spec, watch, asked, given):
    """To the even number below, which is what the codec can hold."""
    take(env, VideoSpec(video_spec.path, size=asked), 3)

    width, height = given
    assert watch(video_spec.path).frames.shape == (4, height, width, 3)


def test_a_simulator_that_draws_at_its_own_size_is_scaled(env, video_spec, watch, monkeypatch):
    """Whatever is asked for; also where the size changes on the way."""
    sizes = iter([(40, 30), (50, 50), (40, 30)])
    monkeypatch.setattr(FakeEnv, "render", lambda self, camera, size: np.full((*next(sizes), 3), 99, np.uint8))

    take(env, VideoSpec(video_spec.path, size=(64, 48)), 2)

    video = watch(video_spec.path)
    assert video.frames.shape == (3, 48, 64, 3)
    np.testing.assert_allclose(video.frames, 99, atol=3)


def fail_with(error):
    def render(self, camera, size):
        if self._n_steps == 2:
            raise error
        return np.zeros((32, 32, 3), np.uint8)

    return render


@pytest.mark.parametrize(
    ("render", "problem"),
    [
        (fail_with(RuntimeError("no context")), "cannot be drawn (RuntimeError: no context)"),
        (fail_with(ConfigError("Fake-v0 cannot be drawn.")), "Fake-v0 cannot be drawn."),
        (
            lambda *_: np.zeros(3, np.uint8),
            "the video cannot be written (ValueError: Expected numpy array with ndim `3` but got `1`)",
        ),
    ],
)
def test_what_cannot_be_drawn_leaves_no_file_and_says_so(env, video_spec, monkeypatch, render, problem):
    """Nothing is raised: the episode goes on, and nothing more is drawn."""
    monkeypatch.setattr(FakeEnv, "render", render)

    recorder = take(env, video_spec, 5)

    assert recorder.problem == problem
    assert files_beside(video_spec) == []


def test_a_folder_that_cannot_be_made_is_reported(env, video_spec, tmp_path):
    """Here a file is in its place."""
    (tmp_path / "videos").touch()

    assert take(env, video_spec, 2).problem == "the video cannot be written (Not a directory)"


def test_an_episode_that_is_given_up_leaves_no_file(env, video_spec):
    """Half a video is none."""
    recorder = VideoRecorder(env, video_spec)
    for _ in range(100):
        recorder.after_step(last=False)
    assert files_beside(video_spec) == ["eval_episode_0.mp4.part"]

    recorder.give_up("enough")
    recorder.finish()

    assert recorder.problem == "enough"
    assert files_beside(video_spec) == []


def test_a_video_that_cannot_get_its_name_says_so(env, video_spec):
    """A folder is in its place."""
    recorder = VideoRecorder(env, video_spec)
    recorder.finish()
    Path(video_spec.path).mkdir()

    assert keep_video(video_spec) == "the video cannot be written (Is a directory)"


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_memory_does_not_grow_with_the_episode(env, video_spec):
    """What the encoder holds back is bounded: of 400 frames, 276 MB as they are drawn, it keeps a few."""
    recorder = VideoRecorder(env, VideoSpec(video_spec.path, size=(480, 480)))
    held = []
    for i in range(400):
        env.step(np.zeros(2, np.float32), look=False)
        recorder.after_step(last=i == 399)
        if i in (99, 399):
            held.append(resident_bytes())
    recorder.finish()

    assert held[1] - held[0] < 50e6
