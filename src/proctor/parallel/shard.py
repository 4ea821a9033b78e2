"""A shard: an engine that runs the episodes that a driver sends it, and sends each result back at once.

Started as ``python -m proctor.parallel.shard CONNECTION_FD PARENT_PID``; the first message on the connection is the
:class:`~proctor.parallel.messages.ShardRun`, the messages after it are described there too. A shard
writes no journal.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from proctor.child import declare_own_process, extend_import_path
from proctor.engine import Engine, EngineSetup, Observer, RolloutSpec, VideoOptions, VideoSpec
from proctor.engine.plan import choose_batch_size
from proctor.engine.worker.process import die_with, ignore_ctrl_c
from proctor.errors import Interrupted, ProctorError
from proctor.evaluation.prepared_run import PreparedRun, prepare
from proctor.evaluation.run import staging_for
from proctor.evaluation.videos import video_spec_of
from proctor.machine.resources import usable_cores
from proctor.parallel.messages import (
    EpisodeDone,
    EpisodeStarted,
    NoMore,
    Order,
    PolicyLoaded,
    Report,
    RunEpisodes,
    ShardEnded,
    ShardFailed,
    ShardReady,
    ShardRun,
    ShardStatus,
    Stop,
    decode_order,
    decode_run,
    encode_reports,
)
from proctor.policies.base import LocalPolicy
from proctor.rendering import choose_renderer
from proctor.types import EpisodeResult, EpisodeSpec, PackedArrays, TaskKey


def main() -> None:
    """Serve the driver at the other end of the connection."""
    declare_own_process()
    connection_fd, parent = (int(argument) for argument in sys.argv[1:])
    die_with(parent)
    ignore_ctrl_c()
    with suppress(EOFError, ConnectionError), Connection(connection_fd) as connection:  # the driver is gone
        run = decode_run(connection.recv_bytes())
        extend_import_path(run.import_path)
        serve(run, connection)


def serve(run: ShardRun, connection: Connection) -> None:
    """Run the episodes that the driver at the other end of ``connection`` sends, until there are no more or it is gone.

    Returns once :class:`ShardEnded` or :class:`ShardFailed` is sent. An exception is a bug of Proctor or of a plug-in.
    """
    driver = _Driver(connection)
    try:
        prepared = prepare(run.config)
        choose_renderer(prepared.benchmark, run.config.policy.get("device"), draws=prepared.draws)
        shard = _Shard(prepared, driver)
        with closing(shard.make_engine(_setup(run, prepared))) as engine:
            driver.send(ShardReady(engine.setup.batch_size))
            engine.run(shard.add_result, shard.send_status, driver.send)
    except Interrupted:
        driver.send(ShardEnded())
    except ProctorError as error:
        driver.send(ShardFailed(error.packed()))
    else:
        driver.send(ShardEnded())


def _setup(run: ShardRun, prepared: PreparedRun) -> EngineSetup:
    """The engine's setup with this shard's part of the machine."""
    cores = max(1, usable_cores() // run.neighbours)
    batch_size = choose_batch_size(run.config.eval, len(prepared.plan), cores, prepared.episodes_per_pass)
    in_process = not run.config.eval.use_async_envs  # a batch size of 1 may be what the driver chose
    return replace(prepared.engine_setup(batch_size), log=Path(run.log), in_process=in_process, cores=cores)


class _Driver:
    """The connection to the driver. Two threads send: the engine's, and the one that loads the policy."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._lock = threading.Lock()
        self._unsent: list[Report] = []

    def add(self, report: Report) -> None:
        """Put a report into the next message."""
        with self._lock:
            self._unsent.append(report)

    def send(self, *reports: Report) -> None:
        """Send these reports, after those that were added, in one message; nothing if there are none."""
        with self._lock, suppress(OSError):  # the driver is gone, which reading its next order will show
            self._unsent += reports
            if self._unsent:
                self.connection.send_bytes(encode_reports(*self._unsent))
            self._unsent.clear()

    def orders(self) -> Iterator[Order]:
        """Yield the orders that have come.

        Raises:
            EOFError, OSError: the driver is gone.
        """
        while self.connection.poll():
            yield decode_order(self.connection.recv_bytes())


class _Shard(Observer):
    """Connects an engine with the driver: orders come in, and results and reports go out."""

    def __init__(self, prepared: PreparedRun, driver: _Driver) -> None:
        self._prepared, self._driver = prepared, driver
        self._video_options = VideoOptions.of(prepared.config.eval)
        self._video_specs: dict[EpisodeSpec, VideoSpec] = {}
        self._staging = staging_for(prepared)
        self._rollout_specs: dict[EpisodeSpec, RolloutSpec] = {}
        self._engine: Engine

    def make_engine(self, setup: EngineSetup) -> Engine:
        """An engine that has no episodes yet, and follows the driver's orders while it runs."""
        policy = self._prepared.policy
        self._engine = Engine(
            setup,
            (),
            None if isinstance(policy, LocalPolicy) else policy,
            self._video_specs,
            rollout_specs=self._rollout_specs,
            observers=[self],
            on_policy_loaded=lambda fingerprint: self._driver.send(PolicyLoaded(dict(fingerprint))),
        )
        self._engine.expects_more = True
        self._engine.watch(self._driver.connection.fileno(), self._obey)
        return self._engine

    def started(self, worker_id: int, spec: EpisodeSpec, now: float) -> None:
        if self._engine.setup.in_process:  # the episode runs in this turn, and may end this process
            self._driver.send(EpisodeStarted(spec))
        else:
            self._driver.add(EpisodeStarted(spec))

    def add_result(self, result: EpisodeResult, arrays: PackedArrays | None) -> None:
        """Send the result of an episode at the end of this turn, and the state of its video if it was recorded."""
        self._driver.add(EpisodeDone(result, arrays, self._engine.recorded.pop(result.spec, None)))
        self._video_specs.pop(result.spec, None)
        self._rollout_specs.pop(result.spec, None)

    def send_status(self) -> None:
        """Send what the engine is doing."""
        engine = self._engine
        self._driver.send(ShardStatus(engine.load(), engine.measuring_since is not None, tuple(engine.notes)))

    def _obey(self) -> None:
        """Execute the driver's orders that have come."""
        try:
            for order in self._driver.orders():
                match order:
                    case RunEpisodes(episodes, simulators):
                        self._add(episodes, None if simulators is None else dict(simulators))
                    case NoMore():
                        self._engine.expects_more = False
                    case Stop():
                        self._engine.interrupt(signal.SIGTERM)
                        return
        except (EOFError, OSError):  # the driver is gone, so the results have no receiver
            self._engine.interrupt(signal.SIGTERM)

    def _add(self, episodes: Sequence[EpisodeSpec], simulators: Mapping[TaskKey, int] | None) -> None:
        directory, options = self._prepared.directory, self._video_options
        chosen = [spec for spec in episodes if options.may_include(spec)]
        self._video_specs.update({spec: video_spec_of(directory, spec, options) for spec in chosen})
        if self._staging is not None:
            self._rollout_specs.update({spec: self._staging.rollout_spec(spec) for spec in episodes})
        self._engine.add(episodes, simulators)


if __name__ == "__main__":
    main()
