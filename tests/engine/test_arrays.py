"""Observations in shared memory."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fake_runs import n_descriptors

from proctor.engine.worker.arrays import SharedArrays, anonymous_file

SHM = Path("/dev/shm")


@pytest.fixture
def two_sides():
    """The same memory as the worker and as the engine see it."""
    descriptor = anonymous_file()
    worker, engine = SharedArrays(descriptor), SharedArrays(os.dup(descriptor))
    yield worker, engine
    worker.close()
    engine.close()


def test_what_one_side_writes_the_other_reads(two_sides):
    """Every key with its own shape and dtype, frames along a leading time axis."""
    worker, engine = two_sides
    frames = [
        {"image": np.full((3, 5, 3), 10 + i, np.uint8), "state": np.array([i, -i], np.float64), "flag": np.int32(i)}
        for i in range(3)
    ]
    for index, frame in enumerate(frames):
        worker.write({key: np.asarray(value) for key, value in frame.items()}, index, 3)

    read = {placed.key: engine.read(placed) for placed in worker.placed()}

    assert set(read) == {"image", "state", "flag"}
    for key, array in read.items():
        expected = np.stack([frame[key] for frame in frames])
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)


def test_the_arrays_of_an_observation_do_not_overlap(two_sides):
    """Sizes that are no multiple of the alignment included."""
    worker, _ = two_sides
    worker.write({"a": np.zeros(3, np.uint8), "b": np.zeros((7, 11), np.float32), "c": np.zeros(1)}, 0, 2)

    spans = sorted(
        (placed.offset, placed.offset + int(np.prod(placed.shape)) * np.dtype(placed.dtype).itemsize)
        for placed in worker.placed()
    )

    assert spans[0][0] >= 8  # the heartbeat
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_the_memory_grows_for_a_large_observation_and_is_used_again(two_sides):
    """A second large observation lies where the first one lay."""
    worker, engine = two_sides
    large = np.arange(3_000_000, dtype=np.int64)
    worker.write({"x": large}, 0, 1)
    first = worker.placed()
    np.testing.assert_array_equal(engine.read(first[0])[0], large)
    size = os.fstat(worker.descriptor).st_size

    worker.write({"x": large + 1}, 0, 1)

    assert worker.placed() == first
    assert os.fstat(worker.descriptor).st_size == size
    assert engine.read(first[0])[0, 0] == 1


def test_an_observation_may_have_more_frames_or_another_shape_than_the_one_before(two_sides):
    """The next one is laid out anew: its looks differ, or its task does."""
    worker, engine = two_sides
    worker.write({"x": np.zeros(2)}, 0, 1)

    for index in range(2):
        worker.write({"x": np.full(3, float(index)), "y": np.ones(1)}, index, 2)

    x, y = (engine.read(placed) for placed in worker.placed())
    np.testing.assert_array_equal(x, [[0, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(y, [[1], [1]])


def test_the_heartbeat_is_seen_on_the_other_side_also_after_growing(two_sides):
    """It lies in the memory itself, not in a message."""
    worker, engine = two_sides
    before = engine.heartbeat
    worker.beat()
    assert engine.heartbeat == before + 1
    worker.write({"x": np.zeros(1_000_000)}, 0, 1)

    worker.beat()

    assert engine.heartbeat == before + 2
    assert worker.placed()[0].offset >= 64


def test_the_memory_has_no_name():
    """A run that is killed leaves nothing in /dev/shm."""
    before = set(SHM.iterdir()) if SHM.exists() else set()
    arrays = SharedArrays(anonymous_file())
    arrays.write({"x": np.zeros(1_000_000)}, 0, 1)

    during = set(SHM.iterdir()) if SHM.exists() else set()

    assert during <= before
    assert os.fstat(arrays.descriptor).st_nlink == 0
    arrays.close()


def test_two_processes_share_it():
    """The worker is another process that inherits the descriptor."""
    descriptor = anonymous_file()
    ours = SharedArrays(descriptor)
    script = (
        "import sys, numpy as np; from proctor.engine.worker.arrays import SharedArrays\n"
        f"theirs = SharedArrays({descriptor})\n"
        "theirs.write({'x': np.arange(400_000.0)}, 0, 1); theirs.beat()\n"
        "print(theirs.placed()[0].offset)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], pass_fds=(descriptor,), capture_output=True, text=True, check=True
    )

    from proctor.engine.worker.messages import Placed

    read = ours.read(Placed("x", "<f8", (1, 400_000), int(done.stdout)))
    np.testing.assert_array_equal(read[0], np.arange(400_000.0))
    assert ours.heartbeat == 1
    ours.close()


def test_closing_gives_the_descriptors_back():
    """Also those that the mappings hold."""
    before = n_descriptors()
    for _ in range(5):
        arrays = SharedArrays(anonymous_file())
        arrays.write({"x": np.zeros(1_000_000)}, 0, 1)
        arrays.close()
        del arrays

    assert n_descriptors() <= before
