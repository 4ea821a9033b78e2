"""Train the bundled checkpoint: one small ACT for three Meta-World tasks, from pixels, on two CPU cores.

    python examples/train_metaworld_act.py --output examples/metaworld_act

Only the image shows the task and the positions of the objects: the state contains hand and gripper, and ACT reads no
instruction. Everything is LeRobot's own code, and the result is a LeRobot checkpoint. :func:`_thaw` is the only trick.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch
from demonstrations import Demonstrations, collect
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.act.modeling_act import ACTConfig, ACTPolicy
from lerobot.policies.factory import make_pre_post_processors
from lerobot.processor.hil_processor import ImageCropResizeProcessorStep
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torchvision.ops.misc import FrozenBatchNorm2d

from proctor.types import Array

TASKS = "reach-v3,button-press-topdown-v3,coffee-button-v3"
N_DEMONSTRATIONS = 120
"""Number of episodes per task."""
CHUNK_SIZE = 20

N_STEPS = 1500
BATCH_SIZE = 64
LEARNING_RATE = 4e-4
N_PROCESSES = 2
"""One process per core, each with half of a batch: one process with two threads is slower beside other load."""

IMAGE, STATE, ACTION = "observation.image", "observation.state", "action"


def crop_and_resize() -> ImageCropResizeProcessorStep:
    """Return the step that crops the image to the relevant part, and makes it small enough for a cheap vision model."""
    top, left, height, width = 100, 210, 240, 240
    return ImageCropResizeProcessorStep(crop_params_dict={IMAGE: (top, left, height, width)}, resize_size=(72, 72))


def make_config() -> ACTConfig:
    return ACTConfig(
        input_features={
            IMAGE: PolicyFeature(FeatureType.VISUAL, (3, 480, 480)),
            STATE: PolicyFeature(FeatureType.STATE, (4,)),
        },
        output_features={ACTION: PolicyFeature(FeatureType.ACTION, (4,))},
        chunk_size=CHUNK_SIZE,
        n_action_steps=CHUNK_SIZE,
        pretrained_backbone_weights=None,
        dim_model=192,
        n_heads=6,
        dim_feedforward=384,
        n_encoder_layers=3,
        use_vae=False,  # the experts are deterministic
        latent_dim=8,
        dropout=0,
        device="cpu",
        push_to_hub=False,
    )


def demonstrations() -> Demonstrations:
    step = crop_and_resize()

    def shrink(images: Array) -> Array:
        batch = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        small: Array = step.observation({IMAGE: batch})[IMAGE].numpy()
        return small

    return collect(TASKS, N_DEMONSTRATIONS, CHUNK_SIZE, shrink)


def statistics(data: Demonstrations) -> dict[str, dict[str, torch.Tensor]]:
    """Return mean and standard deviation of every channel and element, with which the processors normalise."""

    def of(values: Array, shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
        channels = torch.from_numpy(values.reshape(len(values), shape[0], -1)).transpose(0, 1).flatten(1)
        return {"mean": channels.mean(1).reshape(shape), "std": channels.std(1).reshape(shape)}

    return {
        IMAGE: of(data.images, (3, 1, 1)),
        STATE: of(data.states, (4,)),
        ACTION: of(data.actions[~data.is_pad], (4,)),
    }


def train(rank: int, rendezvous: Path, output: Path) -> None:
    """Run one of the training processes. They have equal weights, and average their gradients at every step."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.distributed.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=N_PROCESSES)
    data = demonstrations()
    config = make_config()
    processors = make_pre_post_processors(config, dataset_stats=statistics(data))
    policy = ACTPolicy(config).to(memory_format=torch.channels_last)
    _thaw(policy.model.backbone)
    model = DistributedDataParallel(policy.train())
    optimizer = torch.optim.AdamW(policy.parameters(), LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=N_STEPS, pct_start=0.1)
    started, losses = perf_counter(), []
    for step, batch in zip(range(1, N_STEPS + 1), _batches(data, processors[0], rank), strict=False):
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = model(batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 10)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if rank == 0 and (step % 50 == 0 or step == N_STEPS):
            print(f"step {step}  loss {np.mean(losses[-50:]):.4f}  {perf_counter() - started:.0f} s", flush=True)
        if rank == 0 and (step % 250 == 0 or step == N_STEPS):
            save(policy, processors, output)


def _batches(data: Demonstrations, preprocessor: Any, rank: int) -> Iterator[dict[str, torch.Tensor]]:
    """Yield this process's part of each batch, normalised, without end."""
    rng, size = np.random.default_rng(0), BATCH_SIZE // N_PROCESSES
    while True:
        order = rng.permutation(len(data.states))
        for first in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
            chosen = order[first + rank * size :][:size]
            batch = {
                IMAGE: torch.from_numpy(data.images[chosen]).contiguous(memory_format=torch.channels_last),
                STATE: torch.from_numpy(data.states[chosen]),
                ACTION: torch.from_numpy(data.actions[chosen]),
            }
            yield {**preprocessor(batch), "action_is_pad": torch.from_numpy(data.is_pad[chosen])}


def _thaw(module: nn.Module) -> None:
    """Let the batch normalisations learn.

    They are frozen in LeRobot's ResNet, which suits a pretrained one. Frozen at their initial values they would have no
    effect, and a ResNet without normalisation learns slowly. The learned values fit into the frozen ones: :func:`save`.
    """
    for name, child in module.named_children():
        if isinstance(child, FrozenBatchNorm2d):
            setattr(module, name, nn.BatchNorm2d(child.weight.numel()))
        else:
            _thaw(child)


def save(policy: ACTPolicy, processors: tuple[Any, Any], output: Path) -> None:
    """Write a LeRobot checkpoint in half precision, whose preprocessor starts with the camera's image."""
    weights = {name: value for name, value in policy.state_dict().items() if not name.endswith("num_batches_tracked")}
    stock = ACTPolicy(policy.config)
    stock.load_state_dict(weights)
    stock.half().save_pretrained(output)
    _drop_field(output / "config.json", "pretrained_revision")  # null here, and unknown to LeRobot 0.4
    preprocessor, postprocessor = processors
    whole = type(preprocessor)([*preprocessor.steps[:-1], crop_and_resize(), preprocessor.steps[-1]], preprocessor.name)
    for processor in (whole, postprocessor):
        processor.save_pretrained(output)


def _drop_field(file: Path, field: str) -> None:
    fields = json.loads(file.read_text())
    fields.pop(field, None)
    file.write_text(json.dumps(fields, indent=4) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("outputs/metaworld_act"))
    output = parser.parse_args().output
    demonstrations()
    with TemporaryDirectory() as scratch:
        torch.multiprocessing.spawn(train, (Path(scratch) / "rendezvous", output), N_PROCESSES)


if __name__ == "__main__":
    main()
