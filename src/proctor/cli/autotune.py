"""``proctor autotune``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from proctor.cli.output import print_json
from proctor.config import RunConfig
from proctor.errors import ConfigError

_NOTHING = RunConfig()


def autotune_command(
    config: Annotated[RunConfig, Parameter(name="*")] = _NOTHING, *, seconds: float = 20.0, json: bool = False
) -> int:
    """Measure an evaluation on this machine, and recommend how to run it fast.

    The command loads the policy, builds simulators and runs the first episodes for a while; nothing is written. The
    recommendation is a command to paste: the number of shards, of workers in each, observations per forward pass, and
    the rendering backend. Measure on a machine on which nothing else runs.

    Parameters
    ----------
    config
        The options of proctor eval.
    seconds
        The number of seconds for which workers are timed once all of them run episodes.
    json
        Print the recommendation as JSON.
    """
    from proctor.cli.recommendation import print_recommendation
    from proctor.tuning import recommend

    if not seconds > 0:
        raise ConfigError(f"--seconds is {seconds:g}; it must be positive.")
    with Console(stderr=True).status("Measuring") as status:
        found = recommend(config, seconds=seconds, on_progress=lambda doing: status.update(f"Measuring: {doing}"))
    if json:
        print_json(found)
    else:
        print_recommendation(Console(), found)
    return 0
