"""Measures in a process of its own: what a policy takes of memory and accelerator is free again when it ends.

``python -m proctor.tuning.child REPORT_FD``: takes an :class:`Errand` as one line of JSON on standard input, and
reports a line at a time. It ends when standard input does, that is, with whoever started it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from typing import IO

import msgspec

from proctor.child import python_command
from proctor.config import RunConfig
from proctor.errors import ConfigError, ProctorError, ResourceError
from proctor.evaluation.prepared_run import prepare
from proctor.machine.hardware import Hardware
from proctor.tuning.measure import Say, measure
from proctor.tuning.model import Costs

_LAST_WORDS_S = 10.0


class MeasureRequest(msgspec.Struct, frozen=True):
    """What is to be measured: see :func:`~proctor.tuning.measure.measure`."""

    config: RunConfig
    hardware: Hardware
    seconds: float


class MeasureProgress(msgspec.Struct, tag=True, frozen=True):
    """What is being done."""

    what: str


class Measurement(msgspec.Struct, tag=True, frozen=True):
    """The end: it is known what everything costs."""

    costs: Costs


class MeasureFailed(msgspec.Struct, tag=True, frozen=True):
    """The end: an error that Proctor raised on purpose."""

    message: str
    exit_code: int


_encode = msgspec.json.Encoder().encode
_decode_errand = msgspec.json.Decoder(MeasureRequest).decode
_decode_report = msgspec.json.Decoder(MeasureProgress | Measurement | MeasureFailed).decode


def measure_in_child(errand: MeasureRequest, say: Say) -> Costs:
    """Measure in a clean process. Nothing of it is left when this ends.

    Raises:
        ProctorError: what the process raised; or it died.
    """
    readable, writable = os.pipe()
    with tempfile.TemporaryFile() as log, os.fdopen(readable, "rb") as reports:
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            python_command("proctor.tuning.child", str(writable)),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(writable,),
        )
        os.close(writable)
        assert child.stdin is not None
        try:
            with suppress(BrokenPipeError):  # it died; the reports end, too
                child.stdin.write(_encode(errand) + b"\n")
                child.stdin.flush()
            costs = _listen(reports, say)
            if costs is not None:
                return costs
            raise _death(child.wait(_LAST_WORDS_S), log)
        finally:
            with suppress(BrokenPipeError):
                child.stdin.close()
            _end(child)


def _listen(reports: IO[bytes], say: Say) -> Costs | None:
    """What was measured; None where the reports end before."""
    for line in reports:
        match _decode_report(line):
            case MeasureProgress(what):
                say(what)
            case Measurement(costs):
                return costs
            case MeasureFailed(message, exit_code):
                raise {ConfigError.exit_code: ConfigError, ResourceError.exit_code: ResourceError}.get(
                    exit_code, ProctorError
                )(message)
    return None


def _death(status: int, log: IO[bytes]) -> Exception:
    """Why it gave no answer. An exception of its own is a bug, to be shown whole."""
    if status < 0:
        return ResourceError(
            f"The process that measured was ended by signal {-status}, perhaps for want of memory; free some, or try a "
            "smaller benchmark."
        )
    log.seek(0)
    return RuntimeError(f"measuring ended with status {status}:\n{log.read().decode(errors='replace')}")


def _end(child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait(_LAST_WORDS_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def main() -> None:
    """Measure, and report."""
    errand = _decode_errand(sys.stdin.buffer.readline())
    until_closed = os.dup(sys.stdin.fileno())  # what is measured reads another standard input at times
    threading.Thread(target=_end_with, args=(until_closed,), daemon=True).start()
    with os.fdopen(int(sys.argv[1]), "wb", buffering=0) as reports:

        def report(what: MeasureProgress | Measurement | MeasureFailed) -> None:
            reports.write(_encode(what) + b"\n")

        try:
            prepared = prepare(errand.config)
            say: Say = lambda what: report(MeasureProgress(what))  # noqa: E731
            report(Measurement(measure(prepared, errand.hardware, errand.seconds, say)))
        except ProctorError as error:
            report(MeasureFailed(str(error), error.exit_code))


def _end_with(descriptor: int) -> None:
    while os.read(descriptor, 1):  # no reader's lock is held, at which an interpreter that ends would abort
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
