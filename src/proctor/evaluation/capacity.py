"""Decides how many simulators this machine runs at a time, and in which process they run."""

from __future__ import annotations

from proctor.benchmarks.base import Benchmark
from proctor.config import EvalConfig
from proctor.engine.plan import choose_batch_size
from proctor.errors import ConfigError, ResourceError
from proctor.machine.resources import available_memory, usable_cores, workers_by_open_files


def runs_in_process(benchmark: Benchmark, config: EvalConfig) -> bool:
    """Decide whether simulators run in this process.

    They do if the user asked for one simulator at a time, or if no other process can construct the benchmark. If
    Proctor itself chose one simulator, it runs in a worker. One that needs another interpreter always does.

    Raises:
        ConfigError: the user asked for simulators in this process, and they need another interpreter.
    """
    if (python := benchmark.config.python) is not None:
        if not config.use_async_envs:
            raise ConfigError(
                f"eval.use_async_envs is false, but simulators under env.python={python} need worker processes; leave "
                "one of the two out."
            )
        return False
    return config.batch_size == 1 or not config.use_async_envs or bool(benchmark.only_here())


def n_simulators(
    benchmark: Benchmark, config: EvalConfig, n_episodes: int, episodes_per_pass: int = 1, n_running: int = 0
) -> int:
    """Choose how many simulators step in parallel: the number the user asked for, else what the machine can bear.

    ``n_running`` of them have their memory already.

    Raises:
        ResourceError: there is too little memory for the number that the user asked for, or for one simulator.
    """
    n = choose_batch_size(config, n_episodes, usable_cores(), episodes_per_pass)
    if not config.batch_size:
        n = max(1, min(n, simulators_in_memory(benchmark, n) + n_running))
    require_memory(benchmark, (1 if runs_in_process(benchmark, config) else n) - n_running)
    return n


def simulators_in_memory(benchmark: Benchmark, otherwise: int) -> int:
    """Compute how many simulators the available memory holds; ``otherwise`` if the memory or their size is unknown."""
    available = available_memory()
    if benchmark.worker_memory_mb is None or available is None:
        return otherwise
    return available // (benchmark.worker_memory_mb << 20)


def require_memory(benchmark: Benchmark, n: int) -> None:
    """Refuse more simulators at a time than the available memory holds.

    Raises:
        ResourceError: ``n`` simulators do not fit; the message says how much memory is missing, and what to lower.
    """
    fitting = simulators_in_memory(benchmark, otherwise=n)
    if fitting < n:
        each, available = benchmark.worker_memory_mb, available_memory()
        assert each is not None and available is not None  # noqa: PT018 - else any number fits
        raise ResourceError(
            f"{n} simulators of {benchmark.name} at a time take {n * each} MB of memory ({each} MB each, as measured), "
            f"and {available >> 20} MB are available: "
            + (f"lower eval.batch_size to {fitting}." if fitting else "free some of it.")
        )


def require_open_files(n: int) -> None:
    """Refuse more simulators at a time than the limit on open files of this process allows.

    Raises:
        ResourceError: ``n`` simulators need more open files; the message says what to lower, or to raise.
    """
    if (possible := workers_by_open_files(n)) < n:
        raise ResourceError(
            f"{n} simulators at a time need more open files than this process may have (ulimit -n): "
            + (f"lower eval.batch_size to {possible}, or raise that limit." if possible else "raise that limit.")
        )
