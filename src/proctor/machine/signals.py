"""Signals that ask the process to end, as an exception that runs every ``finally`` on its way."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import NoReturn

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """The process was asked to end by ``signal_number``, another one than Ctrl-C's."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"ended by {signal.Signals(signal_number).name}")
        self.signal_number = signal_number


def signal_of(interruption: KeyboardInterrupt) -> int:
    """Return the number of the signal that raised an exception."""
    return interruption.signal_number if isinstance(interruption, Terminated) else signal.SIGINT


def raise_on_signals() -> None:
    """Have the signals that end the process raise an exception, unless they are ignored, as ``nohup`` arranges it.

    In another thread than the main one, signals are left alone.
    """
    if threading.current_thread() is threading.main_thread():
        for number in ENDING_SIGNALS[1:]:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _raise_terminated)


def raise_on_every_signal() -> None:
    """Have all signals that end the process raise an exception, whatever was arranged before. In the main thread only.

    A shell's background job has SIGINT ignored.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in ENDING_SIGNALS[1:]:
        signal.signal(number, _raise_terminated)


def _raise_terminated(number: int, _: FrameType | None) -> NoReturn:
    raise Terminated(number)
