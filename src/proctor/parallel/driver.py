"""Evaluates in several shards at once: interpreters that each have a policy and simulators of their own.

This process owns the plan and the one journal, so the run directory is that of any run, and so is what comes after the
measurements. What it adds is where the episodes run: see :mod:`proctor.parallel.shards` and
:mod:`proctor.parallel.launchers.base`.
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
from proctor.engine.plan import choose_batch_size
from proctor.engine.workers import LEAD_WHEN_STOPPING
from proctor.errors import ConfigError, ResourceError, did_you_mean, note
from proctor.evaluation.capacity import runs_in_process, simulators_in_memory
from proctor.evaluation.prepared_run import PreparedRun
from proctor.evaluation.run import Measured, run
from proctor.evaluation.run_state import EvalResult, RunState
from proctor.evaluation.terminal import quiet_terminal, watched
from proctor.machine.hardware import visible_gpus
from proctor.machine.resources import available_memory, usable_cores
from proctor.parallel.launchers import LAUNCHERS
from proctor.parallel.launchers.base import Launcher, ShardRun
from proctor.parallel.scheduler import Rules, ShardScheduler
from proctor.parallel.shards import ShardPool
from proctor.plugins import load_object
from proctor.results.run_dir import RunDirectory
from proctor.types import Array, EpisodeResult

_RENDERING = ("MUJOCO_GL", "PYOPENGL_PLATFORM")
"""What :mod:`proctor.rendering` settles, and shards on another machine do not inherit."""


@dataclass(frozen=True)
class Sharding:
    """How an evaluation is spread: ``num_shards`` of them by a ``launcher`` (its name).

    ``devices`` are dealt to shards in turn (``cuda:0``); empty if each may choose. ``static`` deals the whole plan up
    front. ``launcher_options`` are what the launcher is called with.
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


def run_in_shards(
    prepared: PreparedRun, sharding: Sharding, on_measured: Callable[[EvalResult], None] = lambda _: None
) -> EvalResult:
    """Run an evaluation, or what is left of it, in shards. ``eval.batch_size`` is each one's.

    Raises:
        ConfigError: the run is itself a shard, or asks for what one process alone can give.
        ResourceError: this machine has too little memory for so many simulators; says what to lower.
        ProctorError: see :func:`proctor.evaluation.run.run` and :meth:`proctor.parallel.shards.ShardPool.run`.
    """
    if prepared.config.eval.num_shards > 1:
        raise ConfigError("Episodes are dealt among the shards in any case; leave out eval.shard_id and num_shards.")
    if prepared.config.eval.trace:
        raise ConfigError("eval.trace shows the workers of one process; leave it out where there are several.")
    make_launcher: type[Launcher] = load_object(LAUNCHERS[sharding.launcher])
    batch_size = prepared.config.eval.batch_size
    if make_launcher.shares_machine:
        batch_size = _batch_size(prepared, sharding.num_shards)
        prepared = replace(prepared, resume_options=f" --num_shards={sharding.num_shards}")

    def measure(prepared: PreparedRun, setup: EngineSetup, state: RunState) -> Measured:
        if not state.todo:
            return Measured({})
        with closing(make_launcher(**sharding.launcher_options)) as launcher:
            runs = shard_runs(prepared, sharding, batch_size)
            fleet = make_fleet(prepared, state, launcher, runs, static=sharding.static)
            _run_fleet(fleet, prepared, setup, state)
        return Measured(fleet.filmed, tuple(fleet.losses))

    return run(prepared, on_measured, measure, n_workers=batch_size * sharding.num_shards)


def shard_runs(prepared: PreparedRun, sharding: Sharding, batch_size: int) -> list[ShardRun]:
    """What each shard needs to know."""
    directory = RunDirectory(prepared.directory.absolute())
    in_process = runs_in_process(
        prepared.benchmark, prepared.config.eval
    )  # a shard cannot see who chose its batch size
    evaluation = replace(prepared.config.eval, batch_size=batch_size, use_async_envs=not in_process)
    config = replace(prepared.config, eval=evaluation, output_dir=str(directory.path))
    environment = {name: os.environ[name] for name in _RENDERING if name in os.environ}
    environment["OMP_NUM_THREADS"] = str(evaluation.inference_threads)
    return [
        ShardRun(
            number=number,
            config=_on_one_device(config) if sharding.devices else config,
            environment=environment,
            device=sharding.devices[number % len(sharding.devices)] if sharding.devices else None,
            import_path=import_path(),
            log=str(directory.shard_log(number)),
            neighbours=sharding.num_shards,
        )
        for number in range(sharding.num_shards)
    ]


def make_fleet(
    prepared: PreparedRun, state: RunState, launcher: Launcher, runs: Sequence[ShardRun], *, static: bool
) -> ShardPool:
    """The shards for what is left of a run."""
    config = prepared.config.eval
    rules = Rules(
        static,
        max_parallel_tasks=prepared.benchmark.config.max_parallel_tasks,
        max_lead=0 if config.stop_at_ci_width is None else LEAD_WHEN_STOPPING,
    )
    dealer = ShardScheduler(state.todo, len(runs), rules)
    return ShardPool(launcher, runs, dealer, max_attempts=config.max_attempts, patience_s=config.reset_timeout_s)


def _run_fleet(fleet: ShardPool, prepared: PreparedRun, setup: EngineSetup, state: RunState) -> None:
    config = prepared.config.eval

    def keep(result: EpisodeResult, actions: Array | None) -> None:
        state.keep(result, actions)
        if state.decided:
            fleet.begin_no_more()

    with (
        quiet_terminal(config, setup.log) as console,
        watched(fleet, console, config, str(prepared.directory)) as display,
    ):
        fleet.run(keep, state.opened, lambda: display.update(state.progress(fleet)))
    for sentence in fleet.notes:
        note(sentence)


def _on_one_device(config: RunConfig) -> RunConfig:
    """For a shard that sees one accelerator alone: ``cuda:1`` is another shard's name for it."""
    if "device" not in config.policy:
        return config
    return replace(config, policy={**config.policy, "device": str(config.policy["device"]).partition(":")[0]})


def _batch_size(prepared: PreparedRun, num_shards: int) -> int:
    """How many simulators each of this machine's shards steps in parallel."""
    benchmark, config = prepared.benchmark, prepared.config.eval
    cores = max(1, usable_cores() // num_shards)
    batch_size = choose_batch_size(config, ceil(len(prepared.plan) / num_shards), cores, prepared.episodes_per_pass)
    fitting = simulators_in_memory(benchmark, otherwise=batch_size * num_shards)
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


def choose_devices(config: RunConfig, asked: str | None) -> tuple[str, ...]:
    """The accelerators that shards are dealt: those ``asked`` for, or that ``--policy.device`` numbers; else all that
    are visible, unless the policy is to run elsewhere.

    Raises:
        ConfigError: what is asked for is none, or not here.
    """
    wanted = str(config.policy.get("device") or "")
    named = asked or (wanted if ":" in wanted else None)
    if named is None:
        return tuple(f"cuda:{n}" for n in range(len(visible_gpus()))) if wanted in ("", "cuda") else ()
    devices = tuple(name.strip() for name in named.split(","))
    n_visible = len(visible_gpus())
    for device in devices:
        kind, _, number = device.partition(":")
        if kind != "cuda" or not number.isdecimal():
            raise ConfigError(f"'{device}' is no accelerator of a number; expected cuda:0,cuda:1,….")
        if int(number) >= n_visible:
            raise ConfigError(f"There is no {device}: this process sees {n_visible} accelerators.")
    return devices
