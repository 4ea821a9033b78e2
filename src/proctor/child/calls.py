"""Calling a function in a clean interpreter: nothing of what it imports, takes or breaks is left in this process.

Arguments and results are values that msgspec encodes (numbers, texts, lists, dicts, dataclasses, Structs); the
function's annotations say what its arguments are decoded to. They travel apart from standard output, which foreign
code prints on. The function's process ends when it has answered, when its time is up, or when this process ends.
"""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from multiprocessing import Pipe
from time import monotonic
from typing import IO, Any, Generic, TypeVar

import msgspec

from proctor.child.processes import how_it_ended, signal_group, start_interpreter
from proctor.child.wire import Wire
from proctor.errors import PackedError, ResourceError

T = TypeVar("T")

_END_S = 10.0
"""Seconds that a process may take to end by itself once it has answered; simulators are closed in that time."""
_OUTPUT_BYTES = 1 << 16
"""The number of bytes at the end of a process's output that are kept for an error."""


class Request(msgspec.Struct, frozen=True):
    """A call: the ``function`` as ``module:attribute``. If ``reports``, it takes an argument ``on_progress``."""

    function: str
    arguments: list[msgspec.Raw]
    reports: bool


class Progress(msgspec.Struct, tag=True, frozen=True):
    """A sentence that the function passed to ``on_progress``."""

    sentence: str


class Returned(msgspec.Struct, tag=True, frozen=True):
    """The function's result. It is the last message."""

    value: msgspec.Raw


class Raised(msgspec.Struct, tag=True, frozen=True):
    """The error that the function raised on purpose. It is the last message."""

    error: PackedError


Message = Progress | Returned | Raised
_decode = msgspec.msgpack.Decoder(Message).decode
encode = msgspec.msgpack.Encoder().encode


class ChildError(RuntimeError):
    """A process ended, or was ended, without an answer.

    Attributes:
        how: what happened, after "it": "exited with status 1", "was ended by SIGSEGV", "did not answer within 30 s".
        status: the exit status, negative the number of the signal that ended it; None if it was out of time.
        output: the end of what it printed, a traceback if the function raised.
    """

    def __init__(self, function: str, how: str, status: int | None, output: str) -> None:
        self.how, self.status, self.output = how, status, output
        super().__init__(f"The process that called {function} {how}.{output and f' It printed:{chr(10)}{output}'}")

    @property
    def last_line(self) -> str:
        """The last line that the process printed, most often the exception; "" if it printed nothing."""
        return next((line.strip() for line in reversed(self.output.splitlines()) if line.strip()), "")


class Call(Generic[T]):
    """A function that is being called in a process of its own.

    Args:
        function: where it is found, ``module:attribute``; a module of Proctor's.
        arguments: what it is called with.
        result: the type of what it returns.
        limit_s: seconds after which its process is killed, and with it the processes of its group.
        environment: variables that its process has in addition to those of this process.
        on_progress: is given sentences while the function runs, which then has a parameter ``on_progress``.
        interpreter: the path of another Python than this process's.

    Raises:
        ResourceError: no temporary file can be made.
    """

    def __init__(  # noqa: PLR0913 - what can be chosen of a call
        self,
        function: str,
        *arguments: Any,
        result: type[T],
        limit_s: float | None = None,
        environment: Mapping[str, str] | None = None,
        on_progress: Callable[[str], None] | None = None,
        interpreter: str | None = None,
    ) -> None:
        self._function, self._result, self._on_progress = function, result, on_progress
        self._limit_s, self._began = limit_s, monotonic()
        self._output = _temporary_file()  # closed by result()
        connection, theirs = Pipe(duplex=False)
        self._wire = Wire(connection)
        with theirs, _temporary_file() as request:
            raw = [msgspec.Raw(encode(argument)) for argument in arguments]
            request.write(encode(Request(function, raw, reports=on_progress is not None)))
            request.seek(0)
            self._process: subprocess.Popen[bytes] = start_interpreter(
                "proctor.child.callee",
                str(theirs.fileno()),
                output=self._output,
                stdin=request,
                descriptors=(theirs.fileno(),),
                environment=environment,
                interpreter=interpreter,
            )

    def result(self) -> T:
        """Wait for what the function returns. To be called once.

        Raises:
            ProctorError: the function raised it.
            ChildError: the process ended without an answer, or did not answer in time.
        """
        with self._output, closing(self._wire):
            try:
                answer = self._answer()
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_END_S)
            finally:
                self.kill()
                self._process.wait()
        if isinstance(answer, Raised):
            raise answer.error.unpacked()
        return msgspec.msgpack.decode(answer.value, type=self._result)

    def kill(self) -> None:
        """End the process, and those that it has started in its group, at once. Any thread may call this."""
        signal_group(self._process.pid, signal.SIGKILL)

    def _answer(self) -> Returned | Raised:
        while self._wire.connection.poll(self._time_left()):
            try:
                messages: list[Message] = [_decode(content) for content in self._wire.receive()]
            except (EOFError, OSError, ValueError):  # closed, or the function has written into the connection
                raise self._without_answer() from None
            for message in messages:
                if not isinstance(message, Progress):
                    return message
                if self._on_progress is not None:
                    self._on_progress(message.sentence)
        raise ChildError(self._function, f"did not answer within {self._limit_s:g} s", None, self._printed())

    def _time_left(self) -> float | None:
        return None if self._limit_s is None else max(0.0, self._began + self._limit_s - monotonic())

    def _without_answer(self) -> ChildError:
        try:
            status = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return ChildError(self._function, "closed its connection", None, self._printed())
        return ChildError(self._function, how_it_ended(status), status, self._printed())

    def _printed(self) -> str:
        size = self._output.seek(0, 2)
        self._output.seek(max(0, size - _OUTPUT_BYTES))
        return self._output.read().decode(errors="replace").strip()


def _temporary_file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise ResourceError(f"No temporary file can be made: {error.strerror or error}; free disk space.") from error
