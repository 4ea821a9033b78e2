"""A shard: an engine that runs the episodes a driver deals it, and sends each result back at once.

Started as ``python -m proctor.parallel.shard CONNECTION_FD PARENT_PID``; the first message on the connection is the
:class:`~proctor.parallel.launchers.base.ShardRun`, what follows is in :mod:`proctor.parallel.launchers.base`. It writes
no journal.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from proctor.child import extend_import_path
from proctor.engine import Engine, EngineSetup, VideoSpec
from proctor.engine.plan import choose_batch_size
from proctor.engine.worker.messages import ArrayBytes
from proctor.engine.worker.process import die_with
from proctor.errors import Interrupted, ProctorError
from proctor.evaluation.prepared_run import PreparedRun, prepare
from proctor.evaluation.videos import film_of, may_be_filmed
from proctor.machine.resources import usable_cores
from proctor.parallel.launchers.base import (
    EpisodeDone,
    EpisodeStarted,
    NoMore,
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
    encode,
)
from proctor.policies.announced import AnnouncedPolicy
from proctor.policies.base import LocalPolicy
from proctor.rendering import choose_renderer
from proctor.types import Array, EpisodeResult, EpisodeSpec


def main() -> None:
    """Serve the driver at the other end of the connection."""
    connection_fd, parent = (int(argument) for argument in sys.argv[1:])
    die_with(parent)
    with suppress(EOFError, ConnectionError), Connection(connection_fd) as connection:  # the driver is gone
        run = decode_run(connection.recv_bytes())
        extend_import_path(run.import_path)
        serve(run, connection)


def serve(run: ShardRun, connection: Connection) -> None:
    """Run what the driver at the other end of ``connection`` deals, until it says that there is no more, or is gone.

    Returns once :class:`Ended` or :class:`Failed` is sent; any other exception is a bug of ours or of a plug-in.
    """
    driver = _Driver(connection)
    try:
        prepared = prepare(run.config)
        choose_renderer(prepared.benchmark, run.config.policy.get("device"), draws=prepared.draws)
        with closing(_ShardEngine(prepared, _setup(run, prepared), driver)) as engine:
            driver.tell(ShardReady(engine.setup.batch_size))
            engine.run(engine.keep, engine.tell_load)
    except Interrupted:
        driver.tell(ShardEnded())
    except ProctorError as error:
        driver.tell(ShardFailed(str(error), error.hint, error.exit_code))
    else:
        driver.tell(ShardEnded())


def _setup(run: ShardRun, prepared: PreparedRun) -> EngineSetup:
    """Give the engine this shard's part of the machine."""
    cores = max(1, usable_cores() // run.neighbours)
    batch_size = choose_batch_size(run.config.eval, len(prepared.plan), cores, prepared.episodes_per_pass)
    in_process = not run.config.eval.use_async_envs  # a batch size of 1 may be what the driver chose
    return replace(prepared.engine_setup(batch_size), log=Path(run.log), in_process=in_process)


class _Driver:
    """The driver, as the shard sees it. Told things by two threads: the engine's, and the one that loads the policy."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._lock = threading.Lock()

    def tell(self, report: Report) -> None:
        with self._lock, suppress(OSError):  # it is gone, which the next order will show
            self.connection.send_bytes(encode(report))


class _ShardEngine(Engine):
    """An engine that hears its driver at the beginning of each turn."""

    def __init__(self, prepared: PreparedRun, setup: EngineSetup, driver: _Driver) -> None:
        self._prepared, self._driver = prepared, driver
        self._films: dict[EpisodeSpec, VideoSpec] = {}
        policy = None if isinstance(prepared.policy, LocalPolicy) else AnnouncedPolicy(prepared.policy, self._opened)
        super().__init__(setup, (), policy, self._films)
        self.expects_more = True
        self.pool.watch(driver.connection.fileno())

    def step(self) -> None:
        self._hear_driver()
        super().step()

    def begin(self, number: int, spec: EpisodeSpec) -> None:
        self._driver.tell(EpisodeStarted(spec))
        super().begin(number, spec)

    def keep(self, result: EpisodeResult, actions: Array | None) -> None:
        """Send a result."""
        packed = None if actions is None else ArrayBytes.pack(actions)
        self._driver.tell(EpisodeDone(result, packed, self.filmed.pop(result.spec, None)))
        self._films.pop(result.spec, None)

    def tell_load(self) -> None:
        """Say what it is doing."""
        self._driver.tell(ShardStatus(self.load(), self.measuring_since is not None, tuple(self.notes)))

    def _opened(self, fingerprint: Mapping[str, Any]) -> None:
        self._driver.tell(PolicyLoaded(dict(fingerprint)))

    def _hear_driver(self) -> None:
        connection = self._driver.connection
        try:
            while connection.poll():
                match decode_order(connection.recv_bytes()):
                    case RunEpisodes(episodes):
                        self._take(episodes)
                    case NoMore():
                        self.expects_more = False
                    case Stop():
                        self.interrupt(signal.SIGTERM)
                        return
        except (EOFError, OSError):  # the driver is gone, so nobody wants the results
            self.interrupt(signal.SIGTERM)

    def _take(self, episodes: tuple[EpisodeSpec, ...]) -> None:
        config = self._prepared.config.eval
        wanted = [spec for spec in episodes if may_be_filmed(config, spec)]
        self._films.update({spec: film_of(self._prepared.directory, spec, config) for spec in wanted})
        self.add(episodes)


if __name__ == "__main__":
    main()
