"""``proctor resume``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from proctor.cli.ci import CiOptions
from proctor.cli.eval import conduct
from proctor.cli.parallel import conduct_in_shards
from proctor.cli.run_names import chosen_run
from proctor.config import RunConfig, structure
from proctor.errors import ConfigError
from proctor.security.consent import GIVE_CONSENT, of_run
from proctor.security.redaction import REDACTED

if TYPE_CHECKING:
    from proctor.results.run_info import RunInfo


_NO_CI = CiOptions()


def resume_command(  # noqa: D417 - CiOptions describes its own
    run_dir: Path | None = None,
    /,
    *,
    num_shards: str | None = None,
    devices: str | None = None,
    trust_remote_code: bool = False,
    ci: Annotated[CiOptions, Parameter(name="*")] = _NO_CI,
) -> int:
    """Go on with an evaluation that was interrupted, and try again what ended in an error.

    The configuration is read from RUN_DIR, and episodes that have finished are kept. If one shard was run in the
    directory, that shard is resumed; if several were run there, or were merged, all missing episodes are run.

    Parameters
    ----------
    run_dir
        A run directory, a part of its name that no other run here has, or nothing for the run that began last.
    num_shards
        Go on in this many interpreters at once, or auto: see proctor parallel.
    devices
        The accelerators that are assigned to these in turn, cuda:0,cuda:1; all that are visible if not given.
    trust_remote_code
        Consent to running code that is not installed here; RUN_DIR does not hold consent that was given before.
    """
    from proctor.results.run_dir import RUN_FILE
    from proctor.results.run_info import require_code

    directory = chosen_run(run_dir)
    info = _run_to_resume(directory)
    given = {"num_shards": num_shards, "devices": devices}
    options = [f"--{name}={value}" for name, value in given.items() if value is not None]
    command = shlex.join(["proctor", "resume", str(directory.absolute()), *options])
    if REDACTED in str(info.config):
        raise ConfigError(
            f"{directory} was run with a secret that {RUN_FILE} does not hold; give the whole command again."
        )
    fields = of_run(info.config, command, consent=trust_remote_code)
    require_code(info, ("env", "policy"), f"{command} {GIVE_CONSENT}" if trust_remote_code else command)
    config = structure(RunConfig, {**fields, "output_dir": str(directory)}, "run")
    if num_shards is not None:
        return conduct_in_shards(config, num_shards, ci=ci, devices=devices)
    return conduct(config, ci)


def _run_to_resume(run_dir: Path) -> RunInfo:
    """Choose the shard if the directory holds a single one, and the whole run otherwise."""
    from proctor.results.run_dir import WHOLE, RunDirectory

    directory = RunDirectory(run_dir)
    whole = directory.require_run()
    shards = [run for shard, run in directory.read_runs().items() if shard != WHOLE]
    merged = directory.eval_info_file.exists()
    return shards[0] if len(shards) == 1 and not merged else whole
