"""LIBERO-PRO: its suites, the source of their instructions, and the quick simulator's equality with LIBERO's code."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from benchmark_episodes import standing
from libero_checks import both_kinds, differences, liberos, put_at_goal

from proctor.benchmarks.libero import benchmark as libero
from proctor.benchmarks.libero.benchmark import Libero, LiberoConfig
from proctor.benchmarks.libero.package import DISTRIBUTIONS
from proctor.benchmarks.libero.simulator import is_compared
from proctor.benchmarks.libero.tasks import BASES, PERTURBATIONS, SUITES
from proctor.cli import main
from proctor.errors import ConfigError


def tasks_of(suites, **fields):
    return Libero(LiberoConfig(task=suites, **fields)).tasks()


def instructions(suites, **fields):
    return [task.instruction for task in tasks_of(suites, **fields)]


@pytest.mark.parametrize(
    ("group", "suites"),
    [
        ("libero_pro", list(BASES)),
        ("libero_pro_swap", ["libero_spatial_swap", "libero_object_swap", "libero_goal_swap", "libero_10_swap"]),
        ("libero_goal_swap,libero_pro_swap", ["libero_goal_swap", *(s for s in BASES if s.endswith("swap"))]),
    ],
)
def test_a_group_is_its_suites_each_once(group, suites):
    """In the order in which they are named; a result has the rates of each."""
    tasks = tasks_of(group)

    assert list(dict.fromkeys(task.suite for task in tasks)) == list(dict.fromkeys(suites))
    assert len({task.key for task in tasks}) == len(tasks) == 10 * len(set(suites))


@pytest.mark.parametrize("suite", BASES)
def test_the_instruction_is_the_one_in_the_file(suite):
    """Where the instruction is what LIBERO-PRO perturbs, it never is the one that the file's name spells."""
    written, spelt = instructions(suite), instructions(suite, instruction="name")

    assert spelt == instructions(BASES[suite])
    if suite.endswith(("_lan", "_task")):
        assert all(one != other for one, other in zip(written, spelt, strict=True))
    else:
        assert written == instructions(BASES[suite], instruction="bddl")


def test_the_source_of_the_instructions_is_recorded():
    """Also if it was not given; a choice that differs from suite to suite stays a choice."""
    source = {
        suites: asdict(LiberoConfig(task=suites))["instruction"]
        for suites in ("libero_goal", "libero_pro_lan", "libero_goal,libero_goal_lan")
    }

    assert source == {"libero_goal": "name", "libero_pro_lan": "bddl", "libero_goal,libero_goal_lan": "auto"}
    assert asdict(LiberoConfig(task="libero_goal_lan", instruction="name"))["instruction"] == "name"
    assert instructions("libero_goal,libero_goal_lan") == instructions("libero_goal") + instructions("libero_goal_lan")


@pytest.mark.parametrize(
    ("suite", "instruction", "words"),
    [
        ("libero_goal_lan", "bddl", "--env.instruction=name reproduces them"),
        ("libero_10_task", "name", "have the unperturbed instructions"),
        ("libero_goal_swap", "bddl", None),
        ("libero_goal", "name", None),
    ],
)
def test_a_reader_is_told_where_others_instructions_differ(suite, instruction, words):
    """Once, however many suites there are; other suites have the same instructions for everybody."""
    notes = libero._notes_on(suite, instruction)

    assert [words in note for note in notes] == ([True] if words else [])
    assert {libero._notes_on(other, instruction) for other in ("libero_10_lan", "libero_goal_task")} == {
        libero._notes_on("libero_goal_lan", instruction)
    }


@pytest.mark.parametrize("protocol", ["lerobot", "openpi", "groot"])
def test_limits_are_those_of_the_suite_that_is_perturbed(protocol):
    """By every protocol."""
    for perturbation in PERTURBATIONS:
        for base in ("libero_spatial", "libero_object", "libero_goal", "libero_10"):
            perturbed, original = (tasks_of(s, protocol=protocol) for s in (f"{base}_{perturbation}", base))
            assert {task.max_episode_steps for task in perturbed} == {task.max_episode_steps for task in original}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"task": "libero_goal_lang"}, "Did you mean 'libero_goal_lan'?"),
        ({"task": "libero_pro", "instruction": "file"}, "it must be one of auto, name, bddl"),
        ({"task": "libero_pro_lan", "task_ids": [10]}, "libero_spatial_lan has tasks 0 to 9"),
    ],
)
def test_a_mistake_is_one_sentence(fields, words):
    with pytest.raises(ConfigError) as raised:
        Libero(LiberoConfig(**fields)).tasks()

    assert words in str(raised.value)


def test_the_list_shows_each_instruction_of_a_task(capsys):
    """A file that is in a suite of LIBERO and in LIBERO-PRO's is listed with each sentence and where that is given."""
    assert main(["list", "libero", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    stove = {task["instruction"]: task["groups"] for task in listed["tasks"] if task["task"] == "turn_on_the_stove"}

    assert stove == {
        "turn on the stove": [
            "libero_goal",
            "libero_goal_object",
            "libero_goal_swap",
            "libero_pro_object",
            "libero_pro_swap",
            "libero_pro",
        ],
        "switch on the stove": ["libero_goal_lan", "libero_pro_lan", "libero_pro"],
        "turn off the stove": ["libero_goal_task", "libero_pro_task", "libero_pro"],
    }
    assert listed["groups"] == {suite: len(names) for suite, names in SUITES.items()} | {
        **{f"libero_pro_{perturbation}": 40 for perturbation in PERTURBATIONS},
        "libero_pro": 160,
    }


@pytest.mark.skipif(
    not is_compared(DISTRIBUTIONS), reason="other versions are installed than those the quick simulator is for"
)
@pytest.mark.parametrize(
    ("suite", "task_id"),
    [("libero_spatial_lan", 4), ("libero_object_object", 3), ("libero_10_swap", 2), ("libero_goal_task", 7)],
)
def test_the_quick_simulator_is_liberos_own_code_to_the_bit(suite, task_id):
    """One task of each perturbation; ``make prove`` compares all 160."""
    stock, quick = both_kinds(*liberos(suite, task_id), (1004,), 4)

    assert differences(stock, quick) == []


def test_another_task_in_the_same_scene_has_another_goal():
    """The stove is to be turned off, so that it burns first; LIBERO's own task of that name succeeds if it burns."""
    still = np.zeros(7, np.float32)
    with standing(Libero(LiberoConfig(task="libero_goal_task", task_ids=[7]))) as env:
        env.reset(7, 0, look=False)
        before = env.step(still, look=False).success
        put_at_goal(env._simulator)
        after = env.step(still, look=False).success
        notes = env.notes

    assert (before, after) == (False, True)
    assert len(notes) == 1
