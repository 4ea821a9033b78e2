"""Options of ``lerobot-eval`` that Proctor has no use for: pasted commands work, or are answered by name.

Each is answered in one of two ways. If leaving the option out changes no result, it is taken and a note says so. If the
user relies on it, it is refused, and the sentence names what to use instead. Source: ``lerobot/envs/configs.py`` and
``lerobot/configs/default.py`` of LeRobot 0.6.1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from proctor.errors import ConfigError, note

_OFF: tuple[Any, ...] = (None, False, "", {}, [], "false", "False", "null", "None", "{}", "[]")
"""Values that switch an option off, as Python has them and as a command line spells them."""


@dataclass(frozen=True)
class _Answer:
    """What is said of an option: ``sentence`` follows its name. A ``needed`` one is refused if it is switched on."""

    sentence: str
    needed: bool = False


_ENV = {
    "fps": _Answer(
        "has no effect: simulators step at their own rate, and videos play at real-time speed (--eval.video_fps)"
    ),
    "hard_reset": _Answer("has no effect: every reset gives what LeRobot's hard_reset=true gives"),
    "render_mode": _Answer("has no effect: simulators draw offscreen, and videos are made by --eval.video"),
    "disable_env_checker": _Answer("has no effect: Gymnasium's checker never runs during an evaluation"),
    "init_states": _Answer("has no effect: this benchmark has no stored initial states"),
    "multitask_eval": _Answer("has no effect: --env.task names one task, several, or a group"),
    "visualization_width": _Answer("has no effect: --eval.video_size says how large videos are"),
    "visualization_height": _Answer("has no effect: --eval.video_size says how large videos are"),
    "features": _Answer(
        "is not supported: what an environment observes is asked of the environment; give --rename_map to rename it",
        needed=True,
    ),
    "features_map": _Answer(
        "is not supported: give --rename_map, which maps the environment's observation keys to the policy's",
        needed=True,
    ),
    "discover_packages_path": _Answer(
        "is not supported: give --env.type=gymnasium --env.module=PACKAGE for a package that registers environments "
        "with Gymnasium; installed packages named lerobot_env_… are found by --env.type=lerobot_env --env.name=NAME",
        needed=True,
    ),
    "is_libero_plus": _Answer(
        "is not supported: give --env.type=libero_plus, which runs LeRobot's own environment", needed=True
    ),
}

_EVAL = {
    "recording": _Answer(
        "is not supported: Proctor keeps the seed and the actions of every episode instead of a dataset; `proctor "
        "replay` renders any episode from them, and `proctor export` writes the episodes as a table",
        needed=True,
    ),
    "recording_repo_id": _Answer("is not supported: Proctor uploads nothing to the Hub", needed=True),
    "recording_private": _Answer("has no effect: Proctor uploads nothing to the Hub"),
}

_POLICY = {
    "discover_packages_path": _Answer(
        "is not supported: install the package; LeRobot finds policies in installed packages named lerobot_policy_…",
        needed=True,
    ),
}

_ANSWERS: Mapping[str, Mapping[str, _Answer]] = {"env": _ENV, "eval": _EVAL, "policy": _POLICY}


def without_lerobots(group: str, fields: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """``fields`` of ``--<group>.*`` without those that only LeRobot has; a note says of each that it has no effect.

    Fields among ``known`` are the evaluation's own, whatever LeRobot means by them.

    Raises:
        ConfigError: one of them would have an effect in LeRobot; the message names what to use instead.
    """
    answers = _ANSWERS.get(group, {})
    kept = {}
    for given, value in fields.items():
        name = given.replace("-", "_")
        answer = None if name in known else answers.get(name)
        if answer is None:
            kept[given] = value
            continue
        sentence = f"LeRobot's --{group}.{name} {answer.sentence}."
        if not answer.needed:
            note(sentence)
        elif value not in _OFF:
            raise ConfigError(sentence)
    return kept
