"""Shards as processes of this machine: clean interpreters, each in a session of its own, with a log of its own."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path

import msgspec

from proctor.child.processes import how_it_ended, start_interpreter
from proctor.errors import ResourceError
from proctor.parallel.launchers.base import Event, ShardLost, ShardRun, decode_report, encode
from proctor.parallel.launchers.connected import ConnectedLauncher

_LAST_WORDS_S = 5.0
"""How long a shard may take to end once it has closed its connection."""


class LocalLauncher(ConnectedLauncher):
    """Starts ``python -m proctor.parallel.shard``, and speaks with it over a socket that both inherit.

    A shard ends when this process does, however that ends: its connection closes, and the kernel ends it.
    """

    def start(self, run: ShardRun) -> ShardProcess:
        try:
            shard = ShardProcess(run)
        except OSError as error:
            raise ResourceError(f"Shard {run.number} cannot be started: {error.strerror}.") from error
        with suppress(OSError):  # it is gone; poll will say why
            shard.connection.send_bytes(encode(run))
        return shard


class ShardProcess:
    """One shard's process, and our end of its connection."""

    def __init__(self, run: ShardRun) -> None:
        self.connection, theirs = Pipe()
        log = Path(run.log)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = start_interpreter(
                "proctor.parallel.shard",
                str(theirs.fileno()),
                str(os.getpid()),
                output=output,
                descriptors=(theirs.fileno(),),
                environment={**run.environment, **device_environment(run.device)},
            )
        theirs.close()

    def receive(self) -> Event:
        try:
            event: Event = decode_report(self.connection.recv_bytes())
        except (EOFError, OSError):  # reset, or ended in the middle of a message
            return ShardLost(self._how_it_ended())
        except msgspec.MsgspecError as error:
            self.kill()
            return ShardLost(f"it sent something that is no report: {error}")
        return event

    def kill(self) -> None:
        """At once; its workers end with it."""
        self._process.kill()

    def bury(self) -> None:
        """Give it a moment to end by itself."""
        self.connection.close()
        try:
            self._process.wait(_LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(_LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            return "closed its connection"
        return how_it_ended(code)


def device_environment(device: str | None) -> dict[str, str]:
    """The variables with which a process sees one accelerator alone, and draws on it: ``cuda:1`` is the second of
    those that this process sees.
    """
    kind, _, index = (device or "").partition(":")
    if kind != "cuda" or not index:
        return {}
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    name = visible[int(index)] if visible else index
    # EGL counts all of the machine's devices, whatever CUDA sees; of one that goes by another name it has no number.
    return {"CUDA_VISIBLE_DEVICES": name} | ({"MUJOCO_EGL_DEVICE_ID": name} if name.isdecimal() else {})
