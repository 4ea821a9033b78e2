"""Shards as processes of this machine: clean interpreters, each in a session of its own, with a log of its own."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path

import msgspec

from proctor.child.processes import how_it_ended, start_interpreter
from proctor.child.wire import Wire
from proctor.errors import ResourceError
from proctor.machine.files import open_log
from proctor.parallel.launchers.connected import ConnectedLauncher
from proctor.parallel.messages import Event, ShardLost, ShardRun, decode_reports, encode

_EXIT_GRACE_S = 5.0
"""Seconds that a shard's process may take to exit after its connection is closed."""


class LocalLauncher(ConnectedLauncher):
    """Starts ``python -m proctor.parallel.shard``, and exchanges messages with it over an inherited socket.

    A shard ends when this process ends, however that happens: its connection closes, and the kernel sends it a signal.
    """

    def start(self, run: ShardRun) -> ShardProcess:
        try:
            shard = ShardProcess(run)
        except OSError as error:
            raise ResourceError(
                f"Shard {run.shard_id} cannot be started ({error.strerror}); lower num_shards, or free processes and "
                "disk space of this machine."
            ) from error
        with suppress(OSError):  # the shard is gone; poll will report it
            shard.wire.send(encode(run))
        return shard


class ShardProcess:
    """One shard's process, and the launcher's end of its connection.

    Raises:
        OSError: the process cannot be started, or the log cannot be opened.
    """

    def __init__(self, run: ShardRun) -> None:
        ours, theirs = Pipe()
        self.wire = Wire(ours)
        log = Path(run.log)
        log.parent.mkdir(parents=True, exist_ok=True)
        with open_log(log) as output:
            self._process = start_interpreter(
                "proctor.parallel.shard",
                str(theirs.fileno()),
                str(os.getpid()),
                output=output,
                descriptors=(theirs.fileno(),),
                environment={**run.environment, **device_environment(run.device)},
            )
        theirs.close()

    def receive(self) -> list[Event]:
        """Return the reports that have come whole, or :class:`~proctor.parallel.messages.ShardLost` if it is gone."""
        try:
            return [report for message in self.wire.receive() for report in decode_reports(message)]
        except (EOFError, OSError):  # the connection was reset, or closed in the middle of a message
            return [ShardLost(self._how_it_ended())]
        except msgspec.MsgspecError as error:
            self.kill()
            return [ShardLost(f"sent a message that cannot be decoded: {error}")]

    def kill(self) -> None:
        """Kill the process; the kernel ends its workers with it."""
        self._process.kill()

    def close(self) -> None:
        """Close the connection, and kill the process if it does not exit within the grace period."""
        self.wire.close()
        try:
            self._process.wait(_EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(_EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            return "closed its connection"
        return how_it_ended(code)


def device_environment(device: str | None) -> dict[str, str]:
    """Return the variables that make ``device`` the only accelerator a process sees, and the one it draws on.

    ``cuda:1`` is the second of the accelerators that this process sees. The result is empty without a device.
    """
    kind, _, index = (device or "").partition(":")
    if kind != "cuda" or not index:
        return {}
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    name = visible[int(index)] if visible else index
    # EGL numbers all devices of the machine, whatever CUDA_VISIBLE_DEVICES is. A device that is given by its UUID
    # has no known EGL number.
    return {"CUDA_VISIBLE_DEVICES": name} | ({"MUJOCO_EGL_DEVICE_ID": name} if name.isdecimal() else {})
