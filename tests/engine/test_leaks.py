"""Simulators whose memory grows: their workers are replaced, and the results do not change."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from fake_runs import canonical, run_fake

from proctor.errors import Note
from proctor.machine.resources import memory_of


def largest_worker(stop: threading.Event) -> int:
    """Watch this process's workers until ``stop``; return the most memory that one took."""
    largest = 0
    while not stop.wait(0.01):
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"proctor.engine.worker.fork_server" in words and str(os.getpid()).encode() in words:
                largest = max(largest, memory_of(int(path.parent.name)))
    return largest


def test_a_worker_that_takes_too_much_memory_is_replaced(tmp_path):
    """Forty episodes that leak 20 MB each stay below what two of them and the limit take together."""
    expected = run_fake(tmp_path / "tight", n_episodes=20)
    stop, found = threading.Event(), []
    watching = threading.Thread(target=lambda: found.append(largest_worker(stop)))
    watching.start()
    try:
        with pytest.warns(Note, match=r"more than 0\.25 GB of memory after an episode is replaced"):
            result = run_fake(
                tmp_path / "leaking", n_episodes=20, env={"leaks_mb": 20}, worker_memory_gb=0.25, video="none"
            )
    finally:
        stop.set()
        watching.join()

    assert canonical(result.info) == canonical(expected.info)
    assert 0 < found[0] < 400_000_000


def test_a_worker_that_does_not_leak_is_kept(tmp_path, recwarn):
    """By default it may take its share of the machine's memory."""
    run_fake(tmp_path / "run", n_episodes=3)

    assert not [warning for warning in recwarn if issubclass(warning.category, Note)]
