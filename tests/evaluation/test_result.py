"""The result of an evaluation in Python: what it shows, and what can be taken from it."""

from __future__ import annotations

import dataclasses
import json
import sys
import typing
from unittest.mock import patch

import pytest

import proctor
from proctor.config.eval_fields import EvalFields
from proctor.errors import ConfigError
from proctor.evaluation.evaluator import Changes
from proctor.testing.fakes import FAKE_BENCHMARK

ENV = {"type": FAKE_BENCHMARK, "max_steps": 12, "image_size": 32}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Two tasks of three episodes, of which each has a video."""
    directory = tmp_path_factory.mktemp("result") / "run"
    return proctor.evaluate(
        {"type": "expert"}, ENV, n_episodes=3, batch_size=1, video="all", output_dir=directory, n_episodes_to_render=1
    )


def test_a_result_is_one_line(result):
    """It has the rate, its interval, the number of episodes and the place of the rest."""
    low, high = result.interval

    assert repr(result) == (
        f"EvalResult(pc_success={result.pc_success:.1f} ({low:.1f} … {high:.1f}), n_episodes=6, n_errors=0, "
        f"directory={str(result.directory)!r})"
    )


def test_the_interval_is_that_of_the_result_file(result):
    """And so are the numbers of each task."""
    info = result.info

    assert list(result.interval) == info["overall"]["pc_success_interval"]
    assert [task.name for task in result.tasks] == ["task-0", "task-1"]
    for task, written in zip(result.tasks, info["per_task"], strict=True):
        assert (task.suite, task.task_id, task.name) == (written["task_group"], written["task_id"], written["task"])
        for name in ("pc_success", "n_episodes", "n_errors", "avg_sum_reward", "avg_length"):
            assert getattr(task, name) == written[name]
        assert list(task.interval) == written["pc_success_interval"]


def test_a_notebook_shows_a_table_and_the_videos(result):
    """The videos are part of the fragment, and it asks nobody for anything."""
    html = result._repr_html_()

    assert f"Success rate {result.pc_success:.1f} %" in html
    assert html.count("<tr>") == 3
    assert "fake/1 task-1" in html
    assert html.count('<video controls muted loop preload="metadata" width="240" src="data:video/mp4;base64,') == 6
    assert "http" not in html


def test_names_of_a_simulator_are_text_in_a_notebook(result):
    """They are no markup."""
    task = dataclasses.replace(result.summary.tasks[0].task, name="<script>alert(1)</script>")
    tasks = (dataclasses.replace(result.summary.tasks[0], task=task), result.summary.tasks[1])

    html = dataclasses.replace(result, summary=dataclasses.replace(result.summary, tasks=tasks))._repr_html_()

    assert "<script" not in html
    assert "&lt;script&gt;alert(1)" in html


def test_only_a_few_small_videos_are_shown(result, monkeypatch):
    """The others are counted, with their place."""
    monkeypatch.setattr("proctor.reports.notebook.MAX_VIDEOS", 4)
    assert result._repr_html_().count("<video") == 4
    assert f"and 2 more videos in {result.directory}" in result._repr_html_()

    monkeypatch.setattr("proctor.reports.notebook.MAX_VIDEO_BYTES", 10)
    assert "<video" not in result._repr_html_()


def test_a_result_is_a_data_frame_if_pandas_is_there(result):
    """It has a row per episode."""
    frame = result.to_pandas()

    assert len(frame) == 6
    assert list(frame["episode_index"]) == [0, 1, 2] * 2
    assert list(frame["success"]) == [episode["success"] for episode in result.info["per_episode"]]
    assert list(frame["video"]) == [episode["video"] for episode in result.info["per_episode"]]
    assert frame["sum_reward"].sum() == sum(episode["sum_reward"] for episode in result.info["per_episode"])


def test_pandas_that_is_missing_is_a_sentence(result):
    """It is needed only here."""
    with patch.dict(sys.modules, {"pandas": None}), pytest.raises(ConfigError, match="install it with: pip install p"):
        result.to_pandas()


def test_the_keyword_arguments_are_the_fields_of_the_configuration():
    """Their names and their types: a choice is the list of its values."""
    hints = typing.get_type_hints(EvalFields)
    fields = {field.name: field for field in dataclasses.fields(proctor.EvalConfig)}
    types = typing.get_type_hints(proctor.EvalConfig)

    assert list(hints) == list(fields)
    for name, hint in hints.items():
        choices = [value for kind in (hint, *typing.get_args(hint)) for value in typing.get_args(kind)]
        if any(isinstance(value, str) for value in choices):
            for value in (value for value in choices if isinstance(value, str)):
                assert getattr(proctor.EvalConfig(**{name: value}), name) == value
            with pytest.raises(ConfigError) as error:
                proctor.EvalConfig(**{name: "?"})
            assert {value for value in choices if isinstance(value, str)} == {
                word.strip(" .") for word in str(error.value).rpartition("one of")[2].split(",")
            }
        else:
            assert hint == types[name], name


def test_an_evaluator_takes_the_same_for_one_evaluation():
    """And whatever else evaluate takes besides the policy."""
    signature = typing.get_type_hints(proctor.evaluate)
    others = signature.keys() - {"policy", "return", "eval_fields"}

    assert typing.get_type_hints(Changes).keys() == others | typing.get_type_hints(EvalFields).keys()


def test_the_version_is_an_attribute():
    """It is the one that a result file names."""
    from importlib.metadata import version

    assert proctor.__version__ == version("proctor-eval")
    assert json.dumps(proctor.__version__)
