"""The origin of workers: two sets of workers that are made from the same give the same results."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from proctor.child import import_path
from proctor.child.other_python import Companions
from proctor.engine.options import EngineSetup
from proctor.engine.worker.messages import Setup
from proctor.engine.worker.pool import Deadlines
from proctor.plugins import companions_of


@dataclass(frozen=True)
class Origin:
    """Everything that a worker takes from the process that starts it.

    Attributes:
        setup: the first message to each worker: the benchmark, its configuration, and the modules' places.
        deadlines: the time-outs after which a worker is replaced.
        environment: the variables of the environment, which choose the renderer and whatever a simulator reads.
        directory: the working directory.
        thread: the thread that simulators run on if they run in this process, as a GL context belongs to one; else
            None.
    """

    setup: Setup
    deadlines: Deadlines
    environment: frozenset[tuple[str, str]]
    directory: Path
    thread: int | None

    @classmethod
    def of(cls, setup: EngineSetup) -> Origin:
        """Collect what workers that are started now would be made from."""
        return cls(
            Setup(setup.benchmark, dict(setup.env), setup.action_source, _companions(setup), dict(setup.known)),
            Deadlines(setup.options.step_timeout_s, setup.options.reset_timeout_s),
            frozenset(os.environ.items()),
            Path.cwd(),
            threading.get_ident() if setup.in_process else None,
        )


def _companions(setup: EngineSetup) -> Companions:
    """Say where workers search for modules, after the places of their own interpreter."""
    if setup.python is None:
        return Companions(import_path())
    return companions_of(setup.benchmark, *filter(None, [setup.action_source]))
