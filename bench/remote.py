"""How much of a policy server's time is used: chunks a second as a share of what server and simulators leave possible.

    python bench/remote.py [--latency 5 20 100] [--workers 2 4 8 16 32] [--seconds 5] [--step-ms 20] [--chunk 5]

The server is the tests' stand-in for openpi's (``tests/policies/remote/stand_in.py``), a process of its own that takes
so many milliseconds for each request, one after the other, as openpi's does. Simulators are delays off the CPU
(``bench/delays.py``) that show two images of 224 pixels, which is LIBERO's 300 kB a request. With N of them, Z seconds
of simulation a chunk and L seconds of the server:

    bound        min(1 / L, N / (Z + L)) chunks/s: the server is never idle, or no simulator ever waits for another one
    sequential   the loop of openpi's examples, measured: one simulator, which waits for each reply

First, what a round trip costs above an echo of the same bytes by a bare websocket.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
from common import machine
from delays import DELAY_BENCHMARK, DelayBenchmark, DelayConfig

from proctor.engine import Engine, EngineOptions, EngineSetup
from proctor.errors import Note
from proctor.policies.base import EpisodeMemory, Policy
from proctor.policies.remote.openpi import load
from proctor.streams import RandomStream
from proctor.types import Array, EpisodeSpec, Observation, Task

STAND_IN = Path(__file__).parents[1] / "tests" / "policies" / "remote" / "stand_in.py"
INPUTS = [
    {"key": "observation/image", "source": "observation.images.image", "resize": [224, 224]},
    {"key": "observation/wrist_image", "source": "observation.images.image2", "resize": [224, 224]},
    {"key": "state", "source": "observation.state", "dtype": "float64"},
    {"key": "prompt", "source": "instruction"},
]
WARM = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, nargs="+", default=[5.0, 20.0, 100.0])
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 4, 8, 16, 32])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--step-ms", type=float, default=20.0)
    parser.add_argument("--chunk", type=int, default=5)
    options = parser.parse_args()
    config = DelayConfig(type=DELAY_BENCHMARK, step_ms=options.step_ms, image_size=224)
    warnings.simplefilter("ignore", Note)
    print(machine())
    print_round_trip(config)
    print("latency workers    bound   Proctor  of bound   sequential   Proctor is")
    for latency in options.latency:
        with serving(latency / 1000, options.chunk) as url:
            one = sequential(url, config, options.chunk, options.seconds)
            for workers in options.workers:
                bound = bound_of(latency / 1000, workers, options)
                n_chunks = max(8, round(options.seconds * bound / workers))
                found = measured(url, config, workers, n_chunks, options.chunk)
                print(
                    f"{latency:5.0f} ms {workers:7} {bound:8.1f}/s {found:7.1f}/s {found / bound:8.1%} {one:10.1f}/s "
                    f"{found / one:11.1f}x",
                    flush=True,
                )


def bound_of(latency_s: float, workers: int, options: argparse.Namespace) -> float:
    """Chunks a second that server and simulators leave possible."""
    think_s = options.chunk * options.step_ms / 1000
    return float(min(1 / latency_s, workers / (think_s + latency_s)))


@contextmanager
def serving(latency_s: float, n_steps: int) -> Iterator[str]:
    """A stand-in server; gives its address."""
    words = [sys.executable, "-P", str(STAND_IN), "openpi", f"--latency={latency_s}", f"--steps={n_steps}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"ws://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


class Timed(Policy):
    """A policy that writes down when each chunk came."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.n_action_steps, self.n_slots = policy.n_action_steps, policy.n_slots
        self.ended: list[float] = []

    def predict(self, observations: Sequence[Observation], memories: Sequence[EpisodeMemory]) -> list[Array]:
        chunks = self._policy.predict(observations, memories)
        self.ended.append(perf_counter())
        return chunks

    def fingerprint(self) -> Mapping[str, Any]:
        return self._policy.fingerprint()


def connected(url: str, n_action_steps: int) -> Policy:
    return load({"url": url, "inputs": INPUTS, "n_action_steps": n_action_steps}).open(1)


def measured(url: str, config: DelayConfig, workers: int, n_chunks: int, chunk: int) -> float:
    """Chunks a second of ``workers`` simulators, each of which runs one episode, after warming up."""
    task = Task("delays", 0, "wait", "", n_chunks * chunk)
    specs = [EpisodeSpec("delays", 0, index, index) for index in range(workers)]
    setup = EngineSetup(DELAY_BENCHMARK, asdict(config), {task.key: task}, None, EngineOptions(), workers)
    policy = Timed(connected(url, chunk))
    engine = Engine(setup, specs, policy)
    try:
        engine.run(lambda *_: None)
    finally:
        engine.close()
    ended = policy.ended
    within = ended[round(WARM * len(ended)) : -workers]  # in the end some simulators have nothing left to do
    return (len(within) - 1) / (within[-1] - within[0])


def sequential(url: str, config: DelayConfig, chunk: int, seconds: float) -> float:
    """Chunks a second of one simulator that waits for each reply."""
    env = DelayBenchmark(config).make_env(Task("delays", 0, "wait", "", 1))
    policy, memory = connected(url, chunk), EpisodeMemory(RandomStream(EpisodeSpec("delays", 0, 0, 0)))
    seen, n_chunks = env.reset(0, None, look=True), 0
    began = perf_counter()
    while perf_counter() - began < seconds:
        assert seen is not None
        arrays = {name: array[np.newaxis] for name, array in seen.items()}
        (actions,) = policy.predict([Observation(arrays)], [memory])
        for action in actions:
            seen = env.step(action, look=True).observation
        n_chunks += 1
    return n_chunks / (perf_counter() - began)


def print_round_trip(config: DelayConfig) -> None:
    """What a request of LIBERO's size costs, beside an echo of as many bytes."""
    env = DelayBenchmark(config).make_env(Task("delays", 0, "wait", "", 1))
    seen = env.reset(0, None, look=True)
    assert seen is not None
    observation = Observation({name: array[np.newaxis] for name, array in seen.items()})
    memory = EpisodeMemory(RandomStream(EpisodeSpec("delays", 0, 0, 0)))
    with serving(0.0, 10) as url:
        policy = connected(url, 10)
        ours = statistics.median(seconds(lambda: policy.predict([observation], [memory]), 200))
    bare = statistics.median(echo(301_500, 200))
    print(f"round trip of 300 kB: {ours * 1e3:.2f} ms; a bare echo {bare * 1e3:.2f} ms")


def seconds(call: Any, n: int) -> list[float]:
    """How long each of ``n`` calls takes."""
    found = []
    for _ in range(n):
        began = perf_counter()
        call()
        found.append(perf_counter() - began)
    return found


def echo(n_bytes: int, n: int) -> list[float]:
    """How long a message takes there and a short reply back, through a bare websocket."""
    from websockets.sync.client import connect
    from websockets.sync.server import serve

    def answer(connection: Any) -> None:
        for message in connection:
            connection.send(message[:400])

    with serve(answer, "127.0.0.1", 0, compression=None, max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        port = server.socket.getsockname()[1]
        with connect(f"ws://127.0.0.1:{port}", compression=None, max_size=None) as connection:
            message = b"\0" * n_bytes

            def there_and_back() -> None:
                connection.send(message)
                connection.recv()

            found = seconds(there_and_back, n)
        server.shutdown()
    return found


if __name__ == "__main__":
    main()
