"""What the driver may rely on with every launcher, tested with real shards of the fake benchmark."""

from __future__ import annotations

import os
import signal
import struct
import sys
from contextlib import closing
from multiprocessing import Pipe
from pathlib import Path
from time import monotonic

import pytest

from proctor.child.wire import Wire
from proctor.config import EvalConfig, RunConfig
from proctor.errors import ConfigError, ResourceError
from proctor.parallel.driver import Sharding
from proctor.parallel.launchers import LAUNCHERS
from proctor.parallel.launchers.inline import InlineLauncher
from proctor.parallel.launchers.local import LocalLauncher, ShardProcess
from proctor.parallel.messages import (
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
    encode_reports,
)
from proctor.testing.fakes import FAKE_BENCHMARK
from proctor.types import EpisodeSpec, Outcome

HERE = [InlineLauncher, LocalLauncher]
SPECS = tuple(EpisodeSpec("fake", task, index, 1000 + index) for task in range(2) for index in range(3))
SECONDS = 60.0


def shard_run(directory: Path, shard_id: int = 0, **env: object) -> ShardRun:
    config = RunConfig(
        policy={"type": "expert"},
        env={"type": FAKE_BENCHMARK, **env},
        eval=EvalConfig(n_episodes=3, batch_size=1, video="none"),
        output_dir=str(directory),
    )
    log = str(directory / f"shard_{shard_id}.log")
    return ShardRun(shard_id, config, {"PROCTOR_TEST": "here"}, None, sys.path, log, 1)


def events_until(launcher, kind, n: int = 1) -> list:
    """Return all events up to and including the ``n``-th one of this kind."""
    events, end = [], monotonic() + SECONDS
    while sum(isinstance(event, kind) for _, event in events) < n:
        assert monotonic() < end, events
        events += launcher.poll(0.5)
    return events


@pytest.mark.parametrize("launcher", HERE)
def test_a_shard_runs_the_episodes_that_it_is_sent_and_ends(launcher, tmp_path):
    """It is ready first, then starts and finishes each episode, then ends, and sends nothing after that."""
    with closing(launcher()) as shards:
        shards.submit(shard_run(tmp_path))
        assert events_until(shards, ShardReady)[0] == (0, ShardReady(1))
        shards.send(0, RunEpisodes(SPECS[:2]))
        events = events_until(shards, EpisodeDone, 2)
        shards.send(0, RunEpisodes(SPECS[2:3]))
        shards.send(0, NoMore())
        events += events_until(shards, ShardEnded)

        reports = [event for _, event in events if not isinstance(event, ShardStatus)]
        assert [event.episode for event in reports if isinstance(event, EpisodeStarted)] == list(SPECS[:3])
        done = [event for event in reports if isinstance(event, EpisodeDone)]
        assert [one.result.spec for one in done] == list(SPECS[:3])
        assert all(one.result.outcome is Outcome.SUCCESS for one in done)
        assert all(one.arrays["actions"].unpack().shape == (one.result.length, 2) for one in done)
        assert isinstance(reports[-1], ShardEnded)
        assert shards.poll(0.1) == []
        shards.send(0, Stop())


@pytest.mark.parametrize("launcher", HERE)
def test_a_shard_that_is_stopped_drops_the_episodes_that_run(launcher, tmp_path):
    """It ends with fewer results than episodes."""
    with closing(launcher()) as shards:
        shards.submit(shard_run(tmp_path, step_seconds=0.05, max_steps=1000))
        shards.send(0, RunEpisodes(SPECS))
        events_until(shards, EpisodeStarted)
        shards.send(0, Stop())
        events = events_until(shards, ShardEnded)

        assert sum(isinstance(event, EpisodeDone) for _, event in events) < len(SPECS)


@pytest.mark.parametrize("launcher", HERE)
def test_a_shard_that_fails_sends_its_own_error(launcher, tmp_path):
    """The event holds the message and the exit status, and no other event follows."""
    with closing(launcher()) as shards:
        shards.submit(shard_run(tmp_path, n_tasks="many"))
        (_, failed), *_ = events_until(shards, ShardFailed)[-1:]

        assert failed.error.exit_code == 2
        assert "env.n_tasks is 'many'" in failed.error.message
        assert shards.poll(0.1) == []


@pytest.mark.parametrize("launcher", HERE)
def test_a_cancelled_shard_has_no_further_event(launcher, tmp_path):
    """Its id can be used again, and the other shard is not affected."""
    with closing(launcher()) as shards:
        for shard_id in (0, 1):
            shards.submit(shard_run(tmp_path, shard_id))
        events_until(shards, ShardReady, 2)
        shards.cancel(0)
        shards.cancel(0)
        shards.send(1, NoMore())
        assert {shard_id for shard_id, _ in events_until(shards, ShardEnded)} == {1}
        shards.submit(shard_run(tmp_path, 0))

        assert events_until(shards, ShardReady)[0] == (0, ShardReady(1))


def test_a_killed_shard_is_lost_with_the_signal(tmp_path):
    """The process had the environment and the log of its run."""
    with closing(LocalLauncher()) as shards:
        shards.submit(shard_run(tmp_path))
        events_until(shards, ShardReady)
        pid = shards._shards[0]._process.pid
        assert b"PROCTOR_TEST=here" in Path(f"/proc/{pid}/environ").read_bytes()
        os.kill(pid, signal.SIGKILL)

        assert events_until(shards, ShardLost)[-1] == (0, ShardLost("was ended by SIGKILL"))
        assert (tmp_path / "shard_0.log").exists()
        assert not Path(f"/proc/{pid}").exists()


def test_a_shard_with_a_bug_is_lost_and_its_log_has_the_traceback(tmp_path):
    """An order that cannot be decoded is such a bug."""
    with closing(LocalLauncher()) as shards:
        shards.submit(shard_run(tmp_path))
        events_until(shards, ShardReady)
        shards._shards[0].wire.send(b"not an order")

        assert events_until(shards, ShardLost)[-1] == (0, ShardLost("exited with status 1"))
        assert "Traceback" in (tmp_path / "shard_0.log").read_text()


def connected_to_us(folder):
    """A shard's process, and in its place the other end of its connection."""
    process = ShardProcess(shard_run(folder))
    process.wire.close()
    ours, theirs = Pipe()
    process.wire = Wire(ours)
    return process, theirs


def test_a_shard_that_sends_something_else_than_a_report_is_killed_and_lost(tmp_path):
    """A module that prints into its connection, for example."""
    process, theirs = connected_to_us(tmp_path)
    theirs.send_bytes(b"not a report")

    (event,) = process.receive()
    process.close()

    assert isinstance(event, ShardLost)
    assert event.reason.startswith("sent a message that cannot be decoded: ")
    assert process._process.returncode is not None


def test_a_shard_that_stands_still_amid_a_message_holds_nobody_up(tmp_path):
    """Neither while it sends nor while it is sent something large; the message is received once it is whole."""
    process, theirs = connected_to_us(tmp_path)
    report = encode_reports(ShardEnded())
    os.write(theirs.fileno(), struct.pack("!i", len(report)) + report[:3])

    process.wire.send(bytes(10_000_000))
    assert process.receive() == []
    os.write(theirs.fileno(), report[3:])
    received = process.receive()
    process.close()

    assert received == [ShardEnded()]


def test_no_process_is_left_after_closing(tmp_path):
    """This holds for a shard that is still starting, too."""
    shards = LocalLauncher()
    shards.submit(shard_run(tmp_path))
    pid = shards._shards[0]._process.pid
    shards.close()
    shards.close()

    assert not Path(f"/proc/{pid}").exists()


def test_a_process_that_cannot_be_started_is_an_error_in_one_sentence(tmp_path, monkeypatch):
    """The sentence names the shard and the reason."""
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with (
        closing(LocalLauncher()) as shards,
        pytest.raises(
            ResourceError, match=r"Shard 0 cannot be started \(No such file or directory\); lower num_shards"
        ),
    ):
        shards.submit(shard_run(tmp_path))


def test_launchers_are_found_by_the_name_that_the_command_line_takes():
    """Each name leads to a subclass of Launcher."""
    classes = {name: Sharding(1, launcher=name).launcher_class().__name__ for name in LAUNCHERS}

    assert classes == {
        "local": "LocalLauncher",
        "inline": "InlineLauncher",
        "ray": "RayLauncher",
        "slurm": "SlurmLauncher",
    }


@pytest.mark.parametrize("address", ["proctor.config:RunConfig", "proctor.parallel.launchers:LAUNCHERS"])
def test_what_is_not_a_launcher_is_refused(address, monkeypatch):
    """The sentence says what a launcher is."""
    monkeypatch.setitem(LAUNCHERS, "local", address)

    with pytest.raises(ConfigError, match=rf"{address} is not a launcher; expected a subclass of .*base\.Launcher"):
        Sharding(1).launcher_class()
