"""Training on several ranks: the first one evaluates, and the others wait for as long as that takes."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

TIMEOUT_S = 3
"""The default group's timeout; the evaluation takes longer."""

PROGRAM = """
import sys
from datetime import timedelta

import torch
import torch.distributed as dist

import proctor
from proctor.testing.fakes import FAKE_BENCHMARK, FakePolicy

print("imported", flush=True)
sys.stdin.readline()
rank, timeout_s, port, how, folder = int(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:]
dist.init_process_group(
    "gloo", f"tcp://127.0.0.1:{port}", timedelta(seconds=timeout_s), rank=rank, world_size=2
)
patient = dist.new_group(backend="gloo", timeout=timedelta(days=7))
dist.barrier(patient)
weights = torch.full((1,), float(rank))
if rank == 0:
    env = {"type": FAKE_BENCHMARK, "max_steps": 12, "step_seconds": 0.3}
    with proctor.Evaluator(env, n_episodes=2, batch_size=2) as evaluator:
        print("rate", evaluator(FakePolicy(), output_dir=folder).pc_success, flush=True)
dist.barrier(patient if how == "patient" else None)
dist.all_reduce(weights)
print("sum", weights.item(), flush=True)
dist.barrier(patient)
dist.destroy_process_group()
"""


def ranks(tmp_path, how):
    """What both ranks printed, and their exit statuses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(rank), str(TIMEOUT_S), port, how, str(tmp_path / "run")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in (0, 1)
    ]
    for process in started:  # to import torch may take one of them longer than the timeout
        assert process.stdout.readline() == "imported\n"
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    return [(process.communicate(timeout=120)[0].split("\n"), process.returncode) for process in started]


@pytest.mark.parametrize("how", ["patient", "default"])
def test_the_other_ranks_wait_in_a_group_that_has_the_time(tmp_path, how):
    """That is what docs/training.md recommends; in the default group they give up."""
    (first, first_status), (second, second_status) = ranks(tmp_path, how)

    assert first[0].startswith("rate ")
    if how == "patient":
        assert (first_status, second_status) == (0, 0)
        assert first[1] == second[0] == "sum 1.0"
    else:
        assert second_status != 0
