"""vla-eval's side of ``bench/remote.py``; it runs in an interpreter that has vla-eval (written for 0.8.0), not Proctor.

    python bench/remote_peer.py serve --latency 0.005 --chunk 5
    python bench/remote_peer.py run --url ws://127.0.0.1:8000 --steps 500 --chunk 5 --step-ms 20 --seed 0

``serve`` prints the address of a model server that takes ``latency`` seconds for each chunk, one chunk at a time.
``run`` prints "ready", waits for a line, and runs one episode of a simulator that only waits, as that of
``bench/delays.py`` does, with two images of 224 pixels. It prints when each chunk came, in seconds on the monotonic
clock, as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from typing import Any

import numpy as np
from vla_eval.api import run, serve_background
from vla_eval.benchmarks.base import StepBenchmark, StepResult
from vla_eval.model_servers.predict import PredictModelServer

_OVERSLEPT_S = 0.001
"""As in ``bench/delays.py``: the system's timer is not part of a simulator."""


class Delays(StepBenchmark):  # type: ignore[misc]
    """A simulator that sleeps for each step."""

    came: list[float]

    def __init__(self, chunk: int, step_ms: float, seed: int) -> None:
        super().__init__()
        self._chunk, self._step_s = chunk, step_ms / 1000
        self._generator = np.random.default_rng(seed)
        self._n_steps, self._until = 0, 0.0
        image = np.zeros((224, 224, 3), np.uint8)
        self._seen = {"images": {"image": image, "wrist": image}, "states": np.zeros(4), "task_description": ""}
        Delays.came = []

    def get_tasks(self) -> list[dict[str, Any]]:
        return [{"name": "wait"}]

    def reset(self, task: dict[str, Any]) -> Any:
        return self._seen

    def step(self, action: dict[str, Any]) -> StepResult:
        if self._n_steps % self._chunk == 0:
            self.came.append(time.monotonic())
        self._n_steps += 1
        now = time.perf_counter()
        began = self._until if now - self._until < _OVERSLEPT_S else now
        self._until = began + max(0.0, self._generator.normal(self._step_s, 0.2 * self._step_s))
        time.sleep(max(0.0, self._until - now))
        return StepResult(self._seen, 0.0, False, {})

    def make_obs(self, raw_obs: Any, task: dict[str, Any]) -> dict[str, Any]:
        return dict(raw_obs)

    def get_step_result(self, step_result: StepResult) -> dict[str, Any]:
        return {"success": False}

    def get_action_spec(self) -> dict[str, Any]:
        return {}

    def get_observation_spec(self) -> dict[str, Any]:
        return {}


class Slow(PredictModelServer):  # type: ignore[misc]
    """A model server that takes its time for each chunk, one after the other."""

    def __init__(self, latency_s: float, chunk: int) -> None:
        super().__init__(chunk_size=chunk)
        self._latency_s, self._chunk = latency_s, np.zeros((chunk, 4), np.float32)
        self._one_at_a_time = threading.Lock()

    def predict(self, obs: dict[str, Any], ctx: Any) -> dict[str, Any]:
        with self._one_at_a_time:
            time.sleep(self._latency_s)
        return {"actions": self._chunk}

    def get_action_spec(self) -> dict[str, Any]:
        return {}

    def get_observation_spec(self) -> dict[str, Any]:
        return {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("role", choices=["serve", "run"])
    parser.add_argument("--url")
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--chunk", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--step-ms", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.role == "serve":
        with serve_background(Slow(options.latency, options.chunk)) as server:
            print(server.url, flush=True)
            sys.stdin.read()
        return
    print("ready", flush=True)
    sys.stdin.readline()
    entry: dict[str, Any] = {"benchmark": f"{__name__}:Delays", "mode": "sync", "episodes_per_task": 1}
    entry["params"] = {"chunk": options.chunk, "step_ms": options.step_ms, "seed": options.seed}
    run({"benchmarks": [entry | {"max_steps": options.steps}]}, server_url=options.url, docker=False, no_save=True)
    print(json.dumps(Delays.came))


if __name__ == "__main__":
    main()
