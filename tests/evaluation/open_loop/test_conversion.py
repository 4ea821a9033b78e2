"""Datasets of LeRobot's v2.1 format, which are read after LeRobot's own converter has made a v3 dataset of a copy."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from recorded_samples import FEATURES, LENGTHS, TASKS, action_of, files_of, open_loop, state_of


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A dataset as LeRobot 0.3 wrote it: a file for each episode, and JSON lines in place of tables; without images."""
    root = tmp_path_factory.mktemp("old") / "recorded"
    indices = ("timestamp", "frame_index", "episode_index", "index", "task_index")
    one = {
        name: {"dtype": "float32" if name == "timestamp" else "int64", "shape": [1], "names": None} for name in indices
    }
    features = {name: FEATURES[name] for name in ("observation.state", "action")} | one
    info = {
        "codebase_version": "v2.1",
        "robot_type": None,
        "total_episodes": 3,
        "total_frames": sum(LENGTHS),
        "total_tasks": 2,
        "total_videos": 0,
        "total_chunks": 1,
        "chunks_size": 1000,
        "fps": 10,
        "splits": {"train": "0:3"},
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": None,
        "features": features,
    }
    tasks = list(dict.fromkeys(TASKS))
    frames = [_frames(episode, tasks.index(TASKS[episode])) for episode in range(3)]
    (root / "data" / "chunk-000").mkdir(parents=True)
    for episode, table in enumerate(frames):
        table.to_parquet(root / "data" / "chunk-000" / f"episode_{episode:06d}.parquet", index=False)
    _write_lines(root / "meta" / "tasks.jsonl", [{"task_index": n, "task": task} for n, task in enumerate(tasks)])
    _write_lines(
        root / "meta" / "episodes.jsonl",
        [{"episode_index": n, "tasks": [TASKS[n]], "length": LENGTHS[n]} for n in range(3)],
    )
    _write_lines(
        root / "meta" / "episodes_stats.jsonl",
        [
            {"episode_index": n, "stats": {name: _statistics(table[name]) for name in features}}
            for n, table in enumerate(frames)
        ],
    )
    (root / "meta" / "info.json").write_text(json.dumps(info))
    return root


def _frames(episode, task):
    length, before = LENGTHS[episode], sum(LENGTHS[:episode])
    states = [state_of(episode, step) for step in range(length)]
    return pd.DataFrame(
        {
            "observation.state": states,
            "action": [action_of(state).astype(np.float32) for state in states],
            "timestamp": (np.arange(length) / 10).astype(np.float32),
            "frame_index": np.arange(length),
            "episode_index": episode,
            "index": before + np.arange(length),
            "task_index": task,
        }
    )


def _statistics(column):
    values = np.stack([np.atleast_1d(value) for value in column]).astype(np.float64)
    found = {name: getattr(values, name)(axis=0).tolist() for name in ("min", "max", "mean", "std")}
    return found | {"count": [len(values)]}


def _write_lines(file, lines):
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(map(json.dumps, lines)) + "\n")


def contents(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_an_old_dataset_is_refused_in_one_sentence_that_says_how_to_convert_it(old, tmp_path, capsys):
    """LeRobot's own message is a page."""
    assert open_loop(old, tmp_path / "out") == 2

    assert "has the format v2.1, which LeRobot does not read; add --dataset_convert=true" in (
        " ".join(capsys.readouterr().err.split())
    )
    assert not (tmp_path / "out" / "episodes").exists()


def test_an_old_dataset_is_converted_on_a_copy_if_the_user_asks(old, tmp_path):
    """The original stays as it is, and the copy is made once."""
    before = contents(old)

    assert open_loop(old, tmp_path, "--dataset_convert", function="beside_truth") == 0
    assert contents(old) == before
    first, converted = files_of(tmp_path), contents(tmp_path / "dataset_v3")
    assert json.loads((tmp_path / "dataset_v3" / "meta" / "info.json").read_text())["codebase_version"] == "v3.0"
    assert open_loop(old, tmp_path, "--dataset_convert", function="beside_truth") == 0
    assert (files_of(tmp_path), contents(tmp_path / "dataset_v3")) == (first, converted)

    found = json.loads((tmp_path / "open_loop.json").read_text())
    assert found["overall"]["n"] == sum(LENGTHS)
    assert [each["errors"]["physical"]["mae"] for each in found["dimensions"]] == [0.5, 2.0]
    assert [each["task"] for each in found["tasks"]] == ["pull", "push"]
