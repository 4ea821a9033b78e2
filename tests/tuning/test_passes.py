"""Measuring on an accelerator: a policy that says it has one, and a driver's command that we write."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import accelerated
import pytest
from accelerated import SECONDS, Accelerated

from proctor.config import EvalConfig, RunConfig
from proctor.evaluation.prepared_run import prepare
from proctor.policies.base import EpisodeMemory
from proctor.streams import RandomStream
from proctor.testing.fakes import FAKE_BENCHMARK, FakePolicy
from proctor.tuning import measure, passes, recommend
from proctor.tuning.passes import Accelerator, WatchedPolicy, rows_in_use, sizes, time_passes
from proctor.types import EpisodeSpec, Observation

MIB = 1 << 20
TOTAL = 10_000
BUSY = 50


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """The file in which the driver of two accelerators finds what is taken of the second one, in MiB."""
    memory = tmp_path / "memory"
    memory.write_text("0")
    command = tmp_path / "nvidia-smi"
    rows = (
        f"0, GPU-a, first, {TOTAL}, {TOTAL}, 0\\n1, GPU-b, second, {TOTAL}, $(({TOTAL} - $(cat {memory}))), {BUSY}\\n"
    )
    command.write_text(f'#!/bin/sh\nprintf "{rows}"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(passes, "_PASSES_S", 0.05)
    return memory


def watched(memory: Path) -> tuple[WatchedPolicy, Accelerator]:
    accelerator = Accelerator()
    policy = WatchedPolicy(Accelerated(str(memory)))
    accelerator.holds(policy)
    return policy, accelerator


def test_a_pass_has_a_time_a_share_of_kernels_and_memory(memory, monkeypatch):
    """Of the accelerator that the policy is on, since before it was loaded. The clock is one that only passes move."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(passes, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(
        accelerated, "time", SimpleNamespace(sleep=lambda seconds: setattr(clock, "now", clock.now + seconds))
    )
    policy, accelerator = watched(memory)
    policy.predict([_observation()], [_memory(0)])

    found = time_passes(policy, 8, accelerator)

    assert policy.wrapped.rows[1:] == [8] * (len(policy.wrapped.rows) - 1)
    assert found.rows == 8
    assert found.seconds == pytest.approx(9 * SECONDS)
    assert found.kernels == BUSY / 100
    assert found.device_bytes == (2000 + 800) * MIB


def test_a_policy_is_as_it_was_while_it_is_watched(memory):
    """It is the same to the engine; its passes, and whose they were, are noted."""
    policy, _ = watched(memory)

    policy.predict([_observation()] * 3, [_memory(0), _memory(1), _memory(1)])

    assert (policy.n_action_steps, policy.batch_size, policy.look_offsets) == (5, 4, (0,))
    assert policy.fingerprint() == {"type": "accelerated", "device": "cuda:1"}
    assert sorted(policy.chunks.values()) == [1, 1]
    assert len(policy.seconds) == 1
    policy.forget()
    assert not policy.chunks


def test_the_passes_that_are_worth_timing():
    """That in use comes first; one episode at a time is all that some policies do."""
    together, alone = FakePolicy(), FakePolicy(noise=0.1)
    together.batch_size = 16

    assert list(sizes(together, rows_in_use(together, 0))) == [16, 1, 2, 4, 8, 32]
    assert list(sizes(together, rows_in_use(together, 3)))[:2] == [3, 1]
    assert list(sizes(alone, rows_in_use(alone, 16))) == [1]


def test_passes_of_every_size_are_timed(memory):
    """The more rows, the longer they take and the more memory."""
    policy, accelerator = watched(memory)
    policy.predict([_observation()], [_memory(0)])
    config = RunConfig(policy={"type": "random"}, env={"type": FAKE_BENCHMARK})
    reports: list[str] = []

    found = [*measure._passes(policy, prepare(config), accelerator, measure._Tally(), reports.append)]

    assert [forward.rows for forward in found] == [4, 1, 2, 8, 16, 32]
    assert reports[1] == "forward passes of 1"
    assert found[1].seconds < found[3].seconds < found[5].seconds
    assert found[5].device_bytes == 5200 * MIB


def recommended(load, memory):
    """What is recommended for a policy of ``accelerated.py``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        config = RunConfig(
            policy={"type": f"accelerated:{load}", "memory": str(memory)},
            env={"type": FAKE_BENCHMARK, "step_seconds": 0.002},
            eval=EvalConfig(n_episodes=1000),
        )
        return recommend(config, seconds=0.5)


def test_an_evaluation_on_an_accelerator_is_measured(memory):
    """In its own process: kernels and memory reach the recommendation."""
    found = recommended("load", memory)

    (forward,) = found.costs.passes
    assert [gpu.name for gpu in found.hardware.gpus] == ["first", "second"]
    assert found.costs.on_accelerator
    assert (forward.rows, forward.kernels, forward.device_bytes) == (1, BUSY / 100, 2100 * MIB)


def test_a_bug_in_the_process_that_measures_is_shown_whole(memory):
    """Rather than that it died."""
    with pytest.raises(RuntimeError, match=r"status 1\.(.|\n)*in open\n(.|\n)*AssertionError: a bug of its own"):
        recommended("load_broken", memory)


def _observation() -> Observation:
    return Observation({})


def _memory(index: int) -> EpisodeMemory:
    return EpisodeMemory(RandomStream(EpisodeSpec("suite", 0, index, index)))
