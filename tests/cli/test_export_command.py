"""``proctor export``."""

from __future__ import annotations

import csv
import sys

import pyarrow.parquet as pq
import pytest

from proctor import evaluate
from proctor.cli import main
from proctor.testing.fakes import FAKE_BENCHMARK


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two tasks of two episodes."""
    directory = tmp_path_factory.mktemp("export") / "run"
    return evaluate(
        {"type": "expert"}, {"type": FAKE_BENCHMARK}, output_dir=directory, n_episodes=2, use_async_envs=False
    )


def test_episodes_are_written_into_the_run_directory(run, capsys):
    """As CSV, and says where."""
    assert main(["export", str(run.directory)]) == 0

    path = run.directory / "episodes.csv"
    assert capsys.readouterr().out == f"4 episodes: {path}\n"
    with path.open(newline="") as file:
        rewards = [float(row["sum_reward"]) for row in csv.DictReader(file)]
    assert rewards == [episode["sum_reward"] for episode in run.info["per_episode"]]


def test_parquet_goes_where_it_is_asked_to(run, tmp_path):
    """The same numbers."""
    assert main(["export", str(run.directory), "--format=parquet", f"--output={tmp_path}/new/all.parquet"]) == 0

    rewards = pq.read_table(tmp_path / "new" / "all.parquet")["sum_reward"].to_pylist()
    assert rewards == [episode["sum_reward"] for episode in run.info["per_episode"]]


def test_another_format_is_a_sentence(run, capsys):
    """Which there are."""
    assert main(["export", str(run.directory), "--format=xlsx"]) == 2
    assert "--format is 'xlsx'; it is one of csv, parquet, hub." in capsys.readouterr().err


def test_without_pyarrow_the_extra_is_named(run, capsys, monkeypatch):
    """And CSV needs nothing."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    assert main(["export", str(run.directory), "--format=parquet"]) == 2
    assert "pip install 'proctor-eval[parquet]'" in capsys.readouterr().err
    assert main(["export", str(run.directory)]) == 0
