"""A sketch of what an episode's policy was given."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from proctor.engine.input_sketch import (
    IMAGE_LOOKS,
    MOST_EPISODES,
    MOST_EPISODES_WITH_IMAGES,
    MOST_ROWS,
    THUMBNAIL,
    InputRecorder,
    InputSketch,
    recorder_of,
    thumbnail,
)
from proctor.types import EpisodeSpec, Observation


def sketch_of(states, *, episode=0, images=None, n_looks_shown=1, apart=5):
    """The sketch of an episode with these states, one for each look; observations hold ``n_looks_shown`` of them."""
    recorder = InputRecorder(EpisodeSpec("suite", 0, episode, 1000), (-1.0,), (1.0,), 20.0)
    for look in range(len(states)):
        history = np.stack([states[max(0, look + 1 - n_looks_shown + back)] for back in range(n_looks_shown)])
        arrays = {"observation.state": history}
        if images is not None:
            arrays["observation.image"] = np.stack([images[look]] * n_looks_shown)
        recorder.look(look * apart, Observation(arrays, f"look {look}"))
        history[:] = np.nan  # the engine's memory is used again
    return recorder.sketch()


def test_extremes_are_of_all_looks_and_rows_of_evenly_spaced_ones():
    states = np.random.default_rng(0).normal(size=(300, 3))

    sketch = sketch_of(states)
    vector = sketch.vectors["observation.state"]
    rows = vector.rows.unpack()

    assert sketch.n_looks == 300
    assert len(rows) == len(sketch.steps) <= MOST_ROWS
    assert np.array_equal(rows, states[::10].astype(np.float32))
    assert sketch.steps[:3] == (0, 50, 100)
    assert np.array_equal(vector.low.unpack(), states.min(axis=0))
    assert np.array_equal(vector.high.unpack(), states.max(axis=0))
    assert sketch.instruction == "look 0"


def test_of_a_history_only_the_present_is_taken():
    states = np.arange(12.0).reshape(6, 2)

    assert sketch_of(states, n_looks_shown=3) == sketch_of(states)


def test_values_that_are_not_finite_are_counted_and_hide_no_extremes():
    states = np.array([[1.0, np.nan], [np.inf, np.nan], [3.0, np.nan]])

    vector = sketch_of(states).vectors["observation.state"]

    assert vector.n_not_finite == 4
    assert vector.low.unpack()[0] == 1
    assert vector.high.unpack()[0] == 3
    assert np.isnan(vector.low.unpack()[1])


def test_images_are_kept_small_at_a_few_looks_and_whole_at_the_very_first():
    images = np.random.default_rng(0).integers(0, 256, (40, 96, 128, 3), np.uint8)

    image = sketch_of(np.zeros((40, 1)), images=images).images["observation.image"]
    later = sketch_of(np.zeros((40, 1)), images=images, episode=1).images["observation.image"]

    kept = [look for look in range(40) if look in IMAGE_LOOKS]
    assert np.array_equal(image.thumbnails.unpack(), [thumbnail(images[look]) for look in kept])
    assert np.frombuffer(zlib.decompress(image.first), np.uint8).tobytes() == images[0].tobytes()
    assert image.shape == (96, 128, 3)
    assert later.first == b""
    assert later.thumbnails == image.thumbnails


@pytest.mark.parametrize("shape", [(480, 480, 3), (84, 84, 3), (31, 200, 1)])
def test_a_thumbnail_is_never_larger_than_it_may_be(shape):
    assert max(thumbnail(np.zeros(shape, np.uint8)).shape[:2]) <= THUMBNAIL


def test_only_the_first_episodes_of_a_task_have_sketches_and_fewer_have_images():
    def recorder(episode):
        return recorder_of(EpisodeSpec("suite", 0, episode, 0), (), (), 0.0)

    images = np.zeros((1, 8, 8, 3), np.uint8)

    assert recorder(MOST_EPISODES - 1) is not None
    assert recorder(MOST_EPISODES) is None
    assert sketch_of(np.zeros((1, 1)), images=images, episode=MOST_EPISODES_WITH_IMAGES - 1).images
    assert not sketch_of(np.zeros((1, 1)), images=images, episode=MOST_EPISODES_WITH_IMAGES).images


def test_a_sketch_survives_the_journal_and_damage_is_recognised():
    sketch = sketch_of(np.random.default_rng(0).normal(size=(7, 2)))

    assert InputSketch.from_array(sketch.to_array()) == sketch
    with pytest.raises(ValueError, match="cannot be read"):
        InputSketch.from_array(sketch.to_array()[:-3])
