"""Measures what a result costs the driver of ``proctor parallel``, on its real path.

    python bench/driver.py [--results 20000] [--shards 16] [--steps 200]

The shards are fake: another process reports every episode that it is sent as over, as soon as it is sent. Everything
in the driver is real: connections, messages, the shard pool and its scheduler, the run's state, the journal with its
syncs, and the display's progress. ``bench/scale.py`` takes its driver's seconds from here.
"""

from __future__ import annotations

import argparse
import os
import selectors
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter, thread_time

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
from common import machine

from proctor.child.wire import Wire
from proctor.config import EvalConfig, RunConfig
from proctor.evaluation.prepared_run import prepare
from proctor.evaluation.run_state import RunState
from proctor.parallel.launchers.connected import ConnectedLauncher
from proctor.parallel.messages import (
    EpisodeDone,
    EpisodeStarted,
    Event,
    Report,
    RunEpisodes,
    ShardEnded,
    ShardReady,
    ShardRun,
    decode_order,
    decode_reports,
    encode_reports,
)
from proctor.parallel.scheduler import ShardScheduler
from proctor.parallel.shards import ShardPool
from proctor.types import EpisodeResult, EpisodeSpec, Outcome, PackedArrays, Timings, pack_arrays

WORKERS = 16


@dataclass(frozen=True)
class DriverCost:
    """Mean seconds of a result: elapsed, of the driver's core, and of that for keeping it (counts, journal, syncs)."""

    elapsed_s: float
    core_s: float
    keep_s: float

    @property
    def handle_s(self) -> float:
        """The seconds until a result's shard has its next order: messages, the pool and its scheduler."""
        return self.core_s - self.keep_s


class FakeShards(ConnectedLauncher):
    """Starts no process: its shards are the other ends of connections, which one process serves."""

    def __init__(self, ends: Sequence[Connection]) -> None:
        super().__init__()
        self._ends = ends

    def start(self, run: ShardRun) -> _FakeShard:
        return _FakeShard(self._ends[run.shard_id])


class _FakeShard:
    def __init__(self, connection: Connection) -> None:
        self.wire = Wire(connection)

    def receive(self) -> list[Event]:
        return [report for message in self.wire.receive() for report in decode_reports(message)]

    def kill(self) -> None:
        pass

    def close(self) -> None:
        self.wire.close()


def serve(connections: Sequence[Connection], n_steps: int) -> None:
    """Report the episodes of every order as over, one message for each, until the driver closes the connections."""
    random = np.random.default_rng(0)
    arrays = pack_arrays(
        {
            "actions": random.normal(size=(n_steps, 7)).astype(np.float32),
            "rewards": random.normal(size=n_steps),
            "successes": np.zeros(n_steps, np.int8),
        }
    )
    selector = selectors.DefaultSelector()
    for connection in connections:
        selector.register(connection, selectors.EVENT_READ, connection)
        connection.send_bytes(encode_reports(ShardReady(WORKERS)))
    while selector.get_map():
        for key, _ in selector.select():
            connection = key.data
            try:
                order = decode_order(connection.recv_bytes())
                if isinstance(order, RunEpisodes):
                    for spec in order.episodes:
                        connection.send_bytes(encode_reports(*_reports(spec, arrays, n_steps)))
                else:
                    connection.send_bytes(encode_reports(ShardEnded()))
            except (EOFError, OSError):
                selector.unregister(connection)


def _reports(spec: EpisodeSpec, arrays: PackedArrays, n_steps: int) -> tuple[Report, Report]:
    timings = Timings(reset=1.0, step=1.0)
    result = EpisodeResult(spec, Outcome.SUCCESS, 1.5, 1.0, n_steps, 20, f"{spec.seed:032x}", timings=timings)
    return EpisodeStarted(spec), EpisodeDone(result, arrays)


def driver_cost(n_results: int = 20_000, n_shards: int = 16, n_steps: int = 200) -> DriverCost:
    """Run so many episodes of Meta-World's fifty tasks in fake shards; only the results are made up."""
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig(
            policy={"type": "random"},
            env={"type": "metaworld", "task": "MT50"},
            eval=EvalConfig(n_episodes=n_results // 50, video="none"),
            output_dir=folder,
        )
        prepared = prepare(config)
        pairs = [Pipe() for _ in range(n_shards)]
        shards = get_context("fork").Process(target=serve, args=([theirs for _, theirs in pairs], n_steps), daemon=True)
        shards.start()
        for _, theirs in pairs:
            theirs.close()
        with prepared.open_session(WORKERS * n_shards) as session:
            state = RunState(prepared, session)
            runs = [ShardRun(shard_id, config, {}, None, [], "", n_shards) for shard_id in range(n_shards)]
            launcher = FakeShards([ours for ours, _ in pairs])
            pool = ShardPool(launcher, runs, ShardScheduler(state.todo, n_shards), max_attempts=1, patience_s=600)
            keeping = 0.0

            def keep(result: EpisodeResult, arrays: PackedArrays | None) -> None:
                nonlocal keeping
                before = thread_time()
                state.keep(result, arrays)
                keeping += thread_time() - before

            def tick() -> None:
                state.progress(pool)

            start, core = perf_counter(), thread_time()
            pool.run(keep, state.opened, tick)
            state.sync()
            elapsed, used = perf_counter() - start, thread_time() - core
            launcher.close()
        shards.terminate()
        shards.join()
    n = len(state.todo)
    return DriverCost(elapsed / n, used / n, keeping / n)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=int, default=20_000)
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 16, 200])
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    print(machine())
    for n_shards in options.shards:
        cost = driver_cost(options.results, n_shards, options.steps)
        print(
            f"{n_shards} shards: {1 / cost.core_s:.0f} results per second of a core ({1e6 * cost.core_s:.0f} us "
            f"each: {1e6 * cost.handle_s:.0f} us until the next order, {1e6 * cost.keep_s:.0f} us to keep it), "
            f"{1 / cost.elapsed_s:.0f} per second elapsed",
            flush=True,
        )


if __name__ == "__main__":
    main()
