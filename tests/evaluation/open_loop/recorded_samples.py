"""A small recorded dataset whose actions follow from its states, policies that predict them, and LeRobot's own loop."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from proctor.cli import main

REPO_ID = "nobody/recorded"
LENGTHS = (13, 9, 11)
TASKS = ("push", "push", "pull")
FEATURES = {
    "observation.image": {"dtype": "image", "shape": (96, 96, 3), "names": ["height", "width", "channel"]},
    "observation.state": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
    "action": {"dtype": "float32", "shape": (2,), "names": {"motors": ["shoulder", "elbow"]}},
}
OFFSET = np.array([0.5, -2.0])


def state_of(episode, step):
    """What is recorded at a step. All numbers are small multiples of 1/8, so that sums of them are exact."""
    return np.array([64 * episode + step, 200 - 8 * step], np.float32)


def action_of(state):
    return np.asarray(state) * np.array([2, 0.125])


def record(root, features=FEATURES, lengths=LENGTHS):
    """Record the episodes, by LeRobot's own class."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    generator = np.random.default_rng(0)
    with_videos = features["observation.image"]["dtype"] == "video"
    made = LeRobotDataset.create(REPO_ID, 10, features, root=root, use_videos=with_videos)
    for episode, (length, task) in enumerate(zip(lengths, TASKS, strict=False)):
        for step in range(length):
            state = state_of(episode, step)
            made.add_frame(
                {
                    "observation.image": generator.integers(0, 256, (96, 96, 3), np.uint8),
                    "observation.state": state,
                    "action": action_of(state).astype(np.float32),
                    "task": task,
                }
            )
        made.save_episode()
    if hasattr(made, "finalize"):
        made.finalize()
    return root


def actions_of(episode):
    """The recorded actions of an episode."""
    return np.stack([action_of(state_of(episode, step)) for step in range(LENGTHS[episode])]).astype(np.float32)


def truth(observation):
    """A policy that predicts the actions of four steps, as they were recorded."""
    states = observation["observation.state"] + np.arange(4)[:, None] * np.array([1, -8])
    return action_of(states)


def beside_truth(observation):
    """A policy that is wrong by the same amount everywhere."""
    return truth(observation) + OFFSET


def farther_from_truth(observation):
    """A policy whose errors grow with the position, and depend on the episode and on the task."""
    episode = observation["observation.state"][0] // 64
    return truth(observation) + np.arange(4)[:, None] * np.array([1.0, -0.5]) * (1 + episode)


def stopped(observation):
    """A policy that sends its own process the signal whose number is in a file, in the midst of the second episode."""
    file = Path(os.environ["SIGNAL_FILE"])
    if observation["observation.state"][0] > 66 and file.exists():
        number = int(file.read_text())
        file.unlink()
        os.kill(os.getpid(), number)
        time.sleep(0.5)
    return truth(observation)


def of_three_numbers(observation):
    """A policy for another robot."""
    return np.zeros(3)


def open_loop(dataset, output, *options, function="truth"):
    """Run the command; gives its exit status."""
    policy = ["--policy.type=function", f"--policy.function=recorded_samples:{function}"] if function else []
    where = [f"--dataset.repo_id={REPO_ID}", f"--dataset.root={dataset}", f"--output_dir={output}", "--display=none"]
    return main(["open-loop", *policy, *where, *options])


def files_of(output: Path) -> dict[str, bytes]:
    """What must not depend on how the work was done."""
    files = [output / "open_loop.json", *sorted((output / "episodes").iterdir())]
    return {file.name: file.read_bytes() for file in files}


class LeRobotOnRecordings:
    """LeRobot's own dataset, processors and policy, one step after another."""

    def __init__(self, checkpoint, dataset, *overrides):
        import torch
        from lerobot.configs.policies import PreTrainedConfig
        from lerobot.datasets.lerobot_dataset import LeRobotDataset
        from lerobot.policies.factory import get_policy_class, make_pre_post_processors

        config = PreTrainedConfig.from_pretrained(checkpoint, cli_overrides=list(overrides))
        config.pretrained_path = Path(checkpoint)
        self.policy = get_policy_class(config.type).from_pretrained(checkpoint, config=config)
        self.preprocessor, self.postprocessor = make_pre_post_processors(config, str(checkpoint))
        self.dataset = LeRobotDataset(REPO_ID, root=dataset, video_backend="pyav")
        torch.set_num_threads(1)

    def _batch(self, episode, step):
        item = self.dataset[sum(LENGTHS[:episode]) + step]
        seen = {key: item[key][None] for key in ("observation.image", "observation.state")}
        return self.preprocessor({**seen, "task": [item["task"]]})

    def selected(self, episode, stream):
        """The actions of ``select_action`` at every step, with the stream's states in the global generators."""
        import torch

        self.policy.reset()
        with stream.swapped_in(), torch.inference_mode():
            actions = [self.policy.select_action(self._batch(episode, step)) for step in range(LENGTHS[episode])]
        return self.postprocessor(torch.cat(actions)).numpy()

    def chunks(self, episode, every):
        """The chunks of ``predict_action_chunk`` at every ``every``-th step."""
        import torch

        with torch.inference_mode():
            found = [
                self.policy.predict_action_chunk(self._batch(episode, step))
                for step in range(0, LENGTHS[episode], every)
            ]
        return [self.postprocessor(chunk[0]).numpy() for chunk in found]
