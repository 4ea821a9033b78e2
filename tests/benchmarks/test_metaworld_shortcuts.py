"""Meta-World's shortcuts: what they leave out, and that no bit changes."""

from types import SimpleNamespace
from unittest.mock import patch

import metaworld
import pytest
from benchmark_episodes import episode, standing
from metaworld_checks import benchmark_of, episodes_in_a_row, metaworlds_own_episodes_in_a_row

from proctor.benchmarks.metaworld import shortcuts


@pytest.mark.parametrize("name", ["push-v3", "handle-pull-v3", "faucet-open-v3", "hammer-v3"])
def test_no_bit_changes(name):
    """Episodes in a row equal those of Meta-World's own code, and so does every array of MuJoCo after resets."""
    assert episodes_in_a_row(name, (3, 4, 3)) == metaworlds_own_episodes_in_a_row(name, (3, 4, 3))


@pytest.mark.parametrize(("name", "n_steps"), [("push-v3", 1 + 1), ("door-open-v3", 1 + 50)])
def test_the_hand_is_moved_again_only_if_what_it_depends_on_is_new(name, n_steps):
    """The second motion depends on the door's place, which the first run has drawn; and on no puck's."""
    with standing(benchmark_of(name)) as env:
        env.reset(3, None, look=False)
        with patch.object(env._env, "do_simulation", wraps=env._env.do_simulation) as simulated:
            env.reset(4, None, look=False)

    assert simulated.call_count == n_steps


def test_memory_is_of_two_motions():
    """A run of many episodes does not collect the states of all."""
    with standing(benchmark_of("door-open-v3")) as env:
        for seed in range(4):
            env.reset(seed, None, look=False)

        assert len(env._env._reset_hand._before_last_step) == 2


def test_another_version_of_metaworld_moves_the_hand_and_draws_its_goals_itself():
    """What was not compared is not left out."""
    with patch.object(shortcuts, "COMPARED", ()), standing(benchmark_of("reach-v3")) as env:
        assert env._env._reset_hand.__func__ is type(env._env)._reset_hand
        with shortcuts.one_goal(metaworld):
            assert metaworld._N_GOALS == 50


def test_one_goal_is_drawn_while_a_simulator_is_built():
    """Whoever uses Meta-World in the same process gets all of them."""
    with shortcuts.one_goal(metaworld):
        assert len(metaworld.MT1("reach-v3", seed=42).train_tasks) == 1

    assert len(metaworld.MT1("reach-v3", seed=42).train_tasks) == 50


def test_contacts_are_the_same_in_the_same_order():
    """MuJoCo's list is iterated over its own elements."""
    with standing(benchmark_of("stick-pull-v3")) as env:
        episode(env, 3, 60)
        contacts = env._env.data.contact
        iterated = [(contact.geom1, contact.geom2, contact.efc_address) for contact in contacts]

    assert "__iter__" in vars(type(contacts))
    assert len(iterated) > 2
    assert iterated == [(contacts[i].geom1, contacts[i].geom2, contacts[i].efc_address) for i in range(len(contacts))]


def test_a_list_that_accepts_no_iterator_is_left_as_it_is():
    """Another MuJoCo may forbid to change its types: then a step takes longer."""
    shortcuts._iterate_contacts_quickly(SimpleNamespace(contact=object()))

    assert not hasattr(object, "__iter__")
