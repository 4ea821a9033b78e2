"""Short episodes that a worker is sent ahead: it begins each as soon as the one before is over, and none is lost."""

from __future__ import annotations

import pytest
from fake_runs import canonical, errors_of, run_fake

from proctor.engine import scheduler as scheduler_module
from proctor.engine.forecast import Forecast
from proctor.engine.scheduler import Limits, Phase, Scheduler
from proctor.engine.workers import Workers
from proctor.errors import EpisodeLostError, Note
from proctor.testing.fakes import FakePolicy
from proctor.types import AttemptError, EpisodeSpec, TaskKey

BOOM = AttemptError("crashed", "boom")
TASK = TaskKey("suite", 0)


def plan(n: int, task_id: int = 0) -> list[EpisodeSpec]:
    return [EpisodeSpec("suite", task_id, index, 1000 + index) for index in range(n)]


def busy_scheduler(n_episodes: int, n_workers: int, seconds: float = 0.005, **limits: int) -> Scheduler:
    """Every worker runs an episode of the same task, and episodes take so long."""
    forecast = Forecast()
    forecast.learn_episode(TASK, seconds)
    scheduler = Scheduler(plan(n_episodes), Limits(n_workers, **{"max_attempts": 2, **limits}), forecast)
    for number in range(n_workers):
        scheduler.started(number)
        scheduler.joined(number)
    for number, _ in scheduler.assign():
        scheduler.built(number)
    return scheduler


def indices(assigned: list[tuple[int, EpisodeSpec]], worker_id: int) -> list[int]:
    return [spec.episode_index for number, spec in assigned if number == worker_id]


# ------------------------------------------------------------------------------------------------------ the scheduler


def test_a_worker_goes_on_with_the_episodes_that_it_has_ahead_and_gets_more_when_it_does():
    """It is never idle, and episodes begin in the order of the plan."""
    scheduler = busy_scheduler(20, 1)
    assert indices(scheduler.assign_ahead(), 0) == [1, 2, 3, 4]  # so many take 20 ms
    assert scheduler.assign_ahead() == []

    order = []
    while not scheduler.done:
        assert scheduler.phase_of(0) is Phase.SIMULATING
        order.append(scheduler.finished(0).episode_index)
        scheduler.assign_ahead()

    assert order == list(range(20))
    assert scheduler.phase_of(0) is Phase.IDLE


@pytest.mark.parametrize(("seconds", "n"), [(0.001, 20), (0.03, 1), (0.1, 1), (0.2, 0), (0.0, 0)])
def test_episodes_are_assigned_ahead_by_what_they_are_expected_to_take(seconds, n):
    """None if they take long, or if none has been measured."""
    assert len(busy_scheduler(100, 1, seconds).assign_ahead()) == n


def test_no_worker_takes_more_ahead_than_its_share_of_what_waits():
    """The others would have nothing to do at the end."""
    scheduler = busy_scheduler(11, 2, 0.001)

    ahead = scheduler.assign_ahead()

    assert (indices(ahead, 0), indices(ahead, 1)) == ([2, 3, 4, 5], [6, 7])  # of nine; whoever is first has the rest


def test_a_worker_that_builds_has_nothing_ahead_and_one_that_is_to_be_ended_gets_no_more():
    """Its simulator may fail to construct, and it is to become idle."""
    scheduler = busy_scheduler(50, 2)
    assert {number for number, _ in scheduler.assign_ahead(without={1})} == {0}

    forecast = Forecast()
    forecast.learn_episode(TASK, 0.005)
    building = Scheduler(plan(9), Limits(1, 2), forecast)
    building.started(0)
    building.joined(0)
    building.assign()
    assert building.assign_ahead() == []


@pytest.mark.parametrize("how", ["lost", "raised", "policy"])
def test_episodes_ahead_of_one_that_failed_wait_again_and_were_not_attempted(how):
    """They are the next to begin, in their order, also on another worker."""
    scheduler = busy_scheduler(9, 2)
    ahead = scheduler.assign_ahead()
    assert indices(ahead, 0) == [2, 3, 4]

    if how == "lost":
        assert scheduler.lost(0, BOOM).episode_index == 0
    else:
        assert scheduler.failed(0, BOOM, keep_env=how == "policy").episode_index == 0
    while scheduler.episode_of(1) is not None:
        scheduler.finished(1)

    begun = []
    while not scheduler.done:
        for number, _ in scheduler.assign():
            if scheduler.phase_of(number) is Phase.BUILDING:
                scheduler.built(number)
        begun += [scheduler.finished(number) for number in scheduler.worker_ids if scheduler.episode_of(number)]
    assert [spec.episode_index for spec in begun] == [2, 3, 4, 7, 8, 0] if how != "raised" else len(begun) == 6
    assert [spec.episode_index for spec in plan(9) if scheduler.errors_of(spec)] == [0]


def test_a_plan_that_is_cut_short_ends_with_the_episodes_that_were_assigned():
    """Those ahead take a moment."""
    scheduler = busy_scheduler(100, 1)
    ahead = scheduler.assign_ahead()

    scheduler.drop_waiting()
    for _ in range(1 + len(ahead)):
        assert not scheduler.done
        scheduler.finished(0)
        assert scheduler.assign_ahead() == []

    assert scheduler.done


def test_a_task_is_not_ahead_of_the_others_by_more_than_it_may():
    """An early stop looks at complete rounds, so what is beyond the furthest one behind may be of no use."""
    scheduler = busy_scheduler(50, 1, max_lead=3)
    scheduler.add(plan(50, task_id=1))

    assert indices(scheduler.assign_ahead(), 0) == [1, 2]


# ---------------------------------------------------------------------------------------------------------------- runs


@pytest.fixture
def n_ahead(monkeypatch):
    """All episodes count as short; gives the number that were sent ahead."""
    monkeypatch.setattr(scheduler_module, "_SHORT_S", 60)
    monkeypatch.setattr(scheduler_module, "_AHEAD_S", 600)
    sent, send_ahead = [], Workers.send_ahead

    def counted(self, worker_id, request):
        sent.append(request)
        send_ahead(self, worker_id, request)

    monkeypatch.setattr(Workers, "send_ahead", counted)
    return sent


class Stumbling(FakePolicy):
    """Raises at two of its requests: once as an attempt that failed, once as an episode that a server lost."""

    def __init__(self):
        super().__init__()
        self.n_slots = 1
        self.errors = {9: ValueError("tripped"), 31: EpisodeLostError("the server was started again")}
        self.n_requests = 0

    def predict(self, observations, memories):
        self.n_requests += 1
        if error := self.errors.get(self.n_requests):
            raise error
        return super().predict(observations, memories)


@pytest.mark.parametrize("policy", [{"type": "expert"}, FakePolicy()], ids=["in the worker", "in this process"])
def test_the_results_after_faults_are_those_without_them(tmp_path, n_ahead, policy):
    """Only the episodes that were struck have an attempt that failed, whatever was sent ahead behind them."""
    clean = run_fake(tmp_path / "clean", policy, n_episodes=30, batch_size=1)
    assert not n_ahead  # in this process there is nobody to send it to

    faults = {"0/1010/0": "kill", "1/1010/2": "kill", "0/1020/1": "raise", "1/1020/2": "babble", "0/1025/1": "hang"}
    result = run_fake(tmp_path / "run", policy, n_episodes=30, faults=faults, step_timeout_s=1, reset_timeout_s=20)

    assert len(n_ahead) > 20
    assert canonical(result.info) == canonical(clean.info)
    assert {episode: len(errors) for episode, errors in errors_of(result).items()} == dict.fromkeys(
        ["0/1010", "1/1010", "0/1020", "1/1020", "0/1025"], 1
    )


def test_the_results_after_failures_of_the_policy_are_those_without_them(tmp_path, n_ahead):
    """The worker gives up the episode under way and those that it has ahead, and keeps its simulator."""
    clean = run_fake(tmp_path / "clean", n_episodes=30, batch_size=1)

    result = run_fake(tmp_path / "run", Stumbling(), n_episodes=30)

    assert n_ahead
    assert canonical(result.info) == canonical(clean.info)
    assert [len(errors) for errors in errors_of(result).values()] == [1]


def test_a_worker_that_takes_too_much_memory_is_replaced_all_the_same(tmp_path, n_ahead):
    """Once it has run what it had ahead."""
    options = {"n_episodes": 20, "worker_memory_gb": 0.15}
    with pytest.warns(Note, match="takes more than"):
        result = run_fake(tmp_path / "run", {"type": "expert"}, env={"leaks_mb": 20}, **options)

    assert n_ahead
    assert not errors_of(result)
    assert result.info["complete"]
