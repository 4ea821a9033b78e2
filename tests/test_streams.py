"""Every episode has its own random numbers, wherever and whenever it draws them."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from proctor.streams import RandomStream
from proctor.types import EpisodeSpec

SPEC = EpisodeSpec("suite", 3, 4, 1004)


def draw(stream: RandomStream) -> tuple[float, ...]:
    """From every generator that code may use."""
    with stream.swapped_in():
        return random.random(), np.random.normal(), random.gauss(0, 1), float(stream.generator.normal())


def draw_and_raise(stream: RandomStream, drawn: list[float] | None = None) -> None:
    """As code that fails in the middle does."""
    with stream.swapped_in():
        (drawn if drawn is not None else []).append(np.random.normal())
        _ = 1 / 0


def outside() -> tuple[object, ...]:
    return random.getstate(), np.random.get_state()[1].tobytes(), np.random.get_state()[2:]


def test_the_same_episode_draws_the_same_numbers():
    """In any process: nothing but the spec goes in."""
    script = (
        "import numpy as np; from proctor.streams import RandomStream; from proctor.types import EpisodeSpec\n"
        f"stream = RandomStream({SPEC!r})\n"
        "with stream.swapped_in(): print(repr(float(np.random.normal())), repr(float(stream.generator.normal())))"
    )
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()

    here = draw(RandomStream(SPEC))

    assert draw(RandomStream(SPEC)) == here
    assert [float(there[0]), float(there[1])] == [here[1], here[3]]


@pytest.mark.parametrize(
    "other",
    [
        EpisodeSpec("suite", 3, 5, 1004),
        EpisodeSpec("suite", 3, 4, 1005),
        EpisodeSpec("suite", 4, 4, 1004),
        EpisodeSpec("other", 3, 4, 1004),
    ],
    ids=["index", "seed", "task", "suite"],
)
def test_different_episodes_draw_different_numbers(other):
    """Although they may share a seed: every task has an episode 4 with seed 1004."""
    assert not set(draw(RandomStream(other))) & set(draw(RandomStream(SPEC)))


def test_an_initial_state_is_not_part_of_the_randomness():
    """The simulator's business."""
    assert draw(RandomStream(EpisodeSpec("suite", 3, 4, 1004, 7))) == draw(RandomStream(SPEC))


def test_the_world_outside_is_as_it_was():
    """Also after an exception inside."""
    random.seed(1)
    np.random.seed(1)
    before = outside()
    draw(RandomStream(SPEC))
    assert outside() == before

    with pytest.raises(ZeroDivisionError):
        draw_and_raise(RandomStream(SPEC))

    assert outside() == before


def test_a_stream_goes_on_where_it_stopped():
    """After an exception too; what others draw in between changes nothing."""
    with (straight := RandomStream(SPEC)).swapped_in():
        expected = [np.random.normal() for _ in range(4)]

    stream, other, drawn = RandomStream(SPEC), RandomStream(EpisodeSpec("other", 0, 0, 1)), []
    for _ in range(4):
        with pytest.raises(ZeroDivisionError):
            draw_and_raise(stream, drawn)
        np.random.seed(5)
        draw(other)

    assert drawn == expected
    assert draw(stream) == draw(straight)


def test_streams_may_be_nested():
    """The inner one's numbers do not come out of the outer one's."""
    outer, inner = RandomStream(SPEC), RandomStream(EpisodeSpec("inner", 0, 0, 1))
    with outer.swapped_in():
        drawn = [np.random.normal()]
        with pytest.raises(ZeroDivisionError):
            draw_and_raise(inner)
        drawn.append(np.random.normal())

    with RandomStream(SPEC).swapped_in():
        assert [np.random.normal(), np.random.normal()] == drawn


TORCH = """
import torch, sys
from proctor.streams import RandomStream
from proctor.types import EpisodeSpec
def numbers(stream, n):
    with stream.swapped_in():
        return [float(torch.randn(())) for _ in range(n)]
a, b = EpisodeSpec("s", 0, 0, 1), EpisodeSpec("s", 0, 1, 2)
torch.manual_seed(3)
state = torch.get_rng_state()
straight = numbers(RandomStream(a), 4)
assert torch.equal(torch.get_rng_state(), state)
stream, other = RandomStream(a), RandomStream(b)
halves = numbers(stream, 2) + numbers(other, 2)[:0] + numbers(stream, 2)
assert halves == straight
assert not set(numbers(RandomStream(b), 4)) & set(straight)
"""


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_torch_takes_part_where_it_is_imported():
    """The same promises: own numbers, going on, nothing left outside."""
    subprocess.run([sys.executable, "-c", TORCH], check=True)


def test_torch_is_not_imported_for_it():
    """It takes ten seconds, and many a policy needs none."""
    script = "import sys; from proctor.streams import RandomStream; from proctor.types import EpisodeSpec\n"
    script += f"with RandomStream({SPEC!r}).swapped_in(): pass\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_streams_that_are_swapped_in_on_several_threads_do_not_disturb_each_other():
    """As where each device has an inference thread of its own."""
    specs = [EpisodeSpec("suite", 0, index, index) for index in range(4)]

    def draws(spec: EpisodeSpec) -> list[float]:
        stream, drawn = RandomStream(spec), []
        for _ in range(100):
            with stream.swapped_in():
                drawn.append(np.random.normal())
                time.sleep(1e-5)
                drawn.append(random.random())
        return drawn

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(draws, specs))

    assert together == [draws(spec) for spec in specs]
