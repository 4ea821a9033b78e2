"""How much of a policy server's time is used: chunks a second as a share of what server and simulators leave possible.

    python bench/remote.py [--latency 5 20 100] [--workers 2 4 8 16 32] [--seconds 5] [--step-ms 20] [--chunk 5]
                           [--vla-eval PYTHON]

The server is the tests' stand-in for openpi's (``tests/policies/remote/stand_in.py``), a process of its own that takes
so many milliseconds for each request, one after the other, as openpi's does. Simulators are delays off the CPU
(``bench/delays.py``) that show two images of 224 pixels, which is LIBERO's 300 kB a request. With N of them, Z seconds
of simulation a chunk and L seconds of the server:

    bound        min(1 / L, N / (Z + L)) chunks/s: the server is never idle, or no simulator ever waits for another one
    sequential   the loop of openpi's examples, measured: one simulator, which waits for each reply
    bare client  measured: N websockets, each with its next request ready when a reply comes, and no simulators

The bound leaves out what a server does for each request besides the L seconds: the stand-in unmasks 300 kB, decodes
them and replies, one request after the other and on the same cores as everything else. The bare client shows what the
server can do at most; where it is below the bound, it is the bound that can be reached.

``--vla-eval`` names an interpreter that has vla-eval, which is then measured in the same run (``remote_peer.py``). Its
client uses a protocol of its own and its own server, so it cannot use the stand-in, and nothing of its Docker images is
used: N processes (its shards) each run one episode of the same delays against its server, which takes L seconds for
each chunk, one after the other. Its client sends an observation at each step; its server keeps the rest of the chunk.

First, what a round trip costs above an echo of the same bytes by a bare websocket.
"""

from __future__ import annotations

import argparse
import json
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
from proctor.policies.remote.codec import pack
from proctor.policies.remote.mapping import choose
from proctor.policies.remote.openpi import load, nested
from proctor.policies.remote.presets import OPENPI
from proctor.streams import RandomStream
from proctor.types import Array, EpisodeSpec, Observation, Task

STAND_IN = Path(__file__).parents[1] / "tests" / "policies" / "remote" / "stand_in.py"
PEER = Path(__file__).with_name("remote_peer.py")
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
    parser.add_argument("--vla-eval", metavar="PYTHON")
    options = parser.parse_args()
    config = DelayConfig(type=DELAY_BENCHMARK, step_ms=options.step_ms, image_size=224)
    warnings.simplefilter("ignore", Note)
    print(machine())
    print_round_trip(config)
    print("latency workers    bound   Proctor  of bound   sequential   Proctor is  bare client  vla-eval  of bound")
    for latency in options.latency:
        with serving(latency / 1000, options.chunk) as url:
            one = sequential(url, config, options.chunk, options.seconds)
            for workers in options.workers:
                bound = bound_of(latency / 1000, workers, options)
                n_chunks = max(8, round(options.seconds * bound / workers))
                found = measured(url, config, workers, n_chunks, options.chunk)
                bare = bare_client(url, config, workers, options.seconds)
                line = (
                    f"{latency:5.0f} ms {workers:7} {bound:8.1f}/s {found:7.1f}/s {found / bound:8.1%} {one:10.1f}/s "
                    f"{found / one:11.1f}x {bare:10.1f}/s"
                )
                if options.vla_eval:
                    peer = vla_eval(options, latency / 1000, workers, n_chunks)
                    line += f" {peer:7.1f}/s {peer / bound:8.1%}"
                print(line, flush=True)


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
    return rate(policy.ended, workers)


def rate(ended: Sequence[float], workers: int) -> float:
    """Chunks a second, after warming up; in the end some workers have nothing left to do."""
    within = sorted(ended)[round(WARM * len(ended)) : -workers]
    return (len(within) - 1) / (within[-1] - within[0])


def bare_client(url: str, config: DelayConfig, n_connections: int, seconds: float) -> float:
    """Replies a second to bare websockets that send the same request again at once."""
    from websockets.sync.client import connect

    request, ended = request_of(config), []

    def repeat() -> None:
        with connect(url, compression=None, max_size=None) as connection:
            connection.recv()
            until = perf_counter() + seconds
            while perf_counter() < until:
                connection.send(request)
                connection.recv()
                ended.append(perf_counter())

    threads = [threading.Thread(target=repeat) for _ in range(n_connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return rate(ended, n_connections)


def request_of(config: DelayConfig) -> bytes:
    """The bytes of a request."""
    seen = first_observation(config)
    choice = choose(INPUTS, OPENPI, None)
    return pack(nested(choice.for_observation(seen.arrays).items(seen, choice.names)))


def vla_eval(options: argparse.Namespace, latency_s: float, workers: int, n_chunks: int) -> float:
    """Chunks a second of vla-eval's client in ``workers`` processes, against its own server."""
    common = [options.vla_eval, str(PEER)]
    chunk = f"--chunk={options.chunk}"
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([*common, "serve", chunk, f"--latency={latency_s}"], text=True, **pipes) as server:
        assert server.stdout is not None
        words = [*common, "run", chunk, f"--url={server.stdout.readline().strip()}", f"--step-ms={options.step_ms}"]
        words.append(f"--steps={n_chunks * options.chunk}")
        runs = [subprocess.Popen([*words, f"--seed={seed}"], text=True, **pipes) for seed in range(workers)]
        for run in runs:
            assert run.stdout is not None
            assert any(line == "ready\n" for line in run.stdout)
        for run in runs:  # all together, once each of them has imported what it needs
            assert run.stdin is not None
            run.stdin.write("\n")
            run.stdin.flush()
        ended = [time for run in runs for time in json.loads(run.communicate()[0].splitlines()[-1])]
        server.kill()
    return rate(ended, workers)


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


def first_observation(config: DelayConfig) -> Observation:
    """What a simulator shows after its reset."""
    seen = DelayBenchmark(config).make_env(Task("delays", 0, "wait", "", 1)).reset(0, None, look=True)
    assert seen is not None
    return Observation({name: array[np.newaxis] for name, array in seen.items()})


def print_round_trip(config: DelayConfig) -> None:
    """What a request of LIBERO's size costs, beside an echo of as many bytes."""
    observation = first_observation(config)
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
