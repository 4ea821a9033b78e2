"""Shards on a Ray cluster: each in an actor, on whichever node has room for it.

An actor starts the same clean interpreter that :mod:`proctor.parallel.launchers.local` starts, and passes on what it
and the driver have to say. A shard for which no node has room waits for one, so a cluster may grow meanwhile; a node
that goes takes its shards with it, which the driver hears of as of any other loss.

Nodes need the same Python, Proctor, and the packages of the evaluation in the driver's versions: each says what it
lacks before anything runs on it. A checkpoint directory that a node does not see travels through the object store, one
copy for each shard there, and is removed when the shard ends.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from pathlib import Path
from time import monotonic, sleep
from types import ModuleType
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec
import numpy as np

from proctor.config import RunConfig
from proctor.engine.load import Load
from proctor.errors import ConfigError, MissingExtraError
from proctor.evaluation.components import load_policy, make_benchmark
from proctor.machine.resources import usable_cores
from proctor.parallel.launchers.base import (
    Event,
    Launcher,
    NoMore,
    Order,
    ShardEnded,
    ShardFailed,
    ShardLost,
    ShardRun,
    ShardStatus,
    Stop,
    decode_run,
    encode,
)
from proctor.parallel.launchers.local import ShardProcess

_HEARTBEAT_S = 5.0
"""How often a shard that waits for a node says that it does."""
_LISTEN_S = 1.0
"""How long an actor listens to its shard before it says that there was nothing."""
_ANSWER_S = 10.0
"""How long a cluster may take to answer at all."""
_LEAVE_S = 10.0
"""How long an actor may take to clear up."""
_SMALL_OBJECT_STORE = 100 << 20
"""Bytes, for a cluster on this machine alone: no checkpoint travels there."""
_ORDERS, _REPORTS = "orders", "reports"
_LAST = (ShardEnded, ShardFailed, ShardLost)


@dataclass(frozen=True, slots=True)
class RayPlace:
    """Where shards may run, and what each has there for itself.

    ``address`` is a cluster's ``host:port``; None starts one on this machine, which ends with the launcher. What is
    None of ``num_cpus`` and ``num_gpus`` is an equal part of what the cluster has by then: whole CPUs if there are
    enough, at most one GPU. ``memory_gb`` is what a shard and its simulators claim. ``runtime_env`` is Ray's own, and
    brings modules or packages to the nodes (``py_modules``, ``pip``).
    """

    address: str | None = None
    num_cpus: float | None = None
    num_gpus: float | None = None
    memory_gb: float | None = None
    runtime_env: Mapping[str, Any] | None = None


class RayLauncher(Launcher):
    """Runs each shard in an actor.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: there is no such cluster, or anybody could give it orders.
    """

    shares_machine = False

    def __init__(self, place: RayPlace = RayPlace()) -> None:
        self._place = place
        self._ray = _import_ray(on_loopback=place.address is None or _is_loopback(place.address))
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            _connect(self._ray, place.address)
            _refuse_open_door(self._ray.get_runtime_context().gcs_address)
        # Orders one at a time, so that they stay in order; and beside them a report that is waited for.
        self._actor_class = self._ray.remote(concurrency_groups={_ORDERS: 1, _REPORTS: 1})(ShardHost)
        self._shards: dict[int, _Actor] = {}
        self._needs: _Needs | None = None
        self._files: Mapping[str, Any] | None = None

    def submit(self, run: ShardRun) -> None:
        if self._needs is None:
            self._needs = _Needs.of(run.config)
        options = _options(self._place, run, self._ray.cluster_resources())
        actor = self._actor_class.options(**options).remote(encode(run), self._needs)
        self._shards[run.number] = _Actor(self._ray, actor, self._checkpoint)

    def send(self, shard: int, order: Order) -> None:
        if shard in self._shards:
            self._shards[shard].send(order)

    def poll(self, timeout_s: float) -> list[tuple[int, Event]]:
        waited_for = {shard.reference: number for number, shard in self._shards.items()}
        patience = 0 if any(shard.said for shard in self._shards.values()) else timeout_s
        for reference in self._ready(list(waited_for), patience):
            self._shards[waited_for[reference]].hear()
        events = [(number, event) for number, shard in self._shards.items() for event in shard.events()]
        for number, event in events:
            if isinstance(event, _LAST):
                self._shards.pop(number).dismiss()
        return events

    def cancel(self, shard: int) -> None:
        if shard in self._shards:
            self._shards.pop(shard).kill()

    def close(self) -> None:
        for number in list(self._shards):
            self.cancel(number)
        if self._is_ours:
            self._ray.shutdown()

    def _checkpoint(self) -> Mapping[str, Any]:
        """Its files in the object store, by their path in its directory; put there once a node asks for them."""
        if self._files is None:
            assert self._needs is not None
            folder = Path(self._needs.checkpoint)
            files = [file for file in folder.rglob("*") if file.is_file()]
            self._files = {str(file.relative_to(folder)): self._ray.put(_bytes_of(file)) for file in files}
        return self._files

    def _ready(self, references: list[Any], timeout_s: float) -> list[Any]:
        if not references:
            sleep(timeout_s)
            return []
        self._ray.wait(references, timeout=timeout_s)
        ready, _ = self._ray.wait(references, num_returns=len(references), timeout=0)
        return list(ready)


# ------------------------------------------------------------------------------------------------ the driver's side


class _Actor:
    """One shard's actor. ``reference`` is what it will say next, ``said`` what it has said."""

    def __init__(self, ray: ModuleType, actor: Any, checkpoint: Callable[[], Mapping[str, Any]]) -> None:
        self._ray, self._actor, self._checkpoint = ray, actor, checkpoint
        self._has_place = self._is_up = False
        self._heard_at = monotonic()
        self.said: list[Event] = []
        self.reference = self._call("lacks_checkpoint")

    def send(self, order: Order) -> None:
        if self._is_up:
            self._call("tell", encode(order), group=_ORDERS)
        elif isinstance(order, NoMore | Stop):
            self.said.append(ShardEnded())

    def hear(self) -> None:
        """Take in what it says, and ask for what follows."""
        exceptions = self._ray.exceptions
        try:
            said = self._ray.get(self.reference)
        except exceptions.RayTaskError:
            raise  # a bug of ours
        except exceptions.RayError as error:
            self._is_up = False
            reach = "out of reach" if isinstance(error, exceptions.ActorUnavailableError) else "gone"
            self.said.append(ShardLost(f"is {reach} with its actor or node ({_sentence(error)})"))
            return
        if not self._has_place:
            self._has_place = True
            self.reference = self._call("start", self._checkpoint() if said else {})
            return
        self._is_up = True
        self.said += said
        if not said or not isinstance(said[-1], _LAST):
            self.reference = self._call("listen")

    def events(self) -> list[Event]:
        """What it said since they were asked for last; that it waits for a node, if it does."""
        said, self.said = self.said, []
        now = monotonic()
        if not self._has_place and not said and now - self._heard_at > _HEARTBEAT_S:
            said = [ShardStatus(Load(starting=1), measuring=False)]
        self._heard_at = now if said else self._heard_at
        return said

    def dismiss(self) -> None:
        """Let it clear up, as far as it is still there."""
        if self._is_up:
            self._ray.wait([self._call("leave", group=_ORDERS)], timeout=_LEAVE_S)
        self.kill()

    def kill(self) -> None:
        """At once; its processes end with it."""
        self._ray.kill(self._actor)

    def _call(self, method: str, *arguments: Any, group: str = _REPORTS) -> Any:
        return getattr(self._actor, method).options(concurrency_group=group).remote(*arguments)


def _import_ray(*, on_loopback: bool) -> ModuleType:
    """``on_loopback`` says that the cluster is to be this machine's own business: see :func:`_refuse_open_door`."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if on_loopback:  # of what macOS has anyway, this is the name; else Ray listens on every interface
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("Ray", "ray", str(error)) from None
    return ray


def _connect(ray: ModuleType, address: str | None) -> None:
    own = {"address": "local", "include_dashboard": False, "object_store_memory": _SMALL_OBJECT_STORE}
    options = own if address is None else {"address": address}
    if address is not None:
        _refuse_open_door(address)
        _refuse_silence(address)
    with _signals_left_alone():
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, job_config=_job_config(), **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(f"The Ray cluster at {address or 'this machine'} cannot be joined: {error}") from None


def _job_config() -> Any:
    """Ray's default, except that its workers do not search the driver's working directory before all else."""
    from ray.job_config import JobConfig

    class WithoutWorkingDirectory(JobConfig):
        def _serialize(self) -> str:
            self._py_driver_sys_path = []  # Ray fills it in `ray.init`, and its workers put what it holds first
            return super()._serialize()

    return WithoutWorkingDirectory()


def _refuse_silence(address: str) -> None:
    """Ray itself would try for minutes."""
    parts = _parts(address)
    try:
        socket.create_connection((parts.hostname, parts.port), _ANSWER_S).close()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"No Ray cluster answers at {address} ({error}); give the host:port that `ray start` printed."
        ) from None


def _refuse_open_door(address: str) -> None:
    """Whoever reaches a cluster can run code on it; so where others can, it must ask for a token."""
    if os.environ.get("RAY_AUTH_MODE") != "token" and not _is_loopback(address):
        raise ConfigError(
            f"The Ray cluster at {address} can be reached by others, and would run whatever they send: start it with "
            "RAY_AUTH_MODE=token, and set that here too."
        )


def _is_loopback(address: str) -> bool:
    host = _parts(address).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _parts(address: str) -> SplitResult:
    return urlsplit(address if "://" in address else f"//{address}")


@contextmanager
def _signals_left_alone() -> Iterator[None]:
    """Ray replaces the handler of SIGTERM; how a run ends on a signal is not its to say."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _options(place: RayPlace, run: ShardRun, cluster: Mapping[str, float]) -> dict[str, Any]:
    """What a shard's actor claims of a node, and where it had better be: apart from the others."""
    cpus = cluster.get("CPU", 1) / run.neighbours
    gpus = cluster.get("GPU", 0) / run.neighbours
    if str(run.config.policy.get("device") or "").startswith("cpu"):
        gpus = 0
    return {
        "num_cpus": _claim(cpus if cpus < 1 else math.floor(cpus)) if place.num_cpus is None else place.num_cpus,
        "num_gpus": _claim(min(1, gpus)) if place.num_gpus is None else place.num_gpus,
        "memory": None if place.memory_gb is None else int(place.memory_gb * 1e9),
        "runtime_env": None if place.runtime_env is None else dict(place.runtime_env),
        "scheduling_strategy": "SPREAD",
    }


def _claim(share: float) -> float:
    """As finely as Ray counts, and so that all shares together are there."""
    return math.floor(share * 10_000) / 10_000


def _sentence(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


# --------------------------------------------------------------------------------------------- what nodes are to have


@dataclass(frozen=True, slots=True)
class _Needs:
    """What a node needs: packages in the versions of the driver's machine, what lies in the driver's working
    ``directory``, and the ``checkpoint``'s; that is "" where the policy has none or it comes from the Hub.
    """

    versions: Mapping[str, str | None]
    directory: str
    checkpoint: str

    @classmethod
    def of(cls, config: RunConfig) -> _Needs:
        benchmark, _ = make_benchmark(config.env, trust_remote_code=config.trust_remote_code)
        policy = load_policy(config.policy, config.rename_map)
        names = {"proctor", *benchmark.distributions, *getattr(policy, "distributions", ())}
        path = str(config.policy.get("path") or "")
        return cls(_versions(names), str(Path.cwd()), path if path and Path(path).is_dir() else "")

    def lacking(self) -> list[str]:
        """What is missing here, a sentence each."""
        here = _versions(self.versions)
        return [
            f"{name} is {found or 'not installed'} there, and {wanted or 'not installed'} here"
            for name, wanted in self.versions.items()
            if (found := here[name]) != wanted
        ]


def _versions(names: Iterable[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in sorted(names):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _bytes_of(file: Path) -> Any:
    """Its content, from where Ray copies it without a copy of ours."""
    return np.memmap(file, np.uint8, "r") if file.stat().st_size else np.empty(0, np.uint8)


# ---------------------------------------------------------------------------------------------------- a node's side


class ShardHost:
    """The actor: a shard's process, and what goes to it and comes from it."""

    def __init__(self, run: bytes, needs: _Needs) -> None:
        if Path(needs.directory).is_dir():
            os.chdir(needs.directory)
        self._run, self._needs = decode_run(run), needs
        # A shard ends when the thread that started it does; those on which Ray calls methods come and go.
        self._starter = ThreadPoolExecutor(max_workers=1)
        self._process: ShardProcess | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def lacks_checkpoint(self) -> bool:
        """Whether the policy's directory is not to be seen from here."""
        return not Path(self._needs.checkpoint).is_dir()

    def start(self, checkpoint: Mapping[str, Any]) -> list[Event]:
        """Start the shard, with the files of its checkpoint unless they are here; gives the reason if it cannot run."""
        import ray

        node = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        if lacking := self._needs.lacking():
            sentences = "\n".join(f"On node {node}, {what}." for what in lacking)
            return [ShardFailed(sentences, "Install the same packages on every node.", ConfigError.exit_code)]
        run = self._adapted(self._with_checkpoint(checkpoint))
        try:
            self._process = self._starter.submit(ShardProcess, run).result()
        except OSError as error:
            return [ShardLost(f"cannot be started on node {node}: {error.strerror}")]
        self._process.connection.send_bytes(encode(run))
        return []

    def tell(self, order: bytes) -> None:
        """Pass an order on."""
        assert self._process is not None
        with suppress(OSError):  # listen will say why
            self._process.connection.send_bytes(order)

    def listen(self) -> list[Event]:
        """What the shard says: as soon as it says something, or nothing in time."""
        assert self._process is not None
        connection = self._process.connection
        events: list[Event] = []
        while connection.poll(0 if events else _LISTEN_S):
            events.append(self._process.receive())
            if isinstance(events[-1], _LAST):
                break
        return events

    def leave(self) -> None:
        """End, and leave nothing behind."""
        if self._process is not None:
            self._process.bury()
        if self._folder is not None:
            self._folder.cleanup()

    def _with_checkpoint(self, files: Mapping[str, Any]) -> ShardRun:
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

    def _adapted(self, run: ShardRun) -> ShardRun:
        """To this node: its import path where the driver's is not, its part of the cores, its accelerator."""
        import ray

        cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)  # type: ignore[no-untyped-call]
        return msgspec.structs.replace(
            run,
            device="cuda:0" if ray.get_gpu_ids() else None,
            import_path=[entry for entry in run.import_path if Path(entry).exists()],
            neighbours=max(1, round(usable_cores() / max(1, cpus))),
        )
