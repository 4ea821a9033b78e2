"""Checks that a policy and an environment fit: their observations and actions have the same names and sizes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from proctor.errors import ContractError
from proctor.policies.base import renamed
from proctor.types import ArraySpec, Features

Kind = tuple[str, tuple[int, ...]]
"""``("image", (height, width, channels))`` or ``("vector", (size,))``."""


def check_contract(
    config: Mapping[str, Any], features: Features, rename_map: Mapping[str, str], *, any_image_size: bool
) -> None:
    """Compare the features in a policy's configuration with an environment's.

    What the environment gives beyond what the policy wants is fine, and so are as many missing cameras as the
    policy's ``empty_cameras``, if there is one camera at least: it sees nothing there. ``any_image_size`` is True if
    the policy takes images of any size, because it resizes them or because the user says so.

    Raises:
        ContractError: they do not fit, and the message has a table of both sides; or two observations would have one
            name.
    """
    wanted = {key: _wanted(feature) for key, feature in config["input_features"].items()}
    given = {key: _given(spec) for key, spec in renamed(features, rename_map).items()}
    wanted |= {key: _wanted(feature) for key, feature in config["output_features"].items() if key == "action"}
    given["action"] = "vector", features.action.shape
    for key in _empty_cameras(wanted, given, config.get("empty_cameras") or 0):
        del wanted[key]
    if all(_fits(kind, given.get(key), any_image_size) for key, kind in wanted.items()):
        return
    width = max(len(key) for key in wanted)
    lines = [f"{'':{width}}  {'policy':18}  environment"]
    for key, kind in wanted.items():
        mark = "" if _fits(kind, given.get(key), any_image_size) else "   <- differs"
        lines.append(f"{key:{width}}  {_shown(kind):18}  {_shown(given.get(key))}{mark}")
    table = "\n".join(f"  {line}".rstrip() for line in lines)
    hints = _rename_hint(wanted, given), _cameras_hint(wanted, given, config), _size_hint(wanted, given, any_image_size)
    raise ContractError(f"Policy and environment do not fit each other:\n{table}{''.join(hints)}")


def _empty_cameras(wanted: Mapping[str, Kind], given: Mapping[str, Kind], n: int) -> list[str]:
    """List at most ``n`` missing cameras that may be missing: those that LeRobot calls empty first, then the last."""
    cameras = [key for key, (kind, _) in wanted.items() if kind == "image"]
    missing = sorted((key for key in cameras if key not in given), key=lambda key: ".empty_camera_" in key)
    return missing[-n:] if n and len(missing) < len(cameras) else []


def _rename_hint(wanted: Mapping[str, Kind], given: Mapping[str, Kind]) -> str:
    """Give the option that renames a key, if the policy misses one and the environment gives one that is not used."""
    missing = [key for key in wanted if key not in given]
    spare = [key for key in given if key not in wanted]
    if not missing or not spare:
        return ""
    same_kind = [key for key in spare if given[key][0] == wanted[missing[0]][0]]
    example = json.dumps({(same_kind or spare)[0]: missing[0]})
    return (
        f"\nThe environment also gives {', '.join(f'{key} ({_shown(given[key])})' for key in spare)}."
        f"\nIf only a name differs, say so: --rename_map='{example}'"
    )


def _cameras_hint(wanted: Mapping[str, Kind], given: Mapping[str, Kind], config: Mapping[str, Any]) -> str:
    """Give the option for a policy that was trained with cameras that showed nothing, if it can leave cameras empty."""
    cameras = [key for key, (kind, _) in wanted.items() if kind == "image"]
    missing = [key for key in cameras if key not in given]
    if "empty_cameras" not in config or not missing or len(missing) == len(cameras):
        return ""
    n = len(missing) + (config["empty_cameras"] or 0)
    return f"\nIf the policy was trained to leave such cameras empty, say how many: --policy.empty_cameras={n}"


def _size_hint(wanted: Mapping[str, Kind], given: Mapping[str, Kind], any_image_size: bool) -> str:  # noqa: FBT001
    """Give the option for a policy that takes images of any size, if only the sizes of images differ."""
    if any_image_size or all(
        kind == given.get(key) or not _fits(kind, given.get(key), True) for key, kind in wanted.items()
    ):
        return ""
    return (
        "\nIf the policy takes images of any size (LeRobot does not compare them), say so: --policy.any_image_size=true"
    )


def _wanted(feature: Mapping[str, Any]) -> Kind:
    shape = tuple(feature["shape"])
    if feature["type"] == "VISUAL":
        channels, height, width = shape
        return "image", (height, width, channels)
    return "vector", shape


def _given(spec: ArraySpec) -> Kind:
    return "image" if spec.dtype == "uint8" and len(spec.shape) == 3 else "vector", spec.shape


def _fits(wanted: Kind, given: Kind | None, any_image_size: bool) -> bool:  # noqa: FBT001
    if any_image_size and given is not None and wanted[0] == given[0] == "image":
        return wanted[1][2] == given[1][2]
    return wanted == given


def _shown(kind: Kind | None) -> str:
    if kind is None:
        return "nothing"
    name, shape = kind
    return f"{name} {'x'.join(map(str, shape))}"
