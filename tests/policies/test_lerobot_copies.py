"""A policy that remembers: one copy per episode, which shares the weights and nothing that changes."""

from types import SimpleNamespace

import numpy as np
import pytest
from lerobot_samples import Episode, frames, new_memory, observation_at

from proctor.errors import PolicyError
from proctor.policies.lerobot import load

torch = pytest.importorskip("torch")
pytest.importorskip("lerobot")

from proctor.policies.lerobot.copies import sharing_weights  # noqa: E402


def open_model(path):
    return load({"path": str(path), "device": "cpu"}).open(1)


@pytest.mark.parametrize("name", ["tdmpc", "wanderer"])
def test_weights_are_shared_storage(checkpoints, name):
    """All parameters, and what is as large as one."""
    model = open_model(checkpoints[name])._model

    copy = sharing_weights(model)

    assert copy is not model
    ours, theirs = dict(model.named_parameters()), dict(copy.named_parameters())
    assert ours.keys() == theirs.keys()
    assert all(ours[key].data_ptr() == theirs[key].data_ptr() for key in ours)


def test_what_changes_is_not_shared(checkpoints):
    """Small buffers, queues, whatever lies in an attribute; a table of a megabyte is."""
    policy = open_model(checkpoints["wanderer"])
    memories = [new_memory(seed) for seed in range(2)]
    observation = observation_at(policy, frames(seed=1), 0)
    with memories[0].stream.swapped_in():
        policy.predict([observation], [memories[0]])
    moved = memories[0].state["policy"]
    with memories[1].stream.swapped_in():
        policy.predict([observation], [memories[1]])
    other = memories[1].state["policy"]

    assert not torch.equal(moved.position, other.position)
    assert torch.equal(policy._model.position, torch.zeros(2))
    assert policy._model._hidden is None
    assert moved._queue_of_my_own is not other._queue_of_my_own
    assert moved.table.data_ptr() == other.table.data_ptr() == policy._model.table.data_ptr()


def test_a_planner_starts_where_it_ended_in_the_same_episode_only(checkpoints):
    """TD-MPC's warm start; the actions after it in the queue are taken too."""
    policy = open_model(checkpoints["tdmpc"])
    seen = frames(seed=1)
    first = Episode(policy, seen).run()

    second = Episode(policy, seen).run()

    np.testing.assert_array_equal(second, first)
    assert policy._model._prev_mean is None
    assert policy.n_action_steps == 2


def test_what_cannot_be_copied_is_refused():
    """With its name."""

    class Stubborn(torch.nn.Module):
        def __deepcopy__(self, memo):
            raise TypeError("cannot pickle '_thread.lock' object")

    with pytest.raises(PolicyError, match="Stubborn keeps state and cannot be copied: cannot pickle"):
        sharing_weights(Stubborn())


def test_networks_kept_aside_are_shared_too():
    """LingBot-VA has them in a dictionary, which PyTorch does not look into, one of them in an object there."""

    class Keeping(torch.nn.Module):
        def __init__(self):
            super().__init__()
            wrapper = SimpleNamespace(network=torch.nn.Linear(3, 3), cache=[2])
            self._frozen = {"encoder": torch.nn.Linear(3, 3), "cache": [1], "wrapper": wrapper}

    model = Keeping()
    copy = sharing_weights(model)

    assert copy._frozen["encoder"].weight.data_ptr() == model._frozen["encoder"].weight.data_ptr()
    assert copy._frozen["cache"] is not model._frozen["cache"]
    theirs, ours = copy._frozen["wrapper"], model._frozen["wrapper"]
    assert theirs.network.weight.data_ptr() == ours.network.weight.data_ptr()
    assert theirs.cache is not ours.cache
