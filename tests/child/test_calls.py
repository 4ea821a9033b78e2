"""A function that is called in a clean interpreter returns, raises, crashes, hangs or prints, and is cleaned up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from proctor.child import python_command
from proctor.child.calls import Call, ChildError
from proctor.errors import ConfigError, MissingExtraError
from proctor.types import Task

TASK = Task("suite", 3, "lift", "lift the cube", 100)

FUNCTIONS = """
import ctypes, math, os, signal, stat, subprocess, sys, time
from proctor.errors import ConfigError, MissingExtraError
from proctor.types import Task
def given(task: Task, numbers: list[float], times: int = 2): return [type(task).__name__, numbers * times]
def task() -> Task: return Task("suite", 3, "lift", "lift the cube", 100)
def many(n): return [math.nan, math.inf] * n
def prints(): print("out " * 50_000); print("err " * 50_000, file=sys.stderr); return "heard"
def reads(): return [sys.stdin.read(), sys.argv[1:2] != []]
def variable(name): return os.environ.get(name)
def tells(on_progress): on_progress("one"); on_progress("two"); return 3
def refuses():
    error = MissingExtraError("torch", "lerobot"); error.hint = "then try again"; raise error
def raises(): raise ValueError("the arm fell off")
def exits(): sys.exit(0)
def leaves(): os._exit(3)
def segfault(): ctypes.string_at(0)
def lost(path):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    open(path, "w").write(str(child.pid))
def hangs(path=None):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if path: lost(path)
    time.sleep(60)
def stops_amid_a_message(size):
    pipes = [int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
    for fd in pipes:
        if fd > 2 and stat.S_ISFIFO(os.fstat(fd).st_mode): os.write(fd, size.to_bytes(4, "big") + b"half")
    time.sleep(60)
def lingers(): import threading; threading.Thread(target=time.sleep, args=(60,)).start(); return "answered"
"""


@pytest.fixture(autouse=True)
def functions(tmp_path, monkeypatch):
    """A module that the other process can import."""
    (tmp_path / "functions_to_call.py").write_text(FUNCTIONS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)


def call(function, *arguments, result=object, **options):
    return Call(f"functions_to_call:{function}", *arguments, result=result, **options).result()


def is_running(pid):
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def ends(pid):
    deadline = time.monotonic() + 60
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_running(pid)


def wait_for(pid):
    """Until the number is in the file."""
    deadline = time.monotonic() + 60
    while not pid.exists() or not pid.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_arguments_and_results_are_typed_values():
    """As the function's annotations and the caller say; a long result is more than a pipe holds at once."""
    assert call("given", TASK, [0.5], 3) == ["Task", [0.5, 0.5, 0.5]]
    assert call("given", TASK, [0.5]) == ["Task", [0.5, 0.5]]
    assert call("task", result=Task) == TASK
    numbers = call("many", 100_000, result=list[float])
    assert len(numbers) == 200_000
    assert numbers[0] != numbers[0]


def test_the_function_has_its_own_output_no_input_and_further_variables():
    """What it prints is not what it returns."""
    assert call("prints") == "heard"
    assert call("reads") == ["", True]
    assert call("variable", "WHO", environment={"WHO": "me"}) == "me"


def test_progress_arrives_in_order_before_the_result():
    """Each sentence is given to the caller while it waits."""
    sentences = []

    assert call("tells", on_progress=sentences.append) == 3
    assert sentences == ["one", "two"]


def test_an_error_of_ours_is_raised_here_as_it_was_raised_there():
    """With its class, its hint and its exit status."""
    with pytest.raises(MissingExtraError, match="torch is not installed") as caught:
        call("refuses")

    assert caught.value.hint == "then try again"
    assert caught.value.exit_code == ConfigError.exit_code


@pytest.mark.parametrize(
    ("function", "how", "status", "last_line"),
    [
        ("raises", "exited with status 1", 1, "ValueError: the arm fell off"),
        ("exits", "exited with status 0", 0, ""),
        ("leaves", "exited with status 3", 3, ""),
        ("segfault", "was ended by SIGSEGV", -signal.SIGSEGV, ""),
    ],
)
def test_a_process_that_ends_without_an_answer_says_how(function, how, status, last_line):
    """And what it printed last."""
    with pytest.raises(ChildError, match=f"The process that called functions_to_call:{function} {how}") as caught:
        call(function)

    assert (caught.value.how, caught.value.status) == (how, status)
    assert last_line in caught.value.output
    assert not last_line or caught.value.last_line == last_line


def test_a_function_that_takes_too_long_is_killed_with_all_that_it_started(tmp_path):
    """Whatever signals it ignores."""
    pid = tmp_path / "pid"
    began = Call("functions_to_call:hangs", str(pid), result=object)
    wait_for(pid)
    began._limit_s = 2  # since it was started
    with pytest.raises(ChildError, match="did not answer within 2 s") as caught:
        began.result()

    assert caught.value.status is None
    assert ends(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize(
    ("size", "limit_s", "how"), [(100, 2, "did not answer within 2 s"), (2**32 - 9, 120, "closed its connection")]
)
def test_half_a_message_does_not_hold_the_caller_up(monkeypatch, size, limit_s, how):
    """Nor does a size that none has; a function may write into whatever is open."""
    monkeypatch.setattr("proctor.child.calls._END_S", 0.2)

    with pytest.raises(ChildError, match=how):
        call("stops_amid_a_message", size, limit_s=limit_s)


def test_what_a_function_leaves_behind_ends_with_it(tmp_path):
    """A process that it started and forgot."""
    call("lost", str(tmp_path / "pid"))

    assert ends(int((tmp_path / "pid").read_text()))


def test_a_process_that_does_not_end_after_its_answer_is_ended(monkeypatch):
    """A library may have left a thread."""
    monkeypatch.setattr("proctor.child.calls._END_S", 0.2)

    assert call("lingers") == "answered"


def test_a_call_can_be_killed_from_elsewhere():
    """As the doctor does when the user interrupts it."""
    began = Call("functions_to_call:hangs", result=object)
    began.kill()

    with pytest.raises(ChildError, match="was ended by SIGKILL"):
        began.result()


def test_the_process_ends_when_its_caller_is_killed(tmp_path):
    """Nobody is left to do it."""
    called = f"Call('functions_to_call:hangs', {str(tmp_path / 'pid')!r}, result=int)"
    code = f"from proctor.child.calls import Call; {called}.result()"
    caller = subprocess.Popen([sys.executable, "-P", "-c", code])
    wait_for(tmp_path / "pid")

    caller.kill()
    caller.wait()

    assert ends(int((tmp_path / "pid").read_text()))


def test_another_interpreter_gets_no_import_path_of_this_one():
    """Packages that are installed for this one need not fit it."""
    command = python_command("a_module", "x", interpreter="/elsewhere/python")

    assert command[0] == "/elsewhere/python"
    assert command[-3:] == ["", "a_module", "x"]
