"""The promises of every policy, as tests that a policy's own tests inherit. Needs pytest.

::

    import pytest
    from proctor.testing.policy_conformance import PolicyConformance
    from steering import SteeringConfig, SteeringPolicy

    class TestSteering(PolicyConformance):
        @pytest.fixture
        def policy(self):
            return SteeringPolicy(SteeringConfig())

The policy predicts for episodes whose observations are random numbers. Passes have one fixed number of rows, as the
engine's have, and rows that no episode needs are filled up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import ClassVar

import msgspec
import numpy as np
import pytest

from proctor.policies.base import EpisodeMemory, Policy, PolicySource, why_unidentified
from proctor.streams import RandomStream
from proctor.types import Array, EpisodeSpec, Observation

_N_LOOKS = 3
_N_EPISODES = 4


class _Episode:
    """An episode of random observations, and the action chunks that a policy has given for them so far."""

    def __init__(self, kit: PolicyConformance, policy: Policy, number: int) -> None:
        self._kit, self._policy, self._number = kit, policy, number
        self.memory = self.fresh_memory()
        self.chunks: list[Array] = []

    def fresh_memory(self) -> EpisodeMemory:
        return EpisodeMemory(RandomStream(EpisodeSpec("conformance", 0, self._number, seed=1000 + self._number)))

    def observation(self) -> Observation:
        """Give the next observation: one frame for each look offset, the first frame for those before the start."""
        frames = [max(0, len(self.chunks) + offset) for offset in self._policy.look_offsets]
        shapes = sorted(self._kit.observation_shapes.items())
        arrays = {key: np.stack([self._array(shape, frame) for frame in frames]) for key, shape in shapes}
        return Observation(arrays, self._kit.instruction)

    def _array(self, shape: tuple[int, ...], frame: int) -> Array:
        generator = np.random.default_rng([self._number, frame, *shape])
        if len(shape) == 3:
            return generator.integers(0, 256, shape, np.uint8)
        return generator.uniform(0, 1, shape).astype(np.float32)


class PolicyConformance:
    """Inherit these tests, and give a fixture ``policy``."""

    observation_shapes: ClassVar[Mapping[str, tuple[int, ...]]] = {
        "observation.image": (96, 96, 3),
        "observation.state": (2,),
    }
    """The observation's shapes by key: three axes are a uint8 image (height, width, channels), others are float32."""
    instruction: ClassVar[str] = "Push the T-shaped block onto the T-shaped target."

    @pytest.fixture
    def policy(self) -> PolicySource:
        """The policy, or what loads it."""
        raise NotImplementedError("give a fixture 'policy' that returns a proctor.Policy")

    @pytest.fixture
    def opened(self, policy: PolicySource) -> Policy:
        """The policy, loaded; its forward passes have one thread."""
        return policy.open(1)

    def test_it_gives_a_chunk_of_finite_actions_for_each_observation(self, opened: Policy) -> None:
        """Each an array (steps, action size)."""
        episodes = self._episodes(opened)
        self._pass(opened, episodes[:1] if opened.runs_alone else episodes)

        for chunk in (chunk for episode in episodes for chunk in episode.chunks):
            assert chunk.ndim == 2, f"a chunk has the shape {chunk.shape}, not (steps, action size)"
            assert len(chunk), "a chunk has no step"
            assert np.isfinite(chunk).all(), "an action is not finite"

    def test_an_episode_is_the_same_alone_and_beside_others(self, opened: Policy) -> None:
        """Nothing of an episode depends on those that share its passes, or whose passes lie between its own."""
        alone, *_ = self._episodes(opened)
        for _ in range(_N_LOOKS):
            self._pass(opened, [alone])
        together = self._episodes(opened)
        for _ in range(_N_LOOKS):
            self._pass_each(opened, together)

        _require_same(alone, together[0], "beside others")

    def test_an_episode_is_the_same_in_another_row(self, opened: Policy) -> None:
        """The row does not matter, unless ``place_matters`` is True: then each episode keeps its row."""
        if opened.runs_alone or opened.place_matters:
            pytest.skip("each of its episodes has one row")
        first, last = self._episodes(opened), self._episodes(opened)
        for _ in range(_N_LOOKS):
            self._pass(opened, first)
            self._pass(opened, last[::-1])

        for one, other in zip(first, last, strict=True):
            _require_same(one, other, "in another row")

    def test_a_pass_that_fails_changes_no_memory(self, opened: Policy) -> None:
        """An observation that the policy cannot read makes it raise; the episode beside it goes on as if not asked."""
        if opened.runs_alone:
            pytest.skip("it is given one observation at a time")
        clean, disturbed = self._episodes(opened)[0], self._episodes(opened)[0]
        for _ in range(_N_LOOKS):
            self._pass(opened, [clean])
            with suppress(Exception):  # a policy that does not look at its observations may give something
                other = _Episode(self, opened, 1)
                opened.predict(
                    [disturbed.observation(), Observation({}, self.instruction)], [disturbed.memory, other.memory]
                )
                pytest.skip("it does not fail without observations")
            self._pass(opened, [disturbed])

        _require_same(clean, disturbed, "after a pass that failed")

    def test_observations_are_left_as_they_are(self, opened: Policy) -> None:
        """Their arrays may lie in memory that is used again."""
        episode, *_ = self._episodes(opened)
        observation = episode.observation()
        before = {key: array.copy() for key, array in observation.arrays.items()}
        with episode.memory.stream.swapped_in():
            opened.predict([observation], [episode.memory])

        for key, array in observation.arrays.items():
            assert np.array_equal(array, before[key]), f"predict has changed {key}"

    def test_its_fingerprint_stays_the_same(self, opened: Policy) -> None:
        """However often it is asked, also after predictions; it can be written as JSON."""
        if why := why_unidentified(opened):
            pytest.skip(f"it is or holds {why}")
        before = msgspec.json.encode(dict(opened.fingerprint()))
        self._pass_each(opened, self._episodes(opened))

        assert msgspec.json.encode(dict(opened.fingerprint())) == before, "its fingerprint has changed"

    def _episodes(self, policy: Policy) -> list[_Episode]:
        return [_Episode(self, policy, number) for number in range(_N_EPISODES)]

    def _pass_each(self, policy: Policy, episodes: Sequence[_Episode]) -> None:
        """Make one pass for all episodes, or one for each if the policy takes one observation at a time."""
        for together in [[episode] for episode in episodes] if policy.runs_alone else [episodes]:
            self._pass(policy, together)

    def _pass(self, policy: Policy, episodes: Sequence[_Episode]) -> None:
        """Make one forward pass as the engine does. Rows without an episode repeat the first one, with no memory."""
        n_rows = 1 if policy.runs_alone else max(_N_EPISODES, policy.batch_size)
        padding = [(episodes[0].observation(), episodes[0].fresh_memory()) for _ in range(n_rows - len(episodes))]
        rows = [*((episode.observation(), episode.memory) for episode in episodes), *padding]
        observations, memories = zip(*rows, strict=True)
        if policy.runs_alone:
            with memories[0].stream.swapped_in():
                chunks = policy.predict(observations, memories)
        else:
            chunks = policy.predict(observations, memories)
        assert len(chunks) == n_rows, f"for {n_rows} observations it gave {len(chunks)} chunks"
        for episode, chunk in zip(episodes, chunks, strict=False):
            episode.chunks.append(np.array(chunk))


def _require_same(one: _Episode, other: _Episode, how: str) -> None:
    """Say at which look two runs of an episode part."""
    for look, (a, b) in enumerate(zip(one.chunks, other.chunks, strict=True)):
        assert a.dtype == b.dtype and np.array_equal(a, b), f"{how}, its actions differ from look {look} on"  # noqa: PT018
