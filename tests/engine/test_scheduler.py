"""The scheduler, driven with integers: no process, no policy, no clock."""

from __future__ import annotations

import ast
import heapq
import itertools
import random
from pathlib import Path

import pytest

from proctor.engine import scheduler as module
from proctor.engine.forecast import Forecast
from proctor.engine.scheduler import Limits, Phase, Scheduler
from proctor.types import AttemptError, EpisodeSpec, TaskKey

BOOM = AttemptError("crashed", "boom")


def plan(*n_episodes_of_task: int) -> list[EpisodeSpec]:
    """Task *i* with so many episodes."""
    return [
        EpisodeSpec("suite", task_id, index, 1000 + index)
        for task_id, n in enumerate(n_episodes_of_task)
        for index in range(n)
    ]


def ready_scheduler(specs: list[EpisodeSpec], n_workers: int, **limits: int) -> Scheduler:
    """A scheduler whose workers are up and idle."""
    scheduler = Scheduler(specs, Limits(n_workers, **{"max_attempts": 2, **limits}))
    for number in range(n_workers):
        scheduler.started(number)
        scheduler.joined(number)
    return scheduler


def next_batch(scheduler: Scheduler, size: int, **which: int) -> list[int]:
    """At most so many observations are inferred; whose they are."""
    batch = scheduler.ready(**which)[:size]
    scheduler.mark_inferring(batch)
    return batch


def simulate(scheduler: Scheduler) -> dict[int, EpisodeSpec]:
    """Give every idle worker an episode and build where it must be built."""
    assigned = dict(scheduler.assign())
    for number in assigned:
        if scheduler.phase_of(number) is Phase.BUILDING:
            scheduler.built(number)
    return assigned


def test_no_more_workers_are_started_than_the_batch_size_or_the_episodes_that_are_left():
    """A plan of three episodes needs three workers at most, whatever the batch size."""
    assert Scheduler(plan(3), Limits(8, 2)).workers_to_start() == 3
    assert Scheduler(plan(30), Limits(8, 2)).workers_to_start() == 8

    scheduler = ready_scheduler(plan(2), 2)
    simulate(scheduler)

    assert scheduler.workers_to_start() == 0


def test_workers_are_started_a_few_at_a_time():
    """The next ones once these have joined, until all are there."""
    scheduler = Scheduler(plan(1000), Limits(20, 2))
    counts = []
    while n := scheduler.workers_to_start():
        counts.append(n)
        for number in range(len(scheduler.worker_ids), len(scheduler.worker_ids) + n):
            scheduler.started(number)
            assert scheduler.workers_to_start() < 8
        for number in scheduler.worker_ids:
            scheduler.joined(number)

    assert counts == [8, 8, 4]


@pytest.mark.parametrize(("seconds", "n"), [(0.0005, 5), (0.005, 16), (1.0, 64)])
def test_no_more_workers_are_started_than_their_start_is_worth(seconds, n):
    """A thousand episodes; starting a worker for the shortest takes longer than it would save."""
    forecast = Forecast()
    forecast.learn_episode(TaskKey("suite", 0), seconds)
    assert start_workers(Scheduler(plan(1000), Limits(64, 2), forecast)) == n


def start_workers(scheduler: Scheduler) -> int:
    """Start as many workers as the scheduler asks for, until it asks for no more; how many there are then."""
    while scheduler.workers_to_start():
        number = len(scheduler.worker_ids)
        scheduler.started(number)
        assert not scheduler.waits_for_cores
        scheduler.joined(number)
    return len(scheduler.worker_ids)


def test_as_long_as_nothing_is_known_about_the_cores_only_as_many_workers_as_may_keep_them_busy_are_started():
    """Two of 32; whether the cores are idle is asked only if there are episodes for more."""
    scheduler = Scheduler(plan(100), Limits(32, 2, n_on_busy_cores=2))
    assert start_workers(scheduler) == 2
    assert scheduler.waits_for_cores

    assert start_workers(scheduler := Scheduler(plan(2), Limits(32, 2, n_on_busy_cores=2))) == 2
    assert not scheduler.waits_for_cores
    assert start_workers(scheduler := Scheduler(plan(100), Limits(32, 2))) == 32
    assert not scheduler.waits_for_cores


@pytest.mark.parametrize(("part", "n"), [(1.2, 4), (1.0, 4), (0.9, 4), (0.6, 6), (0.5, 8), (0.1, 8), (0.0, 8)])
def test_as_many_workers_are_started_as_would_keep_the_cores_busy(part, n):
    """If every further worker uses as much as the four before; but never more than twice as many at once."""
    scheduler = Scheduler(plan(100), Limits(32, 2, n_on_busy_cores=4))
    start_workers(scheduler)

    scheduler.cores_used(part)

    assert start_workers(scheduler) == n
    assert scheduler.waits_for_cores == (n < 32)


def test_cores_that_turn_busy_stop_no_worker_and_a_lost_one_is_replaced():
    """Eight stay eight."""
    scheduler = Scheduler(plan(100), Limits(32, 2, n_on_busy_cores=4))
    start_workers(scheduler)
    scheduler.cores_used(0.5)
    assert start_workers(scheduler) == 8

    scheduler.cores_used(1.5)
    assert scheduler.workers_to_start() == 0
    scheduler.lost(0, None)
    assert scheduler.workers_to_start() == 1


def test_as_many_workers_as_cores_wait_for_nothing():
    """64 on 64 cores, eight at a time."""
    assert start_workers(scheduler := Scheduler(plan(1000), Limits(64, 2, n_on_busy_cores=64))) == 64
    assert not scheduler.waits_for_cores


def test_as_long_as_no_duration_is_known_a_worker_is_worth_its_start():
    """Of a plan with an episode for each of them, all are started."""
    scheduler = Scheduler(plan(128), Limits(128, 2))
    simulate(scheduler)
    while scheduler.workers_to_start():
        number = len(scheduler.worker_ids)
        scheduler.started(number)
        scheduler.joined(number)
        simulate(scheduler)

    assert len(scheduler.worker_ids) == 128


def test_an_episode_that_its_lost_worker_never_began_is_next_and_was_not_attempted():
    """It was given to a worker that was gone."""
    scheduler = ready_scheduler(plan(2), 2, max_attempts=1)
    first = simulate(scheduler)[0]

    assert scheduler.lost(0, None) == first

    scheduler.started(2)
    scheduler.joined(2)
    assert scheduler.assign() == [(2, first)]
    assert scheduler.errors_of(first) == ()


def test_a_lost_worker_is_replaced_only_while_there_is_work_for_one():
    """The last episode's loss asks for one worker again, its end for none."""
    scheduler = ready_scheduler(plan(1), 1)
    simulate(scheduler)
    scheduler.lost(0, BOOM)
    assert scheduler.workers_to_start() == 1

    scheduler.started(1)
    scheduler.joined(1)
    simulate(scheduler)
    scheduler.finished(1)

    assert scheduler.done
    assert scheduler.workers_to_start() == 0


def test_a_starting_worker_is_given_nothing():
    """Only after it has joined."""
    scheduler = Scheduler(plan(2), Limits(2, 2))
    scheduler.started(0)
    assert scheduler.assign() == []

    scheduler.joined(0)

    assert [number for number, _ in scheduler.assign()] == [0]


def test_a_worker_stays_with_the_task_it_has_built():
    """Although the other task has far more episodes waiting."""
    scheduler = ready_scheduler(plan(2, 50), 1)
    scheduler._waiting[TaskKey("suite", 1)].clear()
    first = simulate(scheduler)[0]
    scheduler._waiting[TaskKey("suite", 1)].extend(plan(0, 50))
    scheduler.finished(0)

    number, second = scheduler.assign()[0]

    assert first.task == second.task == TaskKey("suite", 0)
    assert scheduler.phase_of(number) is Phase.SIMULATING


def test_a_worker_moves_to_another_task_and_builds_when_its_own_has_nothing_left():
    """One by one: the others go on."""
    scheduler = ready_scheduler(plan(1, 1), 1)
    first = simulate(scheduler)[0]
    scheduler.finished(0)

    ((number, second),) = scheduler.assign()

    assert {first.task, second.task} == {TaskKey("suite", 0), TaskKey("suite", 1)}
    assert scheduler.phase_of(number) is Phase.BUILDING
    assert scheduler.built(number) == second
    assert scheduler.phase_of(number) is Phase.SIMULATING


def test_workers_are_spread_over_the_tasks_in_proportion_to_what_waits():
    """Three tasks of 10, 20 and 30 episodes and six workers: one, two and three."""
    scheduler = ready_scheduler(plan(10, 20, 30), 6)

    tasks = [spec.task_id for _, spec in scheduler.assign()]

    assert sorted(tasks) == [0, 1, 1, 2, 2, 2]


def test_episodes_of_a_task_begin_in_the_order_of_the_plan():
    """First come, first served."""
    scheduler = ready_scheduler(plan(5), 1)
    order = []
    while not scheduler.done:
        order.append(simulate(scheduler)[0].episode_index)
        scheduler.finished(0)

    assert order == [0, 1, 2, 3, 4]


def test_no_episode_waits_for_another():
    """While one is stuck in a step, others are inferred, end and begin: a batch is made of those that are ready."""
    scheduler = ready_scheduler(plan(5), 2)
    simulate(scheduler)
    ended = []
    while len(ended) < 4:
        scheduler.observed(1)
        assert next_batch(scheduler, 8) == [1]
        scheduler.acted(1)
        ended.append(scheduler.episode_of(1))
        scheduler.finished(1)
        simulate(scheduler)

    assert [spec.episode_index for spec in ended] == [1, 2, 3, 4]
    assert scheduler.phase_of(0) is Phase.SIMULATING
    assert not scheduler.done


def test_workers_of_a_run_that_is_over_are_taken_on_with_their_simulators():
    """Nothing is started or built again."""
    before = ready_scheduler(plan(1, 1), 2)
    simulate(before)
    for number in (0, 1):
        before.finished(number)

    scheduler = before.with_plan(plan(2, 2), Limits(2, 2))

    assert scheduler.workers_to_start() == 0
    assert {number: spec.task_id for number, spec in scheduler.assign()} == {0: 0, 1: 1}
    assert scheduler.phases() == {Phase.SIMULATING: 2}


def test_no_more_tasks_are_live_than_allowed():
    """Four workers, three tasks, two at a time; the third begins when one is over."""
    scheduler = ready_scheduler(plan(2, 2, 2), 4, max_parallel_tasks=2)
    assert len({spec.task for _, spec in scheduler.assign()}) == 2

    live = set(scheduler.workers_per_task())
    one = min(live)
    for number in scheduler.worker_ids:
        if (spec := scheduler.episode_of(number)) and spec.task == one:
            scheduler.built(number)
            scheduler.finished(number)
    assigned = scheduler.assign()

    assert {spec.task_id for _, spec in assigned} == {0, 1, 2} - {task.task_id for task in live}


def test_a_standing_simulator_is_no_licence_to_exceed_the_limit():
    """A retry waits although a worker has its task built, while another task is the only one allowed."""
    scheduler = ready_scheduler(plan(2, 3), 2, max_parallel_tasks=1)
    assert {spec.task_id for spec in simulate(scheduler).values()} == {1}
    scheduler.failed(0, BOOM)
    scheduler.finished(1)

    scheduler.asked(1)

    assert [(number, spec.task_id) for number, spec in scheduler.assign()] == [(0, 0)]

    scheduler.joined(1)

    assert [(number, spec.task_id) for number, spec in scheduler.assign()] == [(1, 0)]


def test_a_simulator_that_is_built_is_used_before_another_one_is_built():
    """Worker 0 is idle too, and comes first, but would have to build what worker 1 has."""
    scheduler = ready_scheduler([], 2)
    scheduler.add(plan(1))
    scheduler.asked(0)
    simulate(scheduler)
    scheduler.finished(1)
    scheduler.joined(0)
    scheduler.add([EpisodeSpec("suite", 0, 1, 1001)])

    assert [number for number, _ in scheduler.assign()] == [1]


def test_no_task_is_further_ahead_than_allowed():
    """One worker, three tasks, two episodes ahead at most: it changes tasks as seldom as that allows."""
    scheduler = ready_scheduler(plan(6, 6, 6), 1, max_lead=2)

    order, begun = [], {0: 0, 1: 0, 2: 0}
    while not scheduler.done:
        (spec,) = simulate(scheduler).values()
        order.append(spec.task_id)
        begun[spec.task_id] += 1
        assert spec.episode_index == begun[spec.task_id] - 1
        assert max(begun.values()) - min(begun.values()) <= 2
        scheduler.finished(0)

    assert sum(a != b for a, b in itertools.pairwise(order)) == 6


def test_episodes_that_have_not_begun_can_be_dropped():
    """Those under way are over when they end, also after another attempt; no worker is started for the others."""
    scheduler = ready_scheduler(plan(9), 2)
    running = simulate(scheduler)

    scheduler.drop_waiting()

    scheduler.finished(0)
    scheduler.failed(1, BOOM)
    assert not scheduler.done
    assert list(simulate(scheduler).values()) == [running[1]]
    (number,) = (number for number in scheduler.worker_ids if scheduler.episode_of(number))
    scheduler.finished(number)
    assert scheduler.done
    assert scheduler.workers_to_start() == 0


def test_no_two_of_a_batch_have_the_same_row():
    """Where every episode has its own in all passes; those that cannot come along wait in the same order."""
    scheduler = ready_scheduler(plan(6), 6)
    simulate(scheduler)
    for number in (4, 0, 1, 5):
        scheduler.observed(number)

    assert next_batch(scheduler, 8, rows=4) == [4, 1]
    assert scheduler.n_ready() == 2
    assert next_batch(scheduler, 1, rows=4) == [0]
    assert next_batch(scheduler, 8, rows=1) == [5]
    assert next_batch(scheduler, 8, rows=4) == []


def test_observations_are_inferred_in_the_order_in_which_they_came():
    """And at most so many at once."""
    scheduler = ready_scheduler(plan(4), 4)
    simulate(scheduler)
    for number in (2, 0, 3):
        scheduler.observed(number)

    assert next_batch(scheduler, 2) == [2, 0]
    assert next_batch(scheduler, 2) == [3]
    assert next_batch(scheduler, 2) == []
    assert [scheduler.phase_of(number) for number in range(4)] == [
        Phase.INFERRING,
        Phase.SIMULATING,
        Phase.INFERRING,
        Phase.INFERRING,
    ]
    scheduler.acted(2)
    assert scheduler.phase_of(2) is Phase.SIMULATING


def test_an_episode_is_tried_again_and_given_up_after_the_last_attempt():
    """The retry comes after what waited before it, and every reason is kept."""
    scheduler = ready_scheduler(plan(2), 1)
    spec = simulate(scheduler)[0]
    assert scheduler.failed(0, AttemptError("raised", "first")) == spec
    assert not scheduler.given_up(spec)
    other = simulate(scheduler)[0]
    assert other != spec
    scheduler.finished(0)
    assert simulate(scheduler)[0] == spec
    assert not scheduler.done

    scheduler.failed(0, AttemptError("raised", "second"))

    assert scheduler.given_up(spec)
    assert not scheduler.given_up(other)
    assert scheduler.done
    assert [error.message for error in scheduler.errors_of(spec)] == ["first", "second"]
    assert scheduler.errors_of(other) == ()


def test_a_worker_that_finds_its_tasks_last_episode_taken_does_not_take_one_for_which_another_is_ready():
    """Two workers have a simulator of the first task, and became idle before the one that has the second."""
    scheduler = ready_scheduler(plan(2, 1), 3)
    assert {number: spec.task_id for number, spec in simulate(scheduler).items()} == {0: 0, 1: 1, 2: 0}
    for number in (0, 2, 1):
        scheduler.finished(number)

    scheduler.add([EpisodeSpec("suite", 0, 2, 0), EpisodeSpec("suite", 1, 1, 0)])

    assert {number: spec.task_id for number, spec in scheduler.assign()} == {0: 0, 1: 1}
    assert scheduler.phase_of(1) is Phase.SIMULATING


def test_a_failed_simulator_is_built_again_and_one_that_stands_is_not():
    """The policy's failure leaves the simulator as it is."""
    scheduler = ready_scheduler(plan(2), 1)
    simulate(scheduler)
    scheduler.failed(0, BOOM, keep_env=True)
    scheduler.assign()
    assert scheduler.phase_of(0) is Phase.SIMULATING

    scheduler.failed(0, BOOM)
    scheduler.assign()

    assert scheduler.phase_of(0) is Phase.BUILDING


def test_a_failure_in_which_the_episode_had_no_part_is_not_an_attempt():
    """It begins anew at once, in the simulator that there is."""
    scheduler = ready_scheduler(plan(2), 1, max_attempts=1)
    spec = simulate(scheduler)[0]

    scheduler.failed(0, None, keep_env=True)

    assert not scheduler.given_up(spec)
    assert scheduler.assign() == [(0, spec)]
    assert scheduler.phase_of(0) is Phase.SIMULATING


@pytest.mark.parametrize("phase", Phase)
def test_a_worker_may_be_lost_in_every_phase(phase: Phase):
    """Its episode runs again; nothing of the worker stays behind."""
    scheduler = Scheduler(plan(1), Limits(1, 2))
    scheduler.started(0)
    steps = [
        lambda: scheduler.joined(0),
        scheduler.assign,
        lambda: scheduler.built(0),
        lambda: scheduler.observed(0),
        lambda: next_batch(scheduler, 1),
    ]
    for step in steps[: list(Phase).index(phase)]:
        step()
    assert scheduler.phase_of(0) is phase

    ran_before = phase not in (Phase.STARTING, Phase.IDLE)
    assert scheduler.lost(0, BOOM) == (plan(1)[0] if ran_before else None)

    assert scheduler.n_lost == 1
    assert not scheduler.worker_ids
    assert next_batch(scheduler, 1) == []
    scheduler.started(1)
    scheduler.joined(1)
    assert simulate(scheduler) == {1: plan(1)[0]}
    assert len(scheduler.errors_of(plan(1)[0])) == ran_before
    assert scheduler.lost(1, BOOM) == plan(1)[0]
    assert scheduler.given_up(plan(1)[0]) == ran_before


class FakeWorld:
    """Workers that do what they are told, or fail, in an order that dice decide."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.specs = plan(*(self.dice.randrange(12) for _ in range(self.dice.randint(1, 6))))
        self.limits = Limits(
            self.dice.randint(1, 5), self.dice.randint(1, 3), self.dice.randint(0, 3), self.dice.randint(0, 4)
        )
        self.scheduler = Scheduler(self.specs, self.limits)
        self.ended: list[EpisodeSpec] = []
        self.n_started = 0

    def play(self) -> None:
        for _ in range(20_000):
            if self.scheduler.done:
                return
            for _ in range(self.scheduler.workers_to_start()):
                self.scheduler.started(self.n_started)
                self.n_started += 1
            if self.dice.random() < 0.7:
                self.scheduler.assign()
                self._check()
            self._event(self.dice.choice(self.scheduler.worker_ids))
        pytest.fail("the plan did not come to its end")

    def _check(self) -> None:
        n_live = len(self.scheduler.workers_per_task())
        assert len(self.scheduler.worker_ids) <= self.limits.batch_size
        assert not self.limits.max_parallel_tasks or n_live <= self.limits.max_parallel_tasks

    def _event(self, number: int) -> None:
        phase, chance = self.scheduler.phase_of(number), self.dice.random()
        if chance < 0.05:
            self._attempt_failed(self.scheduler.lost(number, BOOM))
        elif phase is Phase.STARTING:
            self.scheduler.joined(number)
        elif phase is Phase.READY:
            next_batch(self.scheduler, self.dice.randint(1, 3))
        elif phase is Phase.IDLE:
            pass
        elif chance < 0.15:
            self._attempt_failed(self.scheduler.failed(number, BOOM, keep_env=phase is Phase.INFERRING))
        elif phase is Phase.BUILDING:
            self.scheduler.built(number)
        elif phase is Phase.INFERRING:
            self.scheduler.acted(number)
        elif chance < 0.5:
            self.scheduler.observed(number)
        else:
            self.ended.append(self.scheduler.finished(number))

    def _attempt_failed(self, spec: EpisodeSpec | None) -> None:
        if spec is not None and self.scheduler.given_up(spec):
            assert len(self.scheduler.errors_of(spec)) == self.limits.max_attempts
            self.ended.append(spec)


@pytest.mark.parametrize("seed", range(60))
def test_every_episode_ends_exactly_once_whatever_the_order_of_events(seed: int):
    """A world in which workers start late, finish in any order, fail and die, played to its end."""
    world = FakeWorld(seed)
    world.play()

    assert sorted(world.ended) == sorted(world.specs)


def test_the_scheduler_is_plain_state():
    """It starts no process, imports no torch and reads no clock: it imports nothing that could."""
    tree = ast.parse(Path(module.__file__).read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }

    assert imported == {"__future__", "collections", "dataclasses", "enum", "proctor"}


def test_a_worker_s_observations_always_go_to_the_same_device():
    """Whatever a policy keeps of an episode lies on that device."""
    scheduler = ready_scheduler(plan(8), 4, n_devices=2)
    simulate(scheduler)
    for number in (3, 0, 1, 2):
        scheduler.observed(number)

    assert next_batch(scheduler, 8, device=0) == [0, 2]
    assert scheduler.n_ready(device=1) == 2
    assert next_batch(scheduler, 1, device=1) == [3]
    assert next_batch(scheduler, 8, device=1) == [1]


def a_forecast(build_s: float, episode_s: float) -> Forecast:
    """Every simulator is built in so long, every episode takes so long."""
    forecast = Forecast()
    forecast.learn_build(TaskKey("suite", 0), build_s)
    forecast.learn_episode(TaskKey("suite", 0), episode_s)
    return forecast


@pytest.mark.parametrize(("n_waiting", "joins"), [(1, False), (2, False), (3, True), (9, True)])
def test_a_task_is_joined_only_if_the_simulator_stands_before_the_others_have_begun_its_last_episode(n_waiting, joins):
    """Built in 25 s; the one worker on the task begins an episode every 10 s."""
    scheduler = Scheduler(plan(1 + n_waiting), Limits(2, 2), forecast=a_forecast(25.0, 10.0))
    scheduler.started(0)
    scheduler.joined(0)
    simulate(scheduler)
    scheduler.started(1)
    scheduler.joined(1)

    assert [number for number, _ in scheduler.assign()] == ([1] if joins else [])


def test_a_shard_builds_as_many_simulators_of_a_task_as_the_driver_says():
    """The driver sees how much of the task is left; an episode that is prefetched waits for the task's worker."""
    forecast = a_forecast(25.0, 10.0)
    task = plan(2)[0].task
    for n_simulators in (1, 2):
        scheduler = Scheduler((), Limits(2, 2), forecast)
        for number in range(2):
            scheduler.started(number)
            scheduler.joined(number)
        scheduler.add(plan(1), {task: 1})
        assert len(scheduler.assign()) == 1

        scheduler.add(plan(3)[1:], {task: n_simulators})

        assert len(scheduler.assign()) == n_simulators - 1


def test_a_simulator_that_is_lost_with_its_worker_is_built_again_because_the_driver_counts_on_it():
    """The task's other worker does not have to run all its episodes."""
    scheduler = Scheduler((), Limits(2, 2), a_forecast(25.0, 10.0))
    for number in range(2):
        scheduler.started(number)
        scheduler.joined(number)
    scheduler.add(plan(3), {plan(1)[0].task: 2})
    assert len(scheduler.assign()) == 2

    scheduler.lost(1, BOOM)
    scheduler.started(2)
    scheduler.joined(2)

    assert [number for number, _ in scheduler.assign()] == [2]


def test_the_worker_that_has_been_idle_longest_builds():
    """The next episode of the other one may be on its way."""
    scheduler = ready_scheduler([EpisodeSpec("suite", task, 0, 0) for task in range(2)], 2)
    simulate(scheduler)
    for number in (1, 0):
        scheduler.observed(number)
        scheduler.finished(number)
    scheduler.add([EpisodeSpec("suite", 2, 0, 0)])

    assert [number for number, _ in scheduler.assign()] == [1]


def test_a_worker_that_did_not_join_takes_over_where_the_others_are_lost():
    """Nobody else is at the task now."""
    scheduler = Scheduler(plan(2), Limits(2, 2), forecast=a_forecast(25.0, 10.0))
    scheduler.started(0)
    scheduler.joined(0)
    simulate(scheduler)
    scheduler.started(1)
    scheduler.joined(1)
    assert scheduler.assign() == []

    scheduler.lost(0, BOOM)

    assert [number for number, _ in scheduler.assign()] == [1]


def test_the_task_that_will_take_longest_is_begun_first():
    """Fewer episodes, but each takes ten times as long."""
    forecast = Forecast()
    forecast.learn_episode(TaskKey("suite", 0), 1.0)
    forecast.learn_episode(TaskKey("suite", 1), 10.0)
    scheduler = Scheduler(plan(9, 3), Limits(1, 2), forecast=forecast)
    scheduler.started(0)
    scheduler.joined(0)

    assert [spec.task_id for _, spec in scheduler.assign()] == [1]


@pytest.mark.parametrize("seed", range(5))
def test_the_last_worker_ends_within_about_an_episode_of_the_others_and_few_simulators_are_built(seed):
    """Ten tasks of 20 episodes, very different in length, on six workers, on a simulated clock. Nobody is idle for
    longer than it takes to build a simulator and run an episode; a task is built twice on average at most.
    """
    dice = random.Random(seed)
    build_s, mean_s = 3.0, [dice.uniform(2.0, 20.0) for _ in range(10)]
    forecast = Forecast()
    scheduler = Scheduler(plan(*[20] * 10), Limits(6, 2), forecast=forecast)
    for number in range(6):
        scheduler.started(number)
        scheduler.joined(number)
    events: list[tuple[float, int, str, float]] = []
    idle_since = dict.fromkeys(range(6), 0.0)
    now, n_builds = 0.0, 0

    def begin(number: int) -> None:
        seconds = dice.uniform(0.5, 1.5) * mean_s[scheduler.episode_of(number).task_id]
        heapq.heappush(events, (now + seconds, number, "finished", seconds))

    while not scheduler.done:
        for number, _ in scheduler.assign():
            if scheduler.phase_of(number) is Phase.BUILDING:
                n_builds += 1
                heapq.heappush(events, (now + build_s, number, "built", build_s))
            else:
                begin(number)
        now, number, what, seconds = heapq.heappop(events)
        if what == "built":
            forecast.learn_build(scheduler.built(number).task, seconds)
            begin(number)
        else:
            forecast.learn_episode(scheduler.finished(number).task, seconds)
            idle_since[number] = now

    assert max(now - idle for idle in idle_since.values()) <= 1.5 * max(mean_s) + build_s
    assert 10 <= n_builds <= 20
