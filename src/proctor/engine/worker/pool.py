"""The workers: started, spoken to, listened to, and buried. What goes wrong becomes an event, :class:`Lost`."""

from __future__ import annotations

import selectors
import signal
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from time import monotonic
from typing import Protocol

from proctor.engine.worker.arrays import SharedArrays, anonymous_file
from proctor.engine.worker.messages import Act, Close, Reply, Request, Setup, decode_reply, encode
from proctor.engine.worker.processes import Starter, make_starter
from proctor.engine.worker.simulation import Simulation
from proctor.security.foreign_code import without_stdin

_LAST_WORDS_S = 5.0
"""How long a worker may take to close its simulator at the end."""


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker is gone. ``kind`` is ``crashed`` or ``hung``.

    It may have been gone before the episode that it was given last was ``begun``: that one cannot be why.
    """

    kind: str
    message: str
    begun: bool = True


class Worker(Protocol):
    """Where a simulator lives."""

    arrays: SharedArrays

    def send(self, request: Request) -> None: ...
    def receive(self) -> Reply | WorkerLost: ...
    def end(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds without a sign of life after which a busy worker is replaced."""

    step: float
    reset: float

    def of(self, request: Request) -> float:
        return self.step if isinstance(request, Act) else self.reset


class ProcessWorker:
    """A process with one simulator. Its output goes to the log; it leads its own process group."""

    def __init__(self, starter: Starter, log: Path | None, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._deadline = monotonic() + deadlines.reset
        self._limit: float | None = None
        self._heartbeat = self._n_sent = 0
        self._begins = True
        """Whether an episode begins with what was sent last."""
        self.connection, theirs = Pipe()
        descriptor = anonymous_file()
        self.arrays = SharedArrays(descriptor)
        with theirs:
            self._process = starter.start(theirs.fileno(), descriptor, log)

    def send(self, request: Request) -> None:
        self._limit = self._deadlines.of(request)
        self._begins, self._n_sent = not isinstance(request, Act), self._n_sent + 1
        self._deadline, self._heartbeat = monotonic() + self._limit, self.arrays.heartbeat
        with suppress(BrokenPipeError, ConnectionResetError):  # then receive() says why
            self.connection.send_bytes(encode(request))

    def receive(self) -> Reply | WorkerLost:
        self._limit = None
        try:
            reply: Reply = decode_reply(self.connection.recv_bytes())
        except (EOFError, OSError):  # reset, or ended in the middle of a message
            begun = not self._begins or self.arrays.n_acknowledged >= self._n_sent
            return WorkerLost("crashed", self._how_it_ended(), begun)
        return reply

    def hung(self, now: float) -> WorkerLost | None:
        """Whether it owes an answer and has shown no sign of life within its limit."""
        if self._limit is None:
            return None
        if (heartbeat := self.arrays.heartbeat) != self._heartbeat:  # it is past its reset, in the midst of steps
            self._heartbeat, self._limit = heartbeat, self._deadlines.step
            self._deadline = now + self._limit
        if now < self._deadline:
            return None
        return WorkerLost("hung", f"the simulator gave no sign of life for {self._limit:g} s")

    def kill(self) -> None:
        self._process.signal(signal.SIGKILL)

    def end(self) -> None:
        with suppress(OSError):
            self.connection.send_bytes(encode(Close()))
        self.connection.close()

    def wait(self, patience: float) -> None:
        """Give the process so many seconds to end by itself."""
        self._process.wait(patience)

    def bury(self) -> None:
        """End the process, if it has not ended, and all that it has started."""
        if self._process.wait(0.0) is None:
            self._process.signal(signal.SIGTERM)
            self._process.wait(0.5)
        self._process.signal(signal.SIGKILL)  # what it has started itself may outlive it
        self._process.wait(_LAST_WORDS_S)
        self.connection.close()
        self.arrays.close()

    def _how_it_ended(self) -> str:
        code = self._process.wait(_LAST_WORDS_S)
        if code is None:
            return "the simulator's process closed its connection"
        if code >= 0:
            return f"the simulator's process exited with status {code}"
        return f"the simulator's process was ended by {signal.Signals(-code).name}"


class InProcessWorker:
    """The same simulation in this process: one at a time, steppable in a debugger."""

    def __init__(self) -> None:
        self.arrays = SharedArrays(anonymous_file())
        self._simulation = Simulation(self.arrays)
        self._replies: deque[Reply] = deque()

    def send(self, request: Request) -> None:
        with without_stdin():
            self._replies.append(self._simulation.handle(request))

    def has_answered(self) -> bool:
        return bool(self._replies)

    def receive(self) -> Reply:
        return self._replies.popleft()

    def end(self) -> None:
        with without_stdin():
            self._simulation.close()
        self.arrays.close()


class Pool:
    """All workers of an engine, by number."""

    def __init__(self, setup: Setup, *, in_process: bool, log: Path | None, deadlines: Deadlines) -> None:
        self._setup, self._in_process, self._log, self._deadlines = setup, in_process, log, deadlines
        self._selector = selectors.DefaultSelector()
        self._workers: dict[int, ProcessWorker | InProcessWorker] = {}
        self._started = 0
        self._next_check = 0.0
        self._starter: Starter | None = None

    def start_worker(self) -> int:
        """Start a worker; its first reply is Ready. Returns its number."""
        number, self._started = self._started, self._started + 1
        worker: ProcessWorker | InProcessWorker
        if self._in_process:
            worker = InProcessWorker()
        else:
            if self._starter is None:
                self._starter = make_starter(self._setup, self._log)
            worker = ProcessWorker(self._starter, self._log, self._deadlines)
            self._selector.register(worker.connection, selectors.EVENT_READ, number)
        self._workers[number] = worker
        worker.send(self._setup)
        return number

    def watch(self, descriptor: int, callback: Callable[[], None] | None = None) -> None:
        """Let :meth:`wait` also return when ``descriptor`` is readable, and call ``callback`` then."""
        self._selector.register(descriptor, selectors.EVENT_READ, callback)

    def unwatch(self, descriptor: int) -> None:
        """Forget a watched descriptor; to be called before it is closed."""
        with suppress(KeyError, RuntimeError):  # closed before
            self._selector.unregister(descriptor)

    def send(self, number: int, request: Request) -> None:
        self._workers[number].send(request)

    def kill(self, number: int) -> None:
        """End a worker's process without a word; :meth:`wait` will say that it is lost."""
        worker = self._workers[number]
        assert isinstance(worker, ProcessWorker)
        worker.kill()

    def arrays(self, number: int) -> SharedArrays:
        """The memory in which a worker's observations lie."""
        return self._workers[number].arrays

    def wait(self, timeout: float) -> list[tuple[int, Reply | WorkerLost]]:
        """What the workers have to say, as soon as there is something (or the watched descriptor wakes us)."""
        events: list[tuple[int, Reply | WorkerLost]] = [
            (number, worker.receive())
            for number, worker in self._workers.items()
            if isinstance(worker, InProcessWorker) and worker.has_answered()
        ]
        for key, _ in self._selector.select(0 if events else timeout):
            if isinstance(key.data, int):
                events.append((key.data, self._workers[key.data].receive()))
            elif key.data is not None:
                key.data()
        events += self._hung()
        for number, event in events:
            if isinstance(event, WorkerLost):
                self._forget(number)
        return events

    def close(self) -> None:
        """End every worker; those that do not close their simulator in time are killed."""
        workers = [self._workers.pop(number) for number in list(self._workers)]
        for worker in workers:
            worker.end()
        processes = [worker for worker in workers if isinstance(worker, ProcessWorker)]
        give_up = monotonic() + _LAST_WORDS_S
        for worker in processes:
            worker.wait(max(0.0, give_up - monotonic()))
        if self._starter is not None:
            self._starter.close()
            self._starter = None
        for worker in processes:
            worker.bury()
        self._selector.close()

    def _hung(self) -> Iterable[tuple[int, WorkerLost]]:
        now = monotonic()
        if now < self._next_check:
            return []
        self._next_check = now + 1.0
        return [
            (number, lost)
            for number, worker in self._workers.items()
            if isinstance(worker, ProcessWorker) and (lost := worker.hung(now))
        ]

    def _forget(self, number: int) -> None:
        worker = self._workers.pop(number)
        assert isinstance(worker, ProcessWorker)
        self._selector.unregister(worker.connection)
        worker.bury()
