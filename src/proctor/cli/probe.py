"""``proctor probe``."""

from __future__ import annotations

from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from proctor.cli.eval import ERRORS_REMAIN
from proctor.cli.output import print_json
from proctor.config import RunConfig

_NOTHING = RunConfig()


def probe_command(
    config: Annotated[RunConfig, Parameter(name="*")] = _NOTHING, *, steps: int = 50, json: bool = False
) -> int:
    """Look at what a policy is given and gives, in one short episode.

    The first episode of the first task is run for a few steps. Tables show the arrays that the policy was given (and,
    if it is behind a server, what was sent), the actions that came back beside the environment's bounds, the latency,
    and what is odd about them. Each pass has one observation. Nothing is written.

    Parameters
    ----------
    config
        The options of proctor eval.
    steps
        The number of steps after which the episode is ended.
    json
        Print the numbers as JSON.
    """
    from proctor.cli.probe_tables import print_probe
    from proctor.evaluation.prepared_run import prepare
    from proctor.evaluation.probe import probe
    from proctor.evaluation.terminal import quiet_terminal

    with TemporaryDirectory() as folder:
        evaluation = replace(config.eval, n_episodes=1, video="none", recording=False, recording_repo_id=None)
        prepared = prepare(replace(config, eval=evaluation, output_dir=folder))
        with quiet_terminal(evaluation, prepared.run_directory.worker_log):
            found = probe(prepared, steps)
    if json:
        print_json(found)
    else:
        print_probe(Console(), found)
    return ERRORS_REMAIN if found.error else 0
