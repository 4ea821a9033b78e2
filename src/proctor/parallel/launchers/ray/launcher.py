"""Runs each shard in an actor of a Ray cluster.

An actor starts the same clean interpreter as :mod:`proctor.parallel.launchers.local`, and passes its messages on. If no
node has room for an actor, the actor waits for one, so a cluster may grow during the run. If a node is gone, its shards
are lost, and the driver treats that like any other loss.

A node needs the same Python, Proctor, and the packages of the evaluation in the versions of the driver's machine; an
actor checks that before it starts the shard. If a node does not see the checkpoint's directory, the checkpoint is
copied there through Ray's object store, once for each shard, and removed when the shard ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, sleep
from types import ModuleType
from typing import Any

import numpy as np

from proctor.engine.load import Load
from proctor.parallel.launchers.base import Launcher
from proctor.parallel.launchers.ray.cluster import connect, import_ray
from proctor.parallel.launchers.ray.host import ShardHost
from proctor.parallel.launchers.ray.options import RayOptions
from proctor.parallel.launchers.requirements import NodeRequirements
from proctor.parallel.messages import (
    LAST_EVENTS,
    Event,
    NoMore,
    Order,
    ShardEnded,
    ShardLost,
    ShardRun,
    ShardStatus,
    Stop,
    encode,
)

_WAITING_STATUS_S = 5.0
"""Seconds between two status events for a shard that waits for a node."""
_CLOSE_TIMEOUT_S = 10.0
"""Seconds that an actor may take to close after its shard has ended."""
_DEFAULTS = RayOptions()
_ORDERS, _REPORTS = "orders", "reports"
"""Ray's concurrency groups: calls of one group run one after the other, the groups run in parallel."""


class RayLauncher(Launcher):
    """Runs each shard in an actor.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: there is no such cluster, or other machines can send it orders without a token.
    """

    shares_machine = False

    def __init__(self, options: RayOptions = _DEFAULTS) -> None:
        self._options, self._runtime_env = options, options.runtime_env()
        self._ray = import_ray(options.ray_address)
        self._connected_here = not self._ray.is_initialized()
        if self._connected_here:
            connect(self._ray, options.ray_address)
        # One call at a time in each group: orders keep their order, and none waits for a pending `receive`.
        self._actor_class = self._ray.remote(concurrency_groups={_ORDERS: 1, _REPORTS: 1})(ShardHost)
        self._shards: dict[int, _ShardActor] = {}
        self._requirements: NodeRequirements | None = None
        self._checkpoint_files: Mapping[str, Any] | None = None

    def submit(self, run: ShardRun) -> None:
        if self._requirements is None:
            self._requirements = NodeRequirements.of(run.config)
        resources = _resources(self._options, run, self._ray.cluster_resources())
        actor_class = self._actor_class.options(
            **resources, runtime_env=self._runtime_env, scheduling_strategy="SPREAD"
        )
        actor = actor_class.remote(encode(run), self._requirements)
        self._shards[run.shard_id] = _ShardActor(self._ray, actor, self._stored_checkpoint)

    def send(self, shard_id: int, order: Order) -> None:
        if shard_id in self._shards:
            self._shards[shard_id].send(order)

    def poll(self, timeout_s: float) -> list[tuple[int, Event]]:
        pending = {shard.pending: shard_id for shard_id, shard in self._shards.items()}
        has_events = any(shard.has_events for shard in self._shards.values())
        for reference in self._completed(list(pending), 0 if has_events else timeout_s):
            self._shards[pending[reference]].receive()
        events = [(shard_id, event) for shard_id, shard in self._shards.items() for event in shard.take_events()]
        for shard_id, event in events:
            if isinstance(event, LAST_EVENTS):
                self._shards.pop(shard_id).close()
        return events

    def cancel(self, shard_id: int) -> None:
        if shard_id in self._shards:
            self._shards.pop(shard_id).kill()

    def close(self) -> None:
        for shard_id in list(self._shards):
            self.cancel(shard_id)
        if self._connected_here:
            self._ray.shutdown()

    def _stored_checkpoint(self) -> Mapping[str, Any]:
        """Return the checkpoint's files in the object store, by their path within its directory.

        The files are stored when the first node needs them.
        """
        if self._checkpoint_files is None:
            assert self._requirements is not None
            folder = Path(self._requirements.checkpoint)
            files = [file for file in folder.rglob("*") if file.is_file()]
            self._checkpoint_files = {str(file.relative_to(folder)): self._ray.put(_content(file)) for file in files}
        return self._checkpoint_files

    def _completed(self, references: list[Any], timeout_s: float) -> list[Any]:
        """Wait until a call has completed, and return all that have."""
        if not references:
            sleep(timeout_s)
            return []
        self._ray.wait(references, timeout=timeout_s)
        completed, _ = self._ray.wait(references, num_returns=len(references), timeout=0)
        return list(completed)


class _ShardActor:
    """The driver's side of one shard's actor.

    An actor is called in three stages: ``lacks_checkpoint``, which completes once a node has room for the actor, then
    ``start``, then ``receive`` again and again. ``pending`` is the reference of the present call.
    """

    def __init__(self, ray: ModuleType, actor: Any, stored_checkpoint: Callable[[], Mapping[str, Any]]) -> None:
        self._ray, self._actor, self._stored_checkpoint = ray, actor, stored_checkpoint
        self._is_placed = self._is_started = False
        self._last_event_at = monotonic()
        self._events: list[Event] = []
        self.pending = self._call("lacks_checkpoint")

    @property
    def has_events(self) -> bool:
        return bool(self._events)

    def send(self, order: Order) -> None:
        if self._is_started:
            self._call("send", encode(order), group=_ORDERS)
        elif isinstance(order, NoMore | Stop):
            # The actor may wait for a node for ever, and it has no episode: the driver need not wait for it.
            self._events.append(ShardEnded())

    def receive(self) -> None:
        """Take the result of the pending call, and make the next call."""
        exceptions = self._ray.exceptions
        try:
            result = self._ray.get(self.pending)
        except exceptions.RayTaskError:
            raise  # a method of the actor raised, which is a bug of ours
        except exceptions.RayError as error:
            self._is_started = False
            state = "out of reach" if isinstance(error, exceptions.ActorUnavailableError) else "gone"
            self._events.append(ShardLost(f"is {state} with its actor or node ({_first_sentence(error)})"))
            return
        if not self._is_placed:
            self._is_placed = True
            self.pending = self._call("start", self._stored_checkpoint() if result else {})
            return
        self._is_started = True
        self._events += result
        if not result or not isinstance(result[-1], LAST_EVENTS):
            self.pending = self._call("receive")

    def take_events(self) -> list[Event]:
        """Return the events since the last call. While the actor waits for a node, that is a status now and then."""
        events, self._events = self._events, []
        now = monotonic()
        if not self._is_placed and not events and now - self._last_event_at > _WAITING_STATUS_S:
            events = [ShardStatus(Load(starting=1), measuring=False)]
        self._last_event_at = now if events else self._last_event_at
        return events

    def close(self) -> None:
        """Let the actor remove what it has written, if it is still there, and end it."""
        if self._is_started:
            self._ray.wait([self._call("close", group=_ORDERS)], timeout=_CLOSE_TIMEOUT_S)
        self.kill()

    def kill(self) -> None:
        """End the actor at once; its processes end with it."""
        self._ray.kill(self._actor)

    def _call(self, method: str, *arguments: Any, group: str = _REPORTS) -> Any:
        return getattr(self._actor, method).options(concurrency_group=group).remote(*arguments)


def _resources(options: RayOptions, run: ShardRun, cluster: Mapping[str, float]) -> dict[str, float | None]:
    """Return the resources that a shard claims of a node, in the terms of Ray's ``options``.

    By default a shard claims an equal part of the cluster: whole CPUs if there are enough, and at most one GPU.
    """
    cpus = cluster.get("CPU", 1) / run.neighbours
    gpus = cluster.get("GPU", 0) / run.neighbours
    if str(run.config.policy.get("device") or "").startswith("cpu"):
        gpus = 0
    default_cpus = _rounded_down(cpus if cpus < 1 else math.floor(cpus))
    memory_gb = options.ray_memory_gb
    return {
        "num_cpus": default_cpus if options.ray_num_cpus is None else options.ray_num_cpus,
        "num_gpus": _rounded_down(min(1, gpus)) if options.ray_num_gpus is None else options.ray_num_gpus,
        "memory": None if memory_gb is None else int(memory_gb * 1e9),
    }


def _rounded_down(share: float) -> float:
    """Return a share in the resolution that Ray has, rounded down so that the cluster has room for all shares."""
    return math.floor(share * 10_000) / 10_000


def _first_sentence(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _content(file: Path) -> Any:
    """Return a file's bytes as a mapped array, which Ray copies into its store without another copy in memory."""
    return np.memmap(file, np.uint8, "r") if file.stat().st_size else np.empty(0, np.uint8)
