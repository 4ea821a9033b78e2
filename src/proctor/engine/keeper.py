"""Keeps workers, with the simulators that they have built, from one evaluation to the next."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from proctor.engine.options import EngineSetup
from proctor.engine.origin import Origin
from proctor.engine.workers import Workers


class WorkerKeeper:
    """Owns the workers of engines that run one after another.

    An engine is given the workers of the one before if they would give the same results as new ones, else new ones.
    At most one set of workers is alive at a time. A copy of this object in a forked process owns none.
    """

    def __init__(self) -> None:
        self._kept: Workers | None = None
        self._in_use: Workers | None = None
        self._owner = os.getpid()
        self._closed = False

    def workers_for(self, setup: EngineSetup) -> Workers:
        """Return workers on which a plan of ``setup`` can begin; :meth:`give_back` or close them when it is over."""
        kept, self._kept = self._kept, None
        if kept is not None and _fit(kept, setup):
            kept.take_over(setup)
            self._in_use = kept
            return kept
        if kept is not None:
            kept.close()
        self._in_use = Workers(setup)
        return self._in_use

    def give_back(self, workers: Workers) -> None:
        """Keep workers for the next engine if their plan is over; otherwise their state is unknown, and they end."""
        self._in_use = None
        if self._closed or not workers.at_rest:
            workers.close()
        else:
            self._kept = workers

    def n_kept(self, benchmark: str, env: Mapping[str, Any]) -> int:
        """Count the workers that are kept for the benchmark at the address ``benchmark``, configured with ``env``."""
        if self._kept is None:
            return 0
        setup = self._kept.origin.setup
        return self._kept.n_running if (setup.benchmark, setup.env) == (benchmark, dict(env)) else 0

    def interrupt(self, signal_number: int) -> None:
        """End the engine that runs now, if there is one, at its next turn. May be called from any thread."""
        if (workers := self._in_use) is not None:
            workers.interrupt(signal_number)

    def close(self) -> None:
        """End the workers that are kept; those in use end when they are given back. Safe to call twice."""
        if os.getpid() != self._owner:
            return
        self._closed = True
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()


def _fit(workers: Workers, setup: EngineSetup) -> bool:
    """Say whether a plan of ``setup`` gives the same results on these workers as on new ones, and as few run."""
    return (
        workers.at_rest
        and workers.n_running <= setup.n_workers
        and workers.origin == Origin.of(setup)
        and all(setup.tasks.get(key, task) == task for key, task in workers.tasks_built.items())
    )
