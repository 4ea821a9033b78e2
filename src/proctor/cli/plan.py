"""``proctor plan``."""

from __future__ import annotations

from math import ceil
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from proctor.cli.output import print_json
from proctor.errors import ConfigError
from proctor.reports.power import print_episodes_needed
from proctor.statistics.power import discordance, episodes_if_independent, episodes_if_paired


def plan_command(  # noqa: PLR0913 - the command's flags
    *,
    from_: Annotated[float, Parameter(name="from")],
    to: float,
    tasks: int = 1,
    power: float = 0.8,
    correlation: float = 0.3,
    json: bool = False,
) -> int:
    """Compute how many episodes tell two policies apart.

    The number is for two-sided tests at a level of 5 %, over all tasks together, as proctor compare makes them.

    Parameters
    ----------
    from_
        The success rate of one policy, 0 to 1.
    to
        The success rate of the other policy, 0 to 1.
    tasks
        The number of tasks over which the episodes are spread.
    power
        The probability with which the difference is to be found.
    correlation
        The correlation between the outcomes of two policies in the same episode: 0 if they are independent, 1 if they
        are always equal.
    json
        Print the numbers as JSON.
    """
    for name, rate in (("from", from_), ("to", to), ("power", power)):
        if not 0 <= rate <= 1 or (name == "power" and rate in (0, 1)):
            raise ConfigError(f"--{name} is {rate:g}; it must be between 0 and 1.")
    if from_ == to:
        raise ConfigError("--from and --to are the same rate: no number of episodes tells them apart.")
    if tasks < 1:
        raise ConfigError(f"--tasks is {tasks}; it must be at least 1.")
    needed = {
        "paired": episodes_if_paired(*discordance(from_, to, correlation), power),
        "independent": episodes_if_independent(from_, to, power),
    }
    if json:
        print_json({name: {"episodes": n, "episodes_per_task": ceil(n / tasks)} for name, n in needed.items()})
    else:
        print_episodes_needed(Console(), needed, tasks)
    return 0
