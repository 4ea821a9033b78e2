"""Who is dealt which episodes: with integers for shards and no clock but a list of events."""

from __future__ import annotations

import heapq
from collections import Counter

import pytest

from proctor.parallel.scheduler import Rules, ShardScheduler
from proctor.types import EpisodeSpec


def plan(n_tasks, n_episodes):
    return [EpisodeSpec("suite", task, index, 1000 + index) for task in range(n_tasks) for index in range(n_episodes)]


def run(dealer, batch_size, seconds, dies=()):
    """Simulate shards of ``batch_size`` until everything is over.

    Gives when each shard finished its last episode, how many simulators were built, and what was run. ``dies`` holds
    (time, shard): all that shard had is lost then, and it is back at once.
    """
    clock, events, ran = 0.0, [(time, -1, shard, None) for time, shard in dies], Counter()
    ready = {shard: [] for shard in dealer.shards}
    slots = {shard: [None] * batch_size for shard in dealer.shards}  # the task that each worker has built
    busy = {shard: set() for shard in dealer.shards}
    ended, builds = dict.fromkeys(dealer.shards, 0.0), 0

    def begin(shard):
        nonlocal builds
        ready[shard] += dealer.deal(shard)
        for slot in sorted(set(range(batch_size)) - busy[shard]):
            same = [spec for spec in ready[shard] if spec.task == slots[shard][slot]]
            if not (chosen := same or ready[shard]):
                return
            spec = chosen[0]
            ready[shard].remove(spec)
            builds += slots[shard][slot] != spec.task
            slots[shard][slot] = spec.task
            busy[shard].add(slot)
            heapq.heappush(events, (clock + seconds(spec, shard), slot, shard, spec))

    heapq.heapify(events)
    for shard in dealer.shards:
        dealer.joined(shard, batch_size)
        begin(shard)
    while events:
        clock, slot, shard, spec = heapq.heappop(events)
        if spec is None:
            dealer.lost(shard)
            events = [event for event in events if event[2] != shard or event[3] is None]
            heapq.heapify(events)
            ready[shard], slots[shard], busy[shard] = [], [None] * batch_size, set()
        else:
            ran[spec] += 1
            busy[shard].remove(slot)
            ended[shard] = clock
            dealer.finished(shard, spec)
        for every in dealer.shards if spec is None else [shard]:
            begin(every)
    return ended, builds, ran


def length(spec, shard):
    """Seconds of an episode: between 1 and 2."""
    return 1 + (hash((spec.task_id, spec.episode_index)) % 1000) / 1000


@pytest.mark.parametrize(("n_tasks", "n_episodes"), [(1, 1), (1, 100), (10, 10), (50, 7), (130, 3)])
@pytest.mark.parametrize("rules", [Rules(), Rules(static=True), Rules(max_parallel_tasks=3), Rules(max_lead=4)])
def test_every_episode_is_dealt_exactly_once(n_tasks, n_episodes, rules):
    """Whatever the shards and the rules."""
    episodes = plan(n_tasks, n_episodes)
    for n_shards in (1, 4, 9):
        dealer = ShardScheduler(episodes, n_shards, rules)

        _, _, ran = run(dealer, 3, length)

        assert ran == Counter(episodes)
        assert dealer.done


@pytest.mark.parametrize("rules", [Rules(), Rules(static=True)])
def test_what_a_lost_shard_had_is_dealt_again(rules):
    """And what it had finished is not."""
    episodes = plan(10, 10)
    dealer = ShardScheduler(episodes, 4, rules)

    _, _, ran = run(dealer, 3, length, dies=[(3.3, 1), (4.1, 2), (4.2, 1)])

    assert ran == Counter(episodes)
    assert dealer.done


@pytest.mark.parametrize("rules", [Rules(), Rules(static=True)])
def test_the_others_take_over_from_a_shard_that_is_lost_for_good(rules):
    """All of what it had, reserved or not."""
    episodes = plan(2, 20)
    dealer = ShardScheduler(episodes, 2, rules)
    dealer.joined(0, 2)
    before = dealer.deal(0)
    dealer.finished(0, before[0])
    dealer.lost(0, for_good=True)

    _, _, ran = run(dealer, 2, length)

    assert dealer.shards == [1]
    assert ran == Counter(episodes) - Counter(before[:1])


def test_no_shard_idles_while_another_holds_an_episode_that_has_not_begun():
    """Shard 0 is five times slower, 5 to 10 s an episode: what it holds when the list ends is nearly over."""
    dealer = ShardScheduler(plan(10, 40), 4)

    ended, _, _ = run(dealer, 4, lambda spec, shard: length(spec, shard) * (5 if shard == 0 else 1))

    assert max(ended.values()) - min(ended.values()) <= 15


def test_a_static_list_ends_with_its_slowest_shard():
    """The measure of what dealing on demand brings."""
    slow = lambda spec, shard: length(spec, shard) * (5 if shard == 0 else 1)  # noqa: E731
    static, _, _ = run(ShardScheduler(plan(10, 40), 4, Rules(static=True)), 4, slow)
    dynamic, _, _ = run(ShardScheduler(plan(10, 40), 4), 4, slow)

    assert max(dynamic.values()) < 0.5 * max(static.values())


def test_static_is_round_robin():
    """As ``--eval.shard_id`` deals."""
    episodes = plan(3, 7)
    dealer = ShardScheduler(episodes, 4, Rules(static=True))

    assert dealer.deal(2) == episodes[2::4]


def test_a_worker_keeps_the_task_it_has_built():
    """With as many tasks as workers each is built once, and some again where the list ends."""
    _, builds, _ = run(ShardScheduler(plan(12, 50), 4), 3, length)

    assert 12 <= builds <= 30


def test_few_episodes_are_spread():
    """Not all given to the first shard that comes."""
    dealer = ShardScheduler(plan(1, 8), 4)
    for shard in dealer.shards:
        dealer.joined(shard, 64)

    assert [len(dealer.deal(shard)) for shard in dealer.shards] == [2, 2, 2, 2]


def test_more_lies_ready_while_much_waits_and_nothing_at_the_end():
    """So that no worker waits for a message, and no other worker for an episode."""
    dealer = ShardScheduler(plan(1, 1000), 2)
    dealer.joined(0, 4)
    held = dealer.deal(0)
    first = len(held)
    while held:
        last = len(held)
        dealer.finished(0, held.pop(0))
        held += dealer.deal(0)

    assert first == 8
    assert last == 1
    assert dealer.done


def test_no_more_tasks_are_live_than_allowed():
    """Over all shards together."""
    dealer = ShardScheduler(plan(10, 5), 4, Rules(max_parallel_tasks=2))
    held = {shard: [] for shard in dealer.shards}
    for shard in dealer.shards:
        dealer.joined(shard, 3)
    while not dealer.done:
        for shard in dealer.shards:
            held[shard] += dealer.deal(shard)
        live = {spec.task for specs in held.values() for spec in specs}

        assert 1 <= len(live) <= 2

        shard = max(held, key=lambda shard: len(held[shard]))
        dealer.finished(shard, held[shard].pop(0))


def test_tasks_advance_together_where_all_of_them_decide_when_to_stop():
    """None is further ahead of the last than allowed."""
    dealer = ShardScheduler(plan(5, 30), 2, Rules(max_lead=4))
    begun = Counter()
    for shard in dealer.shards:
        dealer.joined(shard, 3)
    held = [(shard, spec) for shard in dealer.shards for spec in dealer.deal(shard)]
    while held:
        begun.update(spec.task_id for _, spec in held[-1:])
        shard, spec = held.pop(0)
        dealer.finished(shard, spec)
        new = dealer.deal(shard)
        held += [(shard, spec) for spec in new]
        following = {}
        for _, waiting in held:
            following.setdefault(waiting.task, []).append(waiting.episode_index)

        assert (
            max((max(indices) for indices in following.values()), default=0)
            - min((min(indices) for indices in following.values()), default=0)
            <= 2 * 4 + 2
        )


def test_an_episode_that_is_given_up_is_not_dealt():
    """Wherever it waits."""
    for rules in (Rules(), Rules(static=True)):
        episodes = plan(1, 3)
        dealer = ShardScheduler(episodes, 1, rules)
        dealer.give_up(episodes[1])

        assert dealer.deal(0) == [episodes[0], episodes[2]][: 2 if rules.static else 1]


def test_a_decision_looks_at_tasks_and_not_at_episodes_or_shards():
    """Counted, not timed: so it stays quick with 100 000 episodes on 1 000 shards."""

    class Counting(dict):
        looked = 0

        def get(self, *arguments):
            Counting.looked += 1
            return super().get(*arguments)

    for n_shards, n_episodes in ((10, 500), (100, 500), (10, 1000)):
        dealer = ShardScheduler(plan(10, n_episodes), n_shards)
        dealer._waiting = Counting(dealer._waiting)
        Counting.looked = 0

        run(dealer, 4, length)

        assert Counting.looked <= 4 * 10 * n_episodes


def test_a_simulator_whose_task_has_no_more_is_dealt_another_task():
    """Although the shard has enough that lies ready: that is for its other simulators."""
    dealer = ShardScheduler(plan(3, 12), 1)
    dealer.joined(0, 2)
    held = dealer.deal(0)
    (first, _), third = {spec.task for spec in held}, 2
    assert (len(held), third in {spec.task.task_id for spec in held}) == (4, False)

    tasks = []
    while first in {spec.task for spec in held}:
        over = next(spec for spec in held if spec.task == first)
        held.remove(over)
        dealer.finished(0, over)
        held += (dealt := dealer.deal(0))
        tasks += [spec.task for spec in dealt]

    assert third in {task.task_id for task in tasks}
