"""``proctor parallel``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from proctor.cli.ci import CiOptions
from proctor.config import RunConfig
from proctor.errors import ConfigError
from proctor.parallel.launchers.ray.options import RayOptions

if TYPE_CHECKING:
    from proctor.evaluation.result import EvalResult

_DEFAULTS = RunConfig()
_NO_RAY_OPTIONS = RayOptions()
_NO_CI = CiOptions()


def parallel_command(  # noqa: D417, PLR0913 - the command's flags; RayOptions and CiOptions describe their own
    config: Annotated[RunConfig, Parameter(name="*")] = _DEFAULTS,
    *,
    num_shards: str = "auto",
    devices: str | None = None,
    render_device: str | None = None,
    static: bool = False,
    launcher: str = "local",
    ray: Annotated[RayOptions, Parameter(name="*")] = _NO_RAY_OPTIONS,
    ci: Annotated[CiOptions, Parameter(name="*")] = _NO_CI,
) -> int:
    """Evaluate in several interpreters at once, each with a policy and simulators of its own.

    Results and run directory are those of proctor eval, to the bit on a CPU. An interpreter that dies is replaced.

    Parameters
    ----------
    config
        As for proctor eval; eval.batch_size is for each interpreter.
    num_shards
        Number of interpreters; auto measures the evaluation and takes the number that proctor autotune recommends.
    devices
        The accelerators that are assigned to the interpreters in turn, cuda:0,cuda:1; all visible ones if not given.
    render_device
        What simulators draw with; means the same as --env.render_device.
    static
        Assign the whole plan at the start, round-robin, instead of on demand.
    launcher
        Where the interpreters run: local (processes of this machine), ray (actors of a cluster), inline (threads of
        this process, for debugging).
    """
    if render_device is not None:
        config = replace(config, env={**config.env, "render_device": render_device})
    if launcher == "ray":
        if devices is not None:
            raise ConfigError("A Ray cluster assigns its GPUs itself; give --ray-num-gpus instead of --devices.")
        ray.runtime_env()  # refused here if it cannot be read, before anything starts
        return conduct_in_shards(
            config, num_shards, ci=ci, static=static, launcher=launcher, launcher_options={"options": ray}
        )
    if given := ray.given():
        raise ConfigError(f"{given[0]} is for --launcher ray; leave it out, or give --launcher ray.")
    return conduct_in_shards(config, num_shards, ci=ci, devices=devices, static=static, launcher=launcher)


def conduct_in_shards(
    config: RunConfig, num_shards: str, *, ci: CiOptions = _NO_CI, devices: str | None = None, **how: Any
) -> int:
    """Run an evaluation, or what is left of it, in shards, and print the result.

    ``how`` are further fields of :class:`~proctor.parallel.driver.Sharding`. Returns the exit status.
    """
    from proctor.cli.eval import conclude, show
    from proctor.evaluation.prepared_run import prepare
    from proctor.parallel.driver import Sharding, choose_devices, run_in_shards
    from proctor.reports.trackers import check_trackers

    check_trackers(config)
    config, n = _tuned(config) if num_shards == "auto" else (config, _number(num_shards))
    assigned = () if how.get("launcher") == "ray" else choose_devices(config, devices)
    result = run_in_shards(prepare(config), Sharding(n, assigned, **how), show)
    _print_losses(result)
    return conclude(result, config, ci)


def _number(num_shards: str) -> int:
    try:
        return int(num_shards)
    except ValueError:
        raise ConfigError(f"num_shards is '{num_shards}'; give a number, or auto.") from None


def _tuned(config: RunConfig) -> tuple[RunConfig, int]:
    """Return the evaluation as autotune recommends it, and the number of shards.

    What the user asked for is kept, and so is everything on which results depend.
    """
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
