"""Gymnasium: what its spaces, actions and infos become, shown with made-up environments and a few real ones."""

import re
from unittest.mock import patch

import gymnasium
import numpy as np
import pytest
from benchmark_episodes import episode, random_actions, standing
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, Sequence, Text, Tuple

from proctor import evaluate
from proctor.benchmarks.gymnasium import Gymnasium, GymnasiumConfig
from proctor.benchmarks.gymnasium_spaces import ObservationNames, rgb_frame
from proctor.benchmarks.pusht import PushT, PushTConfig
from proctor.config import structure
from proctor.engine.engine import check_contract
from proctor.engine.worker.messages import Built, Spent
from proctor.errors import ConfigError, ContractError, Note
from proctor.types import ArraySpec, Features

IMAGE = Box(0, 255, (8, 6, 3), np.uint8)
VECTOR = Box(-1, 1, (2,), np.float64)


class MadeUp(gymnasium.Env):
    """Samples its observations, pays 1 a step, remembers its last action, says what it is told to say."""

    def __init__(self, observation_space=VECTOR, action_space=VECTOR, info=None, reward=1.0, ends=(False, False)):
        self.observation_space, self.action_space = observation_space, action_space
        self.returned = reward, *ends, info or {}
        self.taken = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        self.taken = action
        return self.observation_space.sample(), *self.returned


@pytest.fixture(autouse=True, scope="module")
def registered():
    """The made-up environment, with and without a number of steps."""
    gymnasium.register("MadeUp-v0", MadeUp, max_episode_steps=5)
    gymnasium.register("Endless-v0", MadeUp)
    yield
    del gymnasium.registry["MadeUp-v0"], gymnasium.registry["Endless-v0"]


def made_up(*, success_key=None, success_threshold=None, **kwargs):
    config = GymnasiumConfig(
        task="MadeUp-v0", kwargs=kwargs, success_key=success_key, success_threshold=success_threshold
    )
    return standing(Gymnasium(config))


@pytest.mark.parametrize(
    ("space", "keys"),
    [
        (VECTOR, {"observation.state"}),
        (IMAGE, {"observation.image"}),
        (Dict(pixels=IMAGE, agent_pos=VECTOR), {"observation.image", "observation.state"}),
        (Dict(pixels=Dict(top=IMAGE, wrist=IMAGE)), {"observation.images.top", "observation.images.wrist"}),
        (Dict(environment_state=VECTOR, goal=VECTOR), {"observation.environment_state", "observation.goal"}),
        (Dict(observation=VECTOR, desired_goal=VECTOR), {"observation.state", "observation.desired_goal"}),
        (Dict(agent_pos=VECTOR, goal=Dict(kettle=VECTOR)), {"observation.state", "observation.goal.kettle"}),
        (Dict(agent_pos=VECTOR, mission=Text(8)), {"observation.state", "instruction"}),
    ],
)
def test_observations_get_lerobots_names(space, keys):
    """Every array is found under its name, with the environment's shape and dtype."""
    with made_up(observation_space=space) as env:
        seen = env.reset(7, None, look=True)

        assert seen.keys() == env.observation_space.keys() == keys
        assert all(env.observation_space[key].contains(array) for key, array in seen.items())


@pytest.mark.parametrize(
    ("space", "name", "shape", "dtype"),
    [
        (Discrete(3), "observation.state", (1,), np.float32),
        (Discrete(2**25), "observation.state", (1,), np.float64),
        (Box(0, 1, (), np.float64), "observation.state", (1,), np.float64),
        (MultiDiscrete([2, 3]), "observation.state", (2,), np.float32),
        (MultiBinary(4), "observation.state", (4,), np.float32),
        (Tuple((Discrete(32), Discrete(2, start=5))), "observation.state", (2,), np.float32),
        (Tuple((VECTOR, Discrete(2))), "observation.state", (3,), np.float64),
        (Box(-1, 1, (8, 6), np.float32), "observation.state", (8, 6), np.float32),
        (Dict(depth=Box(0, 1, (8, 6, 1), np.float32)), "observation.depth", (8, 6, 1), np.float32),
        (Box(0, 255, (8, 6, 1), np.uint8), "observation.image", (8, 6, 1), np.uint8),
        (Box(0, 255, (8, 6), np.uint8), "observation.image", (8, 6, 1), np.uint8),
        (Box(0, 255, (3, 8, 6), np.uint8), "observation.image", (8, 6, 3), np.uint8),
        (Box(0, 9, (3, 8, 6), np.uint8), "observation.state", (3, 8, 6), np.uint8),
        (Box(0, 1, (3, 8, 6), np.float32), "observation.image", (8, 6, 3), np.uint8),
        (Dict(pixels=Box(0, 255, (8, 6, 3), np.float64)), "observation.image", (8, 6, 3), np.uint8),
        (Box(-1, 1, (8, 6, 3), np.float32), "observation.state", (8, 6, 3), np.float32),
    ],
)
def test_other_observations_become_arrays(space, name, shape, dtype):
    """An image is uint8 with its channels last where the space says that it is one; a number is a vector of one."""
    with made_up(observation_space=space) as env:
        (seen,) = env.reset(7, None, look=True).items()

        assert (seen[0], seen[1].shape, seen[1].dtype) == (name, shape, dtype)
        assert env.observation_space[name].contains(seen[1])
        assert env.notes == ()


def test_the_values_of_an_observation_are_the_environments():
    """Channels are moved and not mixed, 0 to 1 becomes 0 to 255, and a tuple keeps its order."""
    image = np.random.default_rng(7).random((3, 8, 6))
    parts = ObservationNames(Dict(pixels=Box(0, 1, (3, 8, 6)), cards=Tuple((Discrete(32), Discrete(11)))), "Odd-v0")
    seen = parts.of({"pixels": image, "cards": (21, 10)})

    assert np.array_equal(seen["observation.image"], np.rint(255 * image.transpose(1, 2, 0)).astype(np.uint8))
    assert seen["observation.cards"].tolist() == [21, 10]


def test_what_is_no_array_is_left_out_and_reported():
    """Graphs, sequences, and tuples of what is no vector: the rest is given."""
    space = Dict(agent_pos=VECTOR, scene=Graph(VECTOR, None), cards=Sequence(Discrete(3)), both=Tuple((IMAGE, VECTOR)))
    with made_up(observation_space=space) as env:
        assert env.reset(7, None, look=True).keys() == {"observation.state"}
        (note,) = env.notes
        assert all(f"{part} (" in note for part in ("scene", "cards", "both"))
        assert "agent_pos" not in note


class SceneEnv(MadeUp):
    """Observes a graph beside what a policy can be given."""

    def __init__(self):
        super().__init__(Dict(agent_pos=VECTOR, scene=Graph(VECTOR, None), gripper=Discrete(3)))


def test_a_policy_runs_without_the_parts_that_it_cannot_be_given(tmp_path, monkeypatch):
    """The user is told once, however many episodes there are."""
    seen = []
    monkeypatch.setitem(gymnasium.registry, "Scene-v0", EnvSpec("Scene-v0", SceneEnv, max_episode_steps=5))
    env = {"type": "gymnasium", "task": "Scene-v0"}
    with pytest.warns(Note, match="Scene-v0: policies are not given scene") as notes:
        evaluate(
            lambda o: seen.append(sorted(o)) or np.zeros(2),
            env,
            n_episodes=2,
            batch_size=1,
            output_dir=tmp_path / "run",
        )

    assert len(notes) == 1
    assert seen[0] == ["instruction", "observation.gripper", "observation.state"]


def test_a_policy_that_wants_what_is_left_out_is_refused_with_the_reason():
    """Beside the table of both sides."""

    class Wants:
        def check_contract(self, features):
            raise ContractError("observation.scene is missing")

    built = Built(Features({}, ArraySpec((2,), "float32")), True, True, (), Spent(), ("No policy is given scene.",))
    with pytest.raises(ContractError, match=r"observation\.scene is missing\nNo policy is given scene\."):
        check_contract(Wants(), built)


def test_an_observation_of_objects_is_that_episodes_error():
    """A pointer would be followed in another process."""
    names = ObservationNames(VECTOR, "Odd-v0")
    with pytest.raises(ValueError, match=r"observation\.state consists of objects"):
        names.of(np.array([None, {}], object))


GREY = np.arange(48, dtype=np.uint8).reshape(8, 6)
COLOUR = np.stack([GREY, GREY + 50, GREY + 100], axis=-1)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (COLOUR, COLOUR),
        (np.dstack([COLOUR, GREY]), COLOUR),
        (GREY, np.dstack([GREY] * 3)),
        (GREY[..., np.newaxis], np.dstack([GREY] * 3)),
        (COLOUR.transpose(2, 0, 1), COLOUR),
        (COLOUR / 255, COLOUR),
        (COLOUR.tolist(), COLOUR),
        (GREY > 20, np.dstack([255 * (GREY > 20)] * 3)),
    ],
)
def test_frames_become_what_a_video_takes(frame, expected):
    """Grey, with a fourth channel, with channels first, of floats from 0 to 1, lists."""
    drawn = rgb_frame(frame)

    assert drawn.dtype == np.uint8
    assert np.array_equal(drawn, expected)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (None, "renders None"),
        (COLOUR.astype(np.float32), "from 0 to 147; a frame of float32 must be from 0 to 1"),
        (np.full((8, 6, 3), np.nan), "a frame of float64 must be from 0 to 1"),
        (COLOUR.astype(int) - 1, "from -1 to 146"),
        ("a frame", "renders str of"),
        (np.zeros((8, 6, 2), np.uint8), r"renders ndarray of uint8 \(8, 6, 2\)"),
    ],
)
def test_a_frame_that_is_none_is_refused_in_a_sentence(frame, words):
    """Nothing is guessed: floats above 1 may be anything."""
    with pytest.raises(ConfigError, match=words):
        rgb_frame(frame)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (Dict(agent_pos=VECTOR, observation=VECTOR), "agent_pos and observation would both be named observation.state"),
        (Dict(mission=Text(8), hint=Text(8)), "mission and hint would both be named instruction"),
    ],
)
def test_two_parts_of_one_name_are_refused(space, words):
    """None is left out without a word."""
    with pytest.raises(ConfigError, match=words), made_up(observation_space=space):
        pass


class Told(MadeUp):
    """Says at every step what is to be done now, in letters of more than one byte."""

    def __init__(self):
        super().__init__(Dict(agent_pos=VECTOR, mission=Text(12)))

    def reset(self, *, seed=None, options=None):
        self.n_steps = 0
        return self._observe(), {}

    def step(self, action):
        self.n_steps += 1
        return self._observe(), 0.0, False, False, {}

    def _observe(self):
        return {"agent_pos": np.zeros(2), "mission": f"Schüssel {self.n_steps}"}


def test_an_observed_text_is_the_instruction_of_the_moment(tmp_path):
    """To the policy, which finds no array of that name."""
    seen = []

    def listen(observation):
        seen.append((observation["instruction"], *sorted(observation.keys() - {"instruction"})))
        return np.zeros(2)

    gymnasium.register("Told-v0", Told, max_episode_steps=3)
    try:
        evaluate(listen, {"type": "gymnasium", "task": "Told-v0"}, n_episodes=1, output_dir=tmp_path, batch_size=1)
    finally:
        del gymnasium.registry["Told-v0"]

    assert seen == [(f"Schüssel {i}", "observation.state") for i in range(3)]


class Moody(MadeUp):
    """The seed decides nothing."""

    def reset(self, *, seed=None, options=None):
        return np.random.default_rng().uniform(-1, 1, 2), {}


def test_whether_an_environment_is_deterministic_is_tried():
    """Also where its registration does not say that it is not; one that is said not to be is not asked."""
    gymnasium.register("Moody-v0", Moody, max_episode_steps=5)
    gymnasium.register("Modest-v0", MadeUp, max_episode_steps=5, nondeterministic=True)
    try:
        found = {}
        for name in ("MadeUp-v0", "Moody-v0", "Modest-v0"):
            with standing(Gymnasium(GymnasiumConfig(task=name))) as env:
                found[name] = env.deterministic
    finally:
        del gymnasium.registry["Moody-v0"], gymnasium.registry["Modest-v0"]

    assert found == {"MadeUp-v0": True, "Moody-v0": False, "Modest-v0": False}


class Seedless(MadeUp):
    """As environments were before Gymnasium."""

    def reset(self):
        return self.observation_space.sample(), {}


def test_an_environment_that_takes_no_seed_is_refused():
    """Its episodes could not be told apart."""
    gymnasium.register("Seedless-v0", Seedless, max_episode_steps=5)
    try:
        with pytest.raises(ConfigError, match=r"Seedless-v0 cannot be seeded: its reset takes no seed"):
            standing(Gymnasium(GymnasiumConfig(task="Seedless-v0"))).__enter__()
    finally:
        del gymnasium.registry["Seedless-v0"]


class OldReset(MadeUp):
    """Gives the observation alone, which two values could be taken for."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0]


class OldStep(MadeUp):
    """Does not tell termination from truncation."""

    def step(self, action):
        return (*super().step(action)[:3], {})


class NoEnv:
    """As the classes of the old package are: not Gymnasium's."""

    def reset(self, seed=None):
        return np.zeros(2)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (OldReset, r"its reset does not give \(observation, info\)"),
        (OldStep, "its step returns four values"),
        (NoEnv, r"it is not a gymnasium\.Env"),
    ],
)
def test_the_interface_of_old_gym_is_named(kind, words):
    """Once, when the environment is built, with what to do."""
    gymnasium.register("Old-v0", kind, max_episode_steps=5)
    try:
        with pytest.raises(ConfigError, match=rf"Old-v0 has the interface of Gym before 0\.26: {words}\. Wrap"):
            standing(Gymnasium(GymnasiumConfig(task="Old-v0"))).__enter__()
    finally:
        del gymnasium.registry["Old-v0"]


class Exits(MadeUp):
    """Ends its process at the first step."""

    def step(self, action):
        raise SystemExit(0)


def test_what_a_trial_raises_is_said_to_be_of_the_trial():
    """Also where it would end the process."""
    gymnasium.register("Exits-v0", Exits, max_episode_steps=5)
    try:
        with pytest.raises(RuntimeError, match="Exits-v0 was tried for a few steps and raised SystemExit: 0"):
            standing(Gymnasium(GymnasiumConfig(task="Exits-v0"))).__enter__()
    finally:
        del gymnasium.registry["Exits-v0"]


class Undrawn(MadeUp):
    """Lists a render mode that its constructor does not take."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as Gymnasium has it

    def __init__(self):
        super().__init__()


class UndrawnBelow(MadeUp):
    """Passes on what the class above it does not take."""

    metadata = Undrawn.metadata

    def __init__(self, **kwargs):
        super().__init__(**kwargs)


@pytest.mark.parametrize("kind", [Undrawn, UndrawnBelow])
def test_a_constructor_that_takes_no_render_mode_is_not_given_one(kind):
    """It runs, and is not drawn."""
    gymnasium.register("Undrawn-v0", kind, max_episode_steps=5)
    try:
        with standing(Gymnasium(GymnasiumConfig(task="Undrawn-v0"))) as env:
            assert len(episode(env, 7, 3)) == 4
            assert not env.drawable
    finally:
        del gymnasium.registry["Undrawn-v0"]


def test_a_module_before_a_colon_is_the_module_to_import():
    """As in gymnasium.make; several ids may name several, beside env.module."""
    config = GymnasiumConfig(task="gym_pusht:gym_pusht/PushT-v0, os.path:CartPole-v1", module="json")

    assert (config.task, config.module) == ("gym_pusht/PushT-v0,CartPole-v1", "json,gym_pusht,os.path")
    assert [task.name for task in Gymnasium(config).tasks()] == ["gym_pusht/PushT-v0", "CartPole-v1"]


def test_a_discrete_action_is_the_nearest_number():
    """Rounded, halves to the even one, and kept within those there are."""
    given = [0.2, 1.6, 3.4, 2.5, 3.5, 99.0, -7.0]
    with made_up(action_space=Discrete(4, start=1)) as env:
        taken = []
        for value in given:
            env.reset(7, None, look=False)
            env.step(np.array([value]), look=False)
            taken.append(env._env.unwrapped.taken)

        assert taken == [1, 2, 3, 2, 4, 4, 1]
        assert all(isinstance(action, int) for action in taken)
        assert env.action_space == Box(1, 4, (1,), np.int64)


@pytest.mark.parametrize(
    ("space", "given", "taken"),
    [
        (Box(-3, 3, (2,), np.int32), [0.9, -1.6], [1, -2]),
        (Box(0, 255, (2,), np.uint8), [-1.0, 300.0], [0, 255]),
        (Box(0, 255, (2,), np.uint8), [7, 9], [7, 9]),
    ],
    ids=str,
)
def test_a_vector_of_whole_numbers_is_rounded_and_kept_within_the_valid_ones(space, given, taken):
    """Neither cut off at the point nor wrapped around, and of the space's dtype."""
    with made_up(action_space=space) as env:
        env.reset(7, None, look=False)
        env.step(np.array(given), look=False)

        assert env._env.unwrapped.taken.tolist() == taken
        assert env._env.unwrapped.taken.dtype == space.dtype


def test_other_actions_are_refused():
    """A policy gives vectors; nobody guesses how they would become something else."""
    with pytest.raises(ConfigError, match="they must be a vector"), made_up(action_space=MultiDiscrete([2, 3])):
        pass


@pytest.mark.parametrize(
    ("fields", "info", "successes"),
    [
        ({}, {}, [None] * 5),
        ({}, {"is_success": None}, [None] * 5),
        ({}, {"is_success": None, "success": False}, [False] * 5),
        ({}, {"is_success": True}, [True] * 5),
        ({}, {"success": 1.0}, [True] * 5),
        ({}, {"is_success": False, "success": True}, [False] * 5),
        ({"success_key": "solved"}, {"solved": True, "success": False}, [True] * 5),
        ({"success_key": "solved"}, {"success": True}, [False] * 5),
        ({"success_key": "solved", "success_threshold": 5}, {}, [None] * 4 + [True]),
        ({"success_threshold": 5}, {}, [None] * 4 + [True]),
        ({"success_threshold": 5.5}, {}, [None] * 4 + [False]),
        ({"success_threshold": 5, "reward": float("nan")}, {}, [None] * 5),
        ({"success_threshold": 5, "reward": float("inf")}, {}, [None] * 5),
        ({"success_threshold": 1}, {"is_success": False}, [False] * 5),
        ({"success_threshold": -5, "reward": -1.0}, {}, [None] * 4 + [True]),
        ({"success_threshold": -4, "reward": -1.0}, {}, [None] * 4 + [False]),
    ],
)
def test_success_is_what_info_says_or_else_the_sum_of_rewards_at_the_end(fields, info, successes):
    """Where info says it, the threshold is not asked; before the end the sum says nothing. Absence of a key that the
    user named is a failure, and of the usual ones it says nothing.
    """
    with made_up(info=info, **fields) as env:
        for seed in (1, 2):  # the sum starts anew
            moments = episode(env, seed, 10)

            assert [m.success for m in moments[1:]] == successes


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ({"info": {"is_success": {"task": False}}}, "info['is_success'] is {'task': False}; expected a bool, 0 or 1"),
        ({"info": {"success": float("nan")}}, "info['success'] is nan; expected a bool"),
        ({"info": {"solved": 0.5}, "success_key": "solved"}, "info['solved'] is 0.5; expected a bool"),
        ({"info": [True]}, "the info of a step is [True]; expected a dict"),
        ({"reward": 1j}, "the reward is 1j; expected a real number"),
        ({"reward": None}, "the reward is None; expected a real number"),
        ({"ends": (np.array([True, False]), False)}, "terminated is array([ True, False]); expected a bool"),
        ({"ends": (False, "no")}, "truncated is 'no'; expected a bool"),
        ({"ends": (None, False)}, "terminated is None; expected a bool"),
    ],
)
def test_a_step_that_returns_something_else_is_an_error_that_says_what(returned, words):
    """The environment can be built, as it may only be so in some episodes."""
    with made_up(**returned) as env:
        assert env.deterministic
        env.reset(7, None, look=False)
        with pytest.raises(ValueError, match=re.escape(words)):
            env.step(np.zeros(2), look=False)


def test_the_threshold_of_the_registry_is_not_used():
    """CartPole-v1 is registered with one; it is a mean over episodes."""
    with standing(Gymnasium(GymnasiumConfig(task="CartPole-v1"))) as env:
        assert {m.success for m in episode(env, 7, 500)[1:]} == {None}
        assert env.fps == 50


def test_ids_are_numbered_in_the_order_given():
    """One suite, each id once, its registered number of steps."""
    tasks = Gymnasium(GymnasiumConfig(task="Pendulum-v1,CartPole-v1,Pendulum-v1")).tasks()

    assert [(t.suite, t.task_id, t.name, t.max_episode_steps) for t in tasks] == [
        ("gymnasium", 0, "Pendulum-v1", 200),
        ("gymnasium", 1, "CartPole-v1", 500),
    ]


def test_an_endless_environment_ends_where_it_is_told_to():
    """The only case in which ``episode_length`` is required."""
    benchmark = Gymnasium(GymnasiumConfig(task="Endless-v0", episode_length=4))
    with standing(benchmark) as env:
        moments = episode(env, 7, 10)

    assert benchmark.tasks()[0].max_episode_steps == 4
    assert len(moments) == 5


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "needs --env.task"),
        ({"task": "CartPol-v1"}, "Did you mean 'CartPole-v1'?"),
        ({"task": "Endless-v0"}, "give --env.episode_length"),
        ({"task": "CartPole-v1", "module": "no_such_module"}, "env.module=no_such_module cannot be imported"),
        ({"task": "CartPole-v1", "module": "no_such_module.envs"}, "install it with: pip install no-such-module"),
        ({"task": "CartPole-v1", "success_threshold": "nan"}, "env.success_threshold is nan; it must be a finite"),
        ({"task": "CartPole-v1", "kwargs": '{"max_episode_steps": 3}'}, "use env.task and env.episode_length"),
    ],
)
def test_a_users_mistake_is_one_sentence(fields, words):
    """What is wrong and what to do, before any environment is built."""
    with pytest.raises(ConfigError) as raised:
        Gymnasium(structure(GymnasiumConfig, {"type": "gymnasium", **fields}, "env")).tasks()

    assert words in str(raised.value)


def test_a_package_that_an_environment_needs_is_named():
    """Registered with Gymnasium, but its simulator is not there."""
    benchmark = Gymnasium(GymnasiumConfig(task="CartPole-v1"))
    with (
        patch("gymnasium.make", side_effect=gymnasium.error.DependencyNotInstalled("pip install box2d")),
        pytest.raises(ConfigError, match="CartPole-v1 needs a package that is not installed: pip install box2d"),
    ):
        benchmark.make_env(benchmark.tasks()[0])


def test_what_cannot_be_drawn_says_so():
    """A video of an environment without rgb_array is a user's error."""
    with made_up() as env, pytest.raises(ConfigError, match="no render mode rgb_array"):
        env.render()


def test_a_registering_module_is_imported_and_its_version_recorded():
    """gym_pusht by its id is the pusht benchmark, episode for episode."""
    kwargs = {"obs_type": "pixels_agent_pos"}
    benchmark = Gymnasium(GymnasiumConfig(task="gym_pusht/PushT-v0", module="gym_pusht", kwargs=kwargs))
    with standing(benchmark) as env:
        ours = episode(env, 7, 20, look=lambda _: True)
    with standing(PushT(PushTConfig())) as env:
        pusht = episode(env, 7, 20, look=lambda _: True)

    assert [(m.reward, m.seen) for m in ours] == [(m.reward, m.seen) for m in pusht]
    assert "gym-pusht" in benchmark.distributions


@pytest.mark.parametrize(("task", "n_actions"), [("FetchReach-v4", 4), ("HandReach-v3", 20)])
def test_gymnasium_robotics_is_run_as_it_is_registered(task, n_actions):
    """A goal beside the state, success from info, the same episode as without an adapter."""
    pytest.importorskip("gymnasium_robotics")
    benchmark = Gymnasium(GymnasiumConfig(task=task, module="gymnasium_robotics"))
    (planned,) = benchmark.tasks()
    with standing(benchmark) as env:
        theirs = gymnasium.make(task)
        actions = random_actions(env, 7, 5)
        expected = theirs.reset(seed=7)[0]
        seen = env.reset(7, None, look=True)
        for action in actions:
            expected, reward, _, _, info = theirs.step(action)
            step = env.step(action, look=True)
            seen = step.observation
            assert (step.reward, step.success) == (reward, bool(info["is_success"]))
        theirs.close()

        assert planned.max_episode_steps == 50
        assert env.action_space.shape == (n_actions,)
        assert env.deterministic
        assert {key: array.tobytes() for key, array in seen.items()} == {
            "observation.state": expected["observation"].tobytes(),
            "observation.achieved_goal": expected["achieved_goal"].tobytes(),
            "observation.desired_goal": expected["desired_goal"].tobytes(),
        }
    assert "gymnasium-robotics" in benchmark.distributions


def test_reaching_the_goal_of_fetch_is_a_success():
    """What its info says of the very step."""
    pytest.importorskip("gymnasium_robotics")
    with standing(Gymnasium(GymnasiumConfig(task="FetchReach-v4", module="gymnasium_robotics"))) as env:
        seen = env.reset(7, None, look=True)
        successes = []
        for _ in range(30):
            way = seen["observation.desired_goal"] - seen["observation.achieved_goal"]
            step = env.step(np.append(np.clip(10 * way, -1, 1), 0), look=True)
            seen = step.observation
            successes.append(step.success)

    assert not successes[0]
    assert successes[-1]


def test_the_state_of_a_mujoco_environment_is_mujocos():
    """It tells states apart that look alike, and drawing does not change it."""
    pytest.importorskip("mujoco")
    with standing(Gymnasium(GymnasiumConfig(task="InvertedPendulum-v5"))) as env:
        env.reset(7, None, look=False)
        for action in random_actions(env, 7, 3):
            env.step(action, look=False)
        state, observation = env.state()
        frame = env.render()

        assert state.size > observation.size
        assert np.array_equal(state, next(iter(env.state())))
        assert frame.dtype == np.uint8
        assert frame.std() > 10
