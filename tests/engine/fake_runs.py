"""Evaluations of the fake benchmark, and what must be the same after each of them."""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path
from typing import Any

from proctor import evaluate
from proctor.evaluation.result import EvalResult
from proctor.results.eval_info import canonical_info
from proctor.testing.fakes import FAKE_BENCHMARK, FakePolicy


def run_fake(
    directory: Path,
    policy: Any = None,
    *,
    env: dict[str, Any] | None = None,
    faults: dict[str, str] | None = None,
    **fields: Any,
) -> EvalResult:
    """Two tasks of three episodes of at most twelve steps, in two workers; ``faults`` are the fake benchmark's."""
    scratch = directory.with_name(directory.name + "-faults")
    if faults:
        scratch.mkdir(parents=True, exist_ok=True)
    env = {"type": FAKE_BENCHMARK, "max_steps": 12, "faults": faults or {}, "scratch": str(scratch), **(env or {})}
    return evaluate(policy or FakePolicy(), env, output_dir=directory, **{"n_episodes": 3, "batch_size": 2, **fields})


def n_descriptors() -> int:
    """Those that this process has open, without those of other tests' garbage."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def processes_of(parent: int) -> set[int]:
    """The live children of a process."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = stat.read_text().rsplit(")", 1)
        except OSError:
            continue
        state, ppid, *_ = rest.split()
        if int(ppid) == parent and state != "Z":
            found.add(int(pid.split()[0]))
    return found


def held() -> tuple[Any, ...]:
    """What a run may take and must give back: descriptors, processes, names in shared memory."""
    return n_descriptors(), processes_of(os.getpid()), set(Path("/dev/shm").glob("*proctor*"))


NOTHING: tuple[object, ...] = (0, set(), set())


def left_since(before: tuple[Any, ...]) -> tuple[object, ...]:
    """What is held now and was not before. What other tests have left may be closed, or end, at any time."""
    descriptors, processes, names = held()
    return max(0, descriptors - before[0]), processes - before[1], names - before[2]


def canonical(info: dict[str, Any]) -> str:
    """The results as text, without how they were come by; the scripted faults are in the fingerprint."""
    return json.dumps({**canonical_info(info), "fingerprint": None}, indent=1)


def errors_of(result: EvalResult) -> dict[str, list[tuple[str, str]]]:
    """``"task/seed"`` → kind and message of every attempt that failed."""
    return {
        f"{episode['task_id']}/{episode['seed']}": [(error["kind"], error["message"]) for error in episode["errors"]]
        for episode in result.info["per_episode"]
        if episode["errors"]
    }
