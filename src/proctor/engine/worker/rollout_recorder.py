"""Records in the worker what an episode's policy sees and does: each observation, action, reward, success and end.

The images are those of the observation itself, and nothing else is drawn. Row *t* holds the observation before step *t*
and the outcome of that step, as in LeRobot's datasets; the observation after the last step belongs to no row.

Statistics of images follow ``lerobot/datasets/compute_stats.py`` of LeRobot 0.6.1: which images of an episode count
(``sample_indices``), and which pixels of a large image (``auto_downsample_height_width``). Here each value is counted,
which loses nothing, because a value is one of 256.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from proctor.benchmarks.base import SimEnv, Step
from proctor.engine.worker.messages import RolloutSpec
from proctor.engine.worker.rollout_file import (
    PIXELS_PREFIX,
    RATE,
    SIZE_PREFIX,
    VALUES_FILE,
    RawFrames,
    VideoFrames,
    cannot_be_written,
    discard_rollout,
)
from proctor.engine.worker.video_recorder import can_encode
from proctor.security.foreign_code import is_ctrl_c
from proctor.types import INSTRUCTION, Array

ACTION = "action"
REWARD, SUCCESS, DONE = "next.reward", "next.success", "next.done"
_RATE_IF_UNKNOWN = 30
"""The steps per second of a simulator that does not tell; LeRobot assumes the same."""
_LARGE, _SMALL = 300, 150
_FEWEST_SAMPLES, _MOST_SAMPLES, _SAMPLING_POWER = 100, 10_000, 0.75


def sampled(n_images: int) -> Array:
    """Give the indices of the images of an episode that count for its statistics, int64 ``(n_samples,)``."""
    n_samples = max(min(_FEWEST_SAMPLES, n_images), min(int(n_images**_SAMPLING_POWER), _MOST_SAMPLES))
    return np.round(np.linspace(0, n_images - 1, n_samples)).astype(np.int64)


def count_pixels(image: Array) -> Array:
    """Count how often each value occurs in each channel of ``image``, uint8 ``(height, width, 3)``.

    Only every n-th row and column of a large image counts. Returns uint32 ``(3, 256)``.
    """
    height, width, _ = image.shape
    longer = max(height, width)
    every = longer // _SMALL if longer >= _LARGE else 1
    small = image[::every, ::every]
    return np.stack([np.bincount(small[..., i].ravel(), minlength=256) for i in range(3)]).astype(np.uint32)


def is_image(array: Array) -> bool:
    """Say whether an observed array is an image of colours."""
    return array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3


class RolloutRecorder:
    """Writes the recording of one episode, which has at most ``n_steps`` steps.

    If something cannot be recorded or written, the episode goes on, and ``problem`` says why there is no recording.
    """

    def __init__(self, env: SimEnv, spec: RolloutSpec, n_steps: int) -> None:
        self._spec, self._n_steps = spec, n_steps
        self._fps = max(1, round(getattr(env, "fps", None) or _RATE_IF_UNKNOWN))
        self._folder = Path(spec.unfinished)
        self._cameras: dict[str, VideoFrames | RawFrames] = {}
        self._pixels: dict[str, list[Array]] = {}
        self._sizes: dict[str, Array] = {}
        self._rows: dict[str, list[Array]] = {}
        self._n_done = 0
        self.problem = ""
        discard_rollout(spec)  # of an attempt that was lost
        with self._noting():
            self._folder.mkdir(parents=True)

    @property
    def looks(self) -> bool:
        """The observation after the next step is wanted."""
        return not self.problem and self._n_done + 1 < self._n_steps

    def observe(self, observation: Mapping[str, Array] | None) -> None:
        """Record the observation before the next step; images are written, and other arrays are copied."""
        if observation is None:
            self.give_up("cannot be recorded: the simulator was asked to look and gave no observation")
            return
        for key, array in observation.items():
            if self.problem:
                return
            with self._noting():
                self._add(key, np.asarray(array))

    def after_step(self, action: Array, step: Step, *, done: bool) -> None:
        """Record the action of a step and what it led to, and the next observation unless ``done``."""
        self._n_done += 1
        rows = {ACTION: action, REWARD: step.reward, SUCCESS: bool(step.success), DONE: done}
        dtypes = {SUCCESS: np.bool_, DONE: np.bool_}
        for key, value in rows.items():
            self._add_row(key, np.array(value, dtypes.get(key, np.float32)))
        if not done and not self.problem and self._n_done < self._n_steps:
            self.observe(step.observation)

    def finish(self) -> None:
        """Complete the files, as the episode is over."""
        if self.problem:
            return
        with self._noting():
            for camera in self._cameras.values():
                camera.close()
            np.savez(self._folder / VALUES_FILE, **self._values())

    def give_up(self, problem: str) -> None:
        """Remove the recording. If there are several problems, the first one is kept."""
        if self.problem:
            return
        self.problem = problem
        for camera in self._cameras.values():
            with suppress(Exception):  # on a full disk closing raises too
                camera.abandon()
        discard_rollout(self._spec)

    def _add(self, key: str, array: Array) -> None:
        if is_image(array):
            self._add_image(key, array)
        elif array.ndim > 2:
            self.give_up(
                f"cannot be recorded: {key} is {array.dtype} {array.shape}, which is neither an image of uint8 "
                "(height, width, 3) nor a vector"
            )
        else:
            self._add_row(key, np.array(array, np.uint8 if key == INSTRUCTION else np.float32))

    def _add_image(self, key: str, image: Array) -> None:
        if key not in self._cameras:
            self._cameras[key] = (
                VideoFrames(self._folder, key, self._fps, self._spec.codec)
                if can_encode()
                else RawFrames(self._folder, key)
            )
            self._sizes[key] = np.array(image.shape[:2])
        self._cameras[key].add(image)
        self._pixels.setdefault(key, []).append(count_pixels(image))

    def _add_row(self, key: str, row: Array) -> None:
        self._rows.setdefault(key, []).append(row)

    def _values(self) -> dict[str, Any]:
        values = {key: np.stack(rows) for key, rows in self._rows.items()}
        for key, counts in self._pixels.items():
            values[PIXELS_PREFIX + key] = np.stack(counts)[sampled(len(counts))].sum(axis=0, dtype=np.int64)
            values[SIZE_PREFIX + key] = self._sizes[key]
        return {**values, RATE: np.array(self._fps)}

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:  # encoding may fail in any way; the episode goes on
            if is_ctrl_c(error):
                raise
            if not isinstance(error, OSError):
                traceback.print_exc()  # the log has the details
            self.give_up(cannot_be_written(error))
