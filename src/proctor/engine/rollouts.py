"""Recorded episodes, as the engine's process keeps them: each in a folder that is complete if it has its name."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from proctor.engine.worker.messages import Built, Finished, Replay, RolloutSpec
from proctor.engine.worker.rollout_file import cannot_be_written, discard_rollout, encode_raw_frames
from proctor.machine.files import read_file
from proctor.types import Array, ArrayBytes, EpisodeResult, EpisodeSpec

_IDENTITY_FILE = "episode.json"
_FORMAT = 1


class RolloutIdentity(msgspec.Struct, frozen=True):
    """The episode that a folder holds, and how it ended. A folder is of use if the journal has the same episode."""

    spec: EpisodeSpec
    length: int | None
    success: bool | None
    sum_reward: float | None
    final_state_hash: str | None
    format_version: int = _FORMAT

    @classmethod
    def of(cls, result: EpisodeResult) -> RolloutIdentity:
        """Identify an episode by its result."""
        return cls(result.spec, result.length, result.success, result.sum_reward, result.final_state_hash)

    @classmethod
    def of_reply(cls, spec: EpisodeSpec, reply: Finished) -> RolloutIdentity:
        """Identify an episode that has finished on a worker."""
        return cls(spec, reply.arrays["actions"].shape[0], reply.success, reply.sum_reward, reply.final_state_hash)


@dataclass(frozen=True)
class RolloutTask:
    """A finished episode that is to be recorded, and the actions that it executed, ``(length, action_size)``."""

    result: EpisodeResult
    actions: Array
    rollout_spec: RolloutSpec

    def check(self, built: Built, task: str) -> None:
        """Nothing is asked of the simulator that every simulator does not have."""

    def request(self, max_steps: int) -> Replay:
        """Give the request that records the episode."""
        return Replay(self.result.spec, max_steps, ArrayBytes.pack(self.actions), rollout_spec=self.rollout_spec)

    def problem_of(self, reply: Finished) -> str:
        """Give the reason why the episode is not recorded; "" if it is."""
        return reply.rollout_problem

    def keep(self, _: Finished) -> str:
        """Give the recording its name. Returns "", or if that fails, the reason."""
        return keep_rollout(self.rollout_spec, RolloutIdentity.of(self.result))

    def discard(self) -> None:
        """Remove an unfinished recording, if there is one."""
        discard_rollout(self.rollout_spec)


def keep_rollout(spec: RolloutSpec, identity: RolloutIdentity) -> str:
    """Encode what its worker could not encode, and give a recording its name once all of it is on the disk.

    Returns "", or if that fails, the reason.
    """
    unfinished, folder = Path(spec.unfinished), Path(spec.folder)
    try:
        encode_raw_frames(unfinished, spec.codec)
        (unfinished / _IDENTITY_FILE).write_bytes(msgspec.json.encode(identity))
        sync_files(unfinished)
        if folder.exists():  # of an attempt whose result was not written down
            shutil.rmtree(folder)
        unfinished.rename(folder)
    except Exception as error:  # noqa: BLE001 - encoding may fail in any way; the episode's result is kept
        return cannot_be_written(error)
    return ""


def read_identity(folder: Path) -> RolloutIdentity | None:
    """Read which episode a folder holds; None if it is not a complete recording."""
    try:
        return msgspec.json.decode(read_file(folder / _IDENTITY_FILE), type=RolloutIdentity)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None


def sync_files(folder: Path) -> None:
    """Make all files below ``folder`` survive a power cut.

    Raises:
        OSError: the disk is full.
    """
    for path in (*folder.rglob("*"), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
