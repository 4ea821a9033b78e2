"""``proctor check``'s verdict, on policies that deserve each of them."""

from __future__ import annotations

import numpy as np
import pytest

from proctor.config import EvalConfig, RunConfig
from proctor.evaluation.determinism import WAYS, Level, compare, run_variants, verdict
from proctor.evaluation.prepared_run import PreparedRun, prepare
from proctor.testing.fakes import FAKE_BENCHMARK, FakePolicy
from proctor.types import AttemptError, EpisodeResult, EpisodeSpec, Outcome


class Drifting(FakePolicy):
    """Keeps a count of all its predictions, and lets it move its actions."""

    def __init__(self):
        super().__init__()
        self.n_predictions = 0

    def open(self, n_threads):
        return self

    def predict(self, observations, memories):
        chunks = super().predict(observations, memories)
        self.n_predictions += len(chunks)
        return [chunk * np.float32(0.5 + 0.01 * self.n_predictions) for chunk in chunks]


def prepared_run(directory, policy, **env) -> PreparedRun:
    """Two tasks of three episodes."""
    fields = {"type": FAKE_BENCHMARK, "max_steps": 12, **env}
    config = RunConfig(
        policy=dict(policy.fingerprint()), env=fields, eval=EvalConfig(n_episodes=3), output_dir=str(directory)
    )
    return prepare(config, policy)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_policy_whose_state_is_the_episodes_is_bitwise_exact(tmp_path, noise):
    """In every way, also one that draws random numbers."""
    seen = []

    comparisons = run_variants(prepared_run(tmp_path, FakePolicy(noise=noise)), seen.append)

    assert [(c.n_equal, c.n_episodes) for c in comparisons] == [(6, 6)] * (len(WAYS) - 1)
    assert seen == comparisons
    assert verdict(comparisons) == (Level.BITWISE, "")


def test_a_policy_that_keeps_something_between_episodes_is_found_out(tmp_path):
    """Its second run differs from its first already."""
    level, why = verdict(run_variants(prepared_run(tmp_path, Drifting())))

    assert level is Level.STATISTICAL
    assert "run twice" in why


def result(seed: int, **fields) -> EpisodeResult:
    spec = EpisodeSpec("fake", 0, seed, seed)
    return EpisodeResult(
        spec, **{"outcome": Outcome.SUCCESS, "sum_reward": 1.0, "length": 9, "final_state_hash": "a", **fields}
    )


@pytest.mark.parametrize(
    ("other", "level"),
    [
        ({}, Level.BITWISE),
        ({"final_state_hash": "b"}, Level.NUMERICAL),
        ({"sum_reward": 1.0 + 1e-15}, Level.NUMERICAL),
        ({"sum_reward": 1.01}, Level.STATISTICAL),
        ({"sum_reward": None}, Level.STATISTICAL),
        ({"length": 8}, Level.STATISTICAL),
        ({"outcome": Outcome.FAILURE}, Level.STATISTICAL),
    ],
)
def test_the_level_follows_from_the_worst_episode(other, level):
    """A hash alone, or the last bit of a reward, is no longer bitwise; another end is not noise."""
    reference = {r.spec: r for r in (result(0), result(1))}
    results = {r.spec: r for r in (result(0), result(1, **other))}

    comparison = compare(WAYS[2], results, reference)

    assert comparison.level is level
    assert comparison.n_equal == (2 if level is Level.BITWISE else 1)


def test_two_rewards_that_are_not_finite_are_equal():
    """There is no number that could differ."""
    results = {r.spec: r for r in (result(0, sum_reward=None),)}

    assert compare(WAYS[2], results, results).level is Level.BITWISE


def test_what_differs_only_in_company_is_said_to_depend_on_it():
    """The sentence says where to look."""
    reference = {r.spec: r for r in (result(0),)}
    again = compare(WAYS[1], reference, reference)
    crowded = compare(WAYS[2], {r.spec: r for r in (result(0, length=8),)}, reference)

    level, why = verdict([again, crowded])

    assert level is Level.STATISTICAL
    assert "keeps something from one episode to the next" in why


def test_an_episode_that_cannot_be_run_is_no_comparison():
    """It is said, not counted as equal."""
    from proctor.errors import ResourceError

    broken = result(0, outcome=Outcome.ERROR, sum_reward=None, errors=(AttemptError("raised", "no GL"),))

    with pytest.raises(ResourceError, match="no GL"):
        compare(WAYS[1], {broken.spec: broken}, {broken.spec: result(0)})
