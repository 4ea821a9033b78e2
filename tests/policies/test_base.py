"""What counts as a policy, and what is said of something that does not."""

from __future__ import annotations

import pytest

from proctor.errors import ConfigError
from proctor.policies.base import LocalPolicy, Policy, Randomness, is_policy, require_policy, why_unidentified
from proctor.policies.local import random


class Still(Policy):
    """Does nothing."""

    def predict(self, observations, memories):
        return []


class Later:
    """A policy that is loaded later, and inherits nothing."""

    look_offsets = (0,)
    n_action_steps = episodes_per_pass = 1
    distributions = sources = per_device = ()
    pinned: dict = {}  # noqa: RUF012
    unidentified = ""

    def check_contract(self, features):
        """Everything fits."""

    def fingerprint(self):
        return {"type": "later"}

    def open(self, n_threads):
        return Still()


class Drawer:
    """Opens, like a file."""

    def open(self):
        """As a drawer does."""


@pytest.mark.parametrize("policy", [Still(), Later(), random({})], ids=["loaded", "later", "local"])
def test_a_policy_is_whatever_has_all_members_of_one(policy):
    """It need not inherit from anything."""
    assert is_policy(policy)
    assert require_policy(policy, "my_module:load returned") is policy


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, r"my_module:load returned a NoneType, which lacks open; a policy is a proctor\.Policy"),
        (Still, "returned the class Still; a policy"),
        (len, "returned a builtin_function_or_method, which lacks open;"),
        (Drawer(), "a Drawer, which lacks look_offsets, n_action_steps, .*, pinned, .*, fingerprint, per_device;"),
    ],
    ids=["nothing", "class", "function", "drawer"],
)
def test_what_is_not_a_policy_is_refused_with_what_it_lacks(value, words):
    """A thing that can be opened is not one yet."""
    assert not is_policy(value)
    with pytest.raises(ConfigError, match=words):
        require_policy(value, "my_module:load returned")


@pytest.mark.parametrize(("randomness", "alone"), [("none", False), ("per_row", False), ("global", True)])
def test_the_texts_of_randomness_are_its_members(randomness, alone):
    """Policies of users, fingerprints and files have the texts."""
    policy = Still()
    policy.randomness = randomness

    assert policy.runs_alone is alone
    policy.randomness = Randomness(randomness)
    assert policy.runs_alone is alone
    assert str(policy.randomness) == randomness


def test_a_slip_in_randomness_is_a_sentence():
    """It would run as if nothing random were in it."""
    policy = Still()
    policy.randomness = "per-row"

    with pytest.raises(ConfigError, match=r"Still.randomness is 'per-row'; set it to one of 'none', 'per_row', 'glo"):
        _ = policy.runs_alone


def test_a_policy_without_a_fingerprint_of_its_own_is_unidentified():
    """Another one may have the same class."""
    assert why_unidentified(Still()) == "a Still without a fingerprint of its own"
    assert why_unidentified(Later()) == ""
    assert why_unidentified(LocalPolicy("module:attribute")) == ""
