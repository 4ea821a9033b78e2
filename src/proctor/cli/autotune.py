"""``proctor autotune``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from proctor.config import RunConfig
from proctor.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from proctor.tuning import AutotuneRecommendation
    from proctor.tuning.model import Prediction

_NOTHING = RunConfig()


def autotune_command(
    config: Annotated[RunConfig, Parameter(name="*")] = _NOTHING, *, seconds: float = 20.0, json: bool = False
) -> int:
    """Measure an evaluation on this machine, and recommend how to run it fast.

    Loads the policy, builds simulators and runs the first episodes for a while; nothing is written. The recommendation
    is a command to paste: the number of shards, of workers in each, observations per forward pass, and what draws.
    Measure on a machine on which nothing else runs.

    Parameters
    ----------
    config
        As for proctor eval.
    seconds
        How long workers are timed once all of them are at work.
    json
        As JSON.
    """
    from rich.console import Console

    from proctor.tuning import recommend

    if not seconds > 0:
        raise ConfigError(f"--seconds is {seconds:g}; it must be positive.")
    with Console(stderr=True).status("Measuring") as status:
        found = recommend(config, seconds=seconds, say=lambda doing: status.update(f"Measuring: {doing}"))
    if json:
        from proctor.cli.output import print_json

        print_json(found)
    else:
        _print(Console(), found)
    return 0


def _print(console: Console, found: AutotuneRecommendation) -> None:
    from rich.text import Text

    from proctor.reports.text import safe

    _print_rows(console, "measured", _measured(found))
    console.print()
    for reason in found.reasons:
        console.print(safe(reason))
    console.print()
    _print_choices(console, found)
    console.print(Text("\nThe model, K shards of N workers, passes of B:", "dim"))
    for line in found.formula:
        console.print(safe(f"  {line}", "dim"), soft_wrap=True)
    console.print()
    console.print(safe(found.command, "bold"), soft_wrap=True)


def _measured(found: AutotuneRecommendation) -> Iterator[tuple[str, str]]:
    """What was measured, a name and a value each."""
    from proctor.tuning.model import gigabytes, short_time

    hardware, costs = found.hardware, found.costs
    memory = "" if hardware.memory_bytes is None else f", {gigabytes(hardware.memory_bytes)} of memory available"
    yield "machine", f"{hardware.cores} cores{memory}"
    for gpu in hardware.gpus:
        yield "", f"{gpu.name}, {gigabytes(gpu.free_bytes)} of {gigabytes(gpu.total_bytes)} free"
    yield "start", f"policy {costs.load:.1f} s, workers {costs.up:.1f} s, of which simulators {costs.construct:.1f} s"
    yield "reset, step", f"{short_time(costs.reset)}, {short_time(costs.step)}"
    if costs.looks_per_chunk:
        yield "look", ", ".join(f"{short_time(each.look)} {each.backend}".strip() for each in costs.drawings)
    for forward in costs.passes:
        yield f"pass of {forward.rows}", short_time(forward.seconds)
    if costs.passes:
        yield (
            "chunk",
            f"{costs.steps_per_chunk:.3g} steps, {costs.looks_per_chunk:.2g} looks, {short_time(costs.core)} of a core",
        )
        yield "episode", f"{costs.chunks_per_episode:.1f} chunks"
    else:
        yield "episode", f"{costs.steps_per_chunk:.3g} steps, {short_time(costs.core)} of a core"
    yield "memory", f"main process {gigabytes(costs.shard_bytes)}, each worker {gigabytes(costs.worker_bytes)}"
    if costs.on_accelerator and any(forward.device_bytes for forward in costs.passes):
        yield "GPU memory", ", ".join(f"{gigabytes(p.device_bytes)} with passes of {p.rows}" for p in costs.passes)


def _print_rows(console: Console, title: str, rows: Iterator[tuple[str, str]]) -> None:
    from rich.table import Table

    from proctor.reports.text import safe

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(title, no_wrap=True)
    table.add_column("")
    for name, value in rows:
        table.add_row(name, safe(value))
    console.print(table)


def _print_choices(console: Console, found: AutotuneRecommendation) -> None:
    """The recommended choice, and those near it."""
    from rich.table import Table

    from proctor.reports.text import duration

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("shards", "workers", "pass", "draws with", "episodes/h", f"{found.n_episodes} episodes"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    table.add_row(
        str(found.num_shards),
        str(found.batch_size),
        str(found.inference_batch_size or "-"),
        found.gl_backend or "-",
        f"{found.episodes_per_hour:.0f}",
        duration(found.seconds),
        "recommended",
        style="bold",
    )
    for other in found.alternatives:
        table.add_row(*_cells(other))
    console.print(table)


def _cells(prediction: Prediction) -> Iterator[str]:
    from proctor.reports.text import duration

    choice = prediction.choice
    yield str(choice.num_shards)
    yield str(choice.batch_size)
    yield str(choice.forward.rows) if choice.forward else "-"
    yield choice.drawing.backend or "-"
    yield f"{prediction.episodes_per_hour:.0f}"
    yield duration(prediction.seconds)
