"""The messages between the driver and a shard: their types, their order, and their encoding.

The driver (:mod:`proctor.parallel.driver`) owns the plan, decides which shard runs which episode, and keeps every
result. A shard (:mod:`proctor.parallel.shard`) is a clean interpreter with a policy and simulators of its own. A shard
sends each result at the end of the engine's turn in which the episode ends, so a shard that dies loses at most the
episodes of that turn.

::

    driver sends             shard sends
    ShardRun
                             ShardReady       once: it can take episodes; the policy may still be loading
    RunEpisodes              PolicyLoaded     once: the policy is loaded; not sent if the workers hold the policy
                             EpisodeStarted   for each attempt at an episode
                             ShardStatus      a few times a second
                             EpisodeDone      for each episode that is over
    RunEpisodes, …
    NoMore, or Stop          ShardEnded       the last message; ShardFailed if the shard cannot go on

The driver sends one :class:`ShardRun`, then any number of :data:`Order`; a shard sends :data:`Report`, as many in one
message as are there at a time. Each message is one MessagePack document (:data:`encode`, :func:`encode_reports`,
``decode_*``), so both sides need only a channel for bytes. If a shard is gone
without :class:`ShardEnded` or :class:`ShardFailed`, its launcher reports :class:`ShardLost` in their place.
"""

from __future__ import annotations

from typing import Any

import msgspec

from proctor.config import RunConfig
from proctor.engine.load import Load
from proctor.errors import PackedError
from proctor.types import EpisodeResult, EpisodeSpec, PackedArrays, TaskKey


class ShardRun(msgspec.Struct, frozen=True):
    """Everything a shard needs to know to start: plain data that means the same on every machine.

    ``config`` is the configuration of the whole evaluation, with an absolute ``output_dir``. ``environment`` holds
    variables that must be set before the shard's interpreter starts; they override those that it inherits. ``device``
    is the accelerator that the shard has for itself on its machine (``cuda:1``); it is None if the shard may choose, or
    if the launcher's cluster assigns accelerators. ``import_path`` is the driver's import path, which the shard
    searches after its own. ``log`` is a file in the run directory for what the shard and its simulators print.
    ``neighbours`` is the number of shards on the shard's machine, including itself; with a batch size of 0 the shard
    chooses one for its part of the cores.
    """

    shard_id: int
    config: RunConfig
    environment: dict[str, str]
    device: str | None
    import_path: list[str]
    log: str
    neighbours: int


# ----------------------------------------------------------------------------------------------- driver to shard


class RunEpisodes(msgspec.Struct, tag=True, frozen=True):
    """The shard is to run these episodes, in addition to those it already has.

    ``simulators`` are the tasks of which it is to have simulators from now on, and how many of each. It is None if
    nothing changes; a shard that has received none decides by itself.
    """

    episodes: tuple[EpisodeSpec, ...]
    simulators: tuple[tuple[TaskKey, int], ...] | None = None


class NoMore(msgspec.Struct, tag=True, frozen=True):
    """No further episodes will follow: the shard is to end once all its episodes are over."""


class Stop(msgspec.Struct, tag=True, frozen=True):
    """The shard is to end now and to drop the episodes that are running."""


Order = RunEpisodes | NoMore | Stop
"""Every message that the driver sends to a running shard."""

# ----------------------------------------------------------------------------------------------- shard to driver


class ShardReady(msgspec.Struct, tag=True, frozen=True):
    """The shard can take episodes, and will run ``batch_size`` of them in parallel."""

    batch_size: int


class PolicyLoaded(msgspec.Struct, tag=True, frozen=True):
    """The policy is loaded; ``fingerprint`` identifies it and what it runs on.

    A shard does not send this message if its workers hold the policy.
    """

    fingerprint: dict[str, Any]


class EpisodeStarted(msgspec.Struct, tag=True, frozen=True, gc=False):
    """An attempt at an episode has started: its simulator is being built or reset.

    It arrives before anything of the episode runs in the shard's own process, which the episode may end.
    """

    episode: EpisodeSpec


class ShardStatus(msgspec.Struct, tag=True, frozen=True):
    """The present state of the shard.

    ``measuring`` is True once everything is built and loaded and episodes make progress. ``notes`` are the simulators'
    sentences for the user; each status holds all of them.
    """

    load: Load
    measuring: bool
    notes: tuple[str, ...] = ()


class EpisodeDone(msgspec.Struct, tag=True, frozen=True, gc=False):
    """An episode is over; its result is an error if its last attempt failed.

    ``arrays`` are the :data:`~proctor.types.EpisodeArrays`; they are None for an error. ``video_problem`` is
    None if the shard did not record the episode. If it did, ``video_problem`` is "" if there is a video, else the
    reason why there is none.
    """

    result: EpisodeResult
    arrays: PackedArrays | None
    video_problem: str | None = None


class ShardFailed(msgspec.Struct, tag=True, frozen=True):
    """The shard has ended with a :class:`~proctor.errors.ProctorError`."""

    error: PackedError


class ShardEnded(msgspec.Struct, tag=True, frozen=True):
    """The shard has ended as it was ordered to: after its last episode, or because of :class:`Stop`."""


Report = ShardReady | PolicyLoaded | EpisodeStarted | ShardStatus | EpisodeDone | ShardFailed | ShardEnded
"""Every message that a shard sends to the driver."""

# ----------------------------------------------------------------------------------------------- launcher to driver


class ShardLost(msgspec.Struct, frozen=True):
    """The shard is gone and has not sent why. ``reason`` is the launcher's finding, a predicate of the shard:
    "was ended by SIGKILL". A shard never sends this message.

    ``taken`` is True if a cluster took the place from the shard, as it does with jobs that it preempts: no episode has
    failed then. ``counted`` is False if the loss does not bring the shard nearer to being given up,
    because it starts again by itself, or has done something since it was started.
    """

    reason: str
    taken: bool = False
    counted: bool = True


Event = Report | ShardLost
"""Everything that :meth:`proctor.parallel.launchers.base.Launcher.poll` can return for a shard."""

LAST_EVENTS = (ShardEnded, ShardFailed, ShardLost)
"""The types of the last event of a shard. Exactly one of them ends each start of a shard."""

_encoder = msgspec.msgpack.Encoder()

encode = _encoder.encode
"""Encode a message to a shard."""


def encode_reports(*reports: Report) -> bytes:
    """Encode a message from a shard, which holds one report or several."""
    return _encoder.encode(reports)


decode_run = msgspec.msgpack.Decoder(ShardRun).decode
"""Decode the first message to a shard."""
decode_order = msgspec.msgpack.Decoder(Order).decode
"""Decode a further message to a shard."""
decode_reports = msgspec.msgpack.Decoder(list[Report]).decode
"""Decode a message from a shard: one report or several, in their order."""
