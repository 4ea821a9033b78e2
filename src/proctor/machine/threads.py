"""Calls that nothing can end from outside, such as connecting to a server that does not answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

_GLANCE_S = 0.1
_T = TypeVar("_T")


def call_while(check: Callable[[], None], call: Callable[[], _T], unused: Callable[[_T], None] = lambda _: None) -> _T:
    """Run ``call`` on a thread of its own, and return its result. Meanwhile ``check`` is called ten times a second.

    If ``check`` raises, or a signal's handler does, that exception is raised at once. The thread is then left alone: it
    does not keep the process alive, and a result that comes later is passed to ``unused``, on that thread.
    """
    running: Future[_T] = Future()
    threading.Thread(target=_settle, args=(running, call), daemon=True).start()
    try:
        while not wait([running], timeout=_GLANCE_S).done:
            check()
    except BaseException:
        running.add_done_callback(lambda late: None if late.exception() else unused(late.result()))
        raise
    return running.result()


def _settle(running: Future[_T], call: Callable[[], _T]) -> None:
    try:
        running.set_result(call())
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is waited for
        running.set_exception(error)
