"""``proctor resume``."""

from __future__ import annotations

from pathlib import Path

from proctor.cli.eval import conduct
from proctor.cli.parallel import conduct_in_shards
from proctor.config import RunConfig, structure
from proctor.errors import ConfigError


def resume_command(run_dir: Path, /, *, num_shards: str | None = None, devices: str | None = None) -> int:
    """Go on with an evaluation that was interrupted, and try again what ended in an error.

    The configuration is read from RUN_DIR; episodes that have finished are kept.

    Parameters
    ----------
    run_dir
        The directory that the evaluation printed.
    num_shards
        Go on in so many interpreters at once, or auto: see proctor parallel.
    devices
        The accelerators that these are dealt in turn, cuda:0,cuda:1; all that are visible if not given.
    """
    from proctor.results.provenance import REDACTED
    from proctor.results.run_dir import read_run

    info = read_run(run_dir)
    if info is None:
        raise ConfigError(f"{run_dir} is not a run directory: it has no run.json.")
    if REDACTED in str(info.config):
        raise ConfigError(f"{run_dir} was run with a secret that run.json does not hold; give the whole command again.")
    config = structure(RunConfig, {**info.config, "output_dir": str(run_dir)}, "run")
    if num_shards is not None:
        return conduct_in_shards(config, num_shards, devices=devices)
    return conduct(config)
