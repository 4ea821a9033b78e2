"""Calls that nothing can end are left alone once they are no longer waited for."""

from __future__ import annotations

import threading

import pytest

from proctor.machine.threads import call_while


def test_the_result_or_the_error_of_the_call_comes_back():
    def fail():
        raise KeyError("from the call")

    assert call_while(lambda: None, lambda: 7) == 7
    with pytest.raises(KeyError, match="from the call"):
        call_while(lambda: None, fail)


def test_what_the_check_raises_ends_the_wait_and_a_result_that_comes_later_is_passed_on():
    may_end, late = threading.Event(), []
    came = threading.Event()

    def check():
        raise TimeoutError("no longer needed")

    def keep(result):
        late.append(result)
        came.set()

    with pytest.raises(TimeoutError, match="no longer needed"):
        call_while(check, lambda: may_end.wait(60), keep)
    assert late == []

    may_end.set()
    assert came.wait(60)
    assert late == [True]


def test_an_error_that_comes_later_is_nobody_s():
    """The thread ends without a traceback, which a test would report as a warning."""
    may_end, thread = threading.Event(), []

    def fail():
        thread.append(threading.current_thread())
        may_end.wait(60)
        raise KeyError("late")

    def check():
        raise TimeoutError

    with pytest.raises(TimeoutError):
        call_while(check, fail, lambda _: pytest.fail("there is no result"))
    may_end.set()
    thread[0].join(60)
    assert not thread[0].is_alive()
