"""The two sides of an audit to look at: histograms of vectors and actions, and first images beside the dataset's."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from proctor.evaluation.audit.observed import Observed
from proctor.policies.training_data import TrainingData
from proctor.results.audit import Histogram, Picture, TrainedFeature, Training
from proctor.types import Array

_BINS = 24
_MOST_ELEMENTS = 32
_MOST_TASKS, _MOST_FRAMES = 3, 3
_ACTION = "action"
_NOTHING_KNOWN = TrainedFeature("", None, {})


def histograms(observed: Observed, training: Training, data: TrainingData | None) -> Iterator[Histogram]:
    """Make a histogram for each element of each vector and of the actions."""
    rows: dict[str, Array] = {name: vector.rows for name, vector in observed.vectors.items()}
    if observed.actions.size:
        rows[_ACTION] = observed.actions
    for name, values in rows.items():
        statistics = training.features.get(name, _NOTHING_KNOWN).statistics or (
            data.statistics.get(name, {}) if data is not None else {}
        )
        theirs = _of_dataset(name, data)
        for index in range(min(values.shape[1], _MOST_ELEMENTS)):
            column = None if theirs is None or theirs.shape[1:] != values.shape[1:] else theirs[:, index]
            yield _histogram(name, index, values[:, index], column, statistics)


def _of_dataset(name: str, data: TrainingData | None) -> Array | None:
    if data is None:
        return None
    parts = [each.actions if name == _ACTION else each.vectors.get(name) for each in data.episodes]
    found = [part for part in parts if part is not None]
    return np.concatenate(found).astype(np.float64) if found else None


def _histogram(
    name: str, index: int, ours: Array, theirs: Array | None, statistics: Mapping[str, Sequence[float]]
) -> Histogram:
    known = {kind: values[index] for kind, values in statistics.items() if index < len(values)}
    finite = ours[np.isfinite(ours)]
    ends = [*finite, *(() if theirs is None else theirs)] or [0.0]
    ends += [known[kind] for kind in ("min", "max") if kind in known]
    if {"mean", "std"} <= known.keys() and "min" not in known:
        ends += [known["mean"] - 2 * known["std"], known["mean"] + 2 * known["std"]]
    low, high = float(min(ends)), float(max(ends))
    if high - low < 1e-9 * max(1.0, abs(low)):
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, _BINS + 1)
    return Histogram(
        name,
        index,
        edges.tolist(),
        _shares(finite, edges),
        [] if theirs is None else _shares(theirs, edges),
        known.get("mean"),
        known.get("std"),
        known.get("min"),
        known.get("max"),
    )


def _shares(values: Array, edges: Array) -> list[float]:
    counts = np.histogram(values, edges)[0]
    shares: list[float] = (counts / max(1, counts.sum())).tolist()
    return shares


def pictures(observed: Observed, data: TrainingData | None) -> Iterator[Picture]:
    """Give the images that the policy saw at the first step, and the dataset's first frames."""
    for name, images in observed.images.items():
        for task, image in list(images.whole.items())[:_MOST_TASKS]:
            yield Picture(name, f"what the policy saw at step 0 of {task.suite} {task.task_id}", _base64_png(image))
        for number, frame in enumerate([] if data is None else list(data.images.get(name, ()))[:_MOST_FRAMES]):
            yield Picture(name, f"first frame of the dataset, {number + 1}", _base64_png(frame), of_dataset=True)


def _base64_png(image: Array) -> str:
    return base64.b64encode(png(image)).decode()


def png(image: Array) -> bytes:
    """Encode an image ``(height, width, 1, 3 or 4)`` as PNG; floats are of [0, 1].

    Format: https://www.w3.org/TR/png-3/.
    """
    if image.dtype != np.uint8:
        image = (np.clip(np.nan_to_num(image.astype(np.float64)), 0, 1) * 255).round().astype(np.uint8)
    height, width, channels = image.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, width * channels)], axis=1)
    colour = {1: 0, 3: 2, 4: 6}[channels]
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines.tobytes(), 6)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
