"""What every adapter promises, kept by each of ours with its real simulator."""

import subprocess
import sys

import numpy as np
import pytest
from benchmark_episodes import SAMPLES, always, digest, episode, from_script, random_actions, standing
from gymnasium.spaces import Box

N_STEPS = 15

ours = pytest.mark.parametrize("name", SAMPLES)
drawn = pytest.mark.parametrize("name", ["pusht", "push-v3", "drawer-open-v3", "AlohaInsertion-v0", "libero_goal"])
each_renderer = pytest.mark.parametrize("name", ["pusht", "push-v3", "AlohaInsertion-v0", "libero_goal"])


@ours
def test_looking_changes_nothing_and_always_shows_the_same(name):
    """Looked at always, every fourth step or never, the episode is the same, and so is every observation."""
    with standing(SAMPLES[name]) as env:
        watched = episode(env, 7, N_STEPS, look=always)
        glanced = episode(env, 7, N_STEPS, look=lambda i: i % 4 == 0)
        unseen = episode(env, 7, N_STEPS)

    assert [m.physics for m in watched] == [m.physics for m in glanced] == [m.physics for m in unseen]
    assert [m.seen for m in watched[::4]] == [m.seen for m in glanced[::4]]
    assert all(m.seen for m in watched if not m.over)
    assert not any(m.seen for m in unseen)


@ours
def test_an_episode_does_not_depend_on_those_before_it(name):
    """After three other episodes, one of them ended early, an episode is what it was in a new simulator."""
    with standing(SAMPLES[name]) as env:
        fresh = episode(env, 7, N_STEPS, look=always)
        for seed, n_steps in ((1, 60), (2, 5), (3, 30)):
            episode(env, seed, n_steps)
        again = episode(env, 7, N_STEPS, look=always)

    assert again == fresh


@ours
def test_a_fresh_process_gives_the_same_episode(name):
    """Nothing of an episode depends on the process it runs in."""
    with standing(SAMPLES[name]) as env:
        here = episode(env, 7, N_STEPS, look=always)

    assert from_script("benchmark_episodes.py", name, 7, N_STEPS) == [list(moment) for moment in here]


@ours
def test_seeds_make_episodes_differ(name):
    """Two seeds are two initial states."""
    with standing(SAMPLES[name]) as env:
        states = {episode(env, seed, 0)[0].state for seed in range(1000, 1005)}

    assert len(states) == 5


@ours
def test_what_is_seen_fits_the_declared_space(name):
    """Keys, shapes, dtypes and bounds are those declared, contiguous, and no later step changes them."""
    with standing(SAMPLES[name]) as env:
        seen = env.reset(7, None, look=True)
        kept = {key: array.copy() for key, array in seen.items()}
        env.step(random_actions(env, 7, 1)[0], look=True)

        assert isinstance(env.action_space, Box)
        assert seen.keys() == env.observation_space.keys()
        for key, array in seen.items():
            assert env.observation_space[key].contains(array)
            assert array.flags.c_contiguous
            assert np.array_equal(array, kept[key])


@ours
def test_the_last_step_truncates_and_shows_nothing(name):
    """An episode of three steps is over after three, and nobody looks any more."""
    benchmark = SAMPLES[name]
    short = type(benchmark)(type(benchmark.config)(task=benchmark.config.task, episode_length=3))
    with standing(short) as env:
        moments = episode(env, 7, 10, look=always)

    assert [m.over for m in moments] == [False, False, False, True]
    assert moments[-1].seen is None


@drawn
def test_an_image_shows_something_that_moves(name):
    """Images are neither black nor still."""
    with standing(SAMPLES[name]) as env:
        image = next(key for key in env.observation_space if "image" in key)
        first = env.reset(7, None, look=True)[image]
        for action in random_actions(env, 7, N_STEPS):
            last = env.step(action, look=True).observation[image]

    assert first.std() > 10
    assert (first != last).any()


@each_renderer
def test_frames_of_any_camera_and_size_in_the_midst_of_an_episode_change_nothing(name):
    """Nor does one for which the simulator needs more room to draw than it has: what the policy sees stays the same."""
    sizes = iter([(97, 31), None, (1000, 700), None])
    frames = []
    usual = SAMPLES[name].config.visualization_height, SAMPLES[name].config.visualization_width, 3
    with standing(SAMPLES[name]) as env:
        cameras = env.cameras[:2] or (None,)

        def film_and_look(_):
            size = next(sizes)
            frames.extend((size, env.render(camera, size)) for camera in cameras)
            return True

        fresh = episode(env, 7, 3, look=always)
        filmed = episode(env, 7, 3, look=film_and_look)

    assert filmed == fresh
    assert len(frames) == 4 * len(cameras)
    assert all(frame.dtype == np.uint8 and frame.ndim == 3 and frame.std() > 10 for _, frame in frames)
    assert {frame.shape for size, frame in frames if size == (1000, 700)} == {(700, 1000, 3)}
    assert {frame.shape for size, frame in frames if size is None} == {usual}
    assert len({digest(frame) for size, frame in frames if size == (1000, 700)}) == len(cameras)


@each_renderer
def test_getting_ready_to_look_changes_nothing_that_is_seen(name):
    """What drawing needs may be there from the beginning, or come with the first look."""
    with standing(SAMPLES[name]) as env:
        unprepared = episode(env, 7, 2, look=always)
    with standing(SAMPLES[name]) as env:
        env.prepare_to_look()
        prepared = episode(env, 7, 2, look=always)

    assert prepared == unprepared


@drawn
def test_time_spent_looking_is_kept_apart(name):
    """The clock of looks stands still while nobody looks."""
    with standing(SAMPLES[name]) as env:
        episode(env, 7, N_STEPS)
        unseen = env.look_seconds
        episode(env, 7, 1, look=always)

        assert unseen == 0
        assert env.look_seconds > 0


def test_listing_tasks_imports_no_simulator():
    """The main process plans an evaluation; only workers simulate."""
    program = """
import sys
from proctor.benchmarks.aloha import Aloha, AlohaConfig
from proctor.benchmarks.libero import Libero, LiberoConfig
from proctor.benchmarks.metaworld import MetaWorld, MetaWorldConfig
from proctor.benchmarks.pusht import PushT, PushTConfig
Aloha(AlohaConfig()).tasks(), Libero(LiberoConfig()).tasks()
PushT(PushTConfig()).tasks(), MetaWorld(MetaWorldConfig(task="MT50")).tasks()
simulators = {"metaworld", "mujoco", "gym_aloha", "dm_control", "libero", "robosuite", "gym_pusht", "pymunk", "pygame"}
loaded = (simulators | {"torch"}) & sys.modules.keys()
sys.exit(f"loaded: {loaded}" if loaded else 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
