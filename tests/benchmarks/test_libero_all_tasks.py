"""Proofs over all 290 tasks of LIBERO and LIBERO-PRO: ``pytest -m prove -k libero``. They take long."""

from importlib.util import find_spec

import numpy as np
import pytest
from benchmark_episodes import always, digest, episode, from_script, random_actions, standing
from libero_checks import both_arms, both_kinds, differences, liberos

from proctor.benchmarks.libero.benchmark import Libero, LiberoConfig
from proctor.benchmarks.libero.tasks import BASES, LIBERO, MAX_STEPS, SUITES

pytestmark = pytest.mark.prove

every_task = pytest.mark.parametrize(
    ("suite", "task_id"), [(suite, task_id) for suite, names in SUITES.items() for task_id in range(len(names))]
)


@every_task
def test_the_quick_simulator_is_liberos_own_code_to_the_bit(suite, task_id):
    """Every array, image, sensor and random number, of three episodes in one simulator. Before the last step all is put
    at its goal, where it stays in most tasks (in some it falls or is pushed away again): success is compared too.
    """
    stock, quick = both_kinds(*liberos(suite, task_id), (1000, 1001, 1002), 8, look_every=4)

    assert differences(stock, quick) == []
    assert len({episode[0][3] for episode in quick}) == 3


@pytest.mark.parametrize(
    ("suite", "task_id"), [(suite, number) for suite in LIBERO for number in range(len(SUITES[suite]))]
)
def test_the_compiled_arm_moves_as_robosuites_own_to_the_bit(suite, task_id):
    """Sixty steps that go far, from three states."""
    own, compiled = both_arms(suite, task_id, (0, 1, 2), 60)

    assert compiled == own
    assert len({moment for episode in own for moment in episode}) == 180


@pytest.mark.parametrize(
    ("suite", "task_id"),
    [("libero_spatial", 4), ("libero_object", 4), ("libero_goal", 4), ("libero_10", 4), ("libero_90", 6)],
)
def test_whole_episodes_are_liberos_own_to_the_bit(suite, task_id):
    """As long as the suite's limit allows, until success; then the first one again. Tasks in which what is put at its
    goal stays there.
    """
    n_steps = MAX_STEPS[suite]

    stock, quick = both_kinds(*liberos(suite, task_id), (1003, 1004, 1003), n_steps, look_every=n_steps // 2)

    assert differences(stock, quick) == []
    assert quick[0] == quick[2]
    assert [[moment[0] for moment in episode].index(True) for episode in quick] == [n_steps] * 3


@pytest.mark.skipif(find_spec("lerobot") is None, reason="lerobot is not installed")
@pytest.mark.parametrize("suite", LIBERO)
def test_episodes_are_lerobots_to_the_bit(suite):
    """Images, positions, rewards and ends of three tasks of each suite."""
    chosen = (1, 4, 9)
    theirs = from_script("lerobot_libero.py", 1007, 5, *(f"{suite}/{task_id}" for task_id in chosen))
    for task_id in chosen:
        with standing(Libero(LiberoConfig(task=suite, task_ids=[task_id]))) as env:
            looks = [env.reset(1007, 7, look=True)]
            looks += [env.step(action, look=True).observation for action in random_actions(env, 1007, 5)]
        for look, their in zip(looks, theirs[f"{suite}/{task_id}"], strict=True):
            images = [digest(look[name]) for name in ("observation.images.image", "observation.images.image2")]
            assert images == their[2:4]
            assert np.abs(look["observation.state"] - np.array(their[4], np.float32)).max() < 1e-6


@pytest.mark.parametrize(("suite", "task_id"), [(suite, number) for suite in BASES for number in range(10)])
def test_every_task_of_libero_pro_is_built_stepped_drawn_and_replayed(suite, task_id):
    """Two episodes, then the first one again in the same simulator; the instruction is what LIBERO's parser reads."""
    benchmark = Libero(LiberoConfig(task=suite, task_ids=[task_id]))
    (task,) = benchmark.tasks()
    with standing(benchmark) as env:
        first, other, again = (episode(env, 1000 + state, 6, look=always, init_state_id=state) for state in (0, 49, 0))
        frame = env.render(size=(96, 64))
        written = env._simulator.env.parsed_problem["language_instruction"]

    assert again == first
    assert len({*(moment.state for moment in first), *(moment.state for moment in other)}) == 14
    assert frame.shape == (64, 96, 3)
    assert frame.std() > 10
    assert task.instruction == " ".join(written)
