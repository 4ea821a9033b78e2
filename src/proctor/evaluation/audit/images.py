"""Findings about images: their channels' statistics against the checkpoint's, and the images against a dataset's.

A flip changes no channel's statistics, so a checkpoint alone cannot show one; and LeRobot's default puts ImageNet's
statistics in place of the dataset's. Compared as images, the policy's first looks are held against frames of the
dataset as they are and after each change that a wrong wiring makes: the one that makes them alike says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from proctor.engine.input_sketch import THUMBNAIL, thumbnail
from proctor.evaluation.audit.observed import ObservedImages
from proctor.evaluation.audit.wording import number
from proctor.results.audit import Evidence, Finding, Severity, TrainedFeature
from proctor.types import Array

_CHANNELS = ("red", "green", "blue")
_BYTE = 255.0
_MOST_SHIFT = 1.0
"""The distance of a channel's mean from the training's, in the training's σ of pixels, that no scene explains: the mean
of a whole image varies much less than its pixels do."""
_LEAST_SPREAD, _MOST_SPREAD = 0.2, 4.0
_CLEARLY_OTHER = 0.04
"""The least distance (0 to 1) between means of channels that tells their order."""

Change = Callable[[Array], Array]
"""A function from images ``(n, height, width, channels)`` in [0, 1] to images of the same size."""


def channel_findings(name: str, observed: ObservedImages, trained: TrainedFeature) -> Iterator[Finding]:
    """Compare the statistics of an image's channels with those that the checkpoint holds."""
    if trained.why_not or not {"mean", "std"} <= trained.statistics.keys():
        return
    mean, std = (np.asarray(trained.statistics[each]) for each in ("mean", "std"))
    pixels = _in_unit(observed.every).reshape(-1, observed.every.shape[-1])
    if mean.shape != (pixels.shape[1],) or std.shape != mean.shape:
        return
    found, spread = pixels.mean(axis=0), pixels.std(axis=0)
    if (order := _reversed_channels(found, mean)) is not None:
        yield _channels(name, "channels reversed", None, order, {"shift": float(np.abs(found - mean).max())})
        return
    for index in np.flatnonzero(std > 1e-3).tolist():
        shift = abs(found[index] - mean[index]) / std[index]
        ratio = spread[index] / std[index]
        if shift > _MOST_SHIFT or not _LEAST_SPREAD < ratio < _MOST_SPREAD:
            sentence = (
                f"The {_channel(index, len(mean))} channel of {name} is {number(found[index])} ± "
                f"{number(spread[index])} of full brightness; in training it was {number(mean[index])} ± "
                f"{number(std[index])}."
            )
            yield _channels(name, "channel", index, sentence, {"shift": float(shift), "ratio": float(ratio)})


def _channels(name: str, check: str, index: int | None, sentence: str, evidence: dict[str, float]) -> Finding:
    return Finding(check, Severity.SEVERE, name, index, "checkpoint", sentence, dict(evidence))


def _channel(index: int, n_channels: int) -> str:
    return _CHANNELS[index] if n_channels == len(_CHANNELS) else f"{index}th"


def _reversed_channels(found: Array, mean: Array) -> str | None:
    """Say that red and blue are exchanged if the means fit clearly better so."""
    if len(mean) != len(_CHANNELS) or abs(mean[0] - mean[2]) < _CLEARLY_OTHER:
        return None
    now, then = np.abs(found - mean)[[0, 2]].max(), np.abs(found[::-1] - mean)[[0, 2]].max()
    if then > 0.4 * now or now < _CLEARLY_OTHER:
        return None
    return (
        f"Red and blue look exchanged: their means are {number(found[0])} and {number(found[2])} of full brightness, "
        f"in training {number(mean[0])} and {number(mean[2])}."
    )


def odd_images(name: str, observed: ObservedImages, trained: TrainedFeature | None) -> Iterator[Finding]:
    """Look for what is wrong with images whatever the training was: their values, and their size."""
    pixels = _in_unit(observed.every)
    if pixels.max() - pixels.min() < 1 / _BYTE:
        sentence = f"{name} has the same colour everywhere, at every look: {number(float(pixels.mean()))} of full."
        yield Finding("blank", Severity.SEVERE, name, None, "environment", sentence)
    elif observed.every.dtype == np.uint8 and observed.every.max() <= 2:
        sentence = f"{name} has no pixel above 2 of 255: it looks scaled to [0, 1] and then made whole numbers."
        yield Finding("dark", Severity.SEVERE, name, None, "environment", sentence)
    shape = None if trained is None else trained.shape
    if shape is not None and shape != (observed.shape[2], *observed.shape[:2]) and len(shape) == 3:
        sentence = (
            f"{name} has {observed.shape[0]}x{observed.shape[1]} pixels; the checkpoint declares {shape[1]}x{shape[2]} "
            "and the policy resizes it itself."
        )
        yield Finding("size", Severity.NOTE, name, None, "checkpoint", sentence)


# ----------------------------------------------------------------------------------------------------- images as images


def _red_and_blue(images: Array) -> Array:
    return images[..., ::-1]


def _flipped(images: Array) -> Array:
    return images[:, :, ::-1]


def _upside_down(images: Array) -> Array:
    return images[:, ::-1]


def _turned(images: Array) -> Array:
    return images[:, ::-1, ::-1]


def _quarter(images: Array) -> Array:
    return np.rot90(images, 1, (1, 2))


def _three_quarters(images: Array) -> Array:
    return np.rot90(images, 3, (1, 2))


def _transposed(images: Array) -> Array:
    return np.swapaxes(images, 1, 2)


def _cut(share: float) -> Change:
    def cut(images: Array) -> Array:
        """Cut off the edges on all sides, and enlarge what is left."""
        return _window(images, (1 - share) / 2, (1 - share) / 2, share, share)

    return cut


def _without_bars(vertical: float, horizontal: float) -> Change:
    def cut(images: Array) -> Array:
        """Cut off bars at the top and bottom, or at the sides."""
        return _window(images, (1 - vertical) / 2, (1 - horizontal) / 2, vertical, horizontal)

    return cut


def _with_bars(vertical: float, horizontal: float) -> Change:
    def pad(images: Array) -> Array:
        """Make the image lower or narrower, between black bars."""
        height, width = images.shape[1:3]
        inner = round(height * vertical), round(width * horizontal)
        rows = (np.arange(inner[0]) * height / inner[0]).astype(int)
        columns = (np.arange(inner[1]) * width / inner[1]).astype(int)
        padded = np.zeros_like(images)
        top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
        padded[:, top : top + inner[0], left : left + inner[1]] = images[:, rows][:, :, columns]
        return padded

    return pad


def _window(images: Array, top: float, left: float, high: float, wide: float) -> Array:
    height, width = images.shape[1:3]
    rows = np.clip(((top + (np.arange(height) + 0.5) / height * high) * height).astype(int), 0, height - 1)
    columns = np.clip(((left + (np.arange(width) + 0.5) / width * wide) * width).astype(int), 0, width - 1)
    part: Array = images[:, rows][:, :, columns]
    return part


_SHARES = (0.95, 0.9, 0.8, 0.67, 0.5)
"""The parts of an image's sides that are left when it is cut."""

CHANGES: Mapping[str, Change] = {
    "flipped left to right": _flipped,
    "upside down": _upside_down,
    "turned by 180°": _turned,
    "turned by 90°": _quarter,
    "turned by 270°": _three_quarters,
    "transposed": _transposed,
    "in another order of colours (red and blue exchanged)": _red_and_blue,
    "turned by 180° and in another order of colours": lambda images: _red_and_blue(_turned(images)),
    "upside down and in another order of colours": lambda images: _red_and_blue(_upside_down(images)),
    **{f"not cut as the dataset's are (to {share:.0%})": _cut(share) for share in _SHARES},
    **{
        f"padded with bars that the dataset's lack ({which})": _without_bars(*kept)
        for which, kept in (("top and bottom", (0.75, 1.0)), ("a little, top and bottom", (0.5625, 1.0)))
    },
    "padded with bars that the dataset's lack (at the sides)": _without_bars(1.0, 0.75),
    **{
        f"stretched where the dataset's have bars ({which})": _with_bars(*kept)
        for which, kept in (("top and bottom", (0.75, 1.0)), ("wide, top and bottom", (0.5625, 1.0)))
    },
    "stretched where the dataset's have bars (at the sides)": _with_bars(1.0, 0.75),
}
"""The changes that undo a wrong wiring. An image that becomes like the dataset's by one of them is as its name says; a
cut cannot be undone, so that it is made on the dataset's side."""

_MUCH_BETTER = 0.5
_AS_USUAL, _NEAR = 6.0, 0.06
"""A change explains the difference if the images come as near to the dataset's as this multiple of the distance of its
own frames, or as this distance: thumbnails of changed images are not those of the images before."""
_CLEARLY_AWAY = 1.5
_UNLIKE, _VERY_UNLIKE = 3.0, 0.15
_LEAST_AWAY = 0.03
"""The least distance (root of the mean square, 0 to 1) between images that is worth a sentence: JPEG and video codecs
and versions of a renderer stay below."""


def dataset_findings(
    name: str, observed: ObservedImages, frames: Sequence[Array], others: Mapping[str, Sequence[Array]]
) -> Iterator[Finding]:
    """Compare first images with a dataset's first ``frames`` of the same feature; ``others`` are its other cameras'."""
    if observed.first.shape[-1] != 3 or len(frames) < 2:
        return
    if frames[0].shape != observed.shape:
        sizes = ["x".join(map(str, shape[:2])) for shape in (observed.shape, frames[0].shape)]
        sentence = f"{name} has {sizes[0]} pixels (height, width), and {sizes[1]} in the dataset."
        yield Finding("size", Severity.NOTE, name, None, "dataset", sentence)
    theirs = _blurred(_all_on_grid(frames))
    usual, now = float(np.median(_nearest(theirs, theirs, itself=True))), _distance(observed.first, theirs)
    if now < max(_CLEARLY_AWAY * usual, _LEAST_AWAY):
        return
    evidence: Evidence = {"distance": now, "usual": usual}
    best, then = min(_explanations(observed.first, frames, theirs, others), key=lambda explanation: explanation[1])
    if then < _MUCH_BETTER * now and then < max(_AS_USUAL * usual, _NEAR):
        check = "other camera" if best in others else "image changed"
        what = f"those of the dataset's {best}" if best in others else best
        sentence = (
            f"The images of {name} are {what}: after the opposite change their distance from the dataset's frames "
            f"falls from {number(now)} to {number(then)} (these differ by {number(usual)})."
        )
        yield Finding(check, Severity.SEVERE, name, None, "dataset", sentence, {**evidence, "looks": best})
    elif now > _UNLIKE * usual:
        severity = Severity.SEVERE if now > _VERY_UNLIKE else Severity.WARNING
        sentence = (
            f"The first images of {name} are unlike the dataset's first frames: {number(now)} apart, while those "
            f"differ by {number(usual)} (another camera, scene or renderer?)."
        )
        yield Finding("image unlike", severity, name, None, "dataset", sentence, evidence)


def _explanations(
    ours: Array, frames: Sequence[Array], theirs: Array, others: Mapping[str, Sequence[Array]]
) -> Iterator[tuple[str, float]]:
    """Give each possible explanation with the distance that is left: a change, a cut, or another camera by its name."""
    for what, change in CHANGES.items():
        yield what, float(np.median(_nearest(_blurred(change(_grid(ours))), theirs)))
    for share in _SHARES:
        cut = [_cut(share)(frame[None])[0] for frame in frames]
        yield f"cut where the dataset's are not (to {share:.0%})", _distance(ours, _blurred(_all_on_grid(cut)))
    for camera, images in others.items():
        if len(images) > 1:
            yield camera, _distance(ours, _blurred(_all_on_grid(images)))


def _distance(ours: Array, theirs: Array) -> float:
    return float(np.median(_nearest(_blurred(_grid(ours)), theirs)))


def _all_on_grid(images: Sequence[Array]) -> Array:
    return np.concatenate([_grid(thumbnail(image)[None]) for image in images])


def _grid(images: Array) -> Array:
    """Bring thumbnails to one size, in [0, 1]: the nearest pixel is taken."""
    height, width = images.shape[1:3]
    rows, columns = ((np.arange(THUMBNAIL) * side / THUMBNAIL).astype(int) for side in (height, width))
    return _in_unit(images)[:, rows][:, :, columns]


def _blurred(images: Array) -> Array:
    """Take the mean of every two by two pixels, so that a shift by a part of a pixel changes little."""
    n, height, width, channels = images.shape
    small: Array = images.reshape(n, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
    return small


def _nearest(ours: Array, theirs: Array, *, itself: bool = False) -> Array:
    """Give each image's distance from the nearest of the others: the root of the mean square over all pixels."""
    a, b = (images.reshape(len(images), -1) for images in (ours, theirs))
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    distances = np.sqrt(np.maximum(squares, 0.0) / a.shape[1])
    if itself:
        np.fill_diagonal(distances, np.inf)
    nearest: Array = distances.min(axis=1)
    return nearest


def _in_unit(images: Array) -> Array:
    return images.astype(np.float64) / (_BYTE if images.dtype == np.uint8 else 1.0)
