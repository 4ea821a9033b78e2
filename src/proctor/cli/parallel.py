"""``proctor parallel``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from proctor.cli.ci import CiOptions
from proctor.config import RunConfig
from proctor.errors import ConfigError
from proctor.parallel.launchers.ray.options import RayOptions
from proctor.parallel.launchers.slurm.options import SlurmOptions

if TYPE_CHECKING:
    from proctor.evaluation.result import EvalResult
    from proctor.parallel.driver import Sharding

_DEFAULTS = RunConfig()
_NO_RAY_OPTIONS = RayOptions()
_NO_SLURM_OPTIONS = SlurmOptions()
_NO_CI = CiOptions()


def parallel_command(  # noqa: D417, PLR0913 - the command's flags; RayOptions, SlurmOptions and CiOptions describe theirs
    config: Annotated[RunConfig, Parameter(name="*")] = _DEFAULTS,
    *,
    num_shards: str = "auto",
    devices: str | None = None,
    render_device: str | None = None,
    static: bool = False,
    launcher: str = "local",
    ray: Annotated[RayOptions, Parameter(name="*")] = _NO_RAY_OPTIONS,
    slurm: Annotated[SlurmOptions, Parameter(name="*")] = _NO_SLURM_OPTIONS,
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
        Where the interpreters run: local (processes of this machine), ray (actors of a cluster), slurm (jobs of a
        cluster), inline (threads of this process, for debugging).
    """
    if render_device is not None:
        config = replace(config, env={**config.env, "render_device": render_device})
    how = launcher_fields(launcher, num_shards, devices, ray, slurm)
    return conduct_in_shards(config, num_shards, ci=ci, devices=devices, static=static, **how)


def launcher_fields(
    launcher: str, num_shards: str, devices: str | None, ray: RayOptions, slurm: SlurmOptions
) -> dict[str, Any]:
    """Return the fields of :class:`~proctor.parallel.driver.Sharding` that choose and describe the launcher.

    Raises:
        ConfigError: an option is for another launcher, or cannot be read, or Slurm is not there.
    """
    for name, options in (("ray", ray), ("slurm", slurm)):
        if launcher != name and (given := options.given()):
            raise ConfigError(f"{given[0]} is for --launcher {name}; leave it out, or give --launcher {name}.")
    if launcher not in ("ray", "slurm"):
        return {"launcher": launcher}
    if devices is not None:
        cluster, instead = ("Ray", "--ray-num-gpus") if launcher == "ray" else ("Slurm", "--slurm-gres")
        raise ConfigError(f"A {cluster} cluster assigns its GPUs itself; give {instead} instead of --devices.")
    if launcher == "ray":
        ray.runtime_env()  # refused here if it cannot be read, before anything starts
        return {"launcher": launcher, "launcher_options": {"options": ray}}
    from proctor.parallel.launchers.slurm.jobs import require_slurm

    require_slurm()
    if num_shards == "auto":
        raise ConfigError("num_shards is auto, which measures this machine, not the nodes; give --num-shards=8.")
    return {"launcher": launcher, "launcher_options": {"options": slurm}}


def conduct_in_shards(
    config: RunConfig, num_shards: str, *, ci: CiOptions = _NO_CI, devices: str | None = None, **how: Any
) -> int:
    """Run an evaluation, or what is left of it, in shards, and print the result.

    ``how`` are further fields of :class:`~proctor.parallel.driver.Sharding`. Returns the exit status.
    """
    from proctor.cli.eval import conclude, show
    from proctor.evaluation.prepared_run import prepare
    from proctor.parallel.driver import run_in_shards
    from proctor.reports.trackers import check_trackers

    check_trackers(config)
    config, n = _tuned(config) if num_shards == "auto" else (config, number_of_shards(num_shards))
    result = run_in_shards(prepare(config), sharding_of(config, n, devices, **how), show)
    print_losses(result)
    return conclude(result, config, ci)


def sharding_of(config: RunConfig, num_shards: int, devices: str | None = None, **how: Any) -> Sharding:
    """Return the division of an evaluation into shards; a cluster assigns its accelerators itself.

    ``how`` are further fields of :class:`~proctor.parallel.driver.Sharding`.
    """
    from proctor.parallel.driver import Sharding, choose_devices

    assigned = () if how.get("launcher") in ("ray", "slurm") else choose_devices(config, devices)
    return Sharding(num_shards, assigned, **how)


def number_of_shards(num_shards: str) -> int:
    """Read a number of shards.

    Raises:
        ConfigError: the text is not a whole number.
    """
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


def print_losses(result: EvalResult) -> None:
    """Print a sentence about each shard that was lost."""
    from rich.console import Console

    from proctor.reports.text import safe

    for loss in result.losses:
        Console(stderr=True).print(safe(loss, "yellow"), soft_wrap=True)
