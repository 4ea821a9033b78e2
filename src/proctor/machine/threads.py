"""Threads that nothing can end from outside, such as one that connects to a server that does not answer.

They do not keep the process alive, and :func:`end_although_threads_run` ends a process in spite of them.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from time import sleep
from typing import TypeVar
from weakref import WeakSet

_GLANCE_S = 0.1
_PATIENCE_S = 5.0
"""Seconds that other people's threads have to end, once the command has."""
_ours: WeakSet[threading.Thread] = WeakSet()
_T = TypeVar("_T")


def call_while(check: Callable[[], None], call: Callable[[], _T], unused: Callable[[_T], None] = lambda _: None) -> _T:
    """Run ``call`` on a thread of its own, and return its result. Meanwhile ``check`` is called ten times a second.

    If ``check`` raises, or a signal's handler does, that exception is raised at once. The thread is then left alone: it
    does not keep the process alive, and a result that comes later is passed to ``unused``, on that thread.
    """
    running = start_call(call)
    try:
        while not wait([running], timeout=_GLANCE_S).done:
            check()
    except BaseException:
        running.add_done_callback(lambda late: None if late.exception() else unused(late.result()))
        raise
    return running.result()


def start_call(call: Callable[[], _T], name: str | None = None) -> Future[_T]:
    """Run ``call`` on a thread of its own, which does not keep the process alive; ``name`` is the thread's."""
    running: Future[_T] = Future()
    start_thread(lambda: _settle(running, call), name)
    return running


def start_thread(target: Callable[[], object], name: str | None = None) -> threading.Thread:
    """Start a thread that does not keep the process alive."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    _ours.add(thread)
    thread.start()
    return thread


def end_although_threads_run(status: int) -> None:
    """See that the process, which is about to end, does so with ``status``, whatever its threads do.

    A thread of :func:`start_thread` that was left alone may be in code that Python is about to unload: the process ends
    now. For the threads of others Python waits, but here for no longer than five seconds.
    """
    if any(thread.is_alive() for thread in _ours):
        atexit._run_exitfuncs()  # noqa: SLF001 - os._exit runs none
        _exit(status)
    threading.Thread(target=_exit_later, args=(status,), name="end", daemon=True).start()


def _exit_later(status: int) -> None:
    sleep(_PATIENCE_S)
    names = sorted(thread.name for thread in threading.enumerate() if not thread.daemon and thread.name != "MainThread")
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"Note: The process ends although threads of other code go on: {', '.join(names)}\n")
    _exit(status)


def _exit(status: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)


def _settle(running: Future[_T], call: Callable[[], _T]) -> None:
    try:
        running.set_result(call())
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is waited for
        running.set_exception(error)
