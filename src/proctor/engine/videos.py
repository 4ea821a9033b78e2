"""The videos that replays render."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proctor.engine.worker.messages import Built, Finished, Replay, VideoSpec
from proctor.engine.worker.video_file import discard_video, keep_video
from proctor.errors import ConfigError, did_you_mean
from proctor.types import Array, ArrayBytes, EpisodeResult


@dataclass(frozen=True)
class VideoTask:
    """A finished episode that is to have a video, and the actions that it executed, ``(length, action_size)``."""

    result: EpisodeResult
    actions: Array
    video_spec: VideoSpec

    def check(self, built: Built, task: str) -> None:
        """See that the simulator has the camera that is asked for.

        Raises:
            ConfigError: see :func:`check_camera`.
        """
        check_camera(self.video_spec, built.cameras, task)

    def request(self, max_steps: int) -> Replay:
        """Give the request that renders the video."""
        return Replay(self.result.spec, max_steps, ArrayBytes.pack(self.actions), self.video_spec)

    def problem_of(self, reply: Finished) -> str:
        """Give the reason why there is no video; "" if there is one."""
        return reply.video_problem

    def keep(self, _: Finished) -> str:
        """Give the video its name. Returns "", or if that fails, the reason."""
        return keep_video(self.video_spec)

    def discard(self) -> None:
        """Remove an unfinished video, if there is one."""
        discard_video(self.video_spec)


def check_camera(video_spec: VideoSpec, cameras: Sequence[str], task: str) -> None:
    """See that a simulator has the camera that is asked for.

    Raises:
        ConfigError: it has no camera of this name; the message says which cameras there are.
    """
    if video_spec.camera is None or video_spec.camera in cameras:
        return
    if not cameras:
        raise ConfigError(f"{task} has no camera '{video_spec.camera}'; it has only one, so leave the camera out.")
    known = ", ".join(cameras)
    hint = did_you_mean(video_spec.camera, cameras)
    raise ConfigError(f"{task} has no camera '{video_spec.camera}'; it has {known}.{hint}")
