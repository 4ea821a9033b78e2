"""The messages between the engine and a worker, encoded as msgpack. Observations lie beside them in shared memory.

A worker sends exactly one reply to each request that it executes, in order. So a worker is a function from request to
reply, and the engine only has to remember from which workers a reply is due. Episodes can be sent ahead
(``Start.ahead``): the worker executes such a request as soon as no episode is under way, without waiting for a turn of
the engine.
"""

from __future__ import annotations

from typing import Any

import msgspec

from proctor.child.other_python import Companions
from proctor.types import ArrayBytes, EpisodeSpec, Features, PackedArrays, Task


class Placed(msgspec.Struct, frozen=True):
    """The place of one array of an observation in the worker's shared memory; the array's first axis is time."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    offset: int


class VideoSpec(msgspec.Struct, frozen=True):
    """An episode's video: its path, and how it is made.

    ``max_fps`` bounds the frames per simulated second. If ``camera`` or ``size`` (width, height in pixels) is None, it
    is the simulator's usual one. ``token`` is another one in each order, so that two processes that make the same video
    at a time do not write into one file.
    """

    path: str
    max_fps: float = 20.0
    camera: str | None = None
    size: tuple[int, int] | None = None
    token: str = ""

    @property
    def unfinished(self) -> str:
        """The path of the video until it is known to show the right episode."""
        return f"{self.path}.{self.token}.part" if self.token else f"{self.path}.part"


class Codec(msgspec.Struct, frozen=True):
    """The codec of a recording's videos: its name in FFmpeg, the pixel format, and the codec's options."""

    name: str
    pixel_format: str
    options: dict[str, str]


class RolloutSpec(msgspec.Struct, frozen=True):
    """An episode's recording: the folder that receives what the policy saw and did, and the codec of its videos."""

    folder: str
    codec: Codec

    @property
    def unfinished(self) -> str:
        """The path of the folder until it is known to hold the right episode."""
        return f"{self.folder}.part"


# ---------------------------------------------------------------------------------------------- engine to worker


class Setup(msgspec.Struct, tag=True, frozen=True):
    """The first message: the benchmark (``module:attribute``), its configuration, and a policy in the worker."""

    benchmark: str
    env: dict[str, Any]
    action_source: str | None
    companions: Companions
    known: dict[str, Any] = {}
    """The value of :meth:`~proctor.benchmarks.base.Benchmark.known_here` in the engine's process."""


class Build(msgspec.Struct, tag=True, frozen=True):
    """Close the present simulator and build the one of ``task``. The reply is :class:`Built`."""

    task: Task


class Start(msgspec.Struct, tag=True, frozen=True):
    """Reset to an episode. The reply is :class:`Observed`, or :class:`Finished` if the policy lives in the worker.

    If ``ahead`` is true, the request waits in the worker until the episode under way is over. If the simulator was
    closed meanwhile, because the attempt before failed, the reply is :class:`Dropped`.

    If ``video_spec`` or ``rollout_spec`` is given, the episode is recorded while it runs, because its simulator cannot
    replay it.
    """

    spec: EpisodeSpec
    max_steps: int
    video_spec: VideoSpec | None = None
    rollout_spec: RolloutSpec | None = None
    ahead: bool = False


class Act(msgspec.Struct, tag=True, frozen=True):
    """Execute a chunk of actions. If ``looks[i]`` is true, the observation after action *i* is wanted."""

    actions: ArrayBytes
    looks: tuple[bool, ...]


NO_TIME_LEFT = "there was no time left for its video"


class Replay(msgspec.Struct, tag=True, frozen=True):
    """Run an episode again with the actions that it executed, to render its video or to record what its policy saw.

    The reply is :class:`Finished`. If it takes longer than ``seconds``, or is clearly going to, the video is given up
    with the problem :data:`NO_TIME_LEFT`; None sets no limit.
    """

    spec: EpisodeSpec
    max_steps: int
    actions: ArrayBytes
    video_spec: VideoSpec | None = None
    rollout_spec: RolloutSpec | None = None
    seconds: float | None = None


class FrameEncoded(msgspec.Struct, tag=True, frozen=True):
    """Continue with the request in the midst of which :class:`FrameDrawn` was sent. If the frame could not be encoded,
    ``problem`` is the reason, and the episode goes on without a video.
    """

    problem: str = ""


class LogTo(msgspec.Struct, tag=True, frozen=True):
    """Print into the file ``path`` from now on. The reply is :class:`Ready`, which also shows that the worker lives."""

    path: str


class Drop(msgspec.Struct, tag=True, frozen=True):
    """Give up the episode under way, because the policy failed, and the episodes that were sent ahead. There is no
    reply.
    """


class Close(msgspec.Struct, tag=True, frozen=True):
    """Close the simulator and end. There is no reply."""


Request = Setup | Build | Start | Act | Replay | FrameEncoded
Order = Request | LogTo | Drop | Close
"""Everything that is sent to a worker; a :class:`Request` is what its simulation executes."""

# ---------------------------------------------------------------------------------------------- worker to engine


class Spent(msgspec.Struct, frozen=True):
    """The seconds that a worker spent on one request, by kind of work."""

    construct: float = 0.0
    reset: float = 0.0
    step: float = 0.0
    look: float = 0.0


class Ready(msgspec.Struct, tag=True, frozen=True):
    """The worker is set up and has no simulator yet."""


class Built(msgspec.Struct, tag=True, frozen=True):
    """The simulator is built.

    ``replayable`` is true if the same seed and actions give the same episode. ``drawable`` is true if frames of a video
    can be drawn, by any of its ``cameras`` if there are several. ``notes`` are sentences that the user is shown once.
    ``action_low`` and ``action_high`` are the bounds of each number of an action, flat and possibly infinite.
    ``fps`` is the number of control steps per simulated second; 0 if the simulator does not tell.
    """

    features: Features
    replayable: bool
    drawable: bool
    cameras: tuple[str, ...]
    spent: Spent
    notes: tuple[str, ...] = ()
    action_low: tuple[float, ...] = ()
    action_high: tuple[float, ...] = ()
    fps: float = 0.0


class Observed(msgspec.Struct, tag=True, frozen=True):
    """The episode goes on; the observations that were wanted lie in shared memory."""

    arrays: tuple[Placed, ...]
    spent: Spent


class FrameDrawn(msgspec.Struct, tag=True, frozen=True):
    """A frame of a video, which a worker that cannot encode sends in the midst of a request; it waits for
    :class:`FrameEncoded`.

    ``frame`` is uint8 ``(height, width, 3)`` and ``rate`` the number of frames per second, as numerator and
    denominator. ``first`` is true if the video begins with this frame.
    """

    video_spec: VideoSpec
    rate: tuple[int, int]
    frame: Placed
    first: bool


class Finished(msgspec.Struct, tag=True, frozen=True):
    """The episode reached its end.

    If the episode was to have a video and has none, ``video_problem`` is the reason, and if it was to be recorded for a
    dataset and is not, ``rollout_problem``; a replay may end early then. ``success`` is None if the simulator did not
    report it, and the rewards are None if they are not finite. ``arrays`` are the
    :data:`~proctor.types.EpisodeArrays`. ``ended_at`` is the moment of the end on the monotonic clock, which the
    processes of a machine share, and ``n_beats`` the worker's heartbeat then. An episode that was sent ahead begins
    at that moment.
    """

    success: bool | None
    sum_reward: float | None
    max_reward: float | None
    n_looks: int
    final_state_hash: str
    arrays: PackedArrays
    spent: Spent
    ended_at: float
    n_beats: int
    video_problem: str = ""
    rollout_problem: str = ""


class Dropped(msgspec.Struct, tag=True, frozen=True):
    """An episode that was sent ahead was not begun, because the simulator has been closed."""


class RequestFailed(msgspec.Struct, tag=True, frozen=True):
    """The simulator, or a policy in the worker, raised. The simulator is closed, and another can be built.

    ``during`` names the request. ``users_fault`` is true if every worker would fail in the same way, as a package is
    missing or the configuration is wrong.
    """

    during: str
    message: str
    traceback: str
    users_fault: bool
    spent: Spent


Reply = Ready | Built | Observed | FrameDrawn | Finished | Dropped | RequestFailed

# ---------------------------------------------------------------------------------------------- fork server to engine


class Forked(msgspec.Struct, tag=True, frozen=True):
    """A worker was forked. These messages come in the order in which the workers were requested."""

    pid: int


class Exited(msgspec.Struct, tag=True, frozen=True):
    """A worker's process has ended, with an exit status or minus the number of the signal that ended it."""

    pid: int
    status: int


MAX_FORK_MESSAGE = 1 << 17
"""The largest size, in bytes, of a message to or from the fork server."""

_encoder = msgspec.msgpack.Encoder()
_request_decoder = msgspec.msgpack.Decoder(Order)
_reply_decoder = msgspec.msgpack.Decoder(Reply)
_fork_reply_decoder = msgspec.msgpack.Decoder(Forked | Exited)

encode = _encoder.encode
decode_request = _request_decoder.decode
decode_reply = _reply_decoder.decode
decode_fork_reply = _fork_reply_decoder.decode
