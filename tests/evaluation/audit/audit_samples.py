"""Sketched episodes, and what a checkpoint and a dataset tell of a training, for tests of findings."""

from __future__ import annotations

import numpy as np

from proctor.engine.input_sketch import InputRecorder
from proctor.evaluation.audit.observed import EpisodeInputs
from proctor.policies.training_data import TrainingData, TrainingEpisode
from proctor.results.audit import TrainedFeature, Training
from proctor.types import EpisodeSpec, Observation, TaskKey

STATE, IMAGE, ACTION = "observation.state", "observation.image", "action"
CENTRE, SPREAD = np.array([0.0, 0.6, 0.2, 0.5]), np.array([0.05, 0.1, 0.05, 0.3])
N_STEPS, APART = 60, 5


def scene(seed):
    """A picture with an up and down, a left and right, and colours; each seed moves its object a little."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[..., 0] = np.linspace(40, 200, 48)[:, None]
    image[..., 1] = np.linspace(90, 20, 64)[None, :]
    image[..., 2] = 60
    x = 40 + seed % 8
    image[30:40, x : x + 10] = (250, 240, 10)
    image[4:14, 4:20] = (10, 20, 230)
    return image


def walk(seed):
    """States that actions move: each element by a tenth of its action; the last one follows it at once."""
    generator = np.random.default_rng(seed)
    states, actions = [CENTRE + 0.3 * SPREAD * generator.normal(size=4)], []
    gripper = generator.choice([-1.0, 1.0], size=N_STEPS)
    for step in range(N_STEPS):
        action = np.clip(np.append(generator.normal(size=3), gripper[step // 10 * 10]), -1, 1)
        drawn_back = 0.05 * (CENTRE - states[-1])
        after = states[-1] + drawn_back + 0.2 * SPREAD * action
        after[3] = 0.7 * states[-1][3] + 0.3 * (action[3] + 1) / 2
        states.append(after + 0.001 * SPREAD * generator.normal(size=4))
        actions.append(action)
    return np.array(states[:-1]), np.array(actions)


def episodes(n=8, *, state=lambda s: s, image=lambda i: i, given=lambda a: a, text="push the button", apart=APART):
    """Sketched episodes, of which a wiring changes what the policy sees, or what the environment was given."""
    found = []
    for index in range(n):
        states, actions = walk(index)
        recorder = InputRecorder(EpisodeSpec("suite", 0, index, index), (-1.0,) * 4, (1.0,) * 4, 10.0)
        for step in range(0, N_STEPS, apart):
            shown = np.ascontiguousarray(image(scene(index)))
            recorder.look(step, Observation({STATE: state(states[step])[None], IMAGE: shown[None]}, text))
        found.append(EpisodeInputs(TaskKey("suite", 0), recorder.sketch(), given(actions).astype(np.float32)))
    return found


def dataset(n=12, task="push the button"):
    """A dataset of the same robot, from other seeds."""
    walks = [walk(1000 + index) for index in range(n)]
    images = [scene(1000 + index) for index in range(n)]
    every = np.concatenate([states for states, _ in walks]), np.concatenate([actions for _, actions in walks])
    return TrainingData(
        "nobody/walks",
        10.0,
        (task, "open the drawer"),
        {STATE: statistics(every[0]), ACTION: statistics(every[1])},
        [TrainingEpisode({STATE: states.astype(np.float32)}, actions.astype(np.float32)) for states, actions in walks],
        {IMAGE: images},
    )


def statistics(values):
    return {
        "mean": values.mean(axis=0).tolist(),
        "std": values.std(axis=0).tolist(),
        "min": values.min(axis=0).tolist(),
        "max": values.max(axis=0).tolist(),
    }


def training(**changes):
    """What the files of a checkpoint of that dataset tell, with features exchanged."""
    data = dataset()
    pixels = np.concatenate([image.reshape(-1, 3) for image in data.images[IMAGE]]) / 255
    features = {
        STATE: TrainedFeature("STATE", (4,), dict(data.statistics[STATE])),
        IMAGE: TrainedFeature(
            "VISUAL", (3, 48, 64), {"mean": pixels.mean(axis=0).tolist(), "std": pixels.std(axis=0).tolist()}
        ),
        ACTION: TrainedFeature("ACTION", (4,), dict(data.statistics[ACTION])),
    }
    return Training({**features, **changes}, reads_text=True, n_action_steps=APART)
