"""Hand-made files of a checkpoint, and an episode as the engine runs one."""

import json
import struct
from collections import deque

import numpy as np

from proctor.policies.base import EpisodeMemory
from proctor.streams import RandomStream
from proctor.testing.checkpoints import PUSHT
from proctor.types import EpisodeSpec, Observation


def write_safetensors(file, sizes):
    """A safetensors file of float32 vectors, by name and number of elements."""
    header, end = {}, 0
    for name, size in sizes.items():
        header[name] = {"dtype": "F32", "shape": [size], "data_offsets": [end, end + 4 * size]}
        end += 4 * size
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


def edit_json(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def frames(seed, n=18, robot=PUSHT):
    """What an environment would show: per step, images and a state that move from one step to the next."""
    generator = np.random.default_rng(seed)
    return [
        {
            **{key: generator.integers(0, 256, (*size, 3), np.uint8) for key, size in robot.cameras.items()},
            "observation.state": generator.uniform(*robot.state, robot.state_dim),
        }
        for _ in range(n)
    ]


def new_memory(seed=7):
    return EpisodeMemory(RandomStream(EpisodeSpec("pusht", 0, 0, seed)))


def observation_at(policy, frames, step):
    """What the policy sees at a step: its look offsets, the first frame repeated before the beginning."""
    seen = [frames[max(0, step + offset)] for offset in policy.look_offsets]
    return Observation({key: np.stack([frame[key] for frame in seen]) for key in frames[0]}, "push the T")


class Episode:
    """What the engine does for one episode: it keeps history, actions to execute and memory, and asks when it must."""

    def __init__(self, policy, frames, seed=7):
        self.policy, self.frames, self.memory = policy, frames, new_memory(seed)
        self.queue, self.executed = deque(), []

    def step(self):
        if not self.queue:
            observation = observation_at(self.policy, self.frames, len(self.executed))
            with self.memory.stream.swapped_in():
                self.queue.extend(self.policy.predict([observation], [self.memory])[0])
        self.executed.append(self.queue.popleft())

    def run(self):
        for _ in self.frames:
            self.step()
        return np.stack(self.executed)
