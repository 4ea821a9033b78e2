"""Finds the checkpoints of trainings, without opening them.

LeRobot's training writes ``checkpoints/<step>/pretrained_model``, with ``pretrained_model_ema`` beside it if it keeps a
moving average of the weights, and a link ``checkpoints/last``. The names of steps are padded with zeros, and the
padding grows with the steps, so they are sorted by number.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from proctor.errors import ConfigError

CHECKPOINTS = "checkpoints"
LAST = "last"
"""The link to the newest checkpoint that is complete."""
MODELS = {"pretrained_model": "", "pretrained_model_ema": "ema"}
"""The directories of a checkpoint that hold a policy, and what distinguishes them in a name."""

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(@(?P<revision>[^@\s]+))?")
_STEP_OF_REVISION = re.compile(r"(?:^|[^0-9])0*(\d+)$")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a training.

    Attributes:
        path: as for ``--policy.path``: a directory, or a repository of the Hub with a revision.
        series: the training that it belongs to, with "ema" for averaged weights; steps are comparable within it.
        step: the training step; None if it is not known.
        name: the name of its run directory in the sweep's, which no other checkpoint of the sweep has.
    """

    path: str
    series: str
    step: int | None
    name: str


def find_checkpoints(targets: Sequence[str], *, named_by_series: bool | None = None) -> list[Checkpoint]:
    """List the checkpoints that ``targets`` name, each once, by series and by step.

    Names begin with the series if ``named_by_series``; if that is None, if there are several targets or a pattern.

    A target is a training's directory, a ``checkpoints`` directory, a checkpoint, a pattern of these, or a repository
    of the Hub. Of a link (``checkpoints/last``) it is what the link leads to now.

    Raises:
        ConfigError: a target names no checkpoint.
    """
    found = {checkpoint.path: checkpoint for target in targets for checkpoint in _of_target(target)}
    ordered = sorted(found.values(), key=lambda each: (each.series, each.step is None, each.step or 0, each.path))
    if named_by_series is None:
        named_by_series = len(targets) > 1 or any(map(glob.has_magic, targets))
    if named_by_series:
        ordered = [each if each.step is None else replace(each, name=_of_series(each)) for each in ordered]
    return _with_distinct_names(ordered)


def checkpoints_below(directory: Path) -> list[Checkpoint]:
    """List the checkpoints in a training's directory or in its ``checkpoints`` directory, by step; none if it is
    neither.
    """
    folder = directory / CHECKPOINTS if (directory / CHECKPOINTS).is_dir() else directory
    steps = [path for path in _children(folder) if path.name.isdigit() and not path.is_symlink()]
    found = [checkpoint for path in steps for checkpoint in _of_step(path)]
    return sorted(found, key=lambda each: (each.series, each.step or 0))


def _of_target(target: str) -> Iterator[Checkpoint]:
    """Find the checkpoints of one target.

    Raises:
        ConfigError: there are none.
    """
    path = Path(os.path.expanduser(target))
    if path.is_dir():
        found = _of_directory(path.resolve())
    elif glob.has_magic(target):
        places = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - of absolute patterns, too
        found = [checkpoint for place in places for checkpoint in _of_directory(Path(place).resolve())]
    elif match := _HUB_ID.fullmatch(target):
        found = [_of_repository(target, match["revision"])]
    else:
        raise ConfigError(f"{target} does not exist; give a training's directory, a checkpoint, or USER/REPO@REVISION.")
    if not found:
        raise ConfigError(
            f"{target} holds no checkpoint; expected {CHECKPOINTS}/<step>/pretrained_model, as LeRobot's training "
            "writes it, or the directory of a checkpoint."
        )
    yield from found


def _of_directory(directory: Path) -> list[Checkpoint]:
    """Find the checkpoints of a directory whose path has no links."""
    if directory.name in MODELS and directory.parent.name.isdigit():
        return [_of_model(directory)]
    if found := list(_of_step(directory)):
        return found
    if found := checkpoints_below(directory):
        return found
    if (directory / "config.json").is_file():
        return [Checkpoint(str(directory), directory.name, None, directory.name)]
    return []


def _of_step(directory: Path) -> Iterator[Checkpoint]:
    """Find the policies of one training step."""
    if directory.name.isdigit():
        yield from (_of_model(directory / model) for model in MODELS if (directory / model).is_dir())


def _of_model(directory: Path) -> Checkpoint:
    step, ema = directory.parent, MODELS[directory.name]
    training = step.parent.parent if step.parent.name == CHECKPOINTS else step.parent
    series = " ".join(filter(None, (training.name, ema)))
    return Checkpoint(str(directory.absolute()), series, int(step.name), "-".join(filter(None, (step.name, ema))))


def _of_repository(target: str, revision: str | None) -> Checkpoint:
    """Make the checkpoint of a repository; its step is the number at the end of the revision, if there is one."""
    found = _STEP_OF_REVISION.search(revision or "")
    repository = target.partition("@")[0]
    return Checkpoint(target, repository, int(found[1]) if found else None, _as_name(target))


def _as_name(text: str) -> str:
    """Give ``text`` as the name of a directory."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "checkpoint"


def _of_series(checkpoint: Checkpoint) -> str:
    """Give a name that begins with the training's."""
    return f"{_as_name(checkpoint.series.removesuffix(' ema'))}-{checkpoint.name}"


def _with_distinct_names(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Put a number behind equal names."""
    taken: dict[str, int] = {}
    distinct = []
    for each in checkpoints:
        number = taken[each.name] = taken.get(each.name, 0) + 1
        distinct.append(each if number == 1 else replace(each, name=f"{each.name}_{number}"))
    return distinct


def _children(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:  # it was removed, or is no directory
        return []
