"""The trace of a run: readable by Perfetto, and the same time as in the results."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest
from fake_runs import run_fake

from proctor.engine.trace import Trace
from proctor.errors import ResourceError
from proctor.results.run_dir import RunDirectory, Shard
from proctor.types import TIME_PARTS

DURATION_PHASES = {"X", "B", "E"}


def by_track(events):
    """The events of each track but the metadata, in the order of the file."""
    tracks = defaultdict(list)
    for event in events:
        if event["ph"] != "M":
            tracks[event["pid"], event["tid"]].append(event)
    return tracks


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """A run in which a simulator dies, and its trace."""
    directory = tmp_path_factory.mktemp("traced") / "run"
    result = run_fake(directory, env={"step_seconds": 0.002}, faults={"0/1001/3": "exit"}, trace=True)
    return result, json.loads((directory / "trace.json").read_text())


def test_every_event_is_of_the_format(traced):
    """Phase, process and thread everywhere; a name, a time and a duration where the phase has them."""
    _, events = traced
    for event in events:
        assert event["ph"] in DURATION_PHASES | {"M"}
        assert {"pid", "tid"} <= event.keys()
        if event["ph"] in DURATION_PHASES:
            assert event["ts"] >= 0
        if event["ph"] != "E":
            assert event["name"]
        if event["ph"] == "X":
            assert event["dur"] > 0


def test_every_track_has_a_name(traced):
    """Workers and inference are two groups."""
    _, events = traced
    named = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e.get("name") == "thread_name"}
    groups = [e["args"]["name"] for e in events if e.get("name") == "process_name"]

    assert named.keys() == by_track(events).keys()
    assert {"worker 0", "worker 1", "device 0 slot 0"} <= set(named.values())
    assert groups == ["workers", "inference"]


def test_tracks_are_in_order_and_balanced_and_nothing_overlaps(traced):
    """Every episode that begins ends, also where its worker died; parts follow each other."""
    _, events = traced
    for track in by_track(events).values():
        times = [event["ts"] for event in track]
        open_slices = 0
        assert times == sorted(times)
        for event in track:
            open_slices += {"B": 1, "E": -1, "X": 0}[event["ph"]]
            assert open_slices in (0, 1)
        assert open_slices == 0
        parts = [event for event in track if event["ph"] == "X"]
        for before, after in pairwise(parts):
            assert before["ts"] + before["dur"] <= after["ts"] + 0.01


def test_the_trace_shows_what_the_timings_say(traced):
    """Episodes, passes, and the seconds of each kind of work."""
    result, events = traced
    names = [event["name"] for event in events if event["ph"] in ("X", "B")]
    n_episodes = len(result.info["per_episode"])
    n_chunks = sum(episode["n_looks"] for episode in result.info["per_episode"])

    assert sum("episode" in name for name in names) == n_episodes + 1  # one was tried twice
    assert names.count("load policy") == 1
    assert sum(e["args"]["rows"] for e in events if e.get("name", "").startswith("pass")) == names.count("inference")
    assert n_chunks <= names.count("inference")
    for part, shown in (("construct", "build"), ("reset", "reset"), ("step", "chunk")):
        booked = sum(episode["timings"][part] for episode in result.info["per_episode"])
        drawn = sum(event["dur"] for event in events if event.get("name") == shown) / 1e6
        assert drawn >= booked - 1e-4
    assert not any(name in ("idle", "other") for name in names)


def test_a_worker_that_finishes_alone_has_timings_without_a_gap(tmp_path):
    """One worker: the parts of its episodes are the run's time, from its start to its last episode's end."""
    result = run_fake(tmp_path / "run", batch_size=1, env={"step_seconds": 0.002})

    booked = sum(episode["timings"][part] for episode in result.info["per_episode"] for part in TIME_PARTS)

    assert result.summary.worker_s == pytest.approx(result.summary.wall_s)
    assert 0.8 * result.summary.worker_s < booked <= result.summary.worker_s


def test_a_resumed_run_leaves_another_trace(tmp_path):
    """The first session's stays as it is; a shard's has its number."""
    run_fake(tmp_path / "run", trace=True)
    first = (tmp_path / "run/trace.json").read_bytes()

    run_fake(tmp_path / "run", n_episodes=4, trace=True)

    assert (tmp_path / "run/trace.json").read_bytes() == first
    assert len(by_track(json.loads((tmp_path / "run/trace-2.json").read_text()))) >= 2
    assert RunDirectory(tmp_path, Shard(0, 2)).new_trace_file() == tmp_path / "trace_0_of_2.json"


def test_nothing_is_written_unless_asked(tmp_path):
    """A trace is for those who look at it."""
    run_fake(tmp_path / "run")

    assert not list((tmp_path / "run").glob("trace*"))


def test_a_trace_that_is_cut_off_has_all_but_the_end(tmp_path):
    """Viewers read an array whose bracket is missing; every line before the last is whole."""
    trace = Trace(tmp_path / "trace.json", origin=0.0)
    track = trace.worker(0)
    for moment in range(5000):
        track.slice("chunk", float(moment), 0.5)

    lines = (tmp_path / "trace.json").read_text().splitlines()[:-1]
    trace.close()

    assert len(lines) > 4000
    assert [json.loads(line.rstrip(",")) for line in lines[1:]]


def test_a_trace_that_cannot_be_written_is_reported(tmp_path):
    """In a sentence, with what to do."""
    with pytest.raises(ResourceError, match=r"trace\.json cannot be written .*leave out --eval\.trace"):
        Trace(tmp_path / "nowhere" / "trace.json", origin=0.0)
    full = Trace(Path("/dev/full"), origin=0.0)
    with pytest.raises(ResourceError, match="cannot be written"):
        full.close()
