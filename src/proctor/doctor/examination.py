"""Which checks there are on this machine, and running each in a process of its own with a time limit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import msgspec

from proctor.child import python_command
from proctor.config import EvalConfig
from proctor.doctor.findings import Finding, Status
from proctor.machine.resources import usable_cores
from proctor.plugins import BENCHMARKS, installed

_CHECKS = "proctor.doctor.checks"
_MAX_RESULT_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Check:
    """A check: the ``function`` (``module:attribute``) that makes it, in a process with ``environment`` added.

    ``failure`` and ``remedy`` are the finding's where the check raises, crashes or exceeds ``limit_s``.
    """

    name: str
    function: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    limit_s: float = 30.0
    failure: Status = Status.BROKEN
    remedy: str = ""


def checks_of_this_machine(output_dir: str = "outputs/eval") -> list[Check]:
    """Everything worth checking here."""
    backend = os.environ.get("MUJOCO_GL", "egl")
    return [
        Check("python", f"{_CHECKS}:python"),
        Check("cores", f"{_CHECKS}:cores_and_memory"),
        Check("disk", f"{_CHECKS}:disk", (output_dir,)),
        Check("shared memory", f"{_CHECKS}:shared_memory", remedy="give the container more memory"),
        Check("open files", f"{_CHECKS}:descriptors"),
        *_gl_checks(backend),
        *(
            Check(
                f"benchmark {name}",
                f"{_CHECKS}:simulator",
                (name,),
                {"MUJOCO_GL": backend},
                limit_s=EvalConfig().reset_timeout_s,  # as long as an evaluation would wait
                remedy="if it draws through GL and that is broken too, mend that first",
            )
            for name in installed(BENCHMARKS)
        ),
        Check("torch", f"{_CHECKS}:torch", limit_s=240.0, remedy="install it anew: pip install 'proctor[lerobot]'"),
        Check("lerobot", f"{_CHECKS}:lerobot", limit_s=240.0, remedy="install it anew: pip install 'proctor[lerobot]'"),
    ]


def _gl_checks(chosen: str) -> list[Check]:
    """The backend that evaluations use, and those that could stand in for it."""
    if not sys.platform.startswith("linux"):
        return [Check("GL", f"{_CHECKS}:gl", limit_s=60.0)]
    remedies = {
        "egl": "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri (on a GPU machine the driver's GL libraries)",
        "osmesa": "where EGL does not work: apt-get install libosmesa6, then MUJOCO_GL=osmesa",
    }
    backends = [chosen, *(name for name in remedies if name != chosen)]
    if os.environ.get("DISPLAY") and "glfw" not in backends:
        backends.append("glfw")
    return [
        Check(
            f"GL {name}" + (" (in use)" if name == chosen else ""),
            f"{_CHECKS}:gl",
            environment={"MUJOCO_GL": name},
            limit_s=60.0,
            failure=Status.BROKEN if name == chosen else Status.ABSENT,
            remedy=remedies.get(name, "use another one: MUJOCO_GL=egl"),
        )
        for name in backends
    ]


def examine(checks: Sequence[Check]) -> Iterator[tuple[Check, Finding]]:
    """Make the checks, as many side by side as there are cores; findings come in the order of the checks."""
    threads = ThreadPoolExecutor(usable_cores())
    try:
        yield from zip(checks, threads.map(make, checks), strict=True)
    finally:
        threads.shutdown(cancel_futures=True)


def make(check: Check) -> Finding:
    """Make one check."""
    readable, writable = os.pipe()
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            python_command("proctor.doctor.child", str(writable), check.function, *check.arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(writable,),
            env={**os.environ, **check.environment},
            timeout=check.limit_s,
            check=False,
        )
        if done.returncode == 0:
            return msgspec.json.decode(os.read(readable, _MAX_RESULT_BYTES), type=Finding)
        return Finding(check.failure, _how_it_failed(done.returncode, done.stdout), check.remedy)
    except subprocess.TimeoutExpired:
        return Finding(check.failure, f"no answer within {check.limit_s:g} s", check.remedy)
    finally:
        os.close(readable)
        os.close(writable)


def _how_it_failed(status: int, output: bytes) -> str:
    if status < 0:
        return f"it was ended by {signal.Signals(-status).name}"
    lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("RuntimeError: ") if lines else f"it exited with status {status}"
