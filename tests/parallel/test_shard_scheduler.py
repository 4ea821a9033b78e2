"""Which shard is assigned which episodes. Shards are integers here, and the clock is a list of events."""

from __future__ import annotations

import heapq
from collections import Counter
from random import Random

import pytest

from proctor.parallel.scheduler import Rules, ShardScheduler
from proctor.types import EpisodeSpec, Timings


def plan(n_tasks, n_episodes):
    return [EpisodeSpec("suite", task, index, 1000 + index) for task in range(n_tasks) for index in range(n_episodes)]


def run(scheduler, batch_size, seconds, dies=()):
    """Simulate shards of ``batch_size`` until every episode is over.

    Returns when each shard finished its last episode, how many simulators were built, and how often each episode ran.
    ``dies`` holds pairs (time, shard): the shard loses all its episodes at that time, and is ready again at once.
    """
    clock, events, ran = 0.0, [(time, -1, shard, None) for time, shard in dies], Counter()
    queued = {shard: [] for shard in scheduler.shard_ids}
    built = {shard: [None] * batch_size for shard in scheduler.shard_ids}  # the task of each worker's simulator
    busy = {shard: set() for shard in scheduler.shard_ids}
    ended, builds = dict.fromkeys(scheduler.shard_ids, 0.0), 0

    def start(shard):
        nonlocal builds
        queued[shard] += scheduler.assign(shard)
        for worker in sorted(set(range(batch_size)) - busy[shard]):
            same = [spec for spec in queued[shard] if spec.task == built[shard][worker]]
            if not (chosen := same or queued[shard]):
                return
            spec = chosen[0]
            queued[shard].remove(spec)
            builds += built[shard][worker] != spec.task
            built[shard][worker] = spec.task
            busy[shard].add(worker)
            heapq.heappush(events, (clock + seconds(spec, shard), worker, shard, spec))

    heapq.heapify(events)
    for shard in scheduler.shard_ids:
        scheduler.joined(shard, batch_size)
        start(shard)
    while events:
        clock, worker, shard, spec = heapq.heappop(events)
        if spec is None:
            scheduler.lost(shard)
            events = [event for event in events if event[2] != shard or event[3] is None]
            heapq.heapify(events)
            queued[shard], built[shard], busy[shard] = [], [None] * batch_size, set()
        else:
            ran[spec] += 1
            busy[shard].remove(worker)
            ended[shard] = clock
            scheduler.finished(shard, spec)
        for every in scheduler.shard_ids if spec is None else [shard]:
            start(every)
    return ended, builds, ran


def length(spec, shard):
    """Return the seconds that an episode takes, between 1 and 2."""
    return 1 + (hash((spec.task_id, spec.episode_index)) % 1000) / 1000


@pytest.mark.parametrize(("n_tasks", "n_episodes"), [(1, 1), (1, 100), (10, 10), (50, 7), (130, 3)])
@pytest.mark.parametrize("rules", [Rules(), Rules(static=True), Rules(max_parallel_tasks=3), Rules(max_lead=4)])
def test_every_episode_is_assigned_exactly_once(n_tasks, n_episodes, rules):
    """This holds for any number of shards and for all rules."""
    episodes = plan(n_tasks, n_episodes)
    for n_shards in (1, 4, 9):
        scheduler = ShardScheduler(episodes, n_shards, rules)

        _, _, ran = run(scheduler, 3, length)

        assert ran == Counter(episodes)
        assert scheduler.done


@pytest.mark.parametrize("rules", [Rules(), Rules(static=True)])
def test_the_unfinished_episodes_of_a_lost_shard_are_assigned_again(rules):
    """Its finished episodes are not."""
    episodes = plan(10, 10)
    scheduler = ShardScheduler(episodes, 4, rules)

    _, _, ran = run(scheduler, 3, length, dies=[(3.3, 1), (4.1, 2), (4.2, 1)])

    assert ran == Counter(episodes)
    assert scheduler.done


@pytest.mark.parametrize("rules", [Rules(), Rules(static=True)])
def test_the_others_take_over_from_a_shard_that_is_lost_for_good(rules):
    """They run all of its unfinished episodes, also those that a static plan had reserved for it."""
    episodes = plan(2, 20)
    scheduler = ShardScheduler(episodes, 2, rules)
    scheduler.joined(0, 2)
    before = scheduler.assign(0)
    scheduler.finished(0, before[0])
    scheduler.lost(0, for_good=True)

    _, _, ran = run(scheduler, 2, length)

    assert scheduler.shard_ids == [1]
    assert ran == Counter(episodes) - Counter(before[:1])


def test_no_shard_idles_while_another_holds_an_episode_that_has_not_started():
    """Shard 0 needs 5 to 10 s an episode, five times as long as the others, and still ends at most 15 s after them."""
    scheduler = ShardScheduler(plan(10, 40), 4)

    ended, _, _ = run(scheduler, 4, lambda spec, shard: length(spec, shard) * (5 if shard == 0 else 1))

    assert max(ended.values()) - min(ended.values()) <= 15


def test_a_static_plan_ends_with_its_slowest_shard():
    """Assigning on demand takes less than half the time if one of four shards is five times slower."""
    slow = lambda spec, shard: length(spec, shard) * (5 if shard == 0 else 1)  # noqa: E731
    static, _, _ = run(ShardScheduler(plan(10, 40), 4, Rules(static=True)), 4, slow)
    dynamic, _, _ = run(ShardScheduler(plan(10, 40), 4), 4, slow)

    assert max(dynamic.values()) < 0.5 * max(static.values())


def test_a_static_plan_is_assigned_round_robin():
    """Each shard runs the episodes that ``--eval.shard_id`` gives it."""
    episodes = plan(3, 7)
    scheduler = ShardScheduler(episodes, 4, Rules(static=True))

    assert scheduler.assign(2) == episodes[2::4]


def test_a_worker_keeps_the_task_it_has_built():
    """With as many tasks as workers, each simulator is built once, and a few more at the end of the plan."""
    _, builds, _ = run(ShardScheduler(plan(12, 50), 4), 3, length)

    assert 12 <= builds <= 30


def test_a_short_plan_is_spread_over_the_shards():
    """The first shard that is ready does not get all of it."""
    scheduler = ShardScheduler(plan(1, 8), 4)
    for shard in scheduler.shard_ids:
        scheduler.joined(shard, 64)

    assert [len(scheduler.assign(shard)) for shard in scheduler.shard_ids] == [2, 2, 2, 2]


def test_a_shard_prefetches_episodes_until_the_end_of_the_plan_is_near():
    """It holds one episode per worker at first, then also what its workers run in a quarter of a second, but no episode
    that has not started at the end.
    """
    for seconds, most in ((0.1, 4 + 2 * 4), (0.3, 4), (0.001, 4 + 8 * 4)):
        scheduler = ShardScheduler(plan(1, 1000), 2)
        scheduler.joined(0, 4)
        held = scheduler.assign(0)
        n_held = []
        while held:
            n_held.append(len(held))
            scheduler.finished(0, held.pop(0), Timings(step=seconds))
            held += scheduler.assign(0)

        assert (n_held[0], max(n_held), n_held[-1]) == (4, most, 1)
        assert scheduler.done


def test_workers_prefetch_for_a_fifth_of_the_time_that_is_left():
    """100 episodes of 0.05 s take four workers 1.25 s, so each of them has four prefetched; twice as many workers have
    two.
    """
    for n_shards, most in ((1, 4), (2, 2)):
        scheduler = ShardScheduler(plan(1, 101), n_shards)
        for shard in range(n_shards):
            scheduler.joined(shard, 4)
        first, *_ = scheduler.assign(0)
        scheduler.finished(0, first, Timings(step=0.05))

        assert len(scheduler.assign(0)) == 1 + 4 * most


def test_a_shard_that_is_not_ready_when_the_first_episode_is_over_is_not_waited_for():
    """Until then each shard gets an equal share of a short plan; after that the one that is ready gets the rest."""
    scheduler = ShardScheduler(plan(1, 8), 4)
    scheduler.joined(0, 64)
    held = scheduler.assign(0)

    assert len(held) == 2

    scheduler.finished(0, held[0])

    assert len(scheduler.assign(0)) == 6


def test_a_worker_goes_on_with_the_task_that_takes_longest():
    """Both tasks have as many episodes left, and as many workers; an episode of task 1 takes three times as long."""
    scheduler = ShardScheduler([*plan(3, 4), EpisodeSpec("suite", 0, 4, 0)], 1)
    scheduler.joined(0, 3)
    held = {spec.task_id: spec for spec in scheduler.assign(0)}
    for task, seconds in ((0, 1), (1, 3), (2, 2)):
        for _ in range(2):
            scheduler.finished(0, held[task], Timings(step=seconds))
            (held[task],) = scheduler.assign(0)
    for spec in plan(3, 4):
        if spec.task_id == 2:
            scheduler.give_up(spec)
    scheduler.finished(0, held[2], Timings(step=2))

    assert [spec.task_id for spec in scheduler.assign(0)] == [1]


def test_no_simulator_is_built_for_a_task_that_will_be_over_before():
    """Ten seconds of building pay if the task has episodes for longer than that, and not for a single episode."""
    for n_episodes, joins in ((4, False), (40, True)):
        scheduler = ShardScheduler(plan(2, n_episodes), 1)
        scheduler.joined(0, 2)
        first, other = sorted(scheduler.assign(0))
        for spec in plan(2, n_episodes)[n_episodes + 1 :]:
            scheduler.give_up(spec)
        scheduler.finished(0, first, Timings(construct=10, step=1))
        scheduler.assign(0)
        scheduler.finished(0, other, Timings(construct=10, step=1))

        assert bool(scheduler.assign(0)) == joins


def test_a_task_that_nobody_runs_is_begun_however_little_is_left_of_it():
    """Nobody else would run its episode."""
    scheduler = ShardScheduler(plan(2, 1), 1)
    scheduler.joined(0, 1)
    (first,) = scheduler.assign(0)
    scheduler.finished(0, first, Timings(construct=10, step=1))

    assert len(scheduler.assign(0)) == 1


def test_the_last_episode_of_a_task_is_left_to_a_shard_that_has_its_simulator():
    """Both shards have finished, and the first one is asked first. If the other is lost, nobody has a simulator."""
    for is_lost in (False, True):
        specs = [EpisodeSpec("suite", 0, 0, 0), EpisodeSpec("suite", 1, 0, 0), EpisodeSpec("suite", 1, 1, 0)]
        scheduler = ShardScheduler(specs, 2)
        held = []
        for shard in (0, 1):
            scheduler.joined(shard, 1)
            held += scheduler.assign(shard)
        assert [spec.task_id for spec in held] == [1, 0]
        for shard, spec in enumerate(held):
            scheduler.finished(shard, spec, Timings(construct=10, step=1))

        if is_lost:
            scheduler.lost(0)
        assert [spec.task_id for spec in scheduler.assign(1)] == [1] * is_lost
        assert [spec.task_id for spec in scheduler.assign(0)] == [1] * (not is_lost)


def test_no_more_tasks_run_than_allowed():
    """The limit holds over all shards together."""
    scheduler = ShardScheduler(plan(10, 5), 4, Rules(max_parallel_tasks=2))
    held = {shard: [] for shard in scheduler.shard_ids}
    for shard in scheduler.shard_ids:
        scheduler.joined(shard, 3)
    while not scheduler.done:
        for shard in scheduler.shard_ids:
            held[shard] += scheduler.assign(shard)
        running = {spec.task for specs in held.values() for spec in specs}

        assert 1 <= len(running) <= 2

        shard = max(held, key=lambda shard: len(held[shard]))
        scheduler.finished(shard, held[shard].pop(0))


def test_tasks_advance_together_if_all_of_them_decide_when_to_stop():
    """No task is further ahead of the last one than allowed."""
    scheduler = ShardScheduler(plan(5, 30), 2, Rules(max_lead=4))
    for shard in scheduler.shard_ids:
        scheduler.joined(shard, 3)
    held = [(shard, spec) for shard in scheduler.shard_ids for spec in scheduler.assign(shard)]
    while held:
        shard, spec = held.pop(0)
        scheduler.finished(shard, spec)
        new = scheduler.assign(shard)
        held += [(shard, spec) for spec in new]
        following = {}
        for _, waiting in held:
            following.setdefault(waiting.task, []).append(waiting.episode_index)

        assert (
            max((max(indices) for indices in following.values()), default=0)
            - min((min(indices) for indices in following.values()), default=0)
            <= 2 * 4 + 2
        )


def test_a_policy_that_has_failed_everywhere_is_tried_at_the_task_with_fewest_failures():
    """A shard otherwise goes on with the task whose simulator it has built."""
    scheduler = ShardScheduler(plan(2, 10), 1)
    (first,) = scheduler.assign(0)[:1]
    scheduler.finished(0, first, policy_failed=True)

    assert {spec.task for spec in scheduler.assign(0)} == {EpisodeSpec("suite", 1, 0, 0).task}


def test_an_episode_that_is_given_up_is_not_assigned():
    """This holds for an episode that waits for any shard, and for one that is reserved for one shard."""
    for rules in (Rules(), Rules(static=True)):
        episodes = plan(1, 3)
        scheduler = ShardScheduler(episodes, 1, rules)
        scheduler.give_up(episodes[1])

        assert scheduler.assign(0) == [episodes[0], episodes[2]][: 2 if rules.static else 1]


def test_a_decision_looks_at_tasks_and_not_at_episodes_or_shards():
    """The accesses are counted, not timed; so a decision is quick with 100 000 episodes on 1 000 shards, too."""

    class Counting(dict):
        looked = 0

        def get(self, *arguments):
            Counting.looked += 1
            return super().get(*arguments)

    for n_shards, n_episodes in ((10, 500), (100, 500), (10, 1000)):
        scheduler = ShardScheduler(plan(10, n_episodes), n_shards)
        scheduler._waiting = Counting(scheduler._waiting)
        Counting.looked = 0

        run(scheduler, 4, length)

        assert Counting.looked <= 4 * 10 * n_episodes


def test_a_shard_is_assigned_another_task_if_a_simulators_task_has_no_episode_left():
    """It has prefetched enough episodes, but these are for its other simulators."""
    scheduler = ShardScheduler(plan(3, 12), 1)
    scheduler.joined(0, 2)
    held = scheduler.assign(0)
    (first, _), third = {spec.task for spec in held}, 2
    assert (len(held), third in {spec.task.task_id for spec in held}) == (2, False)

    tasks = []
    while first in {spec.task for spec in held}:
        over = next(spec for spec in held if spec.task == first)
        held.remove(over)
        scheduler.finished(0, over)
        held += (assigned := scheduler.assign(0))
        tasks += [spec.task for spec in assigned]

    assert third in {task.task_id for task in tasks}


def test_an_episode_of_a_long_task_is_not_prefetched():
    """Task 0's episodes take 0.1 s, so a shard prefetches two of them; task 1's take 2 s."""
    scheduler = ShardScheduler(plan(2, 200), 1)
    scheduler.joined(0, 2)
    first, other = sorted(scheduler.assign(0))
    scheduler.finished(0, first, Timings(step=0.1))
    scheduler.finished(0, other, Timings(step=2))

    assert Counter(spec.task_id for spec in scheduler.assign(0)) == {0: 3, 1: 1}


def test_an_episode_that_might_wait_behind_a_long_one_is_not_prefetched():
    """A worker starts two prefetched episodes of 0.1 s in a quarter of a second, but none if one takes 0.3 s."""
    for longest, n_held in ((0.1, 3), (0.3, 1)):
        scheduler = ShardScheduler(plan(1, 400), 1)
        scheduler.joined(0, 1)
        held = scheduler.assign(0)
        for seconds in (0.1, longest, 0.1):
            scheduler.finished(0, held.pop(0), Timings(step=seconds))
            held += scheduler.assign(0)
        for _ in range(4):
            scheduler.finished(0, held.pop(0), Timings(step=0.1))
            held += scheduler.assign(0)

        assert len(held) == n_held


def test_a_worker_goes_on_with_the_task_whose_last_episode_ends_last():
    """Both tasks have as much left to begin, but one episode of task 1 took longer."""
    scheduler = ShardScheduler(plan(3, 20), 1)
    scheduler.joined(0, 3)
    held = {spec.task_id: spec for spec in scheduler.assign(0)}
    for task, lengths in ((0, (2, 2, 2)), (1, (0.6, 0.6, 4.8)), (2, (2, 2, 2))):
        for seconds in lengths:
            scheduler.finished(0, held[task], Timings(step=seconds))
            (held[task],) = scheduler.assign(0)
    for spec in plan(3, 20):
        if spec.task_id == 2:
            scheduler.give_up(spec)
    scheduler.finished(0, held[2], Timings(step=2))

    assert [spec.task_id for spec in scheduler.assign(0)] == [1]


def test_the_simulators_that_a_shard_is_to_have_are_those_of_its_workers():
    """A worker joins a task that the shard runs already, although episodes of it are prefetched."""
    scheduler = ShardScheduler(plan(2, 200), 1)
    scheduler.joined(0, 2)
    only, first = sorted(scheduler.assign(0))
    assert scheduler.simulators_of(0) == {only.task: 1, first.task: 1}

    for spec in plan(1, 200)[1:]:
        scheduler.give_up(spec)
    scheduler.finished(0, first, Timings(step=0.1))
    assert len(scheduler.assign(0)) == 3
    scheduler.finished(0, only, Timings(step=0.1))
    joined = scheduler.assign(0)

    assert {spec.task for spec in joined} == {first.task}
    assert scheduler.simulators_of(0) == {first.task: 2}


def test_a_shard_that_is_assigned_all_its_episodes_decides_about_its_simulators():
    """So does a shard of ``--eval.shard_id``."""
    scheduler = ShardScheduler(plan(2, 4), 2, Rules(static=True))
    scheduler.joined(0, 2)
    scheduler.assign(0)

    assert scheduler.simulators_of(0) is None


def test_the_task_with_the_highest_limit_of_steps_gets_most_workers_before_any_episode_is_over():
    """Its episodes are expected to take longest."""
    episodes = plan(2, 40)
    max_steps = {episodes[0].task: 100, episodes[-1].task: 300}
    scheduler = ShardScheduler(episodes, 1, max_steps=max_steps)
    scheduler.joined(0, 8)

    assert Counter(spec.task_id for spec in scheduler.assign(0)) == {0: 2, 1: 6}


@pytest.mark.parametrize(
    ("then", "joins"),
    [("still runs", 0), ("is over", 1), ("says nothing", 1), ("is lost", 1), ("is lost for good", 1)],
)
def test_a_task_does_not_look_short_because_its_short_episodes_are_over_first(then, joins):
    """Six short episodes of task 0 are over that began after a long one.

    Each takes 1 s, the two before it took 9 s, and an episode of task 1 takes 5 s. With the six, task 0's mean is less
    than that, and a new shard is to join task 1.
    """
    scheduler = ShardScheduler(plan(2, 100), 5)
    for shard_id in range(5):
        scheduler.joined(shard_id, 1)
    held = {shard_id: scheduler.assign(shard_id)[0] for shard_id in range(4)}
    assert [spec.task_id for spec in held.values()] == [0, 1, 0, 1]

    def over(shard_id, timings):
        scheduler.finished(shard_id, held[shard_id], timings)
        (held[shard_id],) = scheduler.assign(shard_id)

    for shard_id, seconds in ((0, 9), (2, 9), (1, 5), (3, 5), *[(2, 1)] * 6):
        over(shard_id, Timings(step=seconds))
    if then == "is over":
        over(0, Timings(step=9))
    elif then == "says nothing":
        over(0, None)
    elif then.startswith("is lost"):
        scheduler.lost(0, for_good=then == "is lost for good")

    assert [spec.task_id for spec in scheduler.assign(4)] == [joins]


@pytest.mark.parametrize("rules", [Rules(), Rules(max_parallel_tasks=3), Rules(max_lead=4), Rules(static=True)])
@pytest.mark.parametrize("seed", range(5))
def test_what_is_counted_as_it_changes_is_what_counting_anew_gives(rules, seed):
    """Shards join early and late, finish, are lost for good or not, and episodes are given up, in a random order."""
    random, episodes = Random(seed), plan(8, 30)
    scheduler, over = ShardScheduler(episodes, 5, rules), Counter()
    held = {}
    while not scheduler.done:
        check_counts(scheduler)
        shard_id = random.choice(scheduler.shard_ids)
        if shard_id not in held:
            scheduler.joined(shard_id, random.choice([1, 3]))
            held[shard_id] = []
        if random.random() < 0.02:
            del held[shard_id]
            for_good = len(scheduler.shard_ids) > 2 and random.random() < 0.3
            scheduler.lost(shard_id, for_good=for_good)
            waiting = [spec for spec in episodes if not over[spec] and all(spec not in held[id_] for id_ in held)]
            if waiting and random.random() < 0.3:
                scheduler.give_up(waiting[0])
                over[waiting[0]] += 1
        elif not held[shard_id] or random.random() < 0.3:
            held[shard_id] += scheduler.assign(shard_id)
        else:
            spec = held[shard_id].pop(random.randrange(len(held[shard_id])))
            timings = Timings(step=random.random() + spec.task_id, construct=0.5 * (random.random() < 0.2))
            failed = random.random() < 0.1
            scheduler.finished(shard_id, spec, None if failed else timings, policy_failed=failed)
            over[spec] += 1
    check_counts(scheduler)
    assert over == Counter(episodes)
    for task in scheduler._tasks.values():
        assert (task.n_assigned, task.durations.later) == (0, {})


def check_counts(scheduler):
    queues, tasks = scheduler._queues.values(), scheduler._tasks.values()
    for queue in queues:
        assert Counter(spec.task for spec in queue.assigned) == {t.key: n for t, n in queue.n_assigned_of.items()}
        assert set(queue.idle) == {t for t, n in queue.simulators.items() if n > queue.n_assigned_of.get(t, 0)}
        assert queue.n_simulators == sum(queue.simulators.values())
    for task in tasks:
        assert task.n_assigned == sum(queue.n_assigned_of.get(task, 0) for queue in queues)
        assert task.n_simulators == sum(queue.simulators.get(task, 0) for queue in queues)
        assert task.n_freed == sum(queue.freed.count(task) for queue in queues)
        outlook, task.outlook = task.ends_and_starts_s(), None
        assert task.ends_and_starts_s() == outlook
    assert set(scheduler._waiting) == {task for task in tasks if task.waiting}
    assert scheduler._n_running_tasks == sum(task.n_assigned > 0 for task in tasks)
    assert scheduler._n_assigned == sum(len(queue.assigned) for queue in queues)
    n_waiting = sum(len(task.waiting) for task in tasks) + sum(len(queue.reserved) for queue in queues)
    assert scheduler._n_waiting == n_waiting


def test_episodes_that_take_no_time_are_known_to():
    """They are not taken to be as long as the limit of steps says: a new shard joins the task with fewer episodes."""
    episodes = [*plan(1, 200), *plan(2, 20)[20:]]
    scheduler = ShardScheduler(episodes, 3, max_steps={episodes[0].task: 300, episodes[-1].task: 300})
    scheduler.joined(0, 1)
    (held,) = scheduler.assign(0)
    scheduler.finished(0, held, Timings())
    scheduler.assign(0)
    scheduler.joined(1, 1)

    assert [(held.task_id, spec.task_id) for spec in scheduler.assign(1)] == [(0, 1)]
