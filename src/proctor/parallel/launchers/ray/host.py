"""The actor that runs one shard on a node of a Ray cluster: it starts the shard's process and passes messages on."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from proctor.errors import ConfigError
from proctor.machine.resources import usable_cores
from proctor.parallel.launchers.local import ShardProcess
from proctor.parallel.launchers.requirements import NodeRequirements
from proctor.parallel.messages import LAST_EVENTS, Event, ShardFailed, ShardLost, ShardRun, decode_run, encode

_POLL_S = 1.0
"""Seconds that an actor waits for its shard before it returns an empty list of events."""


class ShardHost:
    """The actor: it holds a shard's process and the node's end of its connection. Ray calls its methods."""

    def __init__(self, run: bytes, requirements: NodeRequirements) -> None:
        if Path(requirements.directory).is_dir():
            os.chdir(requirements.directory)
        self._run, self._requirements = decode_run(run), requirements
        # The kernel ends a shard when the thread that started it ends. Ray calls methods on threads that come and go,
        # so a thread of this actor's own starts the shard.
        self._starter = ThreadPoolExecutor(max_workers=1)
        self._process: ShardProcess | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def lacks_checkpoint(self) -> bool:
        """Return True if this node does not see the directory of the policy's checkpoint."""
        return not Path(self._requirements.checkpoint).is_dir()

    def start(self, checkpoint: Mapping[str, Any]) -> list[Event]:
        """Start the shard's process.

        ``checkpoint`` maps the files of the checkpoint to their content in the object store; it is empty if this node
        sees the checkpoint. Returns no event if the process runs, else the shard's last event.
        """
        import ray

        node = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        if unmet := self._requirements.unmet():
            sentences = "\n".join(f"On node {node}, {clause}." for clause in unmet)
            error = ConfigError(sentences)
            error.hint = "Install the same packages on every node."
            return [ShardFailed(error.packed())]
        run = self._for_this_node(self._with_checkpoint(checkpoint))
        try:
            self._process = self._starter.submit(ShardProcess, run).result()
        except OSError as error:
            return [ShardLost(f"cannot be started on node {node}: {error.strerror}")]
        self._process.wire.send(encode(run))
        return []

    def send(self, order: bytes) -> None:
        """Pass an encoded order on to the shard."""
        assert self._process is not None
        with suppress(OSError):  # the shard is gone; receive will report it
            self._process.wire.send(order)

    def receive(self) -> list[Event]:
        """Wait for an event of the shard, for a second at most, and return all that have arrived."""
        assert self._process is not None
        connection = self._process.wire.connection
        events: list[Event] = []
        while connection.poll(0 if events else _POLL_S):
            for event in self._process.receive():
                events.append(event)
                if isinstance(event, LAST_EVENTS):
                    return events
        return events

    def close(self) -> None:
        """End the shard's process and remove the copy of the checkpoint."""
        if self._process is not None:
            self._process.close()
        if self._folder is not None:
            self._folder.cleanup()

    def _with_checkpoint(self, files: Mapping[str, Any]) -> ShardRun:
        """Write the files of a checkpoint to this node, and return the shard's run with their path."""
        if not files:
            return self._run
        import ray

        self._folder = tempfile.TemporaryDirectory(prefix="proctor-checkpoint-")
        for name, stored in files.items():
            file = Path(self._folder.name) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            ray.get(stored).tofile(file)
        policy = {**self._run.config.policy, "path": self._folder.name}
        return msgspec.structs.replace(self._run, config=replace(self._run.config, policy=policy))

    def _for_this_node(self, run: ShardRun) -> ShardRun:
        """Return the run with what depends on the node: import path, accelerator, and part of the cores."""
        import ray

        cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)  # type: ignore[no-untyped-call]
        return msgspec.structs.replace(
            run,
            device="cuda:0" if ray.get_gpu_ids() else None,
            import_path=[entry for entry in run.import_path if Path(entry).exists()],
            neighbours=max(1, round(usable_cores() / max(1, cpus))),
        )
