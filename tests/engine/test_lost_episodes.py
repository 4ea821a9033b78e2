"""A policy that lives elsewhere may lose an episode, or be gone: neither is the episode's fault."""

from __future__ import annotations

import pytest
from fake_runs import canonical, errors_of, run_fake

from proctor.errors import EpisodeLostError, FingerprintError, PolicyGoneError
from proctor.testing.fakes import FakePolicy


class Elsewhere(FakePolicy):
    """A policy that raises what it is given at its ``at``-th request, ``times`` times."""

    def __init__(self, error, at=0, times=1):
        super().__init__()
        self.n_slots = 1
        self.error, self.at, self.times = error, at, times
        self.n_requests = self.n_disconnected = 0

    def predict(self, observations, memories):
        n, self.n_requests = self.n_requests, self.n_requests + 1
        if self.at <= n < self.at + self.times:
            raise self.error
        return super().predict(observations, memories)

    def disconnect(self):
        self.n_disconnected += 1


@pytest.fixture(scope="module")
def clean_run(tmp_path_factory):
    return run_fake(tmp_path_factory.mktemp("clean") / "run", batch_size=1)


@pytest.mark.parametrize("at", [0, 5])
def test_an_episode_that_the_policy_lost_starts_again_and_no_attempt_counts(clean_run, tmp_path, at):
    """More often than there are attempts, at the episode's beginning and within it."""
    policy = Elsewhere(EpisodeLostError("the server was started again"), at, times=4)

    result = run_fake(tmp_path / "run", policy, max_attempts=1)

    assert not errors_of(result)
    assert canonical(result.info) == canonical(clean_run.info)


@pytest.mark.parametrize("error", [PolicyGoneError("ws://there", "refused"), FingerprintError("another policy")])
def test_a_policy_that_is_gone_ends_the_run_and_another_one_completes_it(clean_run, tmp_path, error):
    """No episode has an error of it."""
    with pytest.raises(type(error)) as raised:
        run_fake(tmp_path / "run", Elsewhere(error, at=9, times=100))
    assert "episodes are kept" in raised.value.hint

    result = run_fake(tmp_path / "run", Elsewhere(error, times=0))

    assert not errors_of(result)
    assert canonical(result.info) == canonical(clean_run.info)


def test_a_policy_is_disconnected_when_nobody_asks_any_more(tmp_path):
    policy = Elsewhere(EpisodeLostError(""), times=0)

    run_fake(tmp_path / "run", policy)

    assert policy.n_disconnected == 1
