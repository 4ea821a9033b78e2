"""``proctor plan``."""

from __future__ import annotations

from math import ceil
from typing import Annotated

from cyclopts import Parameter

from proctor.errors import ConfigError


def plan_command(  # noqa: PLR0913 - the command's flags
    *,
    from_: Annotated[float, Parameter(name="from")],
    to: float,
    tasks: int = 1,
    power: float = 0.8,
    correlation: float = 0.3,
    json: bool = False,
) -> int:
    """Say how many episodes tell two policies apart.

    Two-sided tests at a level of 5 %, over all tasks together, as proctor compare makes them.

    Parameters
    ----------
    from_
        One policy's success rate, 0 to 1.
    to
        The other's.
    tasks
        Over how many tasks the episodes are spread.
    power
        The probability with which the difference is to be found.
    correlation
        Between the outcomes of two policies in the same episode: 0 if the one says nothing of the other, 1 if all.
    json
        As JSON.
    """
    from proctor.statistics.power import discordance, episodes_if_independent, episodes_if_paired

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
        from proctor.cli.output import print_json

        print_json({name: {"episodes": n, "episodes_per_task": ceil(n / tasks)} for name, n in needed.items()})
    else:
        _print(needed, tasks)
    return 0


def _print(needed: dict[str, int], tasks: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("episodes of each policy")
    table.add_column("all", justify="right")
    if tasks > 1:
        table.add_column("per task", justify="right")
    texts = {"paired": "the same for both (same seeds)", "independent": "different ones"}
    for name, n in needed.items():
        table.add_row(texts[name], str(n), *([str(ceil(n / tasks))] if tasks > 1 else []))
    Console().print(table)
