"""Lists the checks for this machine, and makes each in a process of its own with a time limit."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from proctor.child.calls import Call, ChildError
from proctor.config import EvalConfig
from proctor.doctor.environments import LIMIT_S
from proctor.doctor.findings import Finding, Status
from proctor.errors import ProctorError, install_command
from proctor.interpreters.environments import existing
from proctor.machine.resources import usable_cores
from proctor.plugins import BENCHMARKS, installed

_CHECKS = "proctor.doctor.checks"


@dataclass(frozen=True, slots=True)
class Check:
    """A check: ``function`` (``module:attribute``) makes it, in a process that has ``environment`` in addition.

    If it raises, crashes or takes longer than ``limit_s`` seconds, the finding has ``failure`` and ``remedy``.
    """

    name: str
    function: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    limit_s: float = 30.0
    failure: Status = Status.BROKEN
    remedy: str = ""


def checks_of_this_machine(output_dir: str = "outputs/eval") -> list[Check]:
    """Give all checks that make sense on this machine. ``output_dir`` is where results are to be written."""
    backend = os.environ.get("MUJOCO_GL", "egl")
    anew = f"install it anew: {install_command('lerobot')}"
    return [
        Check("python", f"{_CHECKS}:python"),
        Check("cores", f"{_CHECKS}:cores_and_memory"),
        Check("disk", f"{_CHECKS}:disk", (output_dir,)),
        Check("shared memory", f"{_CHECKS}:shared_memory", remedy="give the container more memory"),
        Check("open files", f"{_CHECKS}:descriptors"),
        *_gl_checks(backend),
        Check("Vulkan", f"{_CHECKS}:vulkan", limit_s=60.0),
        *(
            Check(
                f"benchmark {name}",
                f"{_CHECKS}:simulator",
                (name,),
                {"MUJOCO_GL": backend},
                limit_s=EvalConfig().reset_timeout_s,  # as long as an evaluation would wait
                remedy="if it draws through GL and that is broken too, repair that first",
            )
            for name in installed(BENCHMARKS)
        ),
        *(
            Check(
                f"environment {found.name}",
                "proctor.doctor.environments:environment",
                (str(found.folder),),
                limit_s=2 * LIMIT_S,
            )
            for found in existing()
        ),
        Check("torch", f"{_CHECKS}:torch", limit_s=240.0, remedy=anew),
        Check("lerobot", f"{_CHECKS}:lerobot", limit_s=240.0, remedy=anew),
    ]


def _gl_checks(chosen: str) -> list[Check]:
    """Give a check of the backend that evaluations use, and one of each backend that could replace it."""
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
    """Make the checks, as many side by side as there are cores; findings come in the order of the checks.

    If the iterator is closed early, or the user interrupts it, the checks that still run are killed.
    """
    threads = ThreadPoolExecutor(usable_cores())
    running: set[Call[Finding]] = set()

    def make_killable(check: Check) -> Finding:
        call = _start(check)
        running.add(call)
        try:
            return _finding(check, call)
        finally:
            running.discard(call)

    try:
        yield from zip(checks, threads.map(make_killable, checks), strict=True)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for call in [*running]:
            call.kill()


def make(check: Check) -> Finding:
    """Make one check."""
    return _finding(check, _start(check))


def _start(check: Check) -> Call[Finding]:
    return Call(check.function, *check.arguments, result=Finding, limit_s=check.limit_s, environment=check.environment)


def _finding(check: Check, call: Call[Finding]) -> Finding:
    try:
        return call.result()
    except ProctorError as error:
        message = str(error)
    except ChildError as error:
        printed = error.last_line.removeprefix("RuntimeError: ") if error.status and error.status > 0 else ""
        message = printed or f"it {error.how}"
    return Finding(check.failure, message, check.remedy)
