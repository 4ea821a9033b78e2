"""Options of ``lerobot-eval`` that Proctor does not need: a pasted command works, or an error names the alternative.

If an option changes no result, it is ignored with a note. If the user relies on it, it is refused, and the error
message says what to use instead. Source: ``lerobot/envs/configs.py`` of LeRobot 0.6.1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from proctor.errors import ConfigError, note

_OFF: tuple[Any, ...] = (None, False, "", {}, [], "false", "False", "null", "None", "{}", "[]")
"""Values that switch an option off, as Python objects and as text from a command line."""


@dataclass(frozen=True)
class _Answer:
    """The message about an option; ``sentence`` follows its name. A ``needed`` option is refused if it is on."""

    sentence: str
    needed: bool = False


_ENV = {
    "fps": _Answer(
        "has no effect: simulators step at their own rate, and videos play at real-time speed (--eval.video_fps)"
    ),
    "hard_reset": _Answer("has no effect: every reset does what LeRobot's hard_reset=true does"),
    "render_mode": _Answer("has no effect: simulators render offscreen, and --eval.video makes videos"),
    "disable_env_checker": _Answer("has no effect: Gymnasium's checker never runs during an evaluation"),
    "init_states": _Answer("has no effect: this benchmark has no stored initial states"),
    "multitask_eval": _Answer("has no effect: --env.task names one task, several, or a group"),
    "visualization_width": _Answer("has no effect: --eval.video_size sets the size of videos"),
    "visualization_height": _Answer("has no effect: --eval.video_size sets the size of videos"),
    "features": _Answer(
        "is not supported: features are read from the environment itself; give --rename_map to rename observations",
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
        "is not supported: give --env.type=libero_plus, with LIBERO-plus's assets in --env.assets", needed=True
    ),
}

_POLICY = {
    "discover_packages_path": _Answer(
        "is not supported: install the package; LeRobot finds policies in installed packages named lerobot_policy_…",
        needed=True,
    ),
}

_ANSWERS: Mapping[str, Mapping[str, _Answer]] = {"env": _ENV, "policy": _POLICY}


def without_lerobots(group: str, fields: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return ``fields`` of ``--<group>.*`` without options that only LeRobot has, with a note for each ignored option.

    Fields in ``known`` are the evaluation's own options and are kept, even if LeRobot has an option of that name.

    Raises:
        ConfigError: an option would have an effect in LeRobot; the message says what to use instead.
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
