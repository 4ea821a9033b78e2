"""Runs to serve, a viewer on them, and requests to it, byte by byte as they are meant."""

from __future__ import annotations

import http.client
import threading
from contextlib import contextmanager
from pathlib import Path

from proctor import evaluate
from proctor.testing.fakes import FAKE_BENCHMARK
from proctor.view import Viewer

STORED = Path(__file__).parents[1] / "data" / "run_v1"


def fake_run(directory, **fields):
    """Two tasks of three episodes; the first of each has a video."""
    env = {"type": FAKE_BENCHMARK}
    fields = {"n_episodes": 3, "use_async_envs": False, "video": "first", "n_episodes_to_render": 1, **fields}
    return evaluate({"type": "expert"}, env, output_dir=directory, **fields)


@contextmanager
def viewing(folder, port=0):
    """A viewer that serves in a thread of this process."""
    viewer = Viewer(folder, port=port)
    thread = threading.Thread(target=viewer.serve)
    thread.start()
    try:
        yield viewer
    finally:
        viewer.stop()
        thread.join(10)
        assert not thread.is_alive()


class Answer:
    """Status, headers by name, body."""

    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()
        self.text = self.body.decode(errors="replace")


def ask(viewer, path, method="GET", body=None, **headers):
    """One request, with exactly these headers; ``host_`` stands in for the usual one."""
    connection = http.client.HTTPConnection("127.0.0.1", viewer.port, timeout=20)
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
