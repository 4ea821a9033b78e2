"""``proctor resume``."""

from __future__ import annotations

from pathlib import Path

from proctor.cli.eval import conduct
from proctor.config import RunConfig, structure
from proctor.errors import ConfigError


def resume_command(run_dir: Path, /) -> int:
    """Go on with an evaluation that was interrupted, and try again what ended in an error.

    The configuration is read from RUN_DIR; episodes that have finished are kept.

    Parameters
    ----------
    run_dir
        The directory that the evaluation printed.
    """
    from proctor.results.provenance import REDACTED
    from proctor.results.run_dir import read_run

    info = read_run(run_dir)
    if info is None:
        raise ConfigError(f"{run_dir} is not a run directory: it has no run.json.")
    if REDACTED in str(info.config):
        raise ConfigError(f"{run_dir} was run with a secret that run.json does not hold; give the whole command again.")
    config = structure(RunConfig, {**info.config, "output_dir": str(run_dir)}, "run")
    return conduct(config)
