"""Videos of a run: by replay on the workers that measured it, or live where nothing can be replayed."""

from __future__ import annotations

import math
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from proctor.engine import Engine, EngineOptions, EngineSetup, Replayer, VideoSpec, VideoTask
from proctor.engine.plan import plan_episodes, plan_tasks
from proctor.engine.replay import _Budget
from proctor.engine.worker.messages import Replay
from proctor.engine.worker.simulation import _TimeLimit
from proctor.errors import ConfigError, EnvironmentBuildError, Interrupted
from proctor.testing.fakes import FAKE_BENCHMARK, FakeBenchmark, FakeConfig, FakeEnv, FakePolicy
from proctor.types import ArrayBytes, EpisodeSpec

HERE, THERE = 1, 2
"""Batch sizes: in this process, in two others."""

anywhere = pytest.mark.parametrize("batch_size", [HERE, THERE], ids=["here", "there"])


class Studio:
    """Measures two tasks of two episodes of the fake benchmark, then renders their videos."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env: dict = {}
        self.results, self.actions = {}, {}
        self.engines = ExitStack()

    def setup(self, batch_size=HERE, source="proctor.policies.local:Random", **fields):
        env = {"type": "fake", "max_steps": 12, "scratch": str(self.folder)} | self.env
        self.benchmark = FakeBenchmark(FakeConfig(**env))
        tasks = plan_tasks(self.benchmark)
        self.plan = plan_episodes(self.benchmark, tasks, 2, 1000)
        by_key = {task.key: task for task in tasks}
        here = batch_size == HERE
        return EngineSetup(FAKE_BENCHMARK, env, by_key, source, EngineOptions(**fields), batch_size, in_process=here)

    def video_spec_of(self, spec, **fields):
        return VideoSpec(str(self.folder / f"{spec.task_id}-{spec.episode_index}.mp4"), **fields)

    def keep(self, result, arrays):
        self.results[result.spec], self.actions[result.spec] = result, arrays["actions"].unpack()

    def measure(self, *, live=False, policy=None, **fields):
        """An engine that has measured everything."""
        setup = self.setup(**fields) if policy is None else self.setup(source=None, **fields)
        engine = Engine(
            setup, self.plan, policy, {spec: self.video_spec_of(spec) for spec in self.plan} if live else {}
        )
        self.engines.callback(engine.close)
        engine.run(self.keep)
        engine.close_inference()
        return engine

    def video_tasks(self, **fields):
        return [
            VideoTask(self.results[spec], self.actions[spec], self.video_spec_of(spec, **fields)) for spec in self.plan
        ]

    @staticmethod
    def render(setup, video_tasks, engine=None):
        """Renders the videos; gives the problem of each episode, by task and number."""
        problems = {}
        with closing(Replayer(setup, video_tasks, engine and engine.workers)) as replayer:
            replayer.run(problems.__setitem__)
        return {f"{spec.task_id}-{spec.episode_index}": problem for spec, problem in problems.items()}

    @property
    def videos(self):
        return sorted(path.stem for path in self.folder.glob("*.mp4"))


@pytest.fixture
def studio(tmp_path):
    studio = Studio(tmp_path)
    with studio.engines:
        yield studio
    assert not list(tmp_path.rglob("*.part"))


ALL = ["0-0", "0-1", "1-0", "1-1"]
RENDERED = dict.fromkeys(ALL, "")


@anywhere
def test_every_video_is_rendered_by_the_workers_that_measured_it(studio, watch, batch_size):
    """No simulator is built again for the task that it has; a frame for the reset and one for each step."""
    engine = studio.measure(batch_size=batch_size)
    workers = engine.workers.scheduler.worker_ids

    with closing(Replayer(engine.setup, studio.video_tasks(), engine.workers)) as replayer:
        problems = {}
        replayer.run(problems.__setitem__)
        assert engine.workers.scheduler.worker_ids == workers

    assert set(problems.values()) == {""}
    assert studio.videos == ALL
    for spec in studio.plan:
        frames = watch(studio.video_spec_of(spec).path).frames
        assert len(frames) == studio.results[spec].length + 1
        np.testing.assert_allclose(frames.mean((1, 2, 3)), 10 * np.arange(len(frames)), atol=3)


def test_a_run_can_be_rendered_long_after_it(studio):
    """By workers of its own."""
    with closing(studio.measure()) as engine:
        setup = engine.setup

    assert studio.render(setup, studio.video_tasks()) == RENDERED
    assert studio.videos == ALL


@anywhere
def test_what_is_not_finished_in_its_time_is_left_out(studio, batch_size):
    """The workers go on, and no problem is reported. Videos are begun in the order that was given."""
    studio.env = {"faults": {f"{task_id}/100{n}/0/render": "nap" for task_id in (0, 1) for n in (0, 1)}, "times": 99}
    engine = studio.measure(batch_size=batch_size)
    tasks = studio.video_tasks()[::-1]
    problems = {}

    with closing(Replayer(engine.setup, tasks, engine.workers, budget_s=0.45)) as replayer:
        replayer.run(problems.__setitem__)
        assert engine.workers.at_rest

    assert problems == {}
    assert studio.videos == []
    assert (studio.folder / "1-1001-0-render").exists()
    assert not (studio.folder / "0-1000-0-render").exists()
    assert studio.render(engine.setup, tasks[:1], engine) == {"1-1": ""}


def test_videos_are_begun_while_they_are_expected_to_be_finished_in_time():
    """What a step took on a worker so far says how long the next episode takes."""
    budget = _Budget(100.0)
    assert budget.suffices_for(10**9)
    budget.book(seconds=5.0, n_steps=100)
    assert budget.suffices_for(1000)
    assert not budget.suffices_for(2001)
    assert _Budget(math.inf).suffices_for(10**9)
    assert not _Budget(0.0).suffices_for(0)


@pytest.mark.parametrize(
    ("seconds", "elapsed", "n_steps", "exceeded"),
    [
        (None, 10.0**9, 2, False),
        (10.0, 1.9, 2, False),  # too early to say
        (10.0, 2.1, 2, True),
        (10.0, 2.1, 11, False),  # a little late, which may change
        (10.0, 9.9, 99, False),
        (10.0, 10.1, 99, True),
    ],
)
def test_a_replay_is_given_up_as_soon_as_it_is_clear_that_it_takes_too_long(seconds, elapsed, n_steps, exceeded):
    """Here of an episode of a hundred steps, of which the first one was reached after a second."""
    actions = ArrayBytes.pack(np.zeros((100, 2)))
    times = iter([0.0, 1.0, elapsed])
    request = Replay(EpisodeSpec("suite", 0, 0, 0), 100, actions, VideoSpec("x.mp4"), seconds=seconds)
    limit = _TimeLimit(request, lambda: next(times))

    assert not limit.exceeded(1)
    assert limit.exceeded(n_steps) is exceeded


def test_another_camera_and_size_can_be_rendered(studio, watch):
    """The picture is that camera's."""
    engine = studio.measure()

    studio.render(engine.setup, studio.video_tasks(camera="back", size=(64, 48)), engine)

    frames = watch(studio.folder / "0-0.mp4").frames
    assert frames.shape[1:] == (48, 64, 3)
    assert frames[0].mean() > 250


def test_a_camera_that_does_not_exist_is_the_users_mistake(studio):
    """The error lists those there are, as soon as a simulator is built; when measuring, before the first episode."""
    setup = studio.setup()
    message = r"task-0 has no camera 'bakc'; it has front, back. Did you mean 'back'\?"
    video_specs = {spec: studio.video_spec_of(spec, camera="bakc") for spec in studio.plan[1:2]}
    with closing(Engine(setup, studio.plan, None, video_specs)) as engine, pytest.raises(ConfigError, match=message):
        engine.run(lambda *_: pytest.fail("an episode ran"))
    studio.measure().close()

    with pytest.raises(ConfigError, match=message):
        studio.render(setup, studio.video_tasks(camera="bakc"))

    assert studio.videos == []


def test_a_replay_that_is_another_episode_is_reported_and_leaves_no_video(studio):
    """Its actions were tampered with; the other videos are rendered."""
    engine = studio.measure()
    studio.actions[studio.plan[1]] = -studio.actions[studio.plan[1]]
    studio.actions[studio.plan[2]] = studio.actions[studio.plan[2]][:5]

    problems = studio.render(engine.setup, studio.video_tasks(), engine)

    assert problems["0-1"].startswith("its replay is another episode: sum of rewards ")
    assert "final state" in problems["0-1"]
    assert problems["1-0"].startswith("its replay is another episode: length 5, not 12, sum of rewards ")
    assert studio.videos == ["0-0", "1-1"]


def test_a_video_there_was_survives_a_replay_that_differs(studio):
    """It showed the episode when it was made; that the simulator here is another one does not change it."""
    engine = studio.measure()
    studio.render(engine.setup, studio.video_tasks())
    before = (studio.folder / "0-0.mp4").read_bytes()
    studio.actions[studio.plan[0]] = -studio.actions[studio.plan[0]]

    assert studio.render(engine.setup, studio.video_tasks(), engine)["0-0"]

    assert (studio.folder / "0-0.mp4").read_bytes() == before


@anywhere
def test_a_simulator_that_never_does_the_same_twice_is_found_out(studio, batch_size):
    """It claims to be deterministic."""
    studio.env = {"drifts": True}
    engine = studio.measure(batch_size=batch_size)

    problems = studio.render(engine.setup, studio.video_tasks(), engine)

    assert all(problem.startswith("its replay is another episode: ") for problem in problems.values())
    assert studio.videos == []


def test_one_that_is_not_deterministic_is_not_replayed(studio):
    """The same reason for all."""
    studio.env = {"drifts": True, "deterministic": False}
    engine = studio.measure()

    problems = studio.render(engine.setup, studio.video_tasks(), engine)

    assert set(problems.values()) == {
        "cannot be replayed: its simulator is not deterministic, so it is recorded as it is measured"
    }


def test_a_reward_that_is_no_number_does_not_make_a_replay_differ(studio, monkeypatch):
    """NaN is not equal to itself, and the journal keeps it as nothing."""
    step = FakeEnv.step
    monkeypatch.setattr(FakeEnv, "step", lambda *args, **look: replace(step(*args, **look), reward=float("nan")))
    engine = studio.measure()
    from_journal = studio.plan[0]
    studio.results[from_journal] = structs.replace(studio.results[from_journal], sum_reward=None)

    assert studio.render(engine.setup, studio.video_tasks(), engine) == RENDERED


FAULTS = {
    "kill": "the simulator's process was ended by SIGKILL",
    "segfault": "the simulator's process was ended by SIGSEGV",
    "hang": "the simulator gave no sign of life for 1 s",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_worker_lost_while_it_renders_is_replaced(studio, fault):
    """And the video is made."""
    studio.env = {"faults": {"0/1000/3/render": fault}}
    engine = studio.measure(batch_size=THERE, step_timeout_s=1)

    assert studio.render(engine.setup, studio.video_tasks(), engine) == RENDERED
    assert studio.videos == ALL


def test_a_video_at_which_workers_are_lost_again_and_again_is_given_up(studio):
    """It says why; the others are made."""
    studio.env = {"faults": {"0/1000/3/render": "kill"}, "times": 99}
    engine = studio.measure(batch_size=THERE)

    assert studio.render(engine.setup, studio.video_tasks(), engine) == RENDERED | {"0-0": FAULTS["kill"]}
    assert studio.videos == ALL[1:]


@anywhere
def test_a_frame_that_cannot_be_drawn_costs_its_video_and_nothing_else(studio, batch_size):
    """There is no second attempt."""
    studio.env = {"faults": {"0/1001/4/render": "raise"}, "times": 99}
    engine = studio.measure(batch_size=batch_size)

    problems = studio.render(engine.setup, studio.video_tasks(), engine)

    assert problems == RENDERED | {"0-1": "cannot be drawn (RuntimeError: a scripted fault)"}
    assert studio.videos == ["0-0", "1-0", "1-1"]
    assert (studio.folder / "0-1001-4-render").read_bytes() == b"x"


def test_a_full_disk_costs_videos_and_no_worker(studio):
    """To encode on after a failed write would end the process."""
    engine = studio.measure(batch_size=THERE)
    for name in ("0-0", "1-1"):
        (studio.folder / f"{name}.mp4.part").symlink_to("/dev/full")

    problems = studio.render(engine.setup, studio.video_tasks(), engine)

    full = "the video cannot be written (No space left on device)"
    assert problems == RENDERED | {"0-0": full, "1-1": full}
    assert studio.videos == ["0-1", "1-0"]


def test_a_simulator_that_cannot_be_built_any_more_ends_the_rendering(studio):
    """With one sentence; the results are there all the same."""
    with closing(studio.measure()):
        pass
    studio.env = {"faults": {"0/construct": "raise", "1/construct": "raise"}, "times": 99}

    with pytest.raises(EnvironmentBuildError, match="3 times alike: RuntimeError: a scripted fault"):
        studio.render(studio.setup(), studio.video_tasks())


@anywhere
def test_an_interruption_leaves_whole_videos_only(studio, batch_size):
    """Those that were finished."""
    engine = studio.measure(batch_size=batch_size)
    replayer = Replayer(engine.setup, studio.video_tasks(), engine.workers)

    with closing(replayer), pytest.raises(Interrupted):
        replayer.run(lambda spec, problem: replayer.interrupt(2))

    assert 1 <= len(studio.videos) < 4


# ------------------------------------------------------------------------------------------------------------- live


@anywhere
@pytest.mark.parametrize("policy", [None, FakePolicy()], ids=["policy in the worker", "policy outside"])
def test_what_cannot_be_replayed_is_recorded_while_it_runs(studio, watch, batch_size, policy):
    """The same video: a frame for the reset, one for each step."""
    studio.env = {"drifts": True, "deterministic": False}

    with closing(studio.measure(live=True, batch_size=batch_size, policy=policy)) as engine:
        assert set(engine.recorded) == set(studio.plan)
        assert set(engine.recorded.values()) == {""}

    for spec in studio.plan:
        assert len(watch(studio.video_spec_of(spec).path).frames) == studio.results[spec].length + 1


def test_what_can_be_replayed_is_not_recorded_while_it_is_measured(studio):
    """Nothing is drawn before the results are in."""
    with closing(studio.measure(live=True)) as engine:
        assert engine.recorded == {}

    assert studio.videos == []


@anywhere
def test_recording_live_costs_no_result(studio, batch_size):
    """If a frame cannot be drawn, or the disk is full, only the video is missing, with a reason."""
    studio.env = {"deterministic": False, "faults": {"0/1001/4/render": "raise"}}
    (studio.folder / "1-0.mp4.part").symlink_to("/dev/full")

    with closing(studio.measure(live=True, batch_size=batch_size)) as engine:
        assert [engine.recorded[spec] for spec in studio.plan] == [
            "",
            "cannot be drawn (RuntimeError: a scripted fault)",
            "the video cannot be written (No space left on device)",
            "",
        ]

    assert {result.outcome.value for result in studio.results.values()} <= {"success", "failure"}
    assert not any(result.errors for result in studio.results.values())
    assert studio.videos == ["0-0", "1-1"]


def test_an_attempt_that_fails_leaves_its_video_to_the_next(studio, watch):
    """Whether the simulator raises, its process dies or the policy gives up."""
    studio.env = {"deterministic": False, "faults": {"0/1000/2": "raise", "1/1001/2": "kill"}}

    class Fussy(FakePolicy):
        failed = False

        def predict(self, observations, memories):
            image = observations[0].arrays["observation.image"][-1]
            of_no_fault = observations[0].instruction.endswith("1") and image[0, 0, 0] == 1000 % 256
            if not self.failed and of_no_fault and image[1, 1, 1] == 3:
                self.failed = True
                raise ValueError("not like this")
            return super().predict(observations, memories)

    with closing(studio.measure(live=True, batch_size=THERE, policy=Fussy(n_action_steps=3))):
        pass

    assert sum(len(result.errors) for result in studio.results.values()) == 3
    for spec in studio.plan:
        frames = watch(studio.video_spec_of(spec).path).frames
        np.testing.assert_allclose(frames.mean((1, 2, 3)), 10 * np.arange(studio.results[spec].length + 1), atol=3)
