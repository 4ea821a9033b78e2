"""The cases on which Proctor and others are timed: benchmarks, and checkpoints that are made for them once.

The policies are untrained, but have the size of real ones in the parts that cost time: a ResNet-18 on the camera's own
pixels for ACT, a U-Net denoised in ten steps for Diffusion.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common import CACHE

IN_PROCESS = ((1, False), (2, False), (4, False))
"""Modes of ``lerobot-eval``: the batch size, and True if its environments are asynchronous."""
ALSO_ASYNC = ((1, False), (2, True), (4, True))


@dataclass(frozen=True)
class Case:
    """An evaluation: a policy on a task, the number of episodes, and the maximum of steps.

    ``peer_modes`` are the modes in which lerobot-eval works: its asynchronous environments do not find PushT and ALOHA.
    A forward pass on a CPU has ``rows`` observations, and each consists of ``frames_per_look`` steps' images.
    ``draws`` is True if the policy draws random numbers, so that its rewards differ from lerobot-eval's.
    """

    name: str
    env: Mapping[str, Any]
    checkpoint: Callable[[], Path]
    n_action_steps: int
    episodes: int = 4
    steps: int = 100
    peer_modes: tuple[tuple[int, bool], ...] = IN_PROCESS
    draws: bool = False
    rows: int = 1
    frames_per_look: int = 1

    def flags(self) -> list[str]:
        """The options of the case for both command lines."""
        return [
            f"--policy.path={self.checkpoint()}",
            f"--policy.n_action_steps={self.n_action_steps}",
            "--policy.device=cpu",
            *(f"--env.{name}={value}" for name, value in self.env.items()),
            f"--eval.n_episodes={self.episodes}",
        ]

    def policy_fields(self) -> dict[str, Any]:
        return {"path": str(self.checkpoint()), "n_action_steps": self.n_action_steps, "device": "cpu"}

    def __str__(self) -> str:
        return f"{self.name}: {self.episodes} episodes of at most {self.steps} steps"


def metaworld(n_action_steps: int, task: str = "reach-v3", **fields: Any) -> Case:
    """Return ACT on a Meta-World task: nearly all of its cost is a ResNet-18 on 480x480 pixels."""
    env = {"type": "metaworld", "task": task}
    return Case(f"metaworld-{n_action_steps}", env, metaworld_act, n_action_steps, peer_modes=ALSO_ASYNC, **fields)


def pusht_act() -> Path:
    return _made_once("act_pusht", lambda directory: _checkpoints().make_act(directory, **_CHUNK))


def pusht_diffusion() -> Path:
    fields = {"down_dims": (128, 256, 512), "num_inference_steps": 10}
    return _made_once("diffusion_pusht", lambda directory: _checkpoints().make_diffusion(directory, **fields))


def pusht_checkpoint(kind: str) -> Path:
    """Return a small checkpoint of a type of policy."""

    def make(directory: Path) -> None:
        getattr(_checkpoints(), f"make_{kind}")(directory)

    return _made_once(f"small_{kind}", make)


def metaworld_act() -> Path:
    return _made_once(
        "act_metaworld", lambda directory: _checkpoints().make_act(directory, _checkpoints().METAWORLD, **_CHUNK)
    )


def aloha_act() -> Path:
    def make(directory: Path) -> None:
        cameras, span = {"observation.images.top": (480, 640)}, (-1.0, 1.0)
        robot = _checkpoints().Robot(cameras=cameras, state_dim=14, state=span, action_dim=14, action=span)
        _checkpoints().make_act(directory, robot, **_CHUNK)

    return _made_once("act_aloha", make)


_CHUNK = {"chunk_size": 50, "n_action_steps": 50}


def _checkpoints() -> Any:
    from checkpoint_makers import checkpoints  # this import is here because making a checkpoint imports torch

    return checkpoints


def _made_once(name: str, make: Callable[[Path], Any]) -> Path:
    directory = CACHE / name
    if not (directory / "config.json").exists():
        make(directory)
    return directory


CASES = {
    case.name: case
    for case in (
        Case("pusht-act", {"type": "pusht"}, pusht_act, 50, episodes=20, steps=300),
        Case(
            *("pusht-diffusion", {"type": "pusht"}, pusht_diffusion, 8),
            episodes=8,
            steps=100,
            draws=True,
            rows=4,
            frames_per_look=2,
        ),
        metaworld(1, steps=25),
        metaworld(10),
        metaworld(50),
        Case("aloha-50", {"type": "aloha", "task": "AlohaTransferCube-v0"}, aloha_act, 50),
    )
}


def case_parser(description: str | None, usual: Sequence[str]) -> argparse.ArgumentParser:
    """Return the options of a script that compares cases; ``usual`` are the cases if none is named."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    named = f"any of {', '.join(CASES)}; {', '.join(usual)} if none"
    parser.add_argument("cases", nargs="*", metavar="CASE", help=named)
    parser.add_argument("--episodes", type=int, help="instead of the case's own number")
    parser.add_argument("--steps", type=int, help="the same")
    parser.add_argument("--pairs", type=int, default=3)
    return parser


def chosen(parser: argparse.ArgumentParser, options: argparse.Namespace, usual: Sequence[str]) -> list[Case]:
    """Return the cases that are named in ``options``, or the usual ones."""
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"there is no case {', '.join(unknown)}; choose from {', '.join(CASES)}")
    cases = (CASES[name] for name in options.cases or usual)
    return [replace(c, episodes=options.episodes or c.episodes, steps=options.steps or c.steps) for c in cases]
