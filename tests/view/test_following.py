"""A run that goes on is followed; the video of an episode is rendered; Ctrl-C ends everything."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
import zlib
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest
from served_runs import STORED, ask, fake_run, viewing

from proctor.results.journal import read_actions, read_journal
from proctor.results.run_dir import RunDirectory
from proctor.types import pack_arrays


class Process:
    """``proctor view``, started by somebody at a terminal."""

    def __init__(self, folder):
        command = [sys.executable, "-m", "proctor", "view", str(folder), "--port=0"]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.child.stdout.readline()
        self.port = int(re.fullmatch(r"http://127\.0\.0\.1:(\d+)/  \(Ctrl-C ends it\)\n", line)[1])

    def interrupt(self):
        """Ctrl-C: how it ended, and what it still had to say."""
        self.child.send_signal(signal.SIGINT)
        out, err = self.child.communicate(timeout=60)
        return self.child.returncode, out + err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """``live``: a stored run before its last episode; ``fake``: one without videos."""
    folder = tmp_path_factory.mktemp("runs")
    shutil.copytree(STORED, folder / "live")
    (folder / "live" / "eval_info.json").unlink()
    journal = folder / "live" / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
    fake_run(folder / "fake", video="none")
    return folder


@pytest.fixture(scope="module")
def viewer(folder):
    process = Process(folder)
    yield process
    process.child.kill()
    process.child.communicate()


def run_id(viewer, name):
    return re.search(rf'value="(\w+)" aria-label="Compare {name}"', ask(viewer, "/").text)[1]


@contextmanager
def events(viewer, run):
    """What is told of a run, one event after the other, until nothing more is."""
    connection = http.client.HTTPConnection("127.0.0.1", viewer.port, timeout=60)
    connection.request("GET", f"/events?run={run}")
    response = connection.getresponse()
    assert response.headers["content-type"].startswith("text/event-stream")

    def received():
        name = ""
        for line in response:
            field, _, value = line.decode().strip().partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)

    try:
        yield received()
    finally:
        response.close()
        connection.close()


def test_a_page_receives_every_episode_and_the_end(viewer, folder):
    """Running, something new, finished: and then there is nothing more to listen to."""
    journal = read_journal(STORED / "journal.jsonl")
    last = journal.episodes[-1]
    run = run_id(viewer, "live")

    with (
        RunDirectory(folder / "live").open_journal(journal.header.fingerprint) as writer,
        events(viewer, run) as received,
    ):
        name, first = next(received)
        assert (name, first["live"], first["replays"]) == ("state", True, [])
        assert f'data-stamp="{first["stamp"]}"' in ask(viewer, f"/runs/{run}").text
        assert "running" in ask(viewer, "/").text

        writer.append(last.result, pack_arrays({"actions": read_actions(last)}))
        name, second = next(received)
        assert (name, second["live"]) == ("state", True)
        assert second["stamp"] != first["stamp"]

        writer.close()
        *states, end = received
        assert [(name, state["live"]) for name, state in states][-1] == ("state", False)
        assert end == ("end", {})
    page = ask(viewer, f"/runs/{run}").text
    assert f'data-stamp="{states[-1][1]["stamp"]}"' in page
    assert 'data-live="no"' in page


def token_of(viewer, run):
    return re.search(r'data-token="([^"]+)"', ask(viewer, f"/runs/{run}").text)[1]


def request_video(viewer, run, episode, token, task_id=1):
    body = json.dumps({"suite": "fake", "task_id": task_id, "episode": episode}).encode()
    return ask(viewer, f"/runs/{run}/replays", "POST", body, x_proctor_token=token)


def test_videos_are_rendered_one_after_the_other(viewer, folder):
    """A process of its own renders each; clients receive its state, and the video's place or the reason for none."""
    journal = folder / "fake" / "journal.jsonl"
    journal.write_bytes(damaged_actions(journal.read_bytes(), episode=2))
    run = run_id(viewer, "fake")
    token = token_of(viewer, run)

    for episode in (1, 2, 1):
        assert request_video(viewer, run, episode, token).status == 202
    with events(viewer, run) as received:
        *states, (end, _) = received
    rendered, failed = states[-1][1]["replays"]
    video = ask(viewer, rendered["video"])

    assert end == "end"
    assert ("running", "waiting") in {tuple(replay["state"] for replay in state["replays"]) for _, state in states}
    assert (rendered["episode"], rendered["state"]) == (1, "done")
    assert (video.status, video.headers["content-type"], video.body[4:8]) == (200, "video/mp4", b"ftyp")
    assert (failed["episode"], failed["state"], failed["video"]) == (2, "failed", None)
    assert "the recorded actions cannot be read" in failed["message"]


def damaged_actions(journal, episode):
    """Task 1's episode refers to actions of which the file has no such checksum."""

    lines = []
    for line in journal.splitlines():
        raw = json.loads(line)["record"]
        spec = raw.get("result", {}).get("spec", {})
        if (spec.get("task_id"), spec.get("episode_index")) == (1, episode):
            raw["actions"]["crc32"] ^= 1
        content = json.dumps(raw, separators=(",", ":")).encode()
        lines.append(b'{"crc32":"%08x","record":%b}\n' % (zlib.crc32(content), content))
    return b"".join(lines)


def test_ctrl_c_ends_it_whatever_is_under_way(viewer, folder):
    """Somebody listens to a run, somebody is in the midst of a video, a video is being rendered: without a word."""
    run = run_id(viewer, "fake")
    video = folder / "fake" / "videos" / "fake_1" / "eval_episode_1.mp4"
    video.parent.mkdir(parents=True, exist_ok=True)
    video.write_bytes(bytes(1 << 26))
    watching = http.client.HTTPConnection("127.0.0.1", viewer.port)
    watching.request("GET", f"/runs/{run}/episodes/1/1/video")
    assert watching.getresponse().read(1000) == bytes(1000)
    fingerprint = read_journal(STORED / "journal.jsonl").header.fingerprint

    with (
        RunDirectory(folder / "live").open_journal(fingerprint),
        events(viewer, run_id(viewer, "live")) as received_of_live,
    ):
        assert next(received_of_live)[1]["live"]
        assert request_video(viewer, run, 0, token_of(viewer, run)).status == 202
        with events(viewer, run) as received:
            assert next(state for _, state in received if state["replays"][-1]["state"] == "running")
            children = descendants(viewer.child.pid)
            assert children
            status, output = viewer.interrupt()
        assert list(received_of_live) == []
    watching.close()

    assert (status, output) == (0, "")
    until = monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert monotonic() < until
        sleep(0.02)
    assert not list(folder.rglob("*.part"))  # a video is there whole or not at all


def descendants(pid):
    """Processes that a process started, and those started by them."""
    direct = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return direct + [each for child in direct for each in descendants(child)]


def test_too_many_wishes_are_refused(tmp_path):
    """In a sentence."""
    fake_run(tmp_path / "run", video="none", n_episodes=12)

    with viewing(tmp_path) as viewer:
        run = run_id(viewer, "run")
        token = token_of(viewer, run)
        answers = [request_video(viewer, run, episode, token, task_id) for task_id in (0, 1) for episode in range(12)]

    assert [answer.status for answer in answers[:20]] == [202] * 20
    assert answers[-1].status == 409
    assert "20 videos are waiting to be rendered already" in answers[-1].text
