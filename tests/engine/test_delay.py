"""Chunks that arrive late: which actions an episode executes, and the same ones however it is run."""

from __future__ import annotations

import numpy as np
import pytest
from fake_runs import canonical, run_fake

from proctor.engine.delay import DelayedChunks, InferenceDelay
from proctor.engine.plan import plan_episodes, plan_tasks
from proctor.errors import ConfigError, FingerprintError, PolicyError
from proctor.results.journal import read_actions
from proctor.results.run_dir import RunDirectory
from proctor.testing.fakes import FakeBenchmark, FakeConfig, FakeEnv, FakePolicy
from proctor.types import Observation


def executed(n_steps, n_action_steps, delay, length, when_late="hold"):
    """Execute chunks of ``length`` actions; the chunk of the look at step t holds 100 * t + 1, 100 * t + 2, …"""
    delayed, actions = DelayedChunks(n_action_steps, delay, when_late), []
    while len(actions) < n_steps:
        chunk = 100 * len(actions) + 1 + np.arange(length)[:, None]
        actions += delayed.until_next_look(chunk)[:, 0].tolist()
    return actions[:n_steps]


@pytest.mark.parametrize(
    ("n_action_steps", "delay", "length", "expected"),
    [
        (4, 1, 5, [1, 2, 3, 4, 5, 402, 403, 404, 405, 802, 803, 804]),
        (4, 2, 6, [1, 2, 3, 4, 5, 6, 403, 404, 405, 406, 803, 804]),
        (4, 2, 9, [1, 2, 3, 4, 5, 6, 403, 404, 405, 406, 803, 804]),
        (2, 2, 4, [1, 2, 3, 4, 203, 204, 403, 404]),
        (2, 3, 6, [1, 2, 3, 4, 5, 6, 304, 305, 306, 604, 605, 606]),
        (1, 1, 2, [1, 2, 102, 202, 302]),
        (4, 0, 6, [1, 2, 3, 4, 401, 402, 403, 404]),
    ],
)
@pytest.mark.parametrize("when_late", ["hold", "zero", "wait"])
def test_the_rest_of_a_chunk_is_executed_until_the_next_one_is_there(
    n_action_steps, delay, length, expected, when_late
):
    """A chunk that is long enough leaves nothing to decide, for a delay below, at and above the actions per look."""
    assert executed(len(expected), n_action_steps, delay, length, when_late) == expected


@pytest.mark.parametrize(
    ("n_action_steps", "delay", "length", "when_late", "expected"),
    [
        (4, 2, 4, "hold", [1, 2, 3, 4, 4, 4, 403, 404, 404, 404, 803, 804]),
        (4, 2, 4, "zero", [1, 2, 3, 4, 0, 0, 403, 404, 0, 0, 803, 804]),
        (4, 2, 4, "wait", [1, 2, 3, 4, 401, 402, 403, 404, 801, 802]),
        (4, 3, 5, "hold", [1, 2, 3, 4, 5, 5, 5, 404, 405, 405, 405, 804]),
        (4, 3, 5, "zero", [1, 2, 3, 4, 5, 0, 0, 404, 405, 0, 0, 804]),
        (4, 3, 5, "wait", [1, 2, 3, 4, 5, 402, 403, 404, 405, 802]),
        (2, 4, 6, "hold", [1, 2, 3, 4, 5, 6, 6, 6, 405, 406, 406, 406]),
        (2, 4, 6, "zero", [1, 2, 3, 4, 5, 6, 0, 0, 405, 406, 0, 0]),
        (2, 4, 6, "wait", [1, 2, 3, 4, 5, 6, 403, 404, 405, 406, 803, 804]),
    ],
)
def test_if_the_rest_is_too_short_the_robot_holds_stops_or_waits(n_action_steps, delay, length, when_late, expected):
    """While it waits, no step is made."""
    assert executed(len(expected), n_action_steps, delay, length, when_late) == expected


def test_a_chunk_shorter_than_the_actions_per_look_brings_the_next_look_forward():
    """The policy looks at step 3, where its chunk ends, although it may execute four actions."""
    assert executed(9, 4, 2, 3) == [1, 2, 3, 3, 3, 303, 303, 303, 603]


@pytest.mark.parametrize("when_late", ["hold", "zero", "wait"])
def test_a_chunk_without_an_action_for_the_step_at_which_it_arrives_is_the_policys_error(when_late):
    """The first one is waited for, so it is the second that is outdated."""
    delayed = DelayedChunks(3, 3, when_late)
    first = delayed.until_next_look(np.ones((6, 2)))

    assert len(first) == 3
    with pytest.raises(
        PolicyError,
        match="a chunk of 3 actions, all of which are outdated when they arrive 3 steps late; expected at least 4, so "
        "choose a smaller delay or a policy with longer chunks",
    ):
        delayed.until_next_look(np.ones((3, 2)))


def test_a_delay_beyond_any_chunk_takes_no_memory():
    """It is refused before anything is filled in."""
    delayed = DelayedChunks(4, 10**15, "hold")
    delayed.until_next_look(np.ones((4, 2)))

    with pytest.raises(PolicyError, match="1000000000000000 steps late"):
        delayed.until_next_look(np.ones((4, 2)))


@pytest.mark.parametrize("length", [4, 6])
def test_a_policy_may_write_its_next_chunk_over_the_one_before(length):
    """What is left of the one before has been copied."""
    delayed, memory = DelayedChunks(4, 2, "hold"), np.empty((length, 1), int)
    actions = []
    for look in (0, 4, 8):
        memory[:, 0] = 100 * look + 1 + np.arange(length)
        actions += delayed.until_next_look(memory)[:, 0].tolist()

    assert actions == executed(12, 4, 2, length)


def test_a_robot_that_waits_has_a_use_for_a_chunk_as_long_as_the_delay():
    """No time passes while it stands still, so the chunk is not outdated."""
    assert executed(6, 3, 3, 3, "wait") == [1, 2, 3, 301, 302, 303]


@pytest.mark.parametrize(
    ("ms", "fps", "steps"),
    [(1, 30, 1), (100, 30, 3), (101, 30, 4), (150, 10, 2), (80, 12.5, 1), (33.4, 30, 2), (30, 1 / 0.03, 1)],
)
def test_milliseconds_are_rounded_up_to_steps_of_the_simulator(ms, fps, steps):
    """100 ms are three steps at 30 steps a second, without an error of rounding."""
    assert InferenceDelay(ms=ms).steps_at(fps) == steps
    assert InferenceDelay(steps=7).steps_at(fps) == 7


@pytest.mark.parametrize("fps", [0.0, float("nan"), float("inf")])
def test_a_simulator_without_a_control_rate_has_no_milliseconds(fps):
    """Its user is told to give steps."""
    with pytest.raises(
        ConfigError, match=r"inference_delay_ms is 50, .* fps is .*give eval.inference_delay_steps instead"
    ):
        InferenceDelay(ms=50).steps_at(fps)
    assert InferenceDelay(steps=7).steps_at(fps) == 7


class Far(FakePolicy):
    """Predicts ten actions, each weaker than the one before."""

    def _chunk(self, observation):
        return (super()._chunk(observation)[:1] / np.arange(1, 11)[:, None]).astype(np.float32)


def by_hand(policy, spec, task, delay, when_late):
    """A robot's loop: in each step it takes what has arrived, starts an inference if none is under way, and acts."""
    env = FakeBenchmark(FakeConfig(type="fake", max_steps=task.max_episode_steps)).make_env(task)
    seen = [env.reset(spec.seed, None, look=True)]

    def infer(step):
        frames = [seen[max(0, step + offset)] for offset in policy.look_offsets]
        history = {key: np.stack([frame[key] for frame in frames]) for key in frames[0]}
        return dict(enumerate(policy._chunk(Observation(history, task.instruction)), start=step))

    plan = infer(0)
    arriving, between, actions = {}, max(policy.n_action_steps, delay), []
    for step in range(task.max_episode_steps):
        plan = arriving.pop(step, plan)
        if step and step % between == 0:
            arriving[step + delay] = infer(step)
            plan = arriving.pop(step, plan)
        last = actions[-1] if actions else plan[0]
        actions.append(plan.get(step, last if when_late == "hold" else 0 * last))
        done = env.step(actions[-1], look=True)
        seen.append(done.observation)
        if done.terminated:
            break
    return np.stack(actions), env.state_hash()


@pytest.mark.parametrize("offsets", [(0,), (-2, 0)], ids=["one frame", "two frames"])
@pytest.mark.parametrize(
    ("n_action_steps", "delay", "when_late"),
    [(4, 2, "hold"), (3, 3, "hold"), (2, 5, "zero"), (8, 6, "hold"), (8, 6, "zero")],
)
def test_an_evaluation_executes_what_a_loop_written_by_hand_executes(
    n_action_steps, delay, when_late, offsets, tmp_path
):
    """With one worker and with three, to the bit; looks see the frames that they should."""
    policy = Far(n_action_steps, offsets)
    late = {"inference_delay_steps": delay, "when_late": when_late}

    runs = [run_fake(tmp_path / str(n), policy, batch_size=n, **late) for n in (1, 3)]

    assert canonical(runs[0].info) == canonical(runs[1].info)
    benchmark = FakeBenchmark(FakeConfig(type="fake", max_steps=12))
    tasks = plan_tasks(benchmark)
    by_task = {task.key: task for task in tasks}
    kept = {each.result.spec: each for each in RunDirectory(tmp_path / "3").read_journals()[0].episodes}
    assert set(kept) == set(plan_episodes(benchmark, tasks, 3, 1000))
    for spec, episode in kept.items():
        actions, state = by_hand(policy, spec, by_task[spec.task], delay, when_late)
        np.testing.assert_array_equal(read_actions(episode), actions)
        assert episode.result.final_state_hash == state


def test_a_robot_that_waits_and_has_nothing_left_of_a_chunk_does_as_without_a_delay(tmp_path):
    """Time stands still until the chunk is there, from its first action on."""
    waiting = run_fake(tmp_path / "waiting", FakePolicy(3), inference_delay_steps=2, when_late="wait")
    holding = run_fake(tmp_path / "holding", FakePolicy(3), inference_delay_steps=2)
    plain = canonical(run_fake(tmp_path / "plain", FakePolicy(3)).info)

    assert canonical(waiting.info) == plain
    assert canonical(holding.info) != plain


def test_without_a_delay_nothing_changes_not_even_the_fingerprint(tmp_path):
    """A delay of 0 steps or milliseconds is none."""
    plain = run_fake(tmp_path / "plain", Far())
    none = run_fake(tmp_path / "none", Far(), inference_delay_steps=0, inference_delay_ms=0.0, when_late="zero")

    assert canonical(plain.info) == canonical(none.info)
    assert plain.info["fingerprint"]["inference"] == none.info["fingerprint"]["inference"]
    assert none.info["fingerprint"]["inference"] == {"batch_size": 0, "threads": 1}


def test_milliseconds_give_the_episodes_of_as_many_steps(tmp_path):
    """The fake simulator makes ten steps a second."""
    by_steps = run_fake(tmp_path / "steps", Far(), inference_delay_steps=2)
    by_ms = run_fake(tmp_path / "ms", Far(), inference_delay_ms=120)

    assert canonical(by_ms.info) == canonical(by_steps.info)
    assert canonical(by_ms.info) != canonical(run_fake(tmp_path / "none", Far()).info)
    assert by_ms.info["fingerprint"]["inference"]["delay"] == {"ms": 120.0, "when_late": "hold"}
    assert by_steps.info["fingerprint"]["inference"]["delay"] == {"steps": 2, "when_late": "hold"}


def test_milliseconds_in_a_simulator_without_a_control_rate_end_the_run(tmp_path, monkeypatch):
    """As a mistake of the configuration, before the first step."""
    monkeypatch.setattr(FakeEnv, "fps", None)

    with pytest.raises(ConfigError, match=r"give eval\.inference_delay_steps instead"):
        run_fake(tmp_path / "run", Far(), inference_delay_ms=50, batch_size=1)


def test_a_run_with_another_delay_is_not_extended(tmp_path):
    """The refusal names both."""
    run_fake(tmp_path / "run", Far(), inference_delay_steps=2)

    with pytest.raises(FingerprintError, match=r"inference\.delay\.steps: was 2, now 3"):
        run_fake(tmp_path / "run", Far(), inference_delay_steps=3)
    with pytest.raises(FingerprintError, match=r"inference\.delay\.when_late: was \"hold\", now \"zero\""):
        run_fake(tmp_path / "run", Far(), inference_delay_steps=2, when_late="zero")
    with pytest.raises(FingerprintError, match=r"inference\.delay\.steps: was 2, now absent"):
        run_fake(tmp_path / "run", Far())


def test_an_outdated_chunk_is_an_error_of_its_episode(tmp_path):
    """It is not executed in part."""
    result = run_fake(tmp_path / "run", FakePolicy(3), inference_delay_steps=3, n_episodes=1)

    errors = [error for episode in result.info["per_episode"] for error in episode["errors"]]
    assert errors
    assert all("a chunk of 3 actions, all of which are outdated" in error["message"] for error in errors)


@pytest.mark.parametrize("delay", [{"inference_delay_steps": 2}, {"inference_delay_ms": 50}])
def test_a_policy_inside_the_workers_has_no_inference_to_delay(delay, tmp_path):
    """The option is refused, not ignored."""
    (name,) = delay

    with pytest.raises(ConfigError, match=f"eval.{name} is .*acts inside the workers.*leave the option out"):
        run_fake(tmp_path / "run", {"type": "expert"}, **delay)


class Told(Far):
    """Keeps what its memories tell of the delay."""

    def __init__(self):
        super().__init__()
        self.delays = set()

    def predict(self, observations, memories):
        self.delays |= {memory.n_delay_steps for memory in memories}
        return super().predict(observations, memories)


@pytest.mark.parametrize(
    ("delay", "steps"), [({}, 0), ({"inference_delay_steps": 2}, 2), ({"inference_delay_ms": 120}, 2)]
)
def test_a_policy_is_told_the_delay_in_steps(delay, steps, tmp_path):
    """In the rows that fill a pass, too."""
    policy = Told()

    run_fake(tmp_path / "run", policy, inference_batch_size=4, **delay)

    assert policy.delays == {steps}
