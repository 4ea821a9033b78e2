"""Recommendations: what is said and refused, of machines that are not there; and real ones, on this machine."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from machines import GB, MACHINES

from proctor.cli.arguments import expand
from proctor.cli.main import app
from proctor.config import EvalConfig, RunConfig
from proctor.errors import ConfigError, ResourceError
from proctor.machine.hardware import Gpu, Hardware, descendants
from proctor.testing.fakes import FAKE_BENCHMARK
from proctor.tuning import recommend
from proctor.tuning.autotune import TOLERANCE, advise, arguments, search
from proctor.tuning.model import Choice, Drawing, Model

H100 = MACHINES["H100, 20 ms step, 5 ms pass, 14 GB"]
CONFIG = RunConfig(policy={"path": "some/where"}, env={"type": "libero", "task": "libero_spatial"})


def test_one_process_where_one_keeps_all_cores_busy():
    """The command is that of a plain evaluation."""
    found = advise(MACHINES["two cores"].model_of(), CONFIG)

    assert (found.num_shards, found.batch_size, found.inference_batch_size) == (1, 2, 1)
    assert found.command == (
        "proctor eval --policy.path=some/where --env.type=libero --env.task=libero_spatial --eval.batch_size=2"
    )
    assert found.reasons[0].startswith("The cores are the limit")
    assert "One process is enough" in found.reasons[1]
    assert not found.moves_results


def test_several_accelerators_take_several_shards():
    """And the command is that of the launcher."""
    found = advise(MACHINES["two GPUs"].model_of(), CONFIG)

    assert found.num_shards == 2
    assert found.command.startswith("proctor parallel --num-shards=2 ")
    assert "2 shards take " in found.reasons[1]


def test_passes_of_another_size_are_reported_to_move_results():
    """They are chosen only where they are worth it, and asked for by name."""
    slow = advise(MACHINES["many cores, slow GPU"].model_of(), CONFIG)
    fast = advise(H100.model_of(), CONFIG)

    assert (slow.inference_batch_size, slow.moves_results) == (32, True)
    assert "--eval.inference_batch_size=32" in slow.command
    assert any("Results depend on it" in reason for reason in slow.reasons)
    assert (fast.inference_batch_size, fast.moves_results) == (16, False)
    assert "inference_batch_size" not in fast.command


def test_of_equally_good_choices_it_is_the_plainest():
    """Nothing that is faster by more than the tolerance was left."""
    best, others = search(H100.model_of())

    assert best.seconds <= (1 + TOLERANCE) * min(other.seconds for other in others)
    assert not [
        other
        for other in others
        if other.choice.num_shards == 1
        and other.choice.forward is best.choice.forward
        and other.choice.batch_size < best.choice.batch_size
        and other.seconds <= best.seconds
    ]


def test_software_draws_where_simulators_do_not_fit_beside_the_policy():
    """Then it is asked for on the command line."""
    model = replace(H100, draws=1.0, gpu_ram=20, look_ms=2).model_of()
    in_software = Drawing("osmesa", 0.01)
    model = replace(model, costs=replace(model.costs, drawings=(*model.costs.drawings, in_software)))

    found = advise(model, CONFIG)

    assert found.gl_backend == "osmesa"
    assert found.batch_size > 4
    assert "--env.render_device=osmesa" in found.command


@pytest.mark.parametrize(
    ("hardware", "reports"),
    [
        (Hardware(16, 128 * GB, (Gpu("small", 11 * GB, 10 * GB),)), r"14\.0 GB of GPU memory, of 10\.0 GB free"),
        (Hardware(16, 3 * GB, (Gpu("large", 80 * GB, 80 * GB),)), r"4\.5 GB of memory, of 3\.0 GB available"),
    ],
    ids=["accelerator", "memory"],
)
def test_where_not_even_one_copy_fits_it_says_so(hardware, reports):
    """One sentence with both numbers, and exit status 4."""
    with pytest.raises(ResourceError, match=f"Not even one copy fits: .*{reports}; free some"):
        advise(replace(H100.model_of(), hardware=hardware), CONFIG)


def test_what_could_not_be_measured_is_reported():
    """That no episode ended, and that other programs ran."""
    model = H100.model_of()
    reasons = advise(replace(model, costs=replace(model.costs, n_ended=0, cores_taken=4.0)), CONFIG).reasons

    assert "No episode ended during the measurement, so each is assumed to reach its step limit." in reasons
    assert "Other programs took 4.0 of the 16 cores during the measurement." in reasons


def test_a_configuration_is_the_same_after_a_way_over_the_command_line():
    """Every kind of field; what is as usual is not written."""
    config = RunConfig(
        policy={"path": "a b/c", "n_action_steps": 10, "use_amp": False, "device": None},
        env={"type": "libero", "camera_name_mapping": {"a": "b"}},
        eval=EvalConfig(n_episodes=7, video_size="64x48", ci="exact", use_async_envs=False),
        seed=3,
        rename_map={"observation.image": "observation.images.top"},
        trust_remote_code=True,
    )
    words = arguments(config)

    (again,) = app.parse_args(expand(["eval", *shlex.split(shlex.join(words))]))[1].args

    assert (again.eval, again.seed, again.rename_map) == (config.eval, config.seed, config.rename_map)
    assert again.trust_remote_code
    assert words[:4] == [
        "--policy.path=a b/c",
        "--policy.n_action_steps=10",
        "--policy.use_amp=false",
        "--policy.device=null",
    ]
    assert '--env.camera_name_mapping={"a":"b"}' in words
    assert arguments(RunConfig()) == []


# ------------------------------------------------------------------------------------------------ on this machine


def push(observation):
    """Ten actions, after two milliseconds of work."""
    values = np.random.rand(100, 100)
    for _ in range(20):
        values = values @ values / np.linalg.norm(values)
    return np.tile(observation["observation.state"], (10, 1))


@pytest.fixture(scope="module")
def of_a_function():
    """A real simulator and a policy in the main process, measured for a second and a half."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        patch.chdir(Path(__file__).parent)
        config = RunConfig(
            policy={"type": "function", "function": "test_recommendation:push"},
            env={"type": "pusht", "episode_length": 45},
            eval=EvalConfig(n_episodes=20),
        )
        reports: list[str] = []
        return recommend(config, seconds=1.5, on_progress=reports.append), reports


def test_what_is_measured_is_what_an_evaluation_does(of_a_function):
    """45 steps are five chunks, with a look for each; times and memory are of a size that they can have."""
    found, reports = of_a_function
    costs = found.costs

    assert reports[0] == "loading the policy"
    assert costs.chunks_per_episode == 5
    assert costs.n_ended > 0
    assert costs.steps_per_chunk == pytest.approx(9, rel=0.15)
    assert costs.looks_per_chunk == pytest.approx(1, abs=0.35)  # on a loaded machine, of a few chunks only
    assert 0 < costs.step < costs.drawings[0].look < 1
    assert [forward.rows for forward in costs.passes] == [1]
    assert costs.slots == 1
    assert not costs.on_accelerator
    assert 20 << 20 < costs.worker_bytes < 1 << 30
    assert 0 < costs.engine < costs.core
    assert costs.rate > 0


def test_the_model_agrees_with_the_run_that_it_was_measured_in(of_a_function):
    """Then nothing of a worker's time is unaccounted for."""
    found, _ = of_a_function

    costs = found.costs
    in_use = Choice(1, costs.n_workers, costs.passes[0], costs.drawings[0])

    predicted = Model(found.hardware, costs, found.n_episodes).predict(in_use)

    assert predicted.chunks_per_second == pytest.approx(costs.rate, rel=0.25)


def test_a_policy_that_lives_in_the_workers_is_measured_by_whole_episodes():
    """And nothing is left running, nothing written."""
    config = RunConfig(policy={"type": "random"}, env={"type": FAKE_BENCHMARK, "step_seconds": 0.002, "max_steps": 10})
    before, children = set(Path().iterdir()), descendants(os.getpid())

    found = recommend(config, seconds=0.5)

    assert found.inference_batch_size == 0
    assert found.costs.passes == ()
    assert found.costs.steps_per_chunk == pytest.approx(10, rel=0.3)
    assert 0.002 <= found.costs.step < 0.02
    assert set(descendants(os.getpid())) <= set(children)  # other tests may have left some
    assert set(Path().iterdir()) == before


def test_an_episode_that_fails_there_is_reported_here(tmp_path):
    """As one sentence."""
    env = {"type": FAKE_BENCHMARK, "faults": {"0/1000/3": "raise"}, "times": 99, "scratch": str(tmp_path)}

    with pytest.raises(ResourceError, match="could not be run: RuntimeError: a scripted fault"):
        recommend(RunConfig(policy={"type": "random"}, env=env), seconds=0.5)


def test_what_cannot_be_asked_for_is_refused_before_anything_starts():
    """By the rules of an evaluation."""
    with pytest.raises(ConfigError, match="Did you mean"):
        recommend(RunConfig(policy={"type": "random"}, env={"type": "pushed"}))
