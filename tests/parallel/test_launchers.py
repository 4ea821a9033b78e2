"""What the driver may rely on with every launcher, tried on real shards of the fake benchmark."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest

from proctor.config import EvalConfig, RunConfig
from proctor.errors import ResourceError
from proctor.parallel.launchers import LAUNCHERS
from proctor.parallel.launchers.base import (
    EpisodeDone,
    EpisodeStarted,
    NoMore,
    RunEpisodes,
    ShardEnded,
    ShardFailed,
    ShardLost,
    ShardReady,
    ShardRun,
    ShardStatus,
    Stop,
)
from proctor.parallel.launchers.inline import InlineLauncher
from proctor.parallel.launchers.local import LocalLauncher
from proctor.plugins import load_object
from proctor.testing.fakes import FAKE_BENCHMARK
from proctor.types import EpisodeSpec, Outcome

HERE = [InlineLauncher, LocalLauncher]
SPECS = tuple(EpisodeSpec("fake", task, index, 1000 + index) for task in range(2) for index in range(3))
SECONDS = 60.0


def shard_run(directory: Path, number: int = 0, **env: object) -> ShardRun:
    config = RunConfig(
        policy={"type": "expert"},
        env={"type": FAKE_BENCHMARK, **env},
        eval=EvalConfig(n_episodes=3, batch_size=1, video="none"),
        output_dir=str(directory),
    )
    log = str(directory / f"shard_{number}.log")
    return ShardRun(number, config, {"PROCTOR_TEST": "here"}, None, sys.path, log, 1)


def hear(launcher, until, n: int = 1) -> list:
    """Everything said up to and including the ``n``-th event of these types."""
    events, end = [], monotonic() + SECONDS
    while sum(isinstance(event, until) for _, event in events) < n:
        assert monotonic() < end, events
        events += launcher.poll(0.5)
    return events


@pytest.mark.parametrize("launcher", HERE)
def test_a_shard_runs_what_it_is_dealt_and_ends_in_good_order(launcher, tmp_path):
    """Up first, then each episode begun and kept, then the end, and nothing after it."""
    with closing(launcher()) as shards:
        shards.submit(shard_run(tmp_path))
        assert hear(shards, ShardReady)[-1] == (0, ShardReady(1))
        shards.send(0, RunEpisodes(SPECS[:2]))
        events = hear(shards, EpisodeDone, 2)
        shards.send(0, RunEpisodes(SPECS[2:3]))
        shards.send(0, NoMore())
        events += hear(shards, ShardEnded)

        told = [event for _, event in events if not isinstance(event, ShardStatus)]
        assert [event.episode for event in told if isinstance(event, EpisodeStarted)] == list(SPECS[:3])
        kept = [event for event in told if isinstance(event, EpisodeDone)]
        assert [one.result.spec for one in kept] == list(SPECS[:3])
        assert all(one.result.outcome is Outcome.SUCCESS for one in kept)
        assert all(one.actions.unpack().shape == (one.result.length, 2) for one in kept)
        assert isinstance(told[-1], ShardEnded)
        assert shards.poll(0.1) == []
        shards.send(0, Stop())


@pytest.mark.parametrize("launcher", HERE)
def test_a_shard_that_is_stopped_drops_what_is_under_way(launcher, tmp_path):
    """And says that it has ended."""
    with closing(launcher()) as shards:
        shards.submit(shard_run(tmp_path, step_seconds=0.05, max_steps=1000))
        shards.send(0, RunEpisodes(SPECS))
        hear(shards, EpisodeStarted)
        shards.send(0, Stop())
        events = hear(shards, ShardEnded)

        assert sum(isinstance(event, EpisodeDone) for _, event in events) < len(SPECS)


@pytest.mark.parametrize("launcher", HERE)
def test_what_is_wrong_is_said_in_the_shards_own_words(launcher, tmp_path):
    """With its exit status, and no other end."""
    with closing(launcher()) as shards:
        shards.submit(shard_run(tmp_path, n_tasks="many"))
        (_, failed), *_ = hear(shards, ShardFailed)[-1:]

        assert failed.exit_code == 2
        assert "env.n_tasks is 'many'" in failed.message
        assert shards.poll(0.1) == []


@pytest.mark.parametrize("launcher", HERE)
def test_a_shard_that_is_cancelled_says_nothing_more(launcher, tmp_path):
    """Its number can be used again; several are told apart."""
    with closing(launcher()) as shards:
        for number in (0, 1):
            shards.submit(shard_run(tmp_path, number))
        hear(shards, ShardReady, 2)
        shards.cancel(0)
        shards.cancel(0)
        shards.send(1, NoMore())
        assert {number for number, _ in hear(shards, ShardEnded)} == {1}
        shards.submit(shard_run(tmp_path, 0))

        assert hear(shards, ShardReady)[-1] == (0, ShardReady(1))


def test_a_killed_shard_is_lost_with_the_signal(tmp_path):
    """Whatever it was doing; its log and its environment are its own."""
    with closing(LocalLauncher()) as shards:
        shards.submit(shard_run(tmp_path))
        hear(shards, ShardReady)
        pid = shards._shards[0]._process.pid
        assert b"PROCTOR_TEST=here" in Path(f"/proc/{pid}/environ").read_bytes()
        os.kill(pid, signal.SIGKILL)

        assert hear(shards, ShardLost)[-1] == (0, ShardLost("was ended by SIGKILL"))
        assert (tmp_path / "shard_0.log").exists()
        assert not Path(f"/proc/{pid}").exists()


def test_a_shard_with_a_bug_is_lost_and_its_log_has_the_traceback(tmp_path):
    """An exception that nobody raises on purpose."""
    with closing(LocalLauncher()) as shards:
        shards.submit(shard_run(tmp_path))
        hear(shards, ShardReady)
        shards._shards[0].connection.send_bytes(b"no order")

        assert hear(shards, ShardLost)[-1] == (0, ShardLost("exited with status 1"))
        assert "Traceback" in (tmp_path / "shard_0.log").read_text()


def test_closing_leaves_nothing_behind(tmp_path):
    """Also of shards that are still starting."""
    shards = LocalLauncher()
    shards.submit(shard_run(tmp_path))
    pid = shards._shards[0]._process.pid
    shards.close()
    shards.close()

    assert not Path(f"/proc/{pid}").exists()


def test_where_no_process_can_be_started_it_is_said(tmp_path, monkeypatch):
    """In one sentence."""
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with closing(LocalLauncher()) as shards, pytest.raises(ResourceError, match="Shard 0 cannot be started"):
        shards.submit(shard_run(tmp_path))


@pytest.mark.parametrize("name", ["local", "inline"])
def test_launchers_are_found_by_name(name):
    """As ``--launcher`` says it."""
    assert load_object(LAUNCHERS[name]) in HERE
