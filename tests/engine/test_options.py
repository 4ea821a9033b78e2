"""The engine's options, made of the user's configuration."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from proctor.config import EvalConfig
from proctor.engine import EngineOptions, VideoOptions
from proctor.engine.delay import InferenceDelay
from proctor.engine.options import LEAD_WHEN_STOPPING
from proctor.types import EpisodeSpec

UNUSUAL = {
    "max_attempts": 5,
    "step_timeout_s": 1.0,
    "reset_timeout_s": 2.0,
    "inference_threads": 3,
    "inference_batch_size": 4,
    "max_inference_batch": 6,
    "batch_wait_timeout_s": 0.5,
    "audit": False,
}
LATE = {"inference_delay_steps": 7, "when_late": "wait"}


def test_an_engine_without_options_runs_as_an_evaluation_without_any():
    """The defaults are the same."""
    assert EngineOptions.of(EvalConfig()) == EngineOptions()


def test_every_option_of_the_engine_is_the_users():
    """None keeps its default."""
    limits = {"inference_timeout_s": 9.0, "worker_memory_gb": 1.5}
    options = EngineOptions.of(EvalConfig(**UNUSUAL, **LATE, **limits, stop_at_ci_width=0.1), max_parallel_tasks=7)

    found = {field.name: getattr(options, field.name) for field in fields(options)}
    others = {"inference_delay": InferenceDelay(7, 0.0, "wait"), "max_lead": LEAD_WHEN_STOPPING}
    others |= {"inference_timeout_s": 9.0, "worker_memory": 1.5e9}
    assert found == {**UNUSUAL, **others, "max_parallel_tasks": 7}
    assert EngineOptions.of(EvalConfig(inference_delay_ms=40)).inference_delay == InferenceDelay(ms=40)


def test_videos_are_made_as_the_user_wants(tmp_path):
    """Which of them, how many, and how."""
    config = EvalConfig(video="failures", n_episodes_to_render=3, video_fps=5, video_camera="top", video_size="640x480")

    options = VideoOptions.of(config)

    assert options == VideoOptions("failures", 3, 5, "top", (640, 480))
    spec = options.spec(Path("episode.mp4"))
    assert (spec.path, spec.max_fps, spec.camera, spec.size) == ("episode.mp4", 5, "top", (640, 480))
    assert VideoOptions.of(EvalConfig()) == VideoOptions()


def test_no_two_orders_for_a_video_write_into_one_unfinished_file():
    """They may come from two processes."""
    one, other = (VideoOptions().spec(Path("episode.mp4")) for _ in range(2))

    assert one.path == other.path
    assert one.unfinished != other.unfinished


@pytest.mark.parametrize(
    ("which", "episodes"), [("first", [0, 1]), ("failures", [0, 1, 2]), ("all", [0, 1, 2]), ("none", [])]
)
def test_an_episode_that_has_not_run_may_need_a_video(which, episodes):
    """Only of the first ones is known beforehand which they are."""
    options = VideoOptions(which, per_task=2)

    assert [n for n in range(3) if options.may_include(EpisodeSpec("suite", 0, n, n))] == episodes
