"""Proofs over the twenty tasks of ManiSkill that need no download: ``pytest -m prove -k maniskill``."""

import pytest
from benchmark_episodes import always, episode, random_actions, standing
from maniskill_checks import own, own_episode, summary

from proctor.benchmarks.maniskill import ManiSkill, ManiSkillConfig
from proctor.benchmarks.maniskill.tasks import GROUPS, MAX_STEPS, NEEDED

pytestmark = [pytest.mark.prove, pytest.mark.usefixtures("vulkan")]

FREE = [name for name in MAX_STEPS if name not in NEEDED]
N_STEPS = 24


def test_twenty_tasks_need_no_download():
    """They are in the groups that are not named after a download."""
    assert len(FREE) == 20
    assert {name for group, names in GROUPS.items() if not group.startswith("assets:") for name in names} == {*FREE}


@pytest.mark.parametrize("task", FREE)
def test_episodes_are_those_of_a_new_environment(task):
    """They are equal if a policy looks after every step, after every fourth or never, after other episodes, with frames
    of videos in between, and in a second simulator. Another episode of ten steps equals ManiSkill's own.
    """
    benchmark = ManiSkill(ManiSkillConfig(task=task))
    with standing(benchmark) as env:
        first = episode(env, 7, N_STEPS, look=always)
        others = [episode(env, seed, N_STEPS) for seed in (1, 2)]
        unseen = episode(env, 7, N_STEPS)
        at_times = episode(env, 7, N_STEPS, look=lambda i: not i % 4 and bool(env.render().any()))
        actions = random_actions(env, 1003, 10)
    with standing(benchmark) as env:
        ours = episode(env, 1003, 10, look=always)
        second = episode(env, 7, N_STEPS)

    assert second == unseen
    assert [moment[:4] for moment in unseen] == [moment[:4] for moment in first]
    assert [moment[:4] for moment in at_times] == [moment[:4] for moment in first]
    assert [moment.seen for moment in at_times[::4] if moment.seen] == [m.seen for m in first[::4] if m.seen]
    assert len({moments[0].state for moments in (first, *others)}) == 3
    if task in ("SO100GraspCube-v1", "TwoRobotPickCube-v1", "TwoRobotStackCube-v1"):
        return  # ManiSkill does not seed the first one's camera; its wrapper does not take the actions of two robots
    theirs = own(task)
    try:
        assert summary(ours) == own_episode(theirs, 1003, actions)[: len(ours)]
    finally:
        theirs.close()
