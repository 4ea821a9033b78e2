"""Real-time chunking: the actions of a loop around LeRobot's own queue and processor, whoever shares a pass."""

import numpy as np
import pytest
from lerobot_samples import KINDS, RTC, LeRobotLoop, edit_json, frames, new_memory, observation_at, real_time_actions

from proctor.engine.delay import DelayedChunks
from proctor.errors import CheckpointError, ConfigError, PolicyError
from proctor.policies.lerobot import load
from proctor.policies.lerobot.live import live_policy

torch = pytest.importorskip("torch")
pytest.importorskip("lerobot")

N_STEPS = 24
KNOWN = ("smolvla", "pi0", "pi05", "evo1")


def open_policy(path, **fields):
    return load({"path": str(path), "device": "cpu", "rtc_config": RTC, **fields}).open(1)


class Robot:
    """An episode whose chunks take over ``n_delay_steps`` steps after the look; without a delay it is None."""

    def __init__(self, policy, frames, n_delay_steps, seed=7, when_late="hold"):
        self.policy, self.frames, self.memory = policy, frames, new_memory(seed)
        self.memory.n_delay_steps = n_delay_steps or 0
        self.memory.whole_chunks = bool(n_delay_steps)
        self.delayed = DelayedChunks(policy.n_action_steps, n_delay_steps or 0, when_late)
        self.executed = []

    @property
    def is_over(self):
        return len(self.executed) >= N_STEPS

    @property
    def observation(self):
        return observation_at(self.policy, self.frames, len(self.executed))

    def execute(self, chunk):
        self.executed += list(self.delayed.until_next_look(chunk))

    def run(self):
        while not self.is_over:
            with self.memory.stream.swapped_in():
                self.execute(self.policy.predict([self.observation], [self.memory])[0])
        return np.stack(self.executed[:N_STEPS])


@pytest.mark.parametrize("n_delay_steps", [None, 2, 5, 7])
@pytest.mark.parametrize("name", KNOWN)
def test_an_episode_has_the_actions_of_a_loop_around_lerobots_own_queue(checkpoints, name, n_delay_steps):
    """To the bit; without a delay, too, and if what is left over is shorter than the delay."""
    seen = frames(1, N_STEPS)

    actions = Robot(open_policy(checkpoints[name]), seen, n_delay_steps).run()

    np.testing.assert_array_equal(actions, real_time_actions(checkpoints[name], seen, n_delay_steps or 0))


@pytest.mark.parametrize("n_delay_steps", [None, 2])
@pytest.mark.parametrize("name", KNOWN)
def test_only_the_first_chunk_is_the_one_without_real_time_chunking(checkpoints, name, n_delay_steps):
    """Otherwise the comparison above would prove little."""
    policy, seen = open_policy(checkpoints[name]), frames(1, N_STEPS)

    guided = Robot(policy, seen, n_delay_steps).run()
    plain = Robot(open_policy(checkpoints[name], rtc_config=None), seen, n_delay_steps).run()

    n = policy.n_action_steps
    np.testing.assert_array_equal(guided[:n], plain[:n])
    assert (guided[n + 2 :] != plain[n + 2 :]).mean() > 0.9


@pytest.mark.parametrize("horizon", [1, 10])
def test_a_left_over_is_cut_or_filled_with_zeros_to_the_execution_horizon(checkpoints, horizon):
    """Five actions are left over; the schedule gives all of the horizon the same weight."""
    rtc = {**RTC, "execution_horizon": horizon, "prefix_attention_schedule": "ONES"}
    seen = frames(1, N_STEPS)

    actions = Robot(open_policy(checkpoints["smolvla"], rtc_config=rtc), seen, 2).run()

    np.testing.assert_array_equal(actions, real_time_actions(checkpoints["smolvla"], seen, 2, rtc=rtc))


@pytest.mark.parametrize("n_delay_steps", [None, 2, 5])
@pytest.mark.parametrize("name", ["smolvla", "pi0", "pi05"])
def test_episodes_in_different_phases_share_passes(checkpoints, name, n_delay_steps):
    """An episode at its first chunk beside others at a later one: each has the actions it has beside itself alone."""
    policy = open_policy(checkpoints[name])

    def robot(seed):
        return Robot(policy, frames(seed, N_STEPS + 10), n_delay_steps, seed)

    def step(row, beside):
        others = [robot(9) for _ in range(3)] if beside is None else beside
        batch = [*others[:1], row, *others[1:]]
        chunks = policy.predict([each.observation for each in batch], [each.memory for each in batch])
        for each, chunk in zip(batch, chunks, strict=True):
            each.execute(chunk)

    alone, shared, early = robot(1), robot(1), [robot(2), robot(3), robot(4)]
    (chunk, *_) = policy.predict([early[0].observation] * 4, [early[0].memory, *(new_memory() for _ in range(3))])
    early[0].execute(chunk)
    while not alone.is_over:
        step(alone, None)
        step(shared, early)
        early[2] = robot(5)  # a new episode begins beside it at each look

    np.testing.assert_array_equal(shared.executed, alone.executed)
    np.testing.assert_allclose(shared.executed[:N_STEPS], robot(1).run(), rtol=1e-3, atol=1e-2)
    assert not np.array_equal(early[0].executed[:5], early[1].executed[:5])


def test_tasks_with_different_delays_share_a_pass(checkpoints):
    """Milliseconds are other numbers of steps in another simulator; a row has the delay of its own episode."""
    policy = open_policy(checkpoints["smolvla"])

    def actions(*delays):
        robots = [Robot(policy, frames(seed, 6), delay, seed) for seed, delay in enumerate(delays)]
        for _ in range(2):
            chunks = policy.predict([each.observation for each in robots], [each.memory for each in robots])
            for each, chunk in zip(robots, chunks, strict=True):
                each.execute(chunk)
        return [np.stack(each.executed) for each in robots]

    mixed, twos, fours = actions(2, 4), actions(2, 2), actions(4, 4)

    np.testing.assert_array_equal(mixed[0], twos[0])
    np.testing.assert_array_equal(mixed[1], fours[1])
    assert not np.array_equal(mixed[1], twos[1])


def test_two_interleaved_episodes_equal_each_alone(checkpoints):
    """The left-over is in the episode's memory, not in the policy."""
    policy, seen = open_policy(checkpoints["smolvla"]), [frames(seed, N_STEPS) for seed in (1, 2)]
    robots = [Robot(policy, each, 2) for each in seen]
    for turn in (0, 1, 1, 0, 1, 0, 0, 1):
        robot = robots[turn]
        robot.execute(policy.predict([robot.observation], [robot.memory])[0])

    for robot, each in zip(robots, seen, strict=True):
        np.testing.assert_array_equal(robot.executed, Robot(policy, each, 2).run()[: len(robot.executed)])


def test_a_pass_that_raises_leaves_the_left_over(checkpoints):
    """The observation is predicted again, from the same state."""
    policy, seen = open_policy(checkpoints["smolvla"]), frames(1, N_STEPS)
    robot, expected = Robot(policy, seen, 2), Robot(policy, seen, 2).run()
    robot.execute(policy.predict([robot.observation], [robot.memory])[0])
    broken = [{**frame, "observation.state": np.zeros(5)} for frame in seen]

    with pytest.raises(RuntimeError):
        policy.predict([observation_at(policy, broken, 5)], [robot.memory])

    np.testing.assert_array_equal(robot.run(), expected)


def test_a_config_that_enables_it_is_read_and_recorded(checkpoints, tmp_path):
    """In ``config.json`` as with an option, so that results with and without it are never mixed."""
    saved = KINDS["smolvla"](tmp_path / "saved")
    edit_json(saved / "config.json", rtc_config={**RTC, "debug": True, "debug_maxlen": 5})
    seen = frames(1, N_STEPS)

    on = load({"path": str(saved), "device": "cpu"})
    off = load({"path": str(saved), "device": "cpu", "rtc_config": "null"})
    option = load({"path": str(checkpoints["smolvla"]), "device": "cpu", "rtc_config": '{"execution_horizon": 8}'})

    np.testing.assert_array_equal(Robot(on.open(1), seen, 2).run(), real_time_actions(saved, seen, 2))
    assert on.fingerprint()["real_time_chunking"]["execution_horizon"] == 8
    assert "real_time_chunking" not in off.fingerprint()
    assert option.fingerprint()["real_time_chunking"] == {"enabled": True, "execution_horizon": 8}
    assert option.open(1)._model.config.rtc_config.enabled
    disabled = load({"path": str(checkpoints["smolvla"]), "rtc_config": {"enabled": False}})
    assert "real_time_chunking" not in disabled.fingerprint()
    assert not disabled.checkpoint.policy_type.needs_gradients


def test_a_policy_object_is_evaluated_with_it_and_keeps_its_own_processor(checkpoints):
    """As in a training loop; the copy that predicts is guided row by row."""
    from lerobot.policies.rtc.configuration_rtc import RTCConfig

    loop, seen = LeRobotLoop(checkpoints["smolvla"], new_memory().stream), frames(1, N_STEPS)
    loop.policy.config.rtc_config = RTCConfig(enabled=True, execution_horizon=8)
    loop.policy.init_rtc_processor()
    own = loop.policy.rtc_processor
    source = live_policy(loop.policy, loop.preprocessor, loop.postprocessor)

    actions = Robot(source.open(1), seen, 2).run()

    rtc = {"enabled": True, "execution_horizon": 8, "prefix_attention_schedule": "LINEAR"}
    np.testing.assert_array_equal(actions, real_time_actions(checkpoints["smolvla"], seen, 2, rtc=rtc))
    assert loop.policy.rtc_processor is loop.policy.model.rtc_processor is own
    assert source.fingerprint()["real_time_chunking"]["execution_horizon"] == 8


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_action_steps": 10}, r"policy.n_action_steps is 10, which is a whole chunk.*give fewer, as .*=5, or turn"),
        ({"rtc_config": {"execution_horizon": 11}}, "execution_horizon=11; .* at least 1 and at most 10"),
        ({"rtc_config": {"execution_horizon": 0}}, "execution_horizon=0; it must be a whole number"),
        ({"rtc_config": {"enabled": "yes"}}, "policy.rtc_config has enabled='yes'; it must be true or false"),
        ({"rtc_config": True}, "policy.rtc_config is True"),
        ({"rtc_config": {"max_guidance_weight": -1.0}}, "policy.rtc_config .*max_guidance_weight must be positive"),
    ],
)
def test_settings_that_cannot_work_are_refused(checkpoints, fields, message):
    """By one sentence, before the first episode."""
    with pytest.raises(ConfigError, match=message):
        open_policy(checkpoints["smolvla"], **fields)


def test_a_checkpoint_that_leaves_nothing_over_is_refused_as_such(tmp_path):
    """The user has given no option; the message says which to give."""
    saved = KINDS["smolvla"](tmp_path / "saved", n_action_steps=10)
    edit_json(saved / "config.json", rtc_config=RTC)

    with pytest.raises(CheckpointError, match=r"n_action_steps of config.json is 10.*--policy.n_action_steps=5"):
        load({"path": str(saved)})


@pytest.mark.parametrize("name", ["act", "pi0_fast", "molmoact2", "pi0-relative", "wanderer"])
def test_policies_whose_chunks_cannot_be_guided_are_refused(checkpoints, name):
    """LeRobot has no real-time chunking for them, or keeps nothing to be left over, or anchors actions to a state."""
    directory = checkpoints[name]
    before = (directory / "config.json").read_text()
    edit_json(directory / "config.json", rtc_config=RTC)
    try:
        with pytest.raises(
            CheckpointError,
            match=r"which can be evaluated for evo1, pi0, pi05, smolvla .*give --policy.rtc_config=null",
        ):
            load({"path": str(directory)})
    finally:
        (directory / "config.json").write_text(before)


def test_a_delay_that_is_not_known_is_the_policys_error(checkpoints):
    """Clients of a server execute as many actions as they like."""
    policy, memory = open_policy(checkpoints["smolvla"]), new_memory()
    memory.n_delay_steps = None

    with pytest.raises(
        PolicyError, match=r"start the server with --policy\.rtc_config=null, or evaluate in one process"
    ):
        policy.predict([observation_at(policy, frames(1), 0)], [memory])
