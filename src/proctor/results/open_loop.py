"""The result of an evaluation in open loop: the content of ``open_loop.json``.

Everything in it follows from the recorded episodes and the policy's predictions, so that an evaluation that was
interrupted and continued has the same file, to the byte, as one that was not. docs/open-loop.md explains every number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from proctor.results.files import write_json
from proctor.statistics.intervals import Interval

OPEN_LOOP_FILE = "open_loop.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Error:
    """Mean absolute and mean squared error in one unit, with their intervals; an interval is None if there is none."""

    mae: float
    mse: float
    mae_interval: Interval | None = None
    mse_interval: Interval | None = None


@dataclass(frozen=True)
class Errors:
    """The errors of ``n`` actions, in three units; None if the unit is not known, or no number of an action has it.

    ``physical`` is in the dataset's units, ``std`` in standard deviations of the dataset's actions, and ``network`` in
    the units of the checkpoint's own normalisation, in which the network was trained. If the errors are of several
    numbers of an action, they are the mean over those that have the unit.
    """

    n: int
    physical: Error
    std: Error | None = None
    network: Error | None = None


@dataclass(frozen=True)
class DimensionErrors:
    """The errors of one number of the actions. ``bias`` is the mean of prediction minus truth, in physical units.

    ``std`` is the dataset's standard deviation, and ``network_scale`` the physical size of one unit of the checkpoint's
    normalisation; None if not known, or if the dataset's number is constant.
    """

    index: int
    name: str
    errors: Errors
    bias: float
    std: float | None
    network_scale: float | None


@dataclass(frozen=True)
class PositionErrors:
    """The errors at one position of the predicted chunks, counted from 0; it is ``executed`` before the next look."""

    position: int
    executed: bool
    errors: Errors


@dataclass(frozen=True)
class TaskErrors:
    """The errors in the episodes of one task."""

    task: str
    n_episodes: int
    errors: Errors


@dataclass(frozen=True)
class OpenLoopEpisode:
    """The errors in one episode of the dataset, which has ``length`` steps; the policy inferred ``n_inferences`` times.

    The errors have no intervals.
    """

    episode_index: int
    task: str
    length: int
    n_inferences: int
    errors: Errors


class Finding(StrEnum):
    """The agreement of open loop and closed loop."""

    INPUTS_DIFFER = "inputs differ"
    POLICY_IS_WRONG = "policy is wrong"
    CONSISTENT = "consistent"
    SUCCEEDS_OTHERWISE = "succeeds otherwise"
    UNKNOWN = "cannot be said"


@dataclass(frozen=True)
class OpenLoopVerdict:
    """The verdict beside a run in closed loop: its directory, what was found, and the sentence that says it.

    ``rate`` is the run's success rate, 0 to 1, and ``interval`` its interval; None if the run has none.
    """

    run: str
    finding: Finding
    sentence: str
    rate: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class OpenLoopResult:
    """The errors of a policy in open loop.

    ``fingerprint`` identifies policy and dataset and the options on which results depend. The policy inferred every
    ``n_action_steps`` steps, or earlier if its chunks are shorter. ``overall`` covers every
    recorded step once. ``constant_std`` is the mean absolute error, in standard deviations, of the constant prediction
    of the dataset's mean action on the same steps, None if the mean is not known. ``missing`` are selected episodes
    without a result.
    """

    fingerprint: Mapping[str, Any]
    n_episodes_selected: int
    missing: tuple[int, ...]
    n_action_steps: int
    overall: Errors
    constant_std: float | None
    dimensions: tuple[DimensionErrors, ...]
    positions: tuple[PositionErrors, ...]
    tasks: tuple[TaskErrors, ...]
    episodes: tuple[OpenLoopEpisode, ...]
    verdict: OpenLoopVerdict | None = None
    format_version: int = FORMAT_VERSION


def write_open_loop(directory: Path, result: OpenLoopResult) -> None:
    """Write ``open_loop.json``.

    Raises:
        ResourceError: the file cannot be written.
    """
    write_json(directory / OPEN_LOOP_FILE, as_json(result))


def as_json(result: OpenLoopResult) -> dict[str, Any]:
    """Give the result as plain values, as they stand in ``open_loop.json``."""
    values: dict[str, Any] = msgspec.to_builtins(result)
    return values
