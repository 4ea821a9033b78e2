"""``proctor parallel``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from proctor.config import RunConfig
from proctor.errors import ConfigError

if TYPE_CHECKING:
    from proctor.evaluation.run_state import EvalResult

_NOTHING = RunConfig()


def parallel_command(  # noqa: PLR0913 - the command's flags
    config: Annotated[RunConfig, Parameter(name="*")] = _NOTHING,
    *,
    num_shards: str = "auto",
    devices: str | None = None,
    render_device: str | None = None,
    static: bool = False,
    launcher: str = "local",
    ray_address: str | None = None,
    ray_num_cpus: float | None = None,
    ray_num_gpus: float | None = None,
    ray_memory_gb: float | None = None,
    ray_runtime_env: str | None = None,
) -> int:
    """Evaluate in several interpreters at once, each with a policy and simulators of its own.

    Results and run directory are those of proctor eval, to the bit on a CPU. An interpreter that dies is replaced.

    Parameters
    ----------
    config
        As for proctor eval; eval.batch_size is for each interpreter.
    num_shards
        How many; auto measures the evaluation and takes what proctor autotune recommends.
    devices
        The accelerators they are dealt in turn, cuda:0,cuda:1; all that are visible if not given.
    render_device
        The same as --env.render_device.
    static
        Deal the whole plan up front, round-robin, instead of on demand.
    launcher
        What starts them: local (processes of this machine), ray (actors of a cluster), inline (threads of this process,
        for debugging).
    ray_address
        The cluster, host:port; one on this machine alone if not given.
    ray_num_cpus
        CPUs that each claims; an equal part of the cluster's if not given.
    ray_num_gpus
        GPUs that each claims, also less than one; an equal part of the cluster's, at most one, if not given.
    ray_memory_gb
        Memory that each claims, its simulators included.
    ray_runtime_env
        What Ray is to bring to the nodes, in Ray's terms, as JSON: {"py_modules": ["my_policy"]}.
    """
    if render_device is not None:
        config = replace(config, env={**config.env, "render_device": render_device})
    cluster = _given(
        address=ray_address,
        num_cpus=ray_num_cpus,
        num_gpus=ray_num_gpus,
        memory_gb=ray_memory_gb,
        runtime_env=ray_runtime_env,
    )
    if launcher == "ray":
        return _conduct_on_ray(config, num_shards, cluster, devices=devices, static=static)
    if cluster:
        raise ConfigError(f"--ray-{next(iter(cluster)).replace('_', '-')} is for --launcher ray.")
    return conduct_in_shards(config, num_shards, devices=devices, static=static, launcher=launcher)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _conduct_on_ray(
    config: RunConfig, num_shards: str, cluster: dict[str, Any], *, devices: str | None, static: bool
) -> int:
    import json

    from proctor.parallel.launchers.ray import RayPlace

    if devices is not None:
        raise ConfigError("A Ray cluster hands out its accelerators itself; give --ray-num-gpus instead of --devices.")
    try:
        runtime_env = json.loads(cluster.pop("runtime_env", "null"))
    except ValueError as error:
        raise ConfigError(f"--ray-runtime-env is no JSON ({error}); expected something like {{}}.") from None
    options = {"place": RayPlace(**cluster, runtime_env=runtime_env)}
    return conduct_in_shards(config, num_shards, static=static, launcher="ray", launcher_options=options)


def conduct_in_shards(config: RunConfig, num_shards: str, *, devices: str | None = None, **how: Any) -> int:
    """Run an evaluation in shards, or what is left of it, and say what came of it."""
    from proctor.cli.eval import conclude, show
    from proctor.evaluation.prepared_run import prepare
    from proctor.parallel.driver import Sharding, choose_devices, run_in_shards
    from proctor.reports.wandb import check_wandb

    check_wandb(config.wandb)
    config, n = _tuned(config) if num_shards == "auto" else (config, _number(num_shards))
    dealt = () if how.get("launcher") == "ray" else choose_devices(config, devices)
    sharding = Sharding(n, dealt, **how)
    result = run_in_shards(prepare(config), sharding, show)
    _print_losses(result)
    return conclude(result, config)


def _number(num_shards: str) -> int:
    try:
        return int(num_shards)
    except ValueError:
        raise ConfigError(f"num_shards is '{num_shards}'; it is a number, or auto.") from None


def _tuned(config: RunConfig) -> tuple[RunConfig, int]:
    """The evaluation as autotune recommends it; what the user asked for stays, and results are not moved."""
    from rich.console import Console

    from proctor.reports.text import count
    from proctor.tuning import recommend

    with Console(stderr=True).status("Measuring") as status:
        found = recommend(config, on_progress=lambda doing: status.update(f"Measuring: {doing}"))
    shards, simulators = count(found.num_shards, "shard"), count(found.batch_size, "simulator")
    Console(stderr=True).print(f"Autotune: {shards} of {simulators}", soft_wrap=True)
    batch_size = config.eval.batch_size or found.batch_size
    env = config.env
    if found.gl_backend and "render_device" not in env:
        env = {**env, "render_device": found.gl_backend}
    return replace(config, env=env, eval=replace(config.eval, batch_size=batch_size)), found.num_shards


def _print_losses(result: EvalResult) -> None:
    from rich.console import Console

    from proctor.reports.text import safe

    for loss in result.losses:
        Console(stderr=True).print(safe(loss, "yellow"), soft_wrap=True)
