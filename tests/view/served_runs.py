"""Runs to serve, a viewer on them, and requests to it, byte by byte as they are meant."""

from __future__ import annotations

import http.client
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from proctor import evaluate
from proctor.evaluation.sweep import Checkpoint, SweptCheckpoint, verdict_of
from proctor.evaluation.sweep.record import write_record
from proctor.results.run_dir import RunDirectory
from proctor.testing.fakes import FAKE_BENCHMARK
from proctor.view import Viewer

STORED = Path(__file__).parents[1] / "data" / "run_v1"


def fake_run(directory, max_steps=20, notes=None, **fields):
    """Two tasks of three episodes; the first of each has a video."""
    env = {"type": FAKE_BENCHMARK, "max_steps": max_steps}
    fields = {"n_episodes": 3, "use_async_envs": False, "video": "first", "n_episodes_to_render": 1, **fields}
    result = evaluate({"type": "expert"}, env, output_dir=directory, **fields)
    config = {**result.run.config, "notes": notes}
    RunDirectory(directory).write_run(replace(result.run, config=config))
    return result


def fake_sweep(folder):
    """Three checkpoints of a training, as ``proctor sweep`` leaves them; the third cannot be read."""
    policies = {"001000": {"type": "random"}, "002000": {"type": "expert"}}
    checkpoints = [Checkpoint(f"train/checkpoints/{name}", "train", int(name), name) for name in [*policies, "003000"]]
    for name, policy in policies.items():
        evaluate(policy, {"type": FAKE_BENCHMARK}, output_dir=folder / name, n_episodes=3, use_async_envs=False)
    swept = [SweptCheckpoint.read(each, folder / each.name) for each in checkpoints[:2]]
    broken = SweptCheckpoint.read(checkpoints[2], folder / "003000", "its weights cannot be read")
    write_record(folder, [*swept, broken], verdict_of(swept).as_values())


@contextmanager
def viewing(folder, port=0, **options):
    """A viewer that serves in a thread of this process."""
    viewer = Viewer(folder, port=port, **options)
    thread = threading.Thread(target=viewer.serve)
    thread.start()
    try:
        yield viewer
    finally:
        viewer.stop()
        thread.join(60)
        assert not thread.is_alive()


def opened(browser, url, **options):
    """A page at an address, which nothing may be wrong with, and which may ask nothing of anybody else."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    page = context.new_page()
    page.set_default_timeout(60_000)
    wrong = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    home = url[: url.index("/", len("http://")) + 1]
    page.on("request", lambda request: None if request.url.startswith(home) else wrong.append(request.url))
    page.goto(url)
    yield page
    context.close()
    assert wrong == []


class Answer:
    """Status, headers by name, body."""

    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()
        self.text = self.body.decode(errors="replace")


def ask(viewer, path, method="GET", body=None, **headers):
    """One request, with exactly these headers; ``host_`` stands in for the usual one."""
    connection = http.client.HTTPConnection("127.0.0.1", viewer.port, timeout=60)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    headers.setdefault("host", f"127.0.0.1:{viewer.port}")
    if body is not None:
        headers["content-length"] = str(len(body))
    for name, value in headers.items():
        for each in value if isinstance(value, list) else [value]:
            connection.putheader(name, each)
    connection.endheaders(body)
    answer = Answer(connection.getresponse())
    connection.close()
    return answer
