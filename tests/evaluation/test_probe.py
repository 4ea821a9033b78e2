"""The numbers of a first look at a policy, on arrays whose numbers are known, and what it calls odd."""

from __future__ import annotations

import numpy as np
import pytest

from proctor.config import EvalConfig, RunConfig
from proctor.errors import ConfigError
from proctor.evaluation.prepared_run import prepare
from proctor.evaluation.probe import RecordedPolicy, Recorder, probe
from proctor.evaluation.probe_numbers import ArrayCounter, action_numbers, odd_actions, odd_arrays
from proctor.policies.base import EpisodeMemory, Policy, is_policy
from proctor.streams import RandomStream
from proctor.testing.fakes import FAKE_BENCHMARK, FakePolicy
from proctor.types import EpisodeSpec, Observation, Outcome

LOW, HIGH = (-1.0,) * 4, (1.0,) * 4


def numbers(*arrays, key="observation.state"):
    counter = ArrayCounter(key)
    for array in arrays:
        counter.add(array)
    return counter.numbers()


def moving(n=40):
    """Actions of which nothing is odd: all inside, all different, and the gripper closes in between."""
    actions = np.linspace(-0.9, 0.9, 4 * n, dtype=np.float32).reshape(n, 4)
    return [actions[: n // 2], actions[n // 2 :]]


def warnings(chunks, n_action_steps=None):
    return list(odd_actions(action_numbers(chunks, LOW, HIGH), n_action_steps))


class TestArrays:
    def test_the_numbers_are_over_all_arrays_of_a_key(self):
        found = numbers(np.array([[1.0, 2.0]]), np.array([[3.0, 6.0]]))

        assert (found.shape, found.dtype, found.n) == ((1, 2), "float64", 2)
        assert (found.low, found.high, found.mean) == (1.0, 6.0, 3.0)
        assert found.changes
        assert not found.is_image

    def test_what_is_not_finite_is_counted_and_is_in_no_mean(self):
        found = numbers(np.array([[1.0, np.nan]]), np.array([[np.inf, 3.0]]))

        assert (found.low, found.high, found.mean, found.n_not_finite) == (1.0, 3.0, 2.0, 2)
        assert any("NaN or infinite (2 of them)" in each for each in odd_arrays([found], "it was sent"))

    def test_without_a_finite_number_there_is_no_mean(self):
        found = numbers(np.array([[np.nan]]))

        assert (found.low, found.high, found.mean) == (None, None, None)

    def test_the_memory_of_an_array_may_be_used_again(self):
        """The engine's observations lie in memory that the worker writes the next one into."""
        array = np.array([[1.0, 2.0]])
        counter = ArrayCounter("observation.state")
        counter.add(array)
        array += 1
        counter.add(array)

        assert counter.numbers().changes

    @pytest.mark.parametrize(("value", "kind"), [(0, "all black"), (7, "all of one value")])
    def test_an_image_of_one_value_is_odd(self, value, kind):
        flat = np.full((1, 8, 8, 3), value, np.uint8)
        (sentence,) = odd_arrays([numbers(flat, flat, key="observation.image")], "it was sent")

        assert f"{kind} in 2 of 2 observations, as it was sent" in sentence

    def test_a_vector_that_never_changes_is_odd(self):
        state = np.array([[1.0, 2.0]])
        (sentence,) = odd_arrays([numbers(state, state)], "the policy was given it")

        assert sentence == "observation.state is the same in all 2 observations, as the policy was given it."

    def test_arrays_that_change_are_not_odd(self):
        generator = np.random.default_rng(0)
        images = [generator.integers(0, 256, (1, 8, 8, 3), dtype=np.uint8) for _ in range(2)]
        states = [generator.normal(size=(1, 1, 2)) for _ in range(2)]

        assert not list(odd_arrays([numbers(*images, key="image"), numbers(*states)], "it was sent"))

    def test_one_observation_says_nothing_of_change(self):
        assert not list(odd_arrays([numbers(np.array([[1.0, 2.0]]))], "it was sent"))


class TestActions:
    def test_each_dimension_has_its_numbers_and_its_share_outside(self):
        chunk = np.array([[0.0, 2.0], [0.5, 0.0], [1.0, -4.0], [0.5, 0.0]])
        found = action_numbers([chunk], (-1.0, -1.0), (1.0, 1.0))
        first, second = found.dimensions

        assert (found.n_chunks, found.n_actions, found.chunks, found.dtype) == (1, 4, ((4, 2),), "float64")
        assert (first.low, first.high, first.mean, first.outside) == (0.0, 1.0, 0.5, 0.0)
        assert (second.low, second.high, second.mean, second.outside) == (-4.0, 2.0, -0.5, 0.5)
        assert second.excess == 3.0
        assert found.outside == 0.5
        assert found.last_changes_sign

    def test_an_action_outside_in_two_dimensions_counts_once(self):
        assert action_numbers([np.array([[2.0, 2.0], [0.0, 0.0]])], (-1.0, -1.0), (1.0, 1.0)).outside == 0.5

    @pytest.mark.parametrize("bound", [-1, 1])
    def test_a_rounding_error_beyond_a_bound_is_not_outside(self, bound):
        action = np.nextafter(np.float32(bound), np.float32(2 * bound))

        assert abs(action) > 1
        assert action_numbers([np.array([[action]])], (-1.0,), (1.0,)).outside == 0.0

    def test_infinite_bounds_hold_everything(self):
        assert action_numbers([np.array([[1e9]])], (-np.inf,), (np.inf,)).outside == 0.0

    def test_without_bounds_nothing_is_said_of_them(self):
        found = action_numbers([np.array([[9.0]])])

        assert found.outside is None
        assert found.dimensions[0].bounds is None

    def test_a_chunk_of_another_width_is_named_and_not_counted(self):
        found = action_numbers([np.zeros((3, 2)), np.ones((3, 1))], (-1.0, -1.0), (1.0, 1.0))

        assert found.chunks == ((3, 2), (3, 1))
        assert found.n_actions == 3

    def test_clean_actions_are_not_odd(self):
        assert warnings(moving(), n_action_steps=20) == []

    def test_more_than_a_twentieth_outside_is_odd(self):
        chunks = moving()
        chunks[0][:3, 1] = -3.0
        (sentence,) = warnings(chunks)

        assert "8 % of the actions are outside" in sentence
        assert "by up to 2 (dimensions 1)" in sentence

    def test_a_twentieth_outside_is_not_odd(self):
        chunks = moving()
        chunks[0][:2, 1] = -3.0

        assert warnings(chunks) == []

    def test_a_dimension_that_never_changes_is_odd(self):
        chunks = moving()
        for chunk in chunks:
            chunk[:, 2] = 0.25

        assert warnings(chunks) == ["Dimension 2 of the actions is 0.25 in all 40 actions."]

    def test_a_gripper_that_never_changes_its_sign_is_odd(self):
        chunks = [np.concatenate([chunk[:, :3], abs(chunk[:, 3:])], axis=1) for chunk in moving()]
        (sentence,) = warnings(chunks)

        assert "Dimension 3, the last one of the actions, never changes its sign" in sentence

    @pytest.mark.parametrize("bounds", [((0.0,) * 4, (1.0,) * 4), ((-1.0,) * 2, (1.0,) * 2)], ids=["positive", "small"])
    def test_what_cannot_be_a_gripper_of_two_signs_need_not_change_it(self, bounds):
        low, high = bounds
        actions = abs(np.concatenate(moving())[:, : len(low)])

        assert not list(odd_actions(action_numbers([actions], low, high), None))

    def test_a_chunk_that_is_shorter_than_what_is_executed_is_odd(self):
        (sentence,) = warnings(moving(), n_action_steps=25)

        assert sentence.startswith("A chunk has 20 actions, but n_action_steps is 25")

    def test_numbers_that_are_not_finite_are_odd(self):
        chunks = moving()
        chunks[1][0, 0] = np.nan

        assert warnings(chunks) == ["The actions hold numbers that are NaN or infinite (1 of them)."]


class Odd(Policy):
    """Gives actions far outside of the bounds, and says that it executes more of them than there are."""

    n_action_steps = 5
    distributions = ("numpy",)
    unidentified = "a whim"

    def __init__(self) -> None:
        self.disconnected = 0
        self.batches = []

    def predict(self, observations, memories):
        self.batches.append(len(observations))
        return [np.full((2, 2), 7.0) for _ in observations]

    def disconnect(self):
        self.disconnected += 1


def looked(policy, tmp_path, steps=6, seed=1000):
    evaluation = EvalConfig(n_episodes=3, video="none")
    config = RunConfig(env={"type": FAKE_BENCHMARK}, eval=evaluation, seed=seed, output_dir=str(tmp_path))
    return probe(prepare(config, policy), steps)


class TestLooking:
    def test_the_first_episode_is_run_for_the_steps_that_are_asked_for(self, tmp_path):
        policy = Odd()
        found = looked(policy, tmp_path)

        assert (found.task, found.spec.episode_index, found.spec.task_id) == ("task-0", 0, 0)
        assert (found.steps, found.outcome, found.error) == (6, Outcome.FAILURE, "")
        assert found.instructions == ("steer to 0",)
        assert found.actions.n_chunks == found.latency.n == 3
        assert policy.batches == [1, 1, 1]
        assert policy.disconnected >= 1

    def test_what_is_odd_is_said(self, tmp_path):
        sentences = "\n".join(looked(Odd(), tmp_path).warnings)

        assert "100 % of the actions are outside" in sentences
        assert "by up to 6 (dimensions 0, 1)" in sentences
        assert "Dimension 0 of the actions is 7 in all 6 actions." in sentences
        assert "A chunk has 2 actions, but n_action_steps is 5" in sentences

    def test_a_policy_with_nothing_odd_has_no_warning(self, tmp_path):
        found = looked(FakePolicy(1), tmp_path)

        assert found.warnings == ()
        assert [each.key for each in found.observations] == ["observation.image", "observation.state"]
        assert found.observations[0].shape == (1, 8, 8, 3)
        assert found.actions.dimensions[0].bounds == (-1.0, 1.0)
        assert found.wire is None

    def test_an_image_of_one_value_is_seen(self, tmp_path):
        """The fake benchmark's first image is black but for one pixel, which with this seed is black too."""
        (sentence,) = looked(FakePolicy(1), tmp_path, seed=1024).warnings

        assert sentence.startswith("observation.image is an image that is all of one value in 1 of ")

    def test_one_look_is_too_few_to_see_change(self, tmp_path):
        assert any("looked only once" in each for each in looked(FakePolicy(3), tmp_path, steps=3).warnings)

    def test_a_policy_that_raises_is_an_error_and_what_it_was_given_is_shown(self, tmp_path):
        class Raising(FakePolicy):
            def predict(self, observations, memories):
                raise RuntimeError("out of order")

        found = looked(Raising(), tmp_path)

        assert "out of order" in found.error
        assert (found.outcome, found.steps, found.actions) == (Outcome.ERROR, None, None)
        assert found.observations[1].key == "observation.state"

    def test_no_steps_are_refused(self, tmp_path):
        with pytest.raises(ConfigError, match="at least 1"):
            looked(FakePolicy(), tmp_path, steps=0)

    def test_nothing_but_the_workers_log_is_written(self, tmp_path):
        looked(FakePolicy(), tmp_path)

        assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {"worker.log"}


class TestRecordedPolicy:
    def test_it_is_the_policy_that_it_wraps(self):
        policy = Odd()
        recorded = RecordedPolicy(policy, Recorder())

        assert is_policy(recorded)
        for name in ("n_action_steps", "look_offsets", "randomness", "place_matters", "batch_size", "n_slots"):
            assert getattr(recorded, name) == getattr(policy, name)
        for name in ("episodes_per_pass", "distributions", "sources", "unidentified", "pinned"):
            assert getattr(recorded, name) == getattr(policy, name)
        assert recorded.fingerprint() == policy.fingerprint()
        recorded.disconnect()
        assert policy.disconnected == 1

    def test_its_actions_are_those_of_the_policy(self):
        observation = Observation({"observation.state": np.array([[0.3, 0.2]])}, "steer to 1")
        memory = EpisodeMemory(RandomStream(EpisodeSpec("fake", 1, 0, 1000)))
        (chunk,) = RecordedPolicy(FakePolicy(), Recorder()).predict([observation], [memory])

        assert np.array_equal(chunk, FakePolicy().predict([observation], [memory])[0])
