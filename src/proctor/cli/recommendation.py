"""Prints what ``proctor autotune`` recommends: the measurements, the reasons, the choices, the command to paste."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from proctor.reports.text import NONE, duration, safe
from proctor.tuning import AutotuneRecommendation
from proctor.tuning.model import Prediction, gigabytes, short_time


def print_recommendation(console: Console, found: AutotuneRecommendation) -> None:
    """Print a recommendation; the last line is the command, on a line of its own."""
    console.print(_measurements_table(_measurements(found)))
    console.print()
    for reason in found.reasons:
        console.print(safe(reason))
    console.print()
    console.print(_choices_table(found))
    console.print(Text("\nThe model, K shards of N workers, passes of B:", "dim"))
    for line in found.formula:
        console.print(safe(f"  {line}", "dim"), soft_wrap=True)
    console.print()
    console.print(safe(found.command, "bold"), soft_wrap=True)


def _measurements(found: AutotuneRecommendation) -> Iterator[tuple[str, str]]:
    """Give the name and the value of each measurement."""
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


def _measurements_table(rows: Iterable[tuple[str, str]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("measured", no_wrap=True)
    table.add_column("")
    for name, value in rows:
        table.add_row(name, safe(value))
    return table


def _choices_table(found: AutotuneRecommendation) -> Table:
    """Make a row for the recommended choice, and one for each choice near it."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("shards", "workers", "pass", "draws with", "episodes/h", f"{found.n_episodes} episodes"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    table.add_row(
        str(found.num_shards),
        str(found.batch_size),
        str(found.inference_batch_size or NONE),
        found.gl_backend or NONE,
        f"{found.episodes_per_hour:.0f}",
        duration(found.seconds),
        "recommended",
        style="bold",
    )
    for other in found.alternatives:
        table.add_row(*_cells(other))
    return table


def _cells(prediction: Prediction) -> Iterator[str]:
    choice = prediction.choice
    yield str(choice.num_shards)
    yield str(choice.batch_size)
    yield str(choice.forward.rows) if choice.forward else NONE
    yield choice.drawing.backend or NONE
    yield f"{prediction.episodes_per_hour:.0f}"
    yield duration(prediction.seconds)
