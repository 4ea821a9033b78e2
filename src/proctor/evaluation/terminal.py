"""Surrounds work that a person waits for: a display, a terminal that only Proctor writes to, and Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Protocol

from rich.console import Console

from proctor.config import EvalConfig
from proctor.machine.signals import ENDING_SIGNALS, raise_on_every_signal
from proctor.reports.display import Display, make_display
from proctor.reports.output import printing_into


class Interruptible(Protocol):
    """Work that can be ended from a signal handler."""

    def interrupt(self, signal_number: int) -> None:
        """End soon, in good order."""


@contextmanager
def quiet_terminal(config: EvalConfig, log: Path | None) -> Iterator[Console]:
    """Keep what libraries and simulators print in ``log`` meanwhile; gives the console that leads to the user."""
    debugging = not config.use_async_envs  # so what is printed must be seen
    with printing_into(log if config.display != "none" and not debugging else None) as console:
        yield console


@contextmanager
def watched(work: Interruptible, console: Console, config: EvalConfig, title: str) -> Iterator[Display]:
    """Show how work gets on, and let signals end it in good order."""
    mode = "plain" if not config.use_async_envs and config.display == "auto" else config.display
    with make_display(console, mode, title) as display, stopped_by_signals(work):
        yield display


@contextmanager
def stopped_by_signals(work: Interruptible) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the run in good order; a second one ends it at once. Elsewhere than in the main
    thread signals are not ours to take.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}

    def stop(number: int, _: FrameType | None) -> None:
        raise_on_every_signal()
        work.interrupt(number)

    for number, handler in before.items():
        if number != signal.SIGHUP or handler is not signal.SIG_IGN:  # nohup ignores it, which is to stay so
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
