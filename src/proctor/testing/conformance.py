"""The promises of every benchmark, as tests that a benchmark's own tests inherit. Needs pytest.

::

    import pytest
    from proctor.testing.conformance import BenchmarkConformance
    from reaching import Reaching, ReachingConfig

    class TestReaching(BenchmarkConformance):
        @pytest.fixture
        def benchmark(self):
            return Reaching(ReachingConfig())

The first task of ``benchmark`` is run: in this process, again after it was closed, and in a fresh process. A benchmark
whose ``deterministic`` is False need not give equal episodes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from gymnasium.spaces import Box

from proctor.benchmarks.base import Benchmark, SimEnv, digest_of, features_of
from proctor.config import structure
from proctor.engine.plan import plan_tasks
from proctor.errors import ConfigError
from proctor.plugins import load_object
from proctor.rendering import choose_renderer
from proctor.testing.episodes import (
    FreshProcessEpisode,
    Moment,
    always,
    episode,
    episode_in_fresh_process,
    opened,
    random_actions,
)
from proctor.types import INSTRUCTION, Array, ArraySpec

SEED = 7
N_STEPS = 15
_FRAME_SIZES = ((97, 31), None, (1000, 700), None)
_SEEDS = range(1000, 1005)


class Frame(NamedTuple):
    """A frame that was drawn: its camera, the size (width, height) that was asked for, None for the usual one, and the
    array's dtype, shape, standard deviation and digest.
    """

    camera: str | None
    size: tuple[int, int] | None
    dtype: str
    shape: tuple[int, ...]
    deviation: float
    digest: str


@dataclass(frozen=True)
class Recording:
    """Episodes of one seed and the same actions, each run in another way, and what else was measured.

    Attributes:
        deterministic: the simulator's own declaration.
        drawable: the simulator's own declaration.
        observed: the episode with an observation after every step, in a new simulator.
        observed_at_times: with an observation after every fourth step.
        unobserved: without observations.
        after_others: after three other episodes in the same simulator, one of them ended early.
        reopened: in a second simulator, the first one closed, after ``prepare_to_look``.
        rendered: with frames of every camera and of several sizes drawn in between.
        frames: these frames.
        first_states: the states after resets with several seeds.
        observation: the observation after a reset, copied.
        later: the same arrays after one more step.
        look_seconds: the simulator's time for looks, of the observed episode and of the unobserved one.
        action: shape and dtype of an action.
        fps: steps per simulated second.
        problems: the differences between an observation and the declared space.
    """

    deterministic: bool
    drawable: bool
    observed: list[Moment]
    observed_at_times: list[Moment]
    unobserved: list[Moment]
    after_others: list[Moment]
    reopened: list[Moment]
    rendered: list[Moment]
    frames: list[Frame]
    first_states: set[str]
    observation: dict[str, Array]
    later: dict[str, Array]
    look_seconds: tuple[float, float]
    action: ArraySpec
    fps: float
    problems: list[str]


@cache
def record(address: str, configuration: str) -> Recording:
    """Run all that is compared, once for all tests. ``address`` and ``configuration`` are as a worker gets them."""
    kind: type[Benchmark] = load_object(address)
    benchmark = kind(structure(kind.config_class, json.loads(configuration), "env"))
    start = benchmark.init_state_id(plan_tasks(benchmark)[0], 0)
    with opened(benchmark) as env:
        first = _record_first(env, start)
    with opened(benchmark) as env:
        env.prepare_to_look()
        reopened = episode(env, SEED, N_STEPS, look=always, init_state_id=start)
        rendered, frames = _render(env, start) if env.drawable else ([], [])
    return Recording(**first, reopened=reopened, rendered=rendered, frames=frames)


def _record_first(env: SimEnv, start: int | None) -> dict[str, Any]:
    """Run what the first simulator runs; gives the fields of a :class:`Recording`."""
    observed = episode(env, SEED, N_STEPS, look=always, init_state_id=start)
    seconds = [env.look_seconds]
    observed_at_times = episode(env, SEED, N_STEPS, look=lambda i: i % 4 == 0, init_state_id=start)
    seconds.append(env.look_seconds)
    unobserved = episode(env, SEED, N_STEPS, init_state_id=start)
    seconds.append(env.look_seconds)
    for seed, n_steps in ((1, 60), (2, 5), (3, 30)):
        episode(env, seed, n_steps, init_state_id=start)
    after_others = episode(env, SEED, N_STEPS, look=always, init_state_id=start)
    first_states = {episode(env, seed, 0, init_state_id=start)[0].state for seed in _SEEDS}
    seen = dict(env.reset(SEED, start, look=True) or {})
    kept = {key: array.copy() for key, array in seen.items()}
    env.step(random_actions(env, SEED, 1)[0], look=True)
    return {
        "deterministic": env.deterministic,
        "drawable": env.drawable,
        "observed": observed,
        "observed_at_times": observed_at_times,
        "unobserved": unobserved,
        "after_others": after_others,
        "first_states": first_states,
        "observation": kept,
        "later": seen,
        "look_seconds": (seconds[0], seconds[2] - seconds[1]),
        "action": features_of(env.observation_space, env.action_space).action,
        "fps": env.fps,
        "problems": _problems(env, seen),
    }


@cache
def _record_in_fresh_process(address: str, configuration: str) -> FreshProcessEpisode:
    return episode_in_fresh_process(address, configuration, SEED, N_STEPS)


def _as_sent(benchmark: Benchmark) -> tuple[str, str]:
    """Give a benchmark as a worker gets it: address and configuration."""
    kind = type(benchmark)
    return f"{kind.__module__}:{kind.__qualname__}", json.dumps(asdict(benchmark.config))


def _render(env: SimEnv, init_state_id: int | None) -> tuple[list[Moment], list[Frame]]:
    cameras = env.cameras[:2] or (None,)
    frames: list[Frame] = []

    def draw(camera: str | None, size: tuple[int, int] | None) -> Frame:
        frame = env.render(camera, size)
        return Frame(camera, size, frame.dtype.name, frame.shape, float(frame.std()), digest_of([frame]))

    def render_and_look(i: int) -> bool:
        if i < len(_FRAME_SIZES):
            frames.extend(draw(camera, _FRAME_SIZES[i]) for camera in cameras)
        return True

    return episode(env, SEED, len(_FRAME_SIZES), look=render_and_look, init_state_id=init_state_id), frames


def _problems(env: SimEnv, seen: dict[str, Array]) -> list[str]:
    """List in what an observation and the spaces do not fit each other, or a policy."""
    declared: dict[str, Any] = dict(env.observation_space.items())
    found = [f"{key} is declared and was not seen" for key in declared.keys() - seen.keys()]
    found += [f"{key} was seen and is not declared" for key in seen.keys() - declared.keys()]
    for key in declared.keys() & seen.keys():
        space, array = declared[key], seen[key]
        if not space.contains(array):
            found.append(f"{key}: {array.dtype}{list(array.shape)} is not in {space}")
        if not array.flags.c_contiguous:
            found.append(f"{key} is not contiguous")
        if not key.startswith("observation.") and key != INSTRUCTION:
            found.append(f"{key} is no name that LeRobot has: observation.image, observation.state, …")
        if array.ndim != 1 and not (array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8):
            found.append(f"{key} is neither a vector nor an image: uint8 (height, width, 3)")
    if not (isinstance(env.action_space, Box) and len(env.action_space.shape) == 1):
        found.append(f"actions are {env.action_space}, not a Box of one dimension")
    if not env.fps > 0:
        found.append(f"fps is {env.fps}")
    return found


def _require_same(one: list[Moment], other: list[Moment], how: str, *, physics_alone: bool = False) -> None:
    """Fail with the first step at which two episodes differ, and the field that differs."""
    for i, (a, b) in enumerate(zip(one, other, strict=False)):
        for field in Moment._fields[:4] if physics_alone else Moment._fields:
            assert getattr(a, field) == getattr(b, field), (
                f"{how}, '{field}' after {i} steps is {getattr(b, field)}, not {getattr(a, field)}"
            )
    assert len(one) == len(other), f"{how}, it has {len(other) - 1} steps, not {len(one) - 1}"


class BenchmarkConformance:
    """Inherit these tests, and give a fixture ``benchmark``."""

    seeds_matter = True
    """Different seeds begin in different states."""

    @pytest.fixture
    def benchmark(self) -> Benchmark:
        """The benchmark; its first task is run."""
        raise NotImplementedError("give a fixture 'benchmark' that returns a proctor.Benchmark")

    @pytest.fixture
    def recording(self, benchmark: Benchmark) -> Recording:
        """The benchmark's episodes, run once."""
        choose_renderer(benchmark)
        return record(*_as_sent(benchmark))

    @pytest.fixture
    def in_fresh_process(self, benchmark: Benchmark, recording: Recording) -> FreshProcessEpisode:
        """An episode in a fresh process, which draws after this process has drawn; run once."""
        return _record_in_fresh_process(*_as_sent(benchmark))

    def test_tasks_are_listed_the_same_every_time(self, benchmark: Benchmark) -> None:
        """Each once, with a limit; a worker that is sent the configuration lists the same."""
        kind = type(benchmark)
        sent = structure(kind.config_class, json.loads(json.dumps(asdict(benchmark.config))), "env")
        tasks = plan_tasks(benchmark)

        assert len({task.key for task in tasks}) == len(tasks), "two tasks have the same suite and number"
        assert all(task.max_episode_steps > 0 for task in tasks), "a task has no steps"
        assert plan_tasks(benchmark) == tasks, "listed again, they are others"
        assert plan_tasks(kind(sent)) == tasks, "in a worker, they are others"

    def test_what_is_seen_fits_the_declared_spaces(self, recording: Recording) -> None:
        """Names, shapes, dtypes and bounds; and no later step changes it."""
        assert not recording.problems
        for key, array in recording.observation.items():
            assert np.array_equal(array, recording.later[key]), f"{key} was changed by the step after it was seen"

    def test_rewards_are_numbers(self, recording: Recording) -> None:
        """They are finite, and success is true, false, or None if the simulator does not report it."""
        for moment in recording.observed:
            assert isinstance(moment.reward, float), f"a reward is {moment.reward!r}"
            assert np.isfinite(moment.reward), f"a reward is {moment.reward}"
            success = moment.success
            assert success is None or isinstance(success, bool), f"success is {success!r}, not True, False or None"
            assert isinstance(moment.over, bool), f"terminated or truncated is {moment.over!r}, not True or False"

    def test_looking_changes_nothing_and_always_shows_the_same(self, recording: Recording) -> None:
        """With a look at every step, at every fourth or at none: states, rewards, success, observations are equal."""
        observed, at_times, unobserved = recording.observed, recording.observed_at_times, recording.unobserved
        assert all(moment.seen for moment in observed if not moment.over), "asked for an observation, it gives none"
        assert not any(moment.seen for moment in unobserved), "it gives an observation that was not asked for"
        self._require_determinism(recording)
        _require_same(observed, at_times, "with a look at every fourth step", physics_alone=True)
        _require_same(observed, unobserved, "without looks", physics_alone=True)
        seen = [moment.seen for moment in observed[::4]]
        assert [moment.seen for moment in at_times[::4]] == seen, (
            "with a look at every fourth step, its observations differ"
        )

    def test_an_episode_does_not_depend_on_those_before_it(self, recording: Recording) -> None:
        """After three others in the same simulator, one of them ended early, it is the same as in a new simulator."""
        self._require_determinism(recording)
        _require_same(recording.observed, recording.after_others, "after three other episodes")

    def test_closed_and_opened_again_it_is_the_same(self, recording: Recording) -> None:
        """A second simulator in the same process, which can draw from its beginning, gives the same episode."""
        self._require_determinism(recording)
        _require_same(recording.observed, recording.reopened, "in a second simulator")

    def test_a_fresh_process_gives_the_same_episode(
        self, recording: Recording, in_fresh_process: FreshProcessEpisode
    ) -> None:
        """Nothing of an episode depends on the process."""
        self._require_determinism(recording)
        _require_same(recording.observed, in_fresh_process.moments, "in a fresh process")

    def test_it_takes_as_much_memory_as_it_says(
        self, benchmark: Benchmark, in_fresh_process: FreshProcessEpisode
    ) -> None:
        """The declared memory is right within a factor of two; what a simulator takes depends on the renderer."""
        declared, taken = benchmark.worker_memory_mb, in_fresh_process.memory_mb
        if declared is None or taken is None:
            pytest.skip("the benchmark does not declare its memory")
        assert taken / 2 <= declared <= taken * 2, f"worker_memory_mb is {declared}, but a process took {taken} MB"

    def test_replayed_and_filmed_it_is_the_same(self, recording: Recording) -> None:
        """Frames of any camera and size, drawn in its midst, change nothing of what is simulated and seen."""
        if not recording.drawable:
            pytest.skip("it cannot be drawn")
        for frame in recording.frames:
            fits = frame.dtype == "uint8" and len(frame.shape) == 3 and frame.shape[2] == 3
            assert fits, f"a frame is {frame.dtype}{list(frame.shape)}, not uint8 (height, width, 3)"
        self._require_determinism(recording)
        _require_same(recording.observed[: len(recording.rendered)], recording.rendered, "with frames in between")

    def test_what_cannot_be_drawn_says_so(self, benchmark: Benchmark, recording: Recording) -> None:
        """It raises ConfigError if a frame is asked for."""
        if recording.drawable:
            pytest.skip("it can be drawn")
        with opened(benchmark) as env:
            env.reset(SEED, None, look=False)
            with pytest.raises(ConfigError):
                env.render()

    def test_seeds_make_episodes_differ(self, recording: Recording) -> None:
        """Five seeds are five states to begin in."""
        if not self.seeds_matter:
            pytest.skip("seeds do not matter")
        assert len(recording.first_states) == len(_SEEDS)

    def test_images_show_something_that_moves(self, recording: Recording) -> None:
        """They are neither of one colour nor still."""
        for key, array in recording.observation.items():
            if array.ndim != 3:
                continue
            assert array.std() > 0, f"{key} is of one colour"
            shown = {moment.seen[key] for moment in recording.observed if moment.seen}
            assert len(shown) > 1, f"{key} never changes"

    def test_nobody_spends_time_looking_at_what_is_not_asked_for(self, recording: Recording) -> None:
        """The clock of looks does not advance in an episode without looks."""
        assert recording.look_seconds[1] == 0, "an episode was drawn although no observation was asked for"

    @staticmethod
    def _require_determinism(recording: Recording) -> None:
        if not recording.deterministic:
            pytest.skip("its deterministic is False")
