"""The pool of workers: starts them, sends requests, receives replies and ends them.

If a worker dies or hangs, that is not an exception but an event, :class:`WorkerLost`.
"""

from __future__ import annotations

import os
import selectors
import signal
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from time import monotonic, process_time
from typing import NamedTuple

from proctor.child.wire import Wire
from proctor.engine.worker.arrays import SharedArrays, anonymous_file
from proctor.engine.worker.messages import (
    Act,
    Close,
    Drop,
    Dropped,
    Finished,
    FrameEncoded,
    LogTo,
    Ready,
    Reply,
    Request,
    RequestFailed,
    Setup,
    Start,
    decode_reply,
    encode,
)
from proctor.engine.worker.processes import Starter, make_starter
from proctor.engine.worker.simulation import Simulation
from proctor.errors import ResourceError
from proctor.machine.hardware import core_wait_seconds, cpu_seconds, seconds_stolen_of_a_core
from proctor.machine.resources import memory_of
from proctor.security.foreign_code import without_stdin

_GRACE_S = 5.0
"""The time, in seconds, that a worker has to close its simulator at the end."""


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker is gone. ``kind`` is ``crashed`` or ``hung``.

    ``begun`` is False if the worker died before it began its episode, which then does not count as an attempt.
    """

    kind: str
    message: str
    begun: bool = True


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds without progress after which a busy worker is replaced: ``step`` amid an episode, ``reset`` else."""

    step: float
    reset: float

    def of(self, request: Request | LogTo) -> float:
        """The deadline for a request."""
        return self.step if isinstance(request, Act | FrameEncoded) else self.reset


class CoreSeconds(NamedTuple):
    """The seconds for which processes have used cores, those for which they could have run and had no core, and those
    for which a virtual machine's host took each core away, on average.
    """

    used: float
    waited: float
    stolen: float


class ProcessWorker:
    """A process with one simulator. Its output goes into the log, and it leads a process group of its own."""

    def __init__(self, starter: Starter, log: Path | None, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._deadline = monotonic() + deadlines.reset
        self._limit: float | None = None
        self._heartbeat = self._n_replies = 0
        self._n_due = self._n_ahead = 0
        """The numbers of replies that will come without a further request, and of episodes that wait in the worker."""
        self._begins = True
        """True if the request whose reply is due begins an episode."""
        ours, theirs = Pipe()
        self.wire = Wire(ours)
        descriptor = anonymous_file()
        self.arrays = SharedArrays(descriptor)
        try:
            with theirs:
                self._process = starter.start(theirs.fileno(), descriptor, log)
        except OSError:
            self.wire.close()
            self.arrays.close()
            raise

    def send(self, request: Request | LogTo | Drop) -> None:
        """Send a request. If the worker is gone, :meth:`receive` returns why."""
        if isinstance(request, Drop):
            self._n_ahead = 0
        elif isinstance(request, Start) and request.ahead:
            self._n_ahead += 1
        else:
            self._n_due += 1
            self._begins = not isinstance(request, Act | FrameEncoded)
            self._expect_progress(self._deadlines.of(request))
        with suppress(BrokenPipeError, ConnectionResetError):
            self.wire.send(encode(request))

    def receive(self) -> list[Reply | WorkerLost]:
        """Receive the replies that have come; none while one is incomplete. A worker that has ended is lost."""
        try:
            messages = self.wire.receive()
        except (EOFError, OSError):  # reset, or ended in the middle of a message
            return [self._lost(self._how_it_ended())]
        replies: list[Reply | WorkerLost] = []
        for message in messages:
            if (reply := self._reply_in(message)) is None:
                return [*replies, self._lost("the simulator's process sent bytes that are not a reply")]
            replies.append(reply)
        return replies

    def _reply_in(self, message: bytes) -> Reply | None:
        """Return the reply of a message; None if it is none that is due: the simulator has written into the connection.

        If the worker then begins an episode that was sent ahead, the reply to that is due.
        """
        try:
            reply: Reply = decode_reply(message)
        except ValueError:
            return None
        if not self._n_due:
            return None
        self._n_replies += 1
        if self._n_ahead and isinstance(reply, Finished | Dropped | RequestFailed):
            self._n_ahead -= 1
            self._begins = True
        else:
            self._n_due -= 1
        self._limit = None
        if self._n_due:
            self._expect_progress(self._deadlines.reset)
        if isinstance(reply, Finished):  # the worker may have made progress in the next episode since
            self._heartbeat = reply.n_beats
        return reply

    def _expect_progress(self, limit: float) -> None:
        self._limit = limit
        self._deadline, self._heartbeat = monotonic() + limit, self.arrays.heartbeat

    def _lost(self, message: str) -> WorkerLost:
        self._limit = None
        begun = not (self._n_due and self._begins) or self.arrays.n_acknowledged > self._n_replies
        return WorkerLost("crashed", message, begun)

    def hung(self, now: float) -> WorkerLost | None:
        """Return :class:`WorkerLost` if a reply is due and the worker has made no progress within its limit."""
        if self._limit is None:
            return None
        if (heartbeat := self.arrays.heartbeat) != self._heartbeat:  # it has made progress; after its reset it steps
            self._heartbeat, self._limit = heartbeat, self._deadlines.step
            self._deadline = now + self._limit
        if now < self._deadline:
            return None
        return WorkerLost("hung", f"the simulator gave no sign of life for {self._limit:g} s")

    @property
    def memory(self) -> int:
        """The bytes of memory that the process takes; 0 if that is unknown."""
        pid = self._process.pid
        return 0 if pid is None else memory_of(pid)

    @property
    def pid(self) -> int | None:
        """The process id; None if the process could not be started."""
        return self._process.pid

    def has_ended(self) -> bool:
        """Return whether the process has ended."""
        return self._process.wait(0.0) is not None

    def kill(self) -> None:
        """Kill the process at once."""
        self._process.signal(signal.SIGKILL)

    def end(self) -> None:
        """Tell the process to close its simulator and end."""
        with suppress(OSError):
            self.wire.send(encode(Close()))
        self.wire.close()

    def wait(self, patience: float) -> None:
        """Wait up to ``patience`` seconds for the process to end by itself."""
        self._process.wait(patience)

    def reap(self) -> None:
        """End the process, if it has not ended, and all processes that it has started."""
        if self._process.wait(0.0) is None:
            self._process.signal(signal.SIGTERM)
            self._process.wait(0.5)
        self._process.signal(signal.SIGKILL)  # a process that it has started may outlive it
        self._process.wait(_GRACE_S)
        self.wire.close()
        self.arrays.close()

    def _how_it_ended(self) -> str:
        code = self._process.wait(_GRACE_S)
        if code is None:
            return "the simulator's process closed its connection"
        if code >= 0:
            return f"the simulator's process exited with status {code}"
        return f"the simulator's process was ended by {signal.Signals(-code).name}"


class InProcessWorker:
    """A worker that runs its simulation in this process, where a debugger can step through it."""

    def __init__(self) -> None:
        self.arrays = SharedArrays(anonymous_file())
        self._simulation = Simulation(self.arrays)
        self._replies: deque[Reply] = deque()

    def send(self, request: Request | LogTo | Drop) -> None:
        """Execute a request; :meth:`receive` returns the reply. What is printed is this process's own."""
        assert not isinstance(request, Drop)  # nothing is sent ahead to this worker
        with without_stdin():
            self._replies.append(Ready() if isinstance(request, LogTo) else self._simulation.handle(request))

    def has_replied(self) -> bool:
        """Return whether there is a reply to receive."""
        return bool(self._replies)

    def receive(self) -> list[Reply | WorkerLost]:
        """Return the next reply."""
        return [self._replies.popleft()]

    def end(self) -> None:
        """Close the simulator."""
        with without_stdin():
            self._simulation.close()
        self.arrays.close()


class Pool:
    """All workers of an engine, each with an id, an integer that is never used twice."""

    def __init__(
        self,
        setup: Setup,
        *,
        in_process: bool,
        log: Path | None,
        deadlines: Deadlines,
        interpreter: str | None = None,
    ) -> None:
        self._setup, self._in_process, self._log, self._deadlines = setup, in_process, log, deadlines
        self._interpreter = interpreter
        self.closed = False
        self._selector = selectors.DefaultSelector()
        self._workers: dict[int, ProcessWorker | InProcessWorker] = {}
        self._ending: list[tuple[ProcessWorker, float]] = []
        """The workers that were told to end, each with the moment at which it is killed."""
        self._started = 0
        self._lost: list[int] = []
        """The workers whose loss the last call of :meth:`wait` has returned."""
        self._next_check = 0.0
        self._starter: Starter | None = None

    def start_worker(self) -> int:
        """Start a worker, whose first reply is ``Ready``. Returns its id.

        Raises:
            ResourceError: this machine cannot start one.
        """
        worker_id, self._started = self._started, self._started + 1
        try:
            worker = self._workers[worker_id] = self._new_worker()
        except OSError as error:
            what = f"{error.filename}: " if error.filename else ""
            raise ResourceError(
                f"A simulator's process cannot be started ({what}{error.strerror or error}); free what it needs."
            ) from error
        if isinstance(worker, ProcessWorker):
            self._selector.register(worker.wire, selectors.EVENT_READ, worker_id)
        worker.send(self._setup)
        return worker_id

    def _new_worker(self) -> ProcessWorker | InProcessWorker:
        if self._in_process:
            return InProcessWorker()
        if self._starter is None:
            self._starter = make_starter(self._setup, self._log, self._interpreter)
        return ProcessWorker(self._starter, self._log, self._deadlines)

    def watch(self, descriptor: int, callback: Callable[[], None] | None = None) -> None:
        """Let :meth:`wait` also return when ``descriptor`` is readable, and call ``callback`` then."""
        self._selector.register(descriptor, selectors.EVENT_READ, callback)

    def unwatch(self, descriptor: int) -> None:
        """No longer watch a descriptor; to be called before it is closed."""
        with suppress(KeyError, RuntimeError):  # closed before
            self._selector.unregister(descriptor)

    def send(self, worker_id: int, request: Request | Drop) -> None:
        """Send a worker a request. If the worker is gone, :meth:`wait` returns that."""
        self._workers[worker_id].send(request)

    def log_into(self, log: Path | None, worker_ids: Iterable[int]) -> None:
        """Have these workers, which reply with ``Ready``, and all that are started from now on print into a log."""
        self._log = log
        for worker_id in worker_ids:
            self._workers[worker_id].send(LogTo(str(log or os.devnull)))

    def kill(self, worker_id: int) -> None:
        """Kill a worker's process; :meth:`wait` will return that it is lost."""
        worker = self._workers[worker_id]
        assert isinstance(worker, ProcessWorker)
        worker.kill()

    def memory_of(self, worker_id: int) -> int:
        """Return the bytes of memory that a worker's process takes; 0 if that is unknown or the process is this one."""
        worker = self._workers[worker_id]
        return worker.memory if isinstance(worker, ProcessWorker) else 0

    def core_seconds(self) -> CoreSeconds:
        """Return the time for which this process and the workers' have used cores, the time for which the workers have
        had none, and the time for which the host of a virtual machine took a core away.
        """
        workers = self._workers.values()
        pids = [each.pid for each in workers if isinstance(each, ProcessWorker) and each.pid is not None]
        used = process_time() + sum(map(cpu_seconds, pids))
        return CoreSeconds(used, sum(map(core_wait_seconds, pids)), seconds_stolen_of_a_core())

    def retire(self, worker_id: int) -> None:
        """Have a worker that does nothing close its simulator and end, while the others go on."""
        worker = self._workers.pop(worker_id)
        assert isinstance(worker, ProcessWorker)
        self._selector.unregister(worker.wire)
        worker.end()
        self._ending.append((worker, monotonic() + _GRACE_S))

    def arrays(self, worker_id: int) -> SharedArrays:
        """The memory in which a worker's observations lie."""
        return self._workers[worker_id].arrays

    def wait(self, timeout: float) -> list[tuple[int, Reply | WorkerLost]]:
        """Wait up to ``timeout`` seconds for replies; return as soon as there is one or a watched descriptor is
        readable.

        Returns replies and losses, each with the worker's id. Callbacks of watched descriptors are called meanwhile. A
        worker that is lost is there until the next call, as replies may have come before.
        """
        while self._lost:
            self._remove(self._lost.pop())
        events: list[tuple[int, Reply | WorkerLost]] = [
            (worker_id, reply)
            for worker_id, worker in self._workers.items()
            if isinstance(worker, InProcessWorker) and worker.has_replied()
            for reply in worker.receive()
        ]
        for key, _ in self._selector.select(0 if events else timeout):
            if isinstance(key.data, int):
                events += [(key.data, reply) for reply in self._workers[key.data].receive()]
            elif key.data is not None:
                key.data()
        events += self._hung()
        self._lost = [worker_id for worker_id, event in events if isinstance(event, WorkerLost)]
        return events

    def close(self) -> None:
        """End every worker; those that do not close their simulator in time are killed."""
        self.closed = True
        workers = [self._workers.pop(worker_id) for worker_id in list(self._workers)]
        for worker in workers:
            worker.end()
        processes = [worker for worker in workers if isinstance(worker, ProcessWorker)]
        processes += [worker for worker, _ in self._ending]
        self._ending.clear()
        give_up = monotonic() + _GRACE_S
        for worker in processes:
            worker.wait(max(0.0, give_up - monotonic()))
        if self._starter is not None:
            self._starter.close()
            self._starter = None
        for worker in processes:
            worker.reap()
        self._selector.close()

    def _hung(self) -> Iterable[tuple[int, WorkerLost]]:
        now = monotonic()
        if now < self._next_check:
            return []
        self._next_check = now + 1.0
        over = [worker for worker, give_up in self._ending if now > give_up or worker.has_ended()]
        self._ending = [(worker, give_up) for worker, give_up in self._ending if worker not in over]
        for worker in over:
            worker.reap()
        return [
            (worker_id, lost)
            for worker_id, worker in self._workers.items()
            if isinstance(worker, ProcessWorker) and (lost := worker.hung(now))
        ]

    def _remove(self, worker_id: int) -> None:
        worker = self._workers.pop(worker_id)
        assert isinstance(worker, ProcessWorker)
        self._selector.unregister(worker.wire)
        worker.reap()
