"""What a launcher is: it starts shards somewhere, and carries what a driver and they say to each other.

The driver (:mod:`proctor.parallel.driver`) owns the plan, decides which shard runs which episode, and keeps every
result. A shard (:mod:`proctor.parallel.shard`) is a clean interpreter with a policy and simulators of its own. It runs
the episodes it is given, and sends each result the moment it is there: a shard that dies takes no finished episode with
it.

To the driver a shard is a number, from :meth:`Launcher.submit` to its last event, which is exactly one of
:class:`Ended`, :class:`Failed` and :class:`Lost`. After that the number may be submitted again.

::

    driver                        shard
    submit(ShardRun)
                                  Up               ready for episodes; the policy may still be loading
    Take                          Opened           the policy is loaded, and is this one
                                  Began            for each episode that has begun
                                  Busy             a few times a second
                                  Kept             for each episode that is over
    Take, Take, …
    NoMore, or Stop               Ended

A launcher moves bytes. At its end a shard is :func:`proctor.parallel.shard.serve` on a
:class:`multiprocessing.connection.Connection`, of which the launcher holds the other end: one message is one
``send_bytes``, encoded by :func:`encode`. :mod:`proctor.parallel.launchers.local` and
:mod:`proctor.parallel.launchers.inline` show both ends. Where a shard ends by itself its connection closes; the
launcher says how it ended if the shard did not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import msgspec

from proctor.config import RunConfig
from proctor.engine.load import Load
from proctor.engine.worker.messages import ArrayBytes
from proctor.types import EpisodeResult, EpisodeSpec


class ShardRun(msgspec.Struct, frozen=True):
    """Everything a shard needs to know to start: plain data, the same on every machine.

    ``config`` is the evaluation's, the whole one's; ``config.output_dir`` is absolute. ``environment`` holds variables
    that must be set before the shard's interpreter starts, over those it inherits. ``device`` is the accelerator of its
    machine that the shard is to have for itself (``cuda:1``), None if it may choose; a launcher whose cluster hands out
    accelerators leaves it at None. ``import_path`` is the driver's; the shard searches it after its own. ``log`` is a
    file in the run directory for what the shard and its simulators print. ``neighbours`` is how many shards share its
    machine, itself included: a batch size of 0 is chosen from its part of the cores.
    """

    number: int
    config: RunConfig
    environment: dict[str, str]
    device: str | None
    import_path: list[str]
    log: str
    neighbours: int


# ----------------------------------------------------------------------------------------------- driver to shard


class RunEpisodes(msgspec.Struct, tag=True, frozen=True):
    """Run these episodes too."""

    episodes: tuple[EpisodeSpec, ...]


class NoMore(msgspec.Struct, tag=True, frozen=True):
    """Nothing will follow: end once all episodes are over."""


class Stop(msgspec.Struct, tag=True, frozen=True):
    """End now; drop the episodes that are under way."""


Order = RunEpisodes | NoMore | Stop

# ----------------------------------------------------------------------------------------------- shard to driver


class ShardReady(msgspec.Struct, tag=True, frozen=True):
    """Ready for episodes, of which ``batch_size`` will run side by side."""

    batch_size: int


class PolicyLoaded(msgspec.Struct, tag=True, frozen=True):
    """The policy is loaded; ``fingerprint`` says which it is and what it runs on. Not sent where workers hold it."""

    fingerprint: dict[str, Any]


class EpisodeStarted(msgspec.Struct, tag=True, frozen=True):
    """An attempt at an episode begins: its simulator is built, or reset."""

    episode: EpisodeSpec


class ShardStatus(msgspec.Struct, tag=True, frozen=True):
    """What the shard is doing. ``measuring`` once episodes go on, that is, all has been built and loaded. ``notes`` are
    what its simulators have to say to the user, every time all of them.
    """

    load: Load
    measuring: bool
    notes: tuple[str, ...] = ()


class EpisodeDone(msgspec.Struct, tag=True, frozen=True):
    """An episode is over; an error if its last attempt failed.

    ``actions`` are those it executed, ``(length, action_size)``, None for an error. Where the episode was filmed while
    it ran, ``unfilmed`` says why there is no video, "" if there is one; None where it was not.
    """

    result: EpisodeResult
    actions: ArrayBytes | None
    unfilmed: str | None = None


class ShardFailed(msgspec.Struct, tag=True, frozen=True):
    """The shard has ended with an error that Proctor raised on purpose: its sentence, hint and exit status."""

    message: str
    hint: str
    exit_code: int


class ShardEnded(msgspec.Struct, tag=True, frozen=True):
    """The shard has ended in good order: every episode is over, or it was told to stop."""


Report = ShardReady | PolicyLoaded | EpisodeStarted | ShardStatus | EpisodeDone | ShardFailed | ShardEnded


class ShardLost(msgspec.Struct, frozen=True):
    """The shard is gone and did not say why; ``reason`` does as far as it can be told: it "was ended by SIGKILL".

    From the launcher, never from a shard.
    """

    reason: str


Event = Report | ShardLost

_encoder = msgspec.msgpack.Encoder()

encode = _encoder.encode
decode_run = msgspec.msgpack.Decoder(ShardRun).decode
decode_order = msgspec.msgpack.Decoder(Order).decode
decode_report = msgspec.msgpack.Decoder(Report).decode


class Launcher(ABC):
    """Starts shards, and is asked what they have to say. Used by one thread.

    Nothing here raises because of a shard: whatever happens to one is an event. ``shares_machine`` says whether shards
    run on the driver's machine, so that the driver knows what of it each one can have.
    """

    shares_machine: ClassVar[bool] = True

    @abstractmethod
    def submit(self, run: ShardRun) -> None:
        """Start the shard ``run.number``, which must not be running. Returns without waiting for it.

        Raises:
            ResourceError: there is no place for it.
        """

    @abstractmethod
    def send(self, shard: int, order: Order) -> None:
        """Tell a shard what to do. Nothing happens where it is gone by now; :meth:`poll` will say so."""

    @abstractmethod
    def poll(self, timeout_s: float) -> list[tuple[int, Event]]:
        """What the shards have to say, each one's in order: as soon as there is something, or nothing in time."""

    @abstractmethod
    def cancel(self, shard: int) -> None:
        """End a shard at once, without a word: there is no further event of it. Nothing happens where it is gone."""

    @abstractmethod
    def close(self) -> None:
        """End all shards at once; nothing of them is left when this returns. Safe to call twice."""
