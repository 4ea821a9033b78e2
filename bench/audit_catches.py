"""Which wrong wirings does the input audit see, with which evidence, and how often is it wrong?

    python bench/audit_catches.py [--episodes 8] [--demonstrations 8] [--steps-per-look 5] [--markdown docs/audit.md]

A dataset of demonstrations by Meta-World's experts is written and read with LeRobot, and a checkpoint's processors are
made of its statistics. Then experts act again, from other seeds, in environments of which one thing is wired wrongly.
An expert sees the true state, so its episodes succeed although the wiring is wrong: the audit gets no help from a
policy that fails. The audit has the checkpoint's statistics (the dataset's own, or ImageNet's for images), the dataset,
or both. False alarms are counted over tasks that are wired rightly, with experts, random actions and no motion.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
from common import CACHE

from proctor.benchmarks.metaworld.benchmark import MetaWorld, MetaWorldConfig
from proctor.config import DatasetConfig
from proctor.engine.input_sketch import IMAGE_LOOKS, InputRecorder
from proctor.evaluation.audit.examine import examine
from proctor.evaluation.audit.observed import EpisodeInputs
from proctor.policies.lerobot.dataset_reader import read_training_data
from proctor.policies.lerobot.files import POSTPROCESSOR, PREPROCESSOR, CheckpointFiles
from proctor.policies.lerobot.training_statistics import IMAGENET, training_of
from proctor.policies.training_data import TrainingData
from proctor.results.audit import Audit, Severity, Training, worth_a_line
from proctor.types import Array, EpisodeSpec, Observation, Task

TASKS = "pick-place-v3,button-press-topdown-v3,drawer-open-v3,door-open-v3"
OTHER_TASKS = "hammer-v3,window-open-v3"
IMAGE, STATE, ACTION = "observation.image", "observation.state", "action"
SIZE, MAX_STEPS = 96, 120
DRAWN_EVERY = 20
"""Steps between two images of a demonstration: drawing takes most of the time, and an image is compared as one."""
DEGREES = 180 / np.pi
_BEGIN, _END = "<!-- catches: written by bench/audit_catches.py -->", "<!-- end of catches -->"

Expert = Callable[[Any, np.random.Generator], Array]


def as_it_is(values: Array) -> Array:
    return values


def as_given(action: Array, state: Array) -> Array:
    return action


def as_position(action: Array, state: Array) -> Array:
    """Give the position that the hand is to reach, in place of the way to it."""
    return np.append(state[:3] + 0.05 * action[:3], action[3])


def unchanged(env: Any) -> None:
    pass


@dataclass(frozen=True)
class Wiring:
    """The wiring of an environment; by default it is right.

    ``image``, ``state`` and ``action`` change what the policy sees and what the environment executes. ``given`` changes
    the action that the policy gives. ``camera``, ``instruction`` and ``steps_per_look`` replace the right ones, and
    ``engine`` changes the simulator. The checkpoint is of the dataset's ``trained_on``.
    """

    image: Callable[[Array], Array] = as_it_is
    state: Callable[[Array], Array] = as_it_is
    action: Callable[[Array], Array] = as_it_is
    given: Callable[[Array, Array], Array] = as_given
    camera: str = "corner2"
    instruction: str | None = None
    n_looks_apart: int = 1
    engine: Callable[[Any], None] = unchanged
    trained_on: str = "own"


def letterboxed(image: Array) -> Array:
    padded = np.zeros_like(image)
    rows = (np.arange(SIZE * 3 // 4) * 4 // 3).astype(int)
    padded[SIZE // 8 : SIZE // 8 + SIZE * 3 // 4] = image[rows]
    return padded


def cut(image: Array) -> Array:
    places = (SIZE * 0.1 + np.arange(SIZE) * 0.8).astype(int)
    part: Array = image[places][:, places]
    return part


def permuted(order: Sequence[int]) -> Callable[[Array], Array]:
    return partial(_permuted, order=list(order))


def _permuted(values: Array, order: list[int]) -> Array:
    permuted_values: Array = values[order]
    return permuted_values


def scaled(factors: Sequence[float]) -> Callable[[Array], Array]:
    return partial(_scaled, factors=list(factors))


def _scaled(values: Array, factors: list[float]) -> Array:
    scaled_values: Array = values * np.asarray(factors)
    return scaled_values


def other_engine(env: Any) -> None:
    """Make joints stiffer and light weaker, as another version of the engine or of a renderer might."""
    model = env._env.model  # noqa: SLF001 - the adapter does not offer it
    model.dof_damping[:] *= 1.5
    model.light_diffuse[:] *= 0.9


WIRINGS: Mapping[str, Wiring] = {
    "image flipped left to right": Wiring(image=lambda image: image[:, ::-1]),
    "image upside down": Wiring(image=lambda image: image[::-1]),
    "image turned by 180°": Wiring(image=lambda image: image[::-1, ::-1]),
    "BGR in place of RGB": Wiring(image=lambda image: image[..., ::-1]),
    "image resized with padding (bars)": Wiring(image=letterboxed),
    "image cut at the centre (80 %)": Wiring(image=cut),
    "image black": Wiring(image=np.zeros_like),
    "image in [0, 1] as whole numbers": Wiring(image=lambda image: (image / 255).astype(np.uint8)),
    "another camera": Wiring(camera="corner3"),
    "state: x and y exchanged": Wiring(state=permuted([1, 0, 2, 3])),
    "state: z and gripper exchanged": Wiring(state=permuted([0, 1, 3, 2])),
    "state in degrees, trained in radians": Wiring(state=scaled([DEGREES] * 4)),
    "state: sign of y reversed": Wiring(state=scaled([1, -1, 1, 1])),
    "state: gripper not filled in (0)": Wiring(state=scaled([1, 1, 1, 0])),
    "action: gripper's sign reversed": Wiring(action=scaled([1, 1, 1, -1])),
    "action: x and y exchanged": Wiring(action=permuted([1, 0, 2, 3])),
    "action: sign of x reversed": Wiring(action=scaled([-1, 1, 1, 1])),
    "action in degrees, executed as radians": Wiring(action=scaled([1 / DEGREES] * 3 + [1])),
    "absolute actions executed as relative": Wiring(given=as_position, trained_on="absolute"),
    "statistics of another dataset (same robot)": Wiring(trained_on="other tasks"),
    "statistics of another robot": Wiring(trained_on="other robot"),
    "another task's text": Wiring(instruction="put the bowl on the stove"),
    "chunk executed twice as long": Wiring(n_looks_apart=2),
    "another version of the engine": Wiring(engine=other_engine),
}


def expert(env: Any, generator: np.random.Generator) -> Array:
    """Act as Meta-World's expert does, with a little noise, as the demonstrations have."""
    noise = 0.3 * generator.normal(size=4) * (1, 1, 1, 0)
    action: Array = np.clip(env.expert_action() + noise, -1, 1)
    return action


def random(env: Any, generator: np.random.Generator) -> Array:
    action: Array = generator.uniform(-1, 1, 4)
    return action


def still(env: Any, generator: np.random.Generator) -> Array:
    return np.zeros(4)


@dataclass
class Recorded:
    """An episode: ``states`` and ``actions`` (steps, size) at every step, ``images`` by step where one was drawn."""

    images: dict[int, Array] = field(default_factory=dict)
    states: list[Array] = field(default_factory=list)
    actions: list[Array] = field(default_factory=list)


def simulate(task: Task, seed: int, act: Expert, wiring: Wiring, draws: Callable[[int], bool]) -> Recorded:
    """Run one episode, in which an image is drawn before each step for which ``draws`` is true; or read it from a file
    that the same episode left before.
    """
    names = [getattr(each, "__qualname__", "") + str(getattr(each, "keywords", "")) for each in vars(wiring).values()]
    drawn = [step for step in range(MAX_STEPS) if draws(step)]
    key = repr((task.name, seed, act.__name__, names, wiring.camera, drawn))
    file = CACHE / "audit" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        found = _simulated(task, seed, act, wiring, drawn)
        images: dict[str, Any] = {f"image{step}": image for step, image in found.images.items()}
        np.savez(file, **images, states=np.stack(found.states), actions=np.stack(found.actions))
    with np.load(file) as arrays:
        drawings = {int(name.removeprefix("image")): arrays[name] for name in arrays if name.startswith("image")}
        return Recorded(drawings, list(arrays["states"]), list(arrays["actions"]))


def _simulated(task: Task, seed: int, act: Expert, wiring: Wiring, drawn: Sequence[int]) -> Recorded:
    env = _environment(task)
    usual = _engine_of(env)
    wiring.engine(env)
    generator, found = np.random.default_rng(seed), Recorded()
    env.reset(seed, None, look=False)
    for step in range(MAX_STEPS):
        if step in drawn:
            found.images[step] = env.render(wiring.camera, (SIZE, SIZE))
        state = env._raw[:4].copy()  # noqa: SLF001 - without drawing
        found.states.append(state)
        found.actions.append(wiring.given(act(env, generator), state).astype(np.float32))
        after = env.step(np.clip(wiring.action(found.actions[-1]), -1, 1), look=False)
        if after.terminated or after.truncated:
            break
    for array, before in usual:
        array[...] = before
    return found


def _engine_of(env: Any) -> list[tuple[Array, Array]]:
    """Give what :func:`other_engine` changes, with its values."""
    model = env._env.model  # noqa: SLF001 - the adapter does not offer it
    return [(array, array.copy()) for array in (model.dof_damping, model.light_diffuse)]


def sketched(spec: EpisodeSpec, task: Task, found: Recorded, wiring: Wiring, steps_per_look: int) -> EpisodeInputs:
    """Make the episode as the engine would have recorded it, seen through a wiring."""
    recorder = InputRecorder(spec, (-1.0,) * 4, (1.0,) * 4, 80.0)
    apart = steps_per_look * wiring.n_looks_apart
    text = task.instruction if wiring.instruction is None else wiring.instruction
    for look, step in enumerate(range(0, len(found.states), apart)):
        arrays = {STATE: wiring.state(found.states[step])[None]}
        if look in IMAGE_LOOKS:
            shown = max(drawn for drawn in found.images if drawn <= step)
            arrays[IMAGE] = np.ascontiguousarray(wiring.image(found.images[shown]))[None]
        recorder.look(step, Observation(arrays, text))
    return EpisodeInputs(task.key, recorder.sketch(), np.stack(found.actions))


_one_at_a_time: dict[Task, Any] = {}


def _environment(task: Task) -> Any:
    """Give the environment of a task; it replaces the one before, since of two GL contexts the older draws rubbish."""
    if task not in _one_at_a_time:
        for env in _one_at_a_time.values():
            env.close()
        _one_at_a_time.clear()
        config = MetaWorldConfig(task=task.name, observation_width=SIZE, observation_height=SIZE)
        _one_at_a_time[task] = MetaWorld(config).make_env(task)
    return _one_at_a_time[task]


def tasks_of(names: str) -> list[Task]:
    return MetaWorld(MetaWorldConfig(task=names)).tasks()


def demonstrate(names: str, n_episodes: int) -> list[tuple[Task, Recorded]]:
    right = Wiring()
    return [
        (task, simulate(task, 100_000 + episode, expert, right, lambda step: step % DRAWN_EVERY == 0))
        for task in tasks_of(names)
        for episode in range(n_episodes)
    ]


def write_dataset(root: Path, demonstrations: Sequence[tuple[Task, Recorded]], *, absolute: bool = False) -> Path:
    """Write a LeRobotDataset; with ``absolute``, an action is the position that the hand is to reach."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    features = {
        IMAGE: {"dtype": "image", "shape": (SIZE, SIZE, 3), "names": ["height", "width", "channel"]},
        STATE: {"dtype": "float32", "shape": (4,), "names": ["x", "y", "z", "gripper"]},
        ACTION: {"dtype": "float32", "shape": (4,), "names": ["x", "y", "z", "gripper"]},
    }
    made = LeRobotDataset.create("nobody/demonstrations", 80, features, root=root, use_videos=False)
    for task, episode in demonstrations:
        for step, (state, action) in enumerate(zip(episode.states, episode.actions, strict=True)):
            image = episode.images[step - step % DRAWN_EVERY]
            given = as_position(action, state) if absolute else action
            frame = {
                IMAGE: image,
                STATE: state.astype(np.float32),
                ACTION: given.astype(np.float32),
                "task": task.instruction,
            }
            made.add_frame(frame)
        made.save_episode()
    if hasattr(made, "finalize"):
        made.finalize()
    return root


def training_by_processors(data: TrainingData, *, imagenet: bool, factor: float = 1.0) -> Training:
    """Give what the files of a checkpoint hold whose processors LeRobot makes of the dataset's statistics."""
    import torch
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.act.modeling_act import ACTConfig
    from lerobot.policies.factory import make_pre_post_processors

    config = ACTConfig(
        input_features={
            IMAGE: PolicyFeature(FeatureType.VISUAL, (3, SIZE, SIZE)),
            STATE: PolicyFeature(FeatureType.STATE, (4,)),
        },
        output_features={ACTION: PolicyFeature(FeatureType.ACTION, (4,))},
        chunk_size=20,
        n_action_steps=5,
        device="cpu",
        push_to_hub=False,
    )
    statistics: dict[str, dict[str, Any]] = {}
    for key, values in data.statistics.items():
        shape = (3, 1, 1) if key == IMAGE else (-1,)
        times = factor if key == STATE else 1.0
        statistics[key] = {
            name: torch.tensor(value).reshape(shape) * times for name, value in values.items() if name != "count"
        }
    if imagenet:
        statistics[IMAGE] |= {name: torch.tensor(value).reshape(3, 1, 1) for name, value in IMAGENET.items()}
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        config._save_pretrained(directory)  # noqa: SLF001 - no weights are needed
        for pipeline, name in zip(
            make_pre_post_processors(config, dataset_stats=statistics), (PREPROCESSOR, POSTPROCESSOR), strict=True
        ):
            pipeline.save_pretrained(directory, config_filename=name)
        fields = json.loads((directory / "config.json").read_text())
        before, after = (json.loads((directory / name).read_text())["steps"] for name in (PREPROCESSOR, POSTPROCESSOR))
        files = CheckpointFiles(directory, fields, (), False, before, after, ())
        return replace_text(training_of(files, fields, {}))


def replace_text(training: Training) -> Training:
    """Let the policy read text, so that the audit compares it; ACT reads none."""
    import msgspec

    return msgspec.structs.replace(training, reads_text=True)


class Rollouts:
    """Episodes of the tasks; those in which the wiring changes only what the policy sees are simulated once."""

    def __init__(self, names: str, n_episodes: int, steps_per_look: int) -> None:
        self._names, self._n_episodes, self._steps_per_look = names, n_episodes, steps_per_look
        self._right: dict[Expert, list[tuple[Task, EpisodeSpec, Recorded]]] = {}
        self._simulate_by_task()

    def _simulate_by_task(self) -> None:
        """Simulate all that will be asked for, task by task, as building an environment takes long."""
        asked = [(Wiring(), act) for act in (expert, random, still)]
        asked += [(wiring, expert) for wiring in WIRINGS.values() if moves(wiring)]
        for task in tasks_of(self._names):
            for wiring, act in asked:
                self._of_task(task, wiring, act)

    def __call__(self, wiring: Wiring, act: Expert = expert, only: str | None = None) -> list[EpisodeInputs]:
        if moves(wiring):
            episodes = self._simulated(wiring, act)
        else:
            if act not in self._right:
                self._right[act] = self._simulated(Wiring(), act)
            episodes = self._right[act]
        return [
            sketched(spec, task, found, wiring, self._steps_per_look)
            for task, spec, found in episodes
            if only in (None, task.name)
        ]

    def _simulated(self, wiring: Wiring, act: Expert) -> list[tuple[Task, EpisodeSpec, Recorded]]:
        return [found for task in tasks_of(self._names) for found in self._of_task(task, wiring, act)]

    def _of_task(self, task: Task, wiring: Wiring, act: Expert) -> list[tuple[Task, EpisodeSpec, Recorded]]:
        looks = {look * self._steps_per_look for look in (0, 4)}
        return [
            (
                task,
                EpisodeSpec(task.suite, task.task_id, index, 1000 + index),
                simulate(task, 1000 + index, act, wiring, looks.__contains__),
            )
            for index in range(self._n_episodes)
        ]


def moves(wiring: Wiring) -> bool:
    """Say whether a wiring changes what is simulated or drawn, and not only what the policy sees of it."""
    right = Wiring()
    return any(getattr(wiring, name) != getattr(right, name) for name in ("action", "given", "camera", "engine"))


@dataclass(frozen=True)
class Evidence:
    """Everything that an audit may be given: by name what checkpoints tell, and the datasets."""

    trainings: Mapping[str, Training]
    imagenet: Mapping[str, Training]
    data: Mapping[str, TrainingData]


def collect_evidence(folder: Path, n_demonstrations: int) -> Evidence:
    own, other = demonstrate(TASKS, n_demonstrations), demonstrate(OTHER_TASKS, n_demonstrations)
    roots = {
        "own": write_dataset(folder / "own", own),
        "absolute": write_dataset(folder / "absolute", own, absolute=True),
        "other tasks": write_dataset(folder / "other", other),
    }
    data = {
        name: read_training_data(DatasetConfig(repo_id="nobody/demonstrations", root=str(root)))
        for name, root in roots.items()
    }
    made = {
        name: [training_by_processors(each, imagenet=imagenet) for imagenet in (False, True)]
        for name, each in data.items()
    }
    made["other robot"] = [
        training_by_processors(data["own"], imagenet=imagenet, factor=DEGREES) for imagenet in (False, True)
    ]
    return Evidence(
        {name: each[0] for name, each in made.items()}, {name: each[1] for name, each in made.items()}, data
    )


def shown(audit: Audit, severities: Sequence[Severity] = (Severity.SEVERE, Severity.WARNING)) -> str:
    found = dict.fromkeys(
        f"**{finding.check}**" if finding.severity is Severity.SEVERE else finding.check
        for finding in audit.findings
        if finding.severity in severities
    )
    return ", ".join(found) or "none"


def catches(evidence: Evidence, roll_out: Rollouts) -> Iterator[tuple[str, ...]]:
    """Yield a row for each wiring: with the checkpoint's own statistics, ImageNet's, the dataset, and all of them."""
    for name, wiring in {"(wired rightly)": Wiring(), **WIRINGS}.items():
        episodes = roll_out(wiring)
        data = evidence.data["absolute" if wiring.trained_on == "absolute" else "own"]
        own, usual = evidence.trainings[wiring.trained_on], evidence.imagenet[wiring.trained_on]
        reads = Training({}, reads_text=True)
        audits = [
            examine(episodes, own, None),
            examine(episodes, usual, None),
            examine(episodes, reads, data),
            examine(episodes, own, data),
        ]
        row = (name, *map(shown, audits))
        print(" | ".join(row), flush=True)
        for finding in audits[-1].findings[:6]:
            print("      ", finding.severity, finding.sentence, flush=True)
        yield row


def false_alarms(evidence: Evidence, roll_out: Rollouts) -> Iterator[tuple[str, ...]]:
    """Yield a row for each task and kind of policy that are wired rightly."""
    for name, act in (("expert", expert), ("random actions", random), ("no motion", still)):
        for task in TASKS.split(","):
            episodes = roll_out(Wiring(), act, task)
            rate = sum(len(episode.actions) < MAX_STEPS for episode in episodes) / len(episodes)
            audits = [
                examine(episodes, evidence.trainings["own"], None),
                examine(episodes, Training({}, reads_text=True), evidence.data["own"]),
                examine(episodes, evidence.trainings["own"], evidence.data["own"]),
            ]
            line = worth_a_line(audits[-1], rate)
            row = (f"{name}, {task}", f"{rate:.0%}", *map(shown, audits), line[0].check if line else "none")
            print(" | ".join(row), flush=True)
            for finding in audits[-1].findings[:6]:
                print("      ", finding.severity, finding.sentence, flush=True)
            yield row


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=8, help="per task")
    parser.add_argument("--demonstrations", type=int, default=8, help="per task")
    parser.add_argument("--steps-per-look", type=int, default=5)
    parser.add_argument("--markdown", type=Path, help="the page whose tables are to be replaced")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="audit-"))
    try:
        evidence = collect_evidence(folder, options.demonstrations)
        roll_out = Rollouts(TASKS, options.episodes, options.steps_per_look)
        caught, alarms = list(catches(evidence, roll_out)), list(false_alarms(evidence, roll_out))
    finally:
        shutil.rmtree(folder)
    heads = ["wiring", "checkpoint", "checkpoint, ImageNet's statistics", "dataset", "checkpoint and dataset"]
    with_rate = ["wired rightly", "success", "checkpoint", "dataset", "both", "line in the final block"]
    text = "\n\n".join([table(heads, caught), table(with_rate, alarms)])
    print(text)
    if options.markdown is not None:
        page = options.markdown.read_text()
        before, after = page.split(_BEGIN)[0], page.split(_END)[1]
        options.markdown.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}")


if __name__ == "__main__":
    main()
