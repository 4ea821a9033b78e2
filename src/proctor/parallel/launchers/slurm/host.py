"""Runs in a job: it starts a shard's process on its node and passes messages on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import FrameType

import msgspec

from proctor.errors import ConfigError, ProctorError, ResourceError
from proctor.machine.resources import usable_cores
from proctor.parallel.launchers.local import ShardProcess
from proctor.parallel.launchers.requirements import NodeRequirements
from proctor.parallel.launchers.slurm.hub import Address, Channel
from proctor.parallel.messages import (
    LAST_EVENTS,
    Report,
    ShardFailed,
    ShardLost,
    ShardRun,
    ShardStatus,
    decode_run,
    encode,
    encode_reports,
)

_POLL_S = 0.5
"""Seconds that the job waits for a message of its shard before it looks whether the driver is still there."""
_REQUEUE_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class ShardTask:
    """The function that submitit calls in a job, with all that travels there.

    A job of one shard has one of ``runs``, each an encoded :class:`~proctor.parallel.messages.ShardRun`, and one of
    ``addresses``. If the job is the allocation of several shards, each of its processes takes those of its rank.
    """

    runs: tuple[bytes, ...]
    addresses: tuple[Address, ...]
    requirements: NodeRequirements
    requeues: bool

    def __call__(self) -> None:
        """Serve the driver until the shard has ended or the driver is gone."""
        rank = int(os.environ.get("SLURM_PROCID") or 0)
        if rank >= len(self.runs):
            return  # the nodes of the allocation have room for more shards than there are
        signal.signal(signal.SIGTERM, _end)
        signal.signal(signal.SIGUSR2, _requeue if self.requeues and rank == 0 else signal.SIG_IGN)
        run = decode_run(self.runs[rank])
        try:
            channel = self.addresses[rank].connect()
        except OSError as error:
            _write_to_log(run, f"The driver cannot be reached from {socket.gethostname()}: {error}.")
            sys.exit(1)
        with closing(channel):
            _serve(run, channel, self.requirements, status_s=self.addresses[rank].status_s)


def _serve(run: ShardRun, channel: Channel, requirements: NodeRequirements, *, status_s: float) -> None:
    node = socket.gethostname()
    try:
        _require(requirements, node)
        process = _start(run)
    except ProctorError as error:
        channel.send(encode_reports(ShardFailed(error.packed())))
        return
    except OSError as error:
        failed = ResourceError(f"it cannot be started on node {node}: {error.strerror or error}")
        channel.send(encode_reports(ShardFailed(failed.packed())))
        return
    with closing(process):
        try:
            process.wire.send(encode(_for_this_node(run)))
            threading.Thread(target=_pass_orders, args=(channel, process), daemon=True).start()
            _pass_reports(process, channel, node, status_s)
        except OSError:  # the driver is gone, or the shard is
            pass
        finally:
            process.kill()


def _start(run: ShardRun) -> ShardProcess:
    """Start the shard's process, which SIGUSR2 does not end; nor does it end the processes that the shard starts.

    Slurm sends this signal to every process of a job, and a shard that it ended would look like one that has failed.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})  # which a new process inherits
    try:
        return ShardProcess(_for_this_node(run))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})  # if it has come meanwhile, it is handled now


def _pass_orders(channel: Channel, process: ShardProcess) -> None:
    """Pass the driver's orders on to the shard, and kill the shard once the driver is gone or has dropped it."""
    with suppress(OSError):
        for order in channel.messages():
            process.wire.send(order)
    process.kill()


def _pass_reports(process: ShardProcess, channel: Channel, node: str, status_s: float) -> None:
    """Pass the shard's reports on to the driver, up to the last one.

    Raises:
        OSError: the driver is gone.
    """
    last_status = -status_s
    reports: list[Report] = []
    while not (reports and isinstance(reports[-1], LAST_EVENTS)):
        reports = []
        for event in process.receive() if process.wire.connection.poll(_POLL_S) else ():
            if isinstance(event, ShardLost):
                failed = ResourceError(f"its process on node {node} {event.reason}")
                reports.append(ShardFailed(failed.packed()))
            elif not isinstance(event, ShardStatus):
                reports.append(event)
            elif monotonic() - last_status >= status_s:
                last_status = monotonic()
                reports.append(event)
        if reports:
            channel.send(encode_reports(*reports))


def _require(requirements: NodeRequirements, node: str) -> None:
    """Check that the node has what the shard needs, and go to the driver's working directory.

    Raises:
        ConfigError: packages differ, or the checkpoint cannot be seen.
    """
    if unmet := requirements.unmet():
        error = ConfigError("\n".join(f"On node {node}, {clause}." for clause in unmet))
        error.hint = "Install the same packages on every node."
        raise error
    if requirements.checkpoint and not Path(requirements.checkpoint).is_dir():
        raise ConfigError(
            f"Node {node} does not see {requirements.checkpoint}; put the checkpoint where all nodes see it."
        )
    if Path(requirements.directory).is_dir():
        os.chdir(requirements.directory)


def _for_this_node(run: ShardRun) -> ShardRun:
    """Return the run with what depends on the node: import path, accelerator, and part of the cores."""
    return msgspec.structs.replace(
        run,
        device=_device(),
        import_path=[entry for entry in run.import_path if Path(entry).exists()],
        neighbours=max(1, round(usable_cores() / max(1, _cpus()))),
    )


def _device() -> str | None:
    """Return this shard's GPU among those that Slurm lets the job see; None if it gave the job none.

    The shards of an allocation that share a node take its GPUs in turn.
    """
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    if not visible or visible == ["NoDevFiles"]:
        return None
    return f"cuda:{int(os.environ.get('SLURM_LOCALID') or 0) % len(visible)}"


def _cpus() -> int:
    """Return the number of CPUs that Slurm gave this process."""
    if per_task := os.environ.get("SLURM_CPUS_PER_TASK"):
        return int(per_task)
    return int(os.environ.get("SLURM_CPUS_ON_NODE") or 1) // int(os.environ.get("SLURM_NTASKS_PER_NODE") or 1)


def _end(number: int, _: FrameType | None) -> None:
    """End the job at once: Slurm cancels or preempts it. The kernel ends the shard with it."""
    sys.exit(128 + number)


def _requeue(number: int, _: FrameType | None) -> None:
    """Put the job back into the queue: its time is nearly up. Slurm ends it, and starts it again when it has room."""
    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run(  # noqa: S603 - Slurm's own command, with the id that Slurm gave this job
            ["scontrol", "requeue", os.environ["SLURM_JOB_ID"]],  # noqa: S607 - found as Slurm's other commands are
            check=False,
            timeout=_REQUEUE_TIMEOUT_S,
        )


def _write_to_log(run: ShardRun, sentence: str) -> None:
    with suppress(OSError), Path(run.log).open("a") as log:
        log.write(f"{sentence}\n")
