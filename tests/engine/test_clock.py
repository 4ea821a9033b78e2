"""The wall clock is for dates only: if it jumps, results and deadlines are what they are without."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from time import monotonic, time

import pytest
from fake_runs import canonical, run_fake

from proctor.testing.fakes import FAKE_BENCHMARK

JUMPING_CLOCK = """
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static const long OFFSETS[] = {0, 315360000, -315360000, 3600};
int clock_gettime(clockid_t clock, struct timespec *now) {
    long status = syscall(SYS_clock_gettime, clock, now);
    if (!status && clock == CLOCK_REALTIME) now->tv_sec += OFFSETS[now->tv_nsec / 250000000];
    return status;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec ours;
    clock_gettime(CLOCK_REALTIME, &ours);
    now->tv_sec = ours.tv_sec, now->tv_usec = ours.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *now) {
    struct timespec ours;
    clock_gettime(CLOCK_REALTIME, &ours);
    if (now) *now = ours.tv_sec;
    return ours.tv_sec;
}
"""
"""A wall clock that jumps four times a second by years, as C that is loaded before the C library."""


@pytest.fixture
def environment(tmp_path):
    """Variables with which a process and all that it starts have such a clock."""
    if not (compiler := shutil.which("cc")):
        pytest.skip("there is no C compiler")
    (tmp_path / "clock.c").write_text(JUMPING_CLOCK)
    library = tmp_path / "clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "clock.c"], check=True)
    return {**os.environ, "LD_PRELOAD": str(library)}


def test_jumps_of_the_wall_clock_alone_change_nothing(tmp_path, environment):
    """In every process: a simulator that hangs is replaced in time, no other is, and what is measured is a duration."""
    clock = "import time\nfor _ in range(20): time.sleep(0.06); print(time.time())"
    times = subprocess.run([sys.executable, "-c", clock], env=environment, capture_output=True, check=True).stdout
    assert max(abs(float(seen) - time()) for seen in times.split()) > 1e8
    faults = tmp_path / "faults"
    faults.mkdir()
    command = [
        *(sys.executable, "-m", "proctor", "eval", "--policy.type=zero", f"--env.type={FAKE_BENCHMARK}"),
        *('--env.faults={"1/1001/3": "hang"}', f"--env.scratch={faults}", "--env.max_steps=12"),
        *("--env.step_seconds=0.03", "--eval.n_episodes=3", "--eval.batch_size=2", "--eval.step_timeout_s=3"),
        *("--eval.video=none", f"--output_dir={tmp_path / 'run'}"),
    ]
    began = monotonic()
    subprocess.run(command, env=environment, check=True)
    took = monotonic() - began

    info = json.loads((tmp_path / "run" / "eval_info.json").read_text())
    clean = run_fake(tmp_path / "clean", {"type": "zero"}, batch_size=1)
    assert canonical(info) == canonical(clean.info)
    errors = [[error["kind"] for error in episode["errors"]] for episode in info["per_episode"]]
    assert sorted(errors) == [[], [], [], [], [], ["hung"]]
    seconds = [value or 0 for episode in info["per_episode"] for value in episode["timings"].values()]
    assert all(0 <= value < took for value in seconds)
