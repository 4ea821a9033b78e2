"""Findings about the effect of actions: does an action move the state as it did in the dataset?

Over windows of a few steps, each element of the state at the end is regressed on its value at the beginning and on the
window's mean action (ordinary least squares). The coefficients belong to the robot and its controller, not to the
policy, so that a bad policy changes them little, and a reversed gripper turns one around.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from proctor.evaluation.audit.observed import EpisodeInputs
from proctor.evaluation.audit.wording import named, number
from proctor.policies.training_data import TrainingEpisode
from proctor.results.audit import Evidence, Finding, Severity
from proctor.types import Array

_LEAST_WINDOWS = 40
_LEAST_IN_DATASET, _LEAST_IN_RUN = 8.0, 5.0
"""The least t-statistics of a coefficient in the dataset and in the run, if its sign is to count."""
_LEAST_SHARE = 0.3
"""The least standardised coefficient in the dataset: the action must matter to the element."""
_MOST_RATIO = 3.0


@dataclass(frozen=True)
class Windows:
    """Windows of equal length: the state ``(n, size)`` at both ends, and the mean action ``(n, action size)``."""

    start: Array
    end: Array
    action: Array


@dataclass(frozen=True)
class Effects:
    """Coefficients of actions on the state, ``(action size, size)``, with their standard errors and standardised."""

    coefficient: Array
    error: Array
    standardised: Array


def effect_findings(
    name: str, key: str, episodes: Sequence[EpisodeInputs], training: Sequence[TrainingEpisode]
) -> Iterator[Finding]:
    """Compare the effects of actions on a vector, which is ``name`` in the policy and ``key`` in the environment."""
    if (ours := windows_of_run(key, episodes)) is None:
        return
    n_steps, here = ours
    theirs = windows_of_dataset(name, training, n_steps)
    if theirs is None or theirs.action.shape[1:] != here.action.shape[1:] or theirs.end.shape[1:] != here.end.shape[1:]:
        return
    in_dataset, in_run = effects_of(theirs), effects_of(here)
    if in_dataset is None or in_run is None:
        return
    for action in range(here.action.shape[1]):
        if np.isnan(in_dataset.standardised[action]).any():  # it never changes in the dataset
            continue
        element = int(np.argmax(np.abs(in_dataset.standardised[action])))
        finding = _compared(name, (action, element), in_dataset, in_run)
        if finding is not None:
            yield finding


def _compared(name: str, place: tuple[int, int], in_dataset: Effects, in_run: Effects) -> Finding | None:
    then, now = float(in_dataset.coefficient[place]), float(in_run.coefficient[place])
    certain = abs(then) / in_dataset.error[place] >= _LEAST_IN_DATASET
    if not certain or abs(in_dataset.standardised[place]) < _LEAST_SHARE or not np.isfinite(now):
        return None
    action, element = place
    evidence: Evidence = {"dataset": then, "run": now, "element": [element]}
    what = f"{named('action', action)} moves {named(name, element)}"
    if now * then < 0 and abs(now) / in_run.error[place] >= _LEAST_IN_RUN:
        sentence = f"{what} the other way than in the dataset ({number(now)} per unit; dataset {number(then)})."
        return Finding("effect reversed", Severity.SEVERE, "action", action, "dataset", sentence, evidence)
    doubt = 2 * in_run.error[place]
    if (abs(now) + doubt) < abs(then) / _MOST_RATIO or (abs(now) - doubt) > abs(then) * _MOST_RATIO:
        guess = _moved_instead(name, place, in_dataset, in_run) or "another scale or another kind?"
        sentence = f"{what} by {number(now)} per unit, in the dataset by {number(then)}: {guess}"
        return Finding("effect scaled", Severity.SEVERE, "action", action, "dataset", sentence, evidence)
    return None


def _moved_instead(name: str, place: tuple[int, int], in_dataset: Effects, in_run: Effects) -> str:
    """Say which element the action moves here if it hardly moves that one in the dataset; "" if there is none."""
    action, element = place
    other = int(np.argmax(np.abs(in_run.coefficient[action] / in_run.error[action])))
    is_clear = abs(in_run.coefficient[action, other]) / in_run.error[action, other] >= _LEAST_IN_DATASET
    if other == element or not is_clear or abs(in_dataset.standardised[action, other]) > _LEAST_SHARE:
        return ""
    return f"it moves {named(name, other)} in its place."


def windows_of_run(key: str, episodes: Sequence[EpisodeInputs]) -> tuple[int, Windows] | None:
    """Cut a run into windows between looks; gives their length in steps too. None if there are too few."""
    pieces: list[tuple[int, Array, Array, Array]] = []
    for episode in episodes:
        if key not in episode.sketch.vectors:
            continue
        rows, steps = episode.sketch.vectors[key].rows.unpack(), episode.sketch.steps
        for place, (begin, end) in enumerate(pairwise(steps)):
            pieces.append((end - begin, rows[place], rows[place + 1], episode.actions[begin:end].mean(axis=0)))
    if not pieces:
        return None
    n_steps = int(np.median([length for length, *_ in pieces]))
    alike = [piece for piece in pieces if piece[0] == n_steps and piece[1].shape == pieces[0][1].shape]
    if len(alike) < _LEAST_WINDOWS:
        return None
    parts = [np.stack([piece[place] for piece in alike]).astype(np.float64) for place in (1, 2, 3)]
    return n_steps, Windows(*parts)


def windows_of_dataset(name: str, training: Sequence[TrainingEpisode], n_steps: int) -> Windows | None:
    """Cut a dataset's episodes into windows of ``n_steps``; None if there are too few."""
    start, end, action = [], [], []
    for episode in training:
        if name not in episode.vectors:
            continue
        rows = episode.vectors[name]
        for begin in range(0, len(rows) - n_steps, n_steps):
            start.append(rows[begin])
            end.append(rows[begin + n_steps])
            action.append(episode.actions[begin : begin + n_steps].mean(axis=0))
    if len(start) < _LEAST_WINDOWS:
        return None
    return Windows(*(np.stack(part).astype(np.float64) for part in (start, end, action)))


def effects_of(windows: Windows) -> Effects | None:
    """Fit the effects; None if there are too few windows for so many actions. What cannot be told is NaN."""
    n, size = windows.action.shape
    if n < _LEAST_WINDOWS or n < 5 * (size + 2):
        return None
    spread = windows.action.std(axis=0)
    moving = spread > 1e-6 * np.maximum(1.0, np.abs(windows.action).max(axis=0))
    shape = (size, windows.end.shape[1])
    found = Effects(*(np.full(shape, np.nan) for _ in range(3)))
    for element in range(shape[1]):
        columns = [windows.action[:, moving], windows.start[:, element : element + 1], np.ones((n, 1))]
        design, target = np.hstack(columns), windows.end[:, element]
        solution, _, rank, _ = np.linalg.lstsq(design, target, rcond=None)
        residual = target - design @ solution
        variance = max(float(residual @ residual) / max(1, n - rank), 1e-24)
        errors = np.sqrt(variance * np.maximum(np.diag(np.linalg.pinv(design.T @ design)), 1e-24))
        k = int(moving.sum())
        found.coefficient[moving, element], found.error[moving, element] = solution[:k], errors[:k]
        change = max(float((target - windows.start[:, element]).std()), 1e-9)
        found.standardised[moving, element] = solution[:k] * spread[moving] / change
    return found if moving.any() else None
