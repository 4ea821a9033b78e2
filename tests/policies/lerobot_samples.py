"""Checkpoints of every kind, hand-made files of one, and an episode as the engine runs one."""

import json
import struct
import sys
from collections import deque
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from checkpoint_makers import checkpoints, vla_checkpoints, vlm_checkpoints, world_checkpoints
from checkpoint_makers.checkpoints import PUSHT
from proctor.policies.base import EpisodeMemory
from proctor.streams import RandomStream
from proctor.types import EpisodeSpec, Observation

PLUGIN = Path(__file__).parent / "plugin"


def make_wanderer(directory, robot=PUSHT):
    """A checkpoint of somebody else's policy, whose package is on the path from here on."""
    if str(PLUGIN) not in sys.path:
        sys.path.append(str(PLUGIN))
    from lerobot_policy_wanderer.modeling_wanderer import WandererConfig, WandererPolicy

    return checkpoints.write_checkpoint(directory, robot, checkpoints.Recipe(WandererConfig, WandererPolicy, {}), 0)


def make_relative_act(directory, robot=PUSHT):
    """An ACT, whose configuration has no word for it, with processors that add actions to the state."""
    checkpoints.make_act(directory, robot, chunk_size=12, n_action_steps=5)
    for side, name in (("pre", "relative"), ("post", "absolute")):
        file = directory / f"policy_{side}processor.json"
        steps = json.loads(file.read_text())["steps"]
        names = [step["registry_name"] for step in steps]
        place = names.index("normalizer_processor") if side == "pre" else names.index("unnormalizer_processor") + 1
        steps.insert(place, {"registry_name": f"{name}_actions_processor", "config": {"enabled": True}})
        edit_json(file, steps=steps)
    return directory


KINDS = {
    "act": partial(checkpoints.make_act, chunk_size=12, n_action_steps=5),
    "act-relative": make_relative_act,
    "ensemble": partial(checkpoints.make_act, chunk_size=12, n_action_steps=1, temporal_ensemble_coeff=0.01),
    "diffusion": checkpoints.make_diffusion,
    "ddpm": partial(checkpoints.make_diffusion, noise_scheduler_type="DDPM", num_train_timesteps=4, n_obs_steps=3),
    "vqbet": checkpoints.make_vqbet,
    "vqbet-sequential": partial(checkpoints.make_vqbet, sequentially_select=True),
    "tdmpc": checkpoints.make_tdmpc,
    "actor": checkpoints.make_actor,
    "smolvla": vla_checkpoints.make_smolvla,
    "pi0": vla_checkpoints.make_pi,
    "pi05": partial(vla_checkpoints.make_pi, version="pi05"),
    "pi0-relative": partial(vla_checkpoints.make_pi, use_relative_actions=True),
    "pi0_fast": vla_checkpoints.make_pi0_fast,
    "eo1": vlm_checkpoints.make_eo1,
    "evo1": vlm_checkpoints.make_evo1,
    "groot": vlm_checkpoints.make_groot,
    "vla_jepa": vlm_checkpoints.make_vla_jepa,
    "wall_x": vlm_checkpoints.make_wall_x,
    "xvla": vla_checkpoints.make_xvla,
    "dit": vla_checkpoints.make_multi_task_dit,
    "dit-flow": partial(vla_checkpoints.make_multi_task_dit, objective="flow_matching"),
    "molmoact2": vlm_checkpoints.make_molmoact2,
    "fastwam": partial(world_checkpoints.make_fastwam, inference_seed=None),
    "lingbot_va": world_checkpoints.make_lingbot_va,
    "wanderer": make_wanderer,
}
"""How a checkpoint of each kind is made, from its directory and a robot."""

ALONE = {"tdmpc", "wanderer", "act-relative", "pi0-relative", "eo1", "evo1", "groot", "vla_jepa", "wall_x"}
ALONE |= {"molmoact2", "fastwam", "lingbot_va"}
"""Those whose episodes do not share a pass."""

NEWER = {
    "act-relative",
    "pi0",
    "pi05",
    "pi0-relative",
    "pi0_fast",
    "eo1",
    "evo1",
    "groot",
    "vla_jepa",
    "wall_x",
    "dit",
    "dit-flow",
}
NEWER |= {"molmoact2", "fastwam", "lingbot_va"}
"""What LeRobot 0.4 has not, or not with a transformers that is on PyPI."""


class Checkpoints(dict):
    """Checkpoints by name, made when they are first asked for."""

    def __init__(self, folder, robot=PUSHT):
        super().__init__()
        self.folder, self.robot, self.small = folder, robot, ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.small.close()

    def __missing__(self, name):
        if name in NEWER and version("lerobot").startswith("0.4"):
            pytest.skip("not in LeRobot 0.4")
        self[name] = KINDS[name](self.folder / name, self.robot)
        if name.startswith("pi0"):
            self.small.enter_context(vla_checkpoints.small_gemma(name.partition("-")[0]))
        if name == "fastwam":
            self.small.enter_context(world_checkpoints.small_wan(self[name]))
        return self[name]


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


class LeRobotLoop:
    """What ``lerobot-eval`` does around a policy for one episode, with that episode's generator states."""

    def __init__(self, directory, stream, *, policy=None, overrides=()):
        import torch
        from lerobot.configs.policies import PreTrainedConfig
        from lerobot.policies.factory import get_policy_class, make_pre_post_processors

        config = PreTrainedConfig.from_pretrained(directory, cli_overrides=list(overrides))
        config.pretrained_path = Path(directory)
        self.policy = policy or get_policy_class(config.type).from_pretrained(directory, config=config)
        self.preprocessor, self.postprocessor = make_pre_post_processors(config, str(directory))
        self.policy.reset()
        self.stream = stream
        torch.set_num_threads(1)

    def act(self, frame, instruction="push the T"):
        import torch
        from lerobot.envs.utils import preprocess_observation

        raw = {"pixels": frame["observation.image"][None], "agent_pos": frame["observation.state"][None]}
        batch = {**preprocess_observation(raw), "task": [instruction]}
        with self.stream.swapped_in(), torch.inference_mode():
            action = self.policy.select_action(self.preprocessor(batch))
        return self.postprocessor(action).numpy()[0]


RTC = {"enabled": True, "execution_horizon": 8, "prefix_attention_schedule": "EXP", "max_guidance_weight": 5.0}
"""Settings of real-time chunking that are not the defaults."""


def real_time_actions(directory, frames, n_delay_steps, *, rtc=RTC, stream=None, instruction="push the T"):
    """What LeRobot does on a robot, step by step: see ``RTCInferenceEngine`` in ``lerobot.rollout.inference.rtc``.

    The first chunk is waited for, so no step passes while it is inferred. One inference is under way at a time.
    """
    from lerobot.configs.types import RTCAttentionSchedule
    from lerobot.policies.rtc.action_queue import ActionQueue
    from lerobot.policies.rtc.configuration_rtc import RTCConfig

    loop = LeRobotLoop(directory, stream or new_memory().stream)
    config = loop.policy.config
    config.rtc_config = RTCConfig(
        **rtc | {"prefix_attention_schedule": RTCAttentionSchedule[rtc["prefix_attention_schedule"]]}
    )
    loop.policy.init_rtc_processor()  # as LeRobot does before a rollout
    queue, threshold = ActionQueue(config.rtc_config), config.chunk_size - config.n_action_steps
    arriving, free_at, actions = {}, 0, []
    for step, frame in enumerate(frames):
        if step in arriving:
            queue.merge(*arriving.pop(step))
        if step >= free_at and queue.qsize() <= threshold:
            real_delay = n_delay_steps if step else 0
            index = queue.get_action_index()
            chunks = _infer(loop, frame, instruction, queue, n_delay_steps)
            arriving[step + real_delay] = *chunks, real_delay, index
            free_at = step + n_delay_steps
        if step in arriving:
            queue.merge(*arriving.pop(step))
        action = queue.get()
        actions.append(actions[-1] if action is None else action.numpy())  # a robot without an action holds its own
    return np.stack(actions)


def _infer(loop, frame, instruction, queue, delay):
    """One inference of LeRobot's: its chunk as the policy gave it, and after the postprocessor."""
    import torch
    from lerobot.envs.utils import preprocess_observation

    left_over, horizon = queue.get_left_over(), loop.policy.config.rtc_config.execution_horizon
    if left_over is not None:
        filled = torch.zeros(horizon, left_over.shape[1])
        filled[: min(horizon, len(left_over))] = left_over[:horizon]
        left_over = filled
    raw = {"pixels": frame["observation.image"][None], "agent_pos": frame["observation.state"][None]}
    batch = loop.preprocessor({**preprocess_observation(raw), "task": [instruction]})
    with loop.stream.swapped_in():
        chunk = loop.policy.predict_action_chunk(batch, inference_delay=delay, prev_chunk_left_over=left_over)
    original = chunk.squeeze(0).clone()
    return original, loop.postprocessor(chunk).squeeze(0)
