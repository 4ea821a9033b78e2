"""Evaluates in several shards at once: interpreters that each have a policy and simulators of their own.

The driver is the process that the user starts. It owns the plan and the only journal, so the run directory, and all
that is done with the results, is the same as without shards. Only the episodes run elsewhere:
:mod:`proctor.parallel.shards` keeps the shards busy, and a launcher (:mod:`proctor.parallel.launchers.base`) starts
them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

from proctor.child import import_path
from proctor.config import RunConfig
from proctor.engine import EngineSetup
from proctor.engine.options import LEAD_WHEN_STOPPING
from proctor.engine.plan import choose_batch_size
from proctor.errors import ConfigError, ResourceError, did_you_mean, note
from proctor.evaluation.capacity import runs_in_process, simulators_in_memory
from proctor.evaluation.prepared_run import PreparedRun
from proctor.evaluation.result import EvalResult
from proctor.evaluation.run import Measured, run
from proctor.evaluation.run_state import RunState
from proctor.evaluation.terminal import quiet_terminal, watched
from proctor.machine.hardware import visible_gpus
from proctor.machine.resources import available_memory, usable_cores
from proctor.parallel.launchers import LAUNCHERS
from proctor.parallel.launchers.base import Launcher
from proctor.parallel.messages import ShardRun
from proctor.parallel.scheduler import Rules, ShardScheduler
from proctor.parallel.shards import ShardPool
from proctor.plugins import load_object
from proctor.results.run_dir import RunDirectory
from proctor.types import EpisodeResult, PackedArrays

_RENDERING_VARIABLES = ("MUJOCO_GL", "PYOPENGL_PLATFORM")
"""The variables that :mod:`proctor.rendering` sets. A shard on another machine does not inherit these variables."""


@dataclass(frozen=True)
class Sharding:
    """The division of an evaluation into ``num_shards`` shards, which the launcher named ``launcher`` starts.

    ``devices`` (``cuda:0``) are assigned to the shards in turn; if it is empty, each shard chooses for itself.
    ``static`` assigns the whole plan at the start. ``launcher_options`` are the launcher's keyword arguments.

    Raises:
        ConfigError: there are no shards, or there is no such launcher.
    """

    num_shards: int
    devices: tuple[str, ...] = ()
    static: bool = False
    launcher: str = "local"
    launcher_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_shards < 1:
            raise ConfigError(f"num_shards is {self.num_shards}; it must be at least 1, or auto.")
        if self.launcher not in LAUNCHERS:
            raise ConfigError(f"Unknown launcher '{self.launcher}'.{did_you_mean(self.launcher, LAUNCHERS)}")

    def launcher_class(self) -> type[Launcher]:
        """Import the launcher's class.

        Raises:
            ConfigError: the class cannot be imported, or is not a launcher.
        """
        address = LAUNCHERS[self.launcher]
        found = load_object(address)
        if not (isinstance(found, type) and issubclass(found, Launcher)):
            raise ConfigError(f"{address} is not a launcher; expected a subclass of {Launcher.__module__}.Launcher.")
        return found


def run_in_shards(
    prepared: PreparedRun, sharding: Sharding, on_measured: Callable[[EvalResult], None] = lambda _: None
) -> EvalResult:
    """Run an evaluation, or what is left of it, in shards. ``eval.batch_size`` is the batch size of each shard.

    Raises:
        ConfigError: the run is itself one shard of several, or asks for what only a single process can give.
        ResourceError: this machine has too little memory for so many simulators; the message says what to lower.
        ProctorError: see :func:`proctor.evaluation.run.run` and :meth:`proctor.parallel.shards.ShardPool.run`.
    """
    # 1. Refuse what shards cannot do.
    _require_divisible(prepared.config)
    launcher_class = sharding.launcher_class()

    # 2. Divide this machine, if the shards share it. A shard on another machine chooses its batch size there.
    batch_size = prepared.config.eval.batch_size
    if launcher_class.shares_machine:
        batch_size = _batch_size_per_shard(prepared, sharding.num_shards)
        prepared = replace(prepared, resume_options=f" --num_shards={sharding.num_shards}")

    # 3. Run the episodes in a pool of shards; the rest of the evaluation is that of a run without shards.
    def measure(prepared: PreparedRun, setup: EngineSetup, state: RunState) -> Measured:
        if not state.todo:
            return Measured({})
        runs = shard_runs(prepared, sharding, batch_size)
        with closing(launcher_class(**sharding.launcher_options)) as launcher:
            pool = make_shard_pool(prepared, state, launcher, runs, static=sharding.static)
            _run_pool(pool, prepared, setup, state)
        return Measured(pool.recorded, tuple(pool.losses))

    return run(prepared, on_measured, measure, n_workers=batch_size * sharding.num_shards)


def shard_runs(prepared: PreparedRun, sharding: Sharding, batch_size: int) -> list[ShardRun]:
    """Return what each shard needs to know to start."""
    directory = RunDirectory(prepared.directory.absolute())
    config = _shard_config(prepared, batch_size, has_device=bool(sharding.devices))
    environment = {name: os.environ[name] for name in _RENDERING_VARIABLES if name in os.environ}
    environment["OMP_NUM_THREADS"] = str(config.eval.inference_threads)
    return [
        ShardRun(
            shard_id=shard_id,
            config=config,
            environment=environment,
            device=sharding.devices[shard_id % len(sharding.devices)] if sharding.devices else None,
            import_path=import_path(),
            log=str(directory.shard_log(shard_id)),
            neighbours=sharding.num_shards,
        )
        for shard_id in range(sharding.num_shards)
    ]


def _shard_config(prepared: PreparedRun, batch_size: int, *, has_device: bool) -> RunConfig:
    """Return the evaluation's configuration as every shard gets it.

    ``has_device`` is True if each shard sees exactly one accelerator.
    """
    config = prepared.config
    # A batch size of 1 that a user asks for means simulators in the engine's own process; one that the driver chose
    # does not. A shard cannot distinguish the two, so the driver decides here.
    in_process = runs_in_process(prepared.benchmark, config.eval)
    policy = config.policy
    if has_device and "device" in policy:
        # The one accelerator that a shard sees has index 0 there: the driver's "cuda:1" would be another one, or none.
        policy = {**policy, "device": str(policy["device"]).partition(":")[0]}
    return replace(
        config,
        policy=policy,
        eval=replace(config.eval, batch_size=batch_size, use_async_envs=not in_process),
        output_dir=str(prepared.directory.absolute()),
    )


def make_shard_pool(
    prepared: PreparedRun, state: RunState, launcher: Launcher, runs: Sequence[ShardRun], *, static: bool
) -> ShardPool:
    """Make the pool that runs what is left of an evaluation."""
    config = prepared.config.eval
    rules = Rules(
        static,
        max_parallel_tasks=prepared.benchmark.config.max_parallel_tasks,
        max_lead=0 if config.stop_at_ci_width is None else LEAD_WHEN_STOPPING,
    )
    max_steps = {task.key: task.max_episode_steps for task in prepared.tasks}
    scheduler = ShardScheduler(state.todo, len(runs), rules, max_steps)
    return ShardPool(launcher, runs, scheduler, max_attempts=config.max_attempts, patience_s=config.reset_timeout_s)


def _run_pool(pool: ShardPool, prepared: PreparedRun, setup: EngineSetup, state: RunState) -> None:
    config = prepared.config.eval

    def keep(result: EpisodeResult, arrays: PackedArrays | None) -> None:
        state.keep(result, arrays)
        if state.decided:
            pool.begin_no_more()

    with (
        quiet_terminal(config, setup.log) as console,
        watched(pool, console, config, str(prepared.directory)) as display,
    ):
        pool.run(keep, state.opened, lambda: display.update(state.progress(pool)))
    for sentence in pool.notes:
        note(sentence)


def _require_divisible(config: RunConfig) -> None:
    if config.eval.num_shards > 1:
        raise ConfigError(
            f"eval.num_shards is {config.eval.num_shards}, so this run is one part of a plan; episodes are assigned to "
            "parallel shards in any case, so leave out eval.shard_id and eval.num_shards."
        )
    if config.eval.trace:
        raise ConfigError("eval.trace shows the workers of one process; leave it out if there are several processes.")


def _batch_size_per_shard(prepared: PreparedRun, num_shards: int) -> int:
    """Return how many simulators each shard runs in parallel if all shards share this machine.

    Raises:
        ResourceError: this machine has too little memory for that many simulators.
    """
    benchmark, config = prepared.benchmark, prepared.config.eval
    cores = max(1, usable_cores() // num_shards)
    batch_size = choose_batch_size(config, ceil(len(prepared.plan) / num_shards), cores, prepared.episodes_per_pass)
    fitting = simulators_in_memory(benchmark, otherwise=batch_size * num_shards)
    # Only a batch size that the user did not ask for is lowered; one that was asked for is refused below.
    if not config.batch_size:
        batch_size = max(1, min(batch_size, fitting // num_shards))
    if batch_size * num_shards > fitting:
        each, available = benchmark.worker_memory_mb or 0, available_memory() or 0
        raise ResourceError(
            f"{num_shards} shards of {batch_size} simulators of {benchmark.name} take {num_shards * batch_size * each} "
            f"MB of memory ({each} MB each, as measured), and {available >> 20} MB are available: "
            "lower num_shards or eval.batch_size."
        )
    return batch_size


def choose_devices(config: RunConfig, devices: str | None) -> tuple[str, ...]:
    """Return the accelerators that are assigned to the shards in turn; empty if each shard chooses for itself.

    These are ``devices`` (``cuda:0,cuda:1``) if given, else those to which ``--policy.device`` gives an index, else all
    visible accelerators unless the policy is to run on another kind of device.

    Raises:
        ConfigError: a name has no index or is not CUDA's, or this process does not see that accelerator.
    """
    policy_device = str(config.policy.get("device") or "")
    if not devices and ":" not in policy_device:
        return tuple(f"cuda:{n}" for n in range(len(visible_gpus()))) if policy_device in ("", "cuda") else ()
    option, text = ("--devices", devices) if devices else ("--policy.device", policy_device)
    chosen = tuple(name.strip() for name in text.split(","))
    n_visible = len(visible_gpus())
    for name in chosen:
        kind, _, index = name.partition(":")
        if kind != "cuda" or not index.isdecimal():
            problem = "has no device index" if name == "cuda" else "is not a CUDA device with an index"
            raise ConfigError(f"{option}: '{name}' {problem}; write cuda:0,cuda:1.")
        if int(index) >= n_visible:
            raise ConfigError(
                f"{option}: there is no {name}; this process sees {n_visible} GPUs, counted from cuda:0. Name one of "
                "these, or leave the option out."
            )
    return chosen
