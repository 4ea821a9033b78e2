"""What the engine and a worker say to each other. Encoded as msgpack; observations travel beside it in shared memory.

A worker answers each request with exactly one reply, in order, so a worker is a function from request to reply and
"which worker owes me an answer" is all the engine must remember.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from proctor.types import Array, EpisodeSpec, Features, Task


class ArrayBytes(msgspec.Struct, frozen=True):
    """A small array inside a message."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def pack(cls, array: Array) -> ArrayBytes:
        return cls(array.dtype.str, array.shape, np.ascontiguousarray(array).tobytes())

    def unpack(self) -> Array:
        return np.frombuffer(self.data, self.dtype).reshape(self.shape)


class Placed(msgspec.Struct, frozen=True):
    """Where one array of an observation lies in the worker's shared memory; the leading axis is time."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    offset: int


class VideoSpec(msgspec.Struct, frozen=True):
    """An episode's video: where it goes, and how it is taken.

    ``max_fps`` bounds the frames per simulated second. Without ``camera`` it is the simulator's usual one, without
    ``size`` (width, height) the simulator's usual size.
    """

    path: str
    max_fps: float = 20.0
    camera: str | None = None
    size: tuple[int, int] | None = None

    @property
    def unfinished(self) -> str:
        """Where the video lies until it is known to show the right episode."""
        return f"{self.path}.part"


# ---------------------------------------------------------------------------------------------- engine to worker


class Setup(msgspec.Struct, tag=True, frozen=True):
    """First message: which benchmark (``module:attribute``), its configuration, and an optional local policy."""

    benchmark: str
    env: dict[str, Any]
    action_source: str | None
    import_path: list[str]
    known: dict[str, Any] = {}
    """What :meth:`~proctor.benchmarks.base.Benchmark.known_here` gave."""


class Build(msgspec.Struct, tag=True, frozen=True):
    """Close the present simulator and build this task's. Answered by :class:`Built`."""

    task: Task


class Start(msgspec.Struct, tag=True, frozen=True):
    """Reset to an episode. Answered by :class:`Observed`; with a local policy it runs through: :class:`Finished`.

    If ``video_spec`` is given, the episode is filmed while it runs, because its simulator cannot replay it.
    """

    spec: EpisodeSpec
    max_steps: int
    video_spec: VideoSpec | None = None


class Act(msgspec.Struct, tag=True, frozen=True):
    """Execute a chunk. ``looks[i]`` asks for the observation after action *i*."""

    actions: ArrayBytes
    looks: tuple[bool, ...]


class Replay(msgspec.Struct, tag=True, frozen=True):
    """Run an episode again with the actions it executed, and film it. Answered by :class:`Finished`."""

    spec: EpisodeSpec
    max_steps: int
    actions: ArrayBytes
    video_spec: VideoSpec


class Close(msgspec.Struct, tag=True, frozen=True):
    """Close the simulator and end. No reply."""


Request = Setup | Build | Start | Act | Replay

# ---------------------------------------------------------------------------------------------- worker to engine


class Spent(msgspec.Struct, frozen=True):
    """Seconds of the work behind one reply."""

    construct: float = 0.0
    reset: float = 0.0
    step: float = 0.0
    look: float = 0.0


class Ready(msgspec.Struct, tag=True, frozen=True):
    """Set up; no simulator yet."""


class Built(msgspec.Struct, tag=True, frozen=True):
    """The simulator stands.

    ``replayable``: the same seed and actions give the same episode. ``drawable``: frames of a video can be drawn, by
    any of its ``cameras`` where there are several. ``notes`` are sentences for the user, each to be said once.
    """

    features: Features
    replayable: bool
    drawable: bool
    cameras: tuple[str, ...]
    spent: Spent
    notes: tuple[str, ...] = ()


class Observed(msgspec.Struct, tag=True, frozen=True):
    """The chunk was executed and the episode goes on; the observations asked for lie in shared memory."""

    arrays: tuple[Placed, ...]
    spent: Spent


class Finished(msgspec.Struct, tag=True, frozen=True):
    """The episode reached its end.

    If the episode was to be filmed and could not be, ``video_problem`` says why; a replay may then have ended early.
    ``success`` is None if the simulator said nothing about it, and the rewards are None if they are not finite.
    """

    success: bool | None
    sum_reward: float | None
    max_reward: float | None
    n_looks: int
    final_state_hash: str
    actions: ArrayBytes
    spent: Spent
    video_problem: str = ""


class RequestFailed(msgspec.Struct, tag=True, frozen=True):
    """The simulator (or the local policy) raised; the simulator is closed and the worker ready for a Build.

    ``during`` names the request. ``users_fault`` marks what would fail the same way everywhere (a missing package, a
    wrong configuration) and is best said once.
    """

    during: str
    message: str
    traceback: str
    users_fault: bool
    spent: Spent


Reply = Ready | Built | Observed | Finished | RequestFailed

# ---------------------------------------------------------------------------------------------- nursery to engine


class Forked(msgspec.Struct, tag=True, frozen=True):
    """A worker was forked. Comes in the order in which they were asked for."""

    pid: int


class Exited(msgspec.Struct, tag=True, frozen=True):
    """A worker's process is gone: its exit status, or minus the signal that ended it."""

    pid: int
    status: int


LONGEST_NEWS = 1 << 17
"""Bytes of a message to or from the nursery."""

_encoder = msgspec.msgpack.Encoder()
_request_decoder = msgspec.msgpack.Decoder(Request | Close)
_reply_decoder = msgspec.msgpack.Decoder(Reply)
_news_decoder = msgspec.msgpack.Decoder(Forked | Exited)

encode = _encoder.encode
decode_request = _request_decoder.decode
decode_reply = _reply_decoder.decode
decode_news = _news_decoder.decode
