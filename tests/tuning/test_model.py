"""The model's arithmetic, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from machines import GB, MACHINES, Described

from proctor.machine.hardware import Gpu, Hardware
from proctor.tuning.measure import mean_chunks
from proctor.tuning.model import Choice, Drawing, Model

CPU = MACHINES["two cores"].model_of()
"""A chunk: 10 steps of 0.5 ms and a look of 145 ms, a pass of 170 ms, 0.1 ms in the main process."""
GPU = MACHINES["H100, 20 ms step, 5 ms pass, 14 GB"].model_of()


def choice(model: Model, num_shards: int, batch_size: int, rows: int | None = None) -> Choice:
    passes = {forward.rows: forward for forward in model.costs.passes}
    forward = passes[rows] if rows else model.costs.passes[0]
    return Choice(num_shards, batch_size, forward, model.costs.drawings[0])


def test_on_a_cpu_the_rate_is_that_of_the_cores_that_have_a_worker():
    """One worker keeps one core busy, two keep both, and a third gains nothing."""
    assert CPU.predict(choice(CPU, 1, 1)).chunks_per_second == pytest.approx(1 / 0.3201)
    assert CPU.predict(choice(CPU, 1, 2)).chunks_per_second == pytest.approx(2 / 0.3201, rel=0.01)
    assert CPU.predict(choice(CPU, 1, 3)).chunks_per_second == pytest.approx(2 / 0.3201, rel=0.01)


def test_cores_that_other_programs_take_are_not_there():
    """The rate falls as they take them, down to what was reached beside them."""
    taken = replace(CPU, costs=replace(CPU.costs, cores_taken=1.0))
    crowded = replace(CPU, costs=replace(CPU.costs, cores_taken=2.0, rate=2.0))

    assert taken.bounds(choice(CPU, 1, 2))["cores"] == pytest.approx(1 / 0.3201)
    assert crowded.bounds(choice(CPU, 1, 2))["cores"] == pytest.approx(2.0)


def test_the_bounds_of_an_accelerator():
    """Cores, workers, inference, device and main process, each alone."""
    bounds = GPU.bounds(choice(GPU, 1, 8, rows=4))

    assert bounds == {
        "cores": pytest.approx(16 / 0.0201),
        "workers": pytest.approx(8 / 0.0251),
        "inference": pytest.approx(4 / 0.005),
        "device": pytest.approx(4 / 0.005),
        "interpreter": pytest.approx(1 / 0.0001),
    }


def test_a_pass_that_takes_longer_than_simulating_is_waited_for_twice():
    """Once until those under way are answered, and once for the worker's own; one worker alone waits for its own."""
    slow = replace(MACHINES["H100, 20 ms step, 5 ms pass, 14 GB"], pass_ms=100).model_of()

    assert slow.bounds(choice(slow, 1, 8))["workers"] == pytest.approx(8 / 0.2001)
    assert slow.bounds(choice(slow, 1, 1))["workers"] == pytest.approx(1 / 0.1201)


def test_shards_that_share_an_accelerator_take_turns():
    """Four shards whose passes are kernels only are no faster than one; if half of a pass is not, two of them are."""
    kernels_only = MACHINES["H100, one episode per pass"].model_of()
    half = replace(MACHINES["H100, one episode per pass"], kernels=0.5).model_of()

    def rate(model: Model, num_shards: int) -> float:
        return model.predict(choice(model, num_shards, 4)).chunks_per_second

    assert rate(kernels_only, 4) == pytest.approx(rate(kernels_only, 1), rel=0.01)
    assert rate(half, 2) == pytest.approx(2 * rate(half, 1), rel=0.01)
    assert rate(half, 4) == pytest.approx(rate(half, 2), rel=0.01)


def test_the_time_of_all_has_a_start_and_an_end():
    """Loading, or building where there are more workers than were measured; half an episode while workers run dry."""
    one = replace(CPU, n_episodes=1)
    many = replace(CPU, n_episodes=1000)

    assert one.predict(choice(CPU, 1, 1)).seconds == pytest.approx(20 + 20 * 0.3201)
    assert many.predict(choice(CPU, 1, 1)).seconds == pytest.approx(20 + 20_000 * 0.3201)
    assert many.predict(choice(CPU, 1, 2)).seconds == pytest.approx(20 + 10_000 * 0.3201 + 20 * 0.3201 / 4, rel=0.01)
    assert many.predict(choice(CPU, 1, 10)).start_seconds == pytest.approx(10 * 4.0)


def test_further_tasks_need_further_simulators():
    """Built by the workers that run out of episodes of their own."""
    predictions = [replace(CPU, n_tasks=n).predict(choice(CPU, 1, 2)).seconds for n in (1, 11)]

    assert predictions[1] - predictions[0] == pytest.approx(10 * 2.0 / 2)


@pytest.mark.parametrize(
    ("hardware", "num_shards", "batch_size", "shortage"),
    [
        (Hardware(16, 128 * GB), 4, 20, "170.0 GB of memory, of 128.0 GB available"),
        (Hardware(16, None), 4, 20, ""),
        (
            Hardware(16, 256 * GB, (Gpu("a", 80 * GB, 80 * GB), Gpu("b", 80 * GB, 15 * GB))),
            2,
            1,
            "14.3 GB of GPU memory",
        ),
        (Hardware(16, 256 * GB, (Gpu("a", 80 * GB, 80 * GB),)), 6, 1, "85.9 GB of GPU memory, of 80.0 GB free"),
        (Hardware(16, 256 * GB, (Gpu("a", 80 * GB, 80 * GB),)), 5, 1, ""),
    ],
    ids=["memory", "unknown memory", "the smallest GPU counts", "six copies", "five copies"],
)
def test_what_there_is_too_little_memory_for(hardware, num_shards, batch_size, shortage):
    """14 GB a copy on the accelerator, 2.5 GB a main process and 2 GB a worker; a tenth stays free."""
    model = replace(GPU, hardware=hardware)

    found = model.shortage(choice(GPU, num_shards, batch_size))

    assert shortage in found
    assert bool(shortage) == bool(found)


def test_simulators_that_draw_on_the_accelerator_take_of_its_memory():
    """Those that draw in software do not, and take longer."""
    machine = replace(MACHINES["tight GPU memory, simulators draw on it"], draws=0.5)
    model = machine.model_of()
    software = Drawing("osmesa", 0.1)
    wanted = choice(model, 1, 16)

    assert "GPU memory" in model.shortage(wanted)
    assert not model.shortage(replace(wanted, drawing=software))
    assert model.costs.core_with(software) == pytest.approx(model.costs.core + 0.1 - machine.look_ms / 1000)


def test_a_policy_in_the_workers_has_no_passes():
    """Its chunk is an episode, and only cores, workers and the main process are bounds."""
    machine = Described(cores=4, ram=16, step_ms=1, chunk=100, pass_ms=0)
    model = machine.model_of()
    model = replace(model, costs=replace(model.costs, passes=(), core=0.1, engine=0.0, overhead=0.0))

    assert model.bounds(Choice(1, 2, None, model.costs.drawings[0])) == {
        "cores": pytest.approx(40.0),
        "workers": pytest.approx(20.0),
    }


def test_the_mean_length_counts_episodes_that_are_under_way():
    """Those that ended alone would make it too short, as the short ones end first."""
    assert mean_chunks([3, 3], [], 10) == 3.0
    assert mean_chunks([], [2, 5], 10) == 10.0
    assert mean_chunks([1, 1], [1, 1], 2) == 1.5
    assert mean_chunks([2], [1], 4) == 2.0
    assert mean_chunks([2, 10], [4, 4], 10) == pytest.approx(2 + 0.75 * 8)
