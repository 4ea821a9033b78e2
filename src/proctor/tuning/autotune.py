"""Recommends how to run an evaluation on this machine: measures it, and searches for the best choice in the model."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import msgspec

from proctor.config import RunConfig
from proctor.errors import ResourceError
from proctor.evaluation.prepared_run import prepare
from proctor.machine.hardware import Hardware, probe_hardware
from proctor.tuning.child import measure_in_child
from proctor.tuning.measure import OnProgress
from proctor.tuning.model import FORMULA, Choice, Costs, Model, Prediction, short_time

TOLERANCE = 0.02
"""A choice that is faster by at most this part is not preferred to one with fewer processes or unchanged results."""

_MAX_WORKERS = 256
_MAX_SHARDS_PER_DEVICE = 8
_MAX_SHARDS = 64
_STEPS_OF_A_LADDER = 1.25
_WORTH_SAYING = 0.1
"""The part of the cores above which the use by other programs is reported."""


@dataclass(frozen=True, kw_only=True)
class AutotuneRecommendation:
    """The recommended way to run an evaluation on this machine, its duration, and the measurements behind it.

    ``batch_size`` is the number of workers of each shard. ``inference_batch_size`` is the number of observations per
    forward pass, 0 if the policy runs in the workers; ``moves_results`` is true if it differs from what evaluations use
    by default, because results depend on it. ``gl_backend`` is the backend with which simulators render, "" if they do
    not use GL. The evaluation takes ``seconds``, of which ``start_seconds`` are for loading and building;
    ``episodes_per_hour`` is the rate in between.
    """

    num_shards: int
    batch_size: int
    inference_batch_size: int
    gl_backend: str
    moves_results: bool
    episodes_per_hour: float
    seconds: float
    start_seconds: float
    n_episodes: int
    command: str
    reasons: tuple[str, ...]
    formula: tuple[str, ...]
    bounds: dict[str, float]
    """The bound of each part of the machine in chunks per second; the lowest one limits the rate."""
    alternatives: tuple[Prediction, ...]
    hardware: Hardware
    costs: Costs


def recommend(
    config: RunConfig, *, seconds: float = 20.0, on_progress: OnProgress = lambda _: None
) -> AutotuneRecommendation:
    """Measure an evaluation on this machine and recommend how to run it. Nothing is written.

    Args:
        config: the evaluation. Its ``eval.batch_size`` and shards are ignored, because they are what is recommended.
        seconds: how long workers are timed once all of them run episodes. Loading and building take time besides.
        on_progress: called with a phrase for people who wait whenever another thing is measured.

    Raises:
        ConfigError: the evaluation cannot be run; the message says what to do.
        ResourceError: an episode could not be run, or there is not enough memory for one shard with one worker.
    """
    config = replace(config, eval=replace(config.eval, batch_size=0, shard_id=0, num_shards=1))
    prepared = prepare(replace(config, eval=replace(config.eval, trace=False), output_dir=os.devnull))
    hardware = _asked_for(probe_hardware(), config.policy.get("device"))
    costs = measure_in_child(prepared.config, hardware, seconds, on_progress)
    return advise(Model(hardware, costs, len(prepared.plan), len(prepared.tasks)), config)


def advise(model: Model, config: RunConfig) -> AutotuneRecommendation:
    """Derive the recommendation from a model, without measuring.

    Raises:
        ResourceError: there is not enough memory for one shard with one worker.
    """
    best, others = search(model)
    choice, forward = best.choice, best.choice.forward
    return AutotuneRecommendation(
        num_shards=choice.num_shards,
        batch_size=choice.batch_size,
        inference_batch_size=forward.rows if forward else 0,
        gl_backend=choice.drawing.backend,
        moves_results=forward is not None and forward is not model.costs.passes[0],
        episodes_per_hour=best.episodes_per_hour,
        seconds=best.seconds,
        start_seconds=best.start_seconds,
        n_episodes=model.n_episodes,
        command=command(config, model, choice),
        reasons=tuple(_reasons(model, best, others)),
        formula=FORMULA,
        bounds=best.bounds,
        alternatives=tuple(_near(best, others)),
        hardware=model.hardware,
        costs=model.costs,
    )


# --------------------------------------------------------------------------------------------------------- the search


def search(model: Model) -> tuple[Prediction, list[Prediction]]:
    """Return the best choice, and all choices for which there is memory.

    Of the choices that are as fast within :data:`TOLERANCE`, the best one has the fewest shards, then the drawing and
    the pass that evaluations use by default, then the fewest workers.

    Raises:
        ResourceError: there is not enough memory for any choice.
    """
    candidates = list(choices(model))
    fitting = [choice for choice in candidates if not model.shortage(choice)]
    if not fitting:
        least = min(candidates, key=_size)
        raise ResourceError(
            f"Not even one copy fits: one shard with one worker takes {model.shortage(least)}; free some, or use "
            "another device or a smaller policy."
        )
    predictions = [model.predict(choice) for choice in fitting]
    fastest = min(prediction.seconds for prediction in predictions)
    good = [prediction for prediction in predictions if prediction.seconds <= (1 + TOLERANCE) * fastest]
    costs = model.costs

    def plainness(prediction: Prediction) -> tuple[int, int, int, int]:
        choice = prediction.choice
        drawing, forward = costs.drawings.index(choice.drawing), choice.forward
        return choice.num_shards, drawing, costs.passes.index(forward) if forward else 0, choice.batch_size

    return min(good, key=plainness), predictions


def choices(model: Model) -> Iterator[Choice]:
    """Give all choices to consider: every small number of shards and of workers, and larger ones in steps of 25 %."""
    most = _MAX_SHARDS_PER_DEVICE * model.n_devices if model.costs.on_accelerator else model.hardware.cores
    for num_shards in _ladder(min(most, _MAX_SHARDS, model.n_episodes), model.n_devices):
        per_shard = ceil(model.n_episodes / num_shards)
        for batch_size in _ladder(min(_MAX_WORKERS, per_shard), ceil(model.hardware.cores / num_shards)):
            for drawing in model.costs.drawings:
                for forward in model.costs.passes or (None,):
                    yield Choice(num_shards, batch_size, forward, drawing)


def _ladder(most: int, *further: int) -> list[int]:
    steps = {1, most, *(number for number in further if number <= most)}
    step = 1.0
    while step < most:
        steps.add(int(step))
        step = max(step + 1, step * _STEPS_OF_A_LADDER)
    return sorted(steps)


def _size(choice: Choice) -> tuple[int, int, int, int]:
    forward = choice.forward.device_bytes if choice.forward else 0
    return choice.num_shards, choice.batch_size, forward, choice.drawing.device_bytes


def _near(best: Prediction, others: Sequence[Prediction]) -> Iterator[Prediction]:
    """Give the choices to show beside the best one: with fewer and more workers, then the best one with another number
    of shards, another pass, and another drawing.
    """
    chosen = best.choice
    alike = [other for other in others if replace(other.choice, batch_size=chosen.batch_size) == chosen]
    at = next(position for position, other in enumerate(alike) if other.choice == chosen)
    yield from (other for other in alike[max(0, at - 2) : at + 3] if other.choice != chosen)
    for field in ("num_shards", "forward", "drawing"):
        different = [other for other in others if getattr(other.choice, field) != getattr(chosen, field)]
        if different:
            yield min(different, key=lambda other: other.seconds)


# -------------------------------------------------------------------------------------------------------- the reasons


def _reasons(model: Model, best: Prediction, others: Sequence[Prediction]) -> Iterator[str]:
    costs, choice = model.costs, best.choice
    yield _limit(model, best)
    yield _why_so_many_shards(best, others)
    if (forward := choice.forward) is not None and forward is not costs.passes[0]:
        yield (
            f"Passes of {forward.rows} instead of {costs.passes[0].rows} are faster. Results depend on it to the last "
            "bits: keep it in all evaluations that you compare."
        )
    if choice.drawing is not costs.drawings[0]:
        yield f"Drawn with {choice.drawing.backend}, as there is little memory on the accelerator or it is faster."
    if not costs.n_ended:
        yield "No episode ended during the measurement, so each is assumed to reach its step limit."
    if costs.cores_taken > _WORTH_SAYING * model.hardware.cores:
        yield f"Other programs took {costs.cores_taken:.1f} of the {model.hardware.cores} cores during the measurement."
    in_use = Choice(1, costs.n_workers, costs.passes[0] if costs.passes else None, costs.drawings[0])
    predicted = model.predict(in_use).chunks_per_second
    rounds = "chunks" if costs.passes else "episodes"
    with_workers = f"with {costs.n_workers} worker{'s' if costs.n_workers > 1 else ''}"
    yield f"Measured {costs.rate:.3g} {rounds}/s {with_workers}; the model gives {predicted:.3g} for that."


def _limit(model: Model, best: Prediction) -> str:
    costs, choice = model.costs, best.choice
    chunk = "an episode" if choice.forward is None else "a chunk"
    if best.limit == "cores":
        took = short_time(costs.core_with(choice.drawing))
        return f"The cores are the limit: {chunk} takes {took} of one, and there are {model.hardware.cores}."
    if best.limit == "workers":
        took = short_time(model.cycle(choice))
        return f"Workers are the limit: each takes {took} from {chunk} to the next; more do not pay, or do not fit."
    if best.limit == "interpreter":
        return f"The main process is the limit: it is busy for {1e6 * costs.engine:.0f} us with {chunk}."
    assert choice.forward is not None
    return f"Inference is the limit: a pass of {choice.forward.rows} takes {short_time(choice.forward.seconds)}."


def _why_so_many_shards(best: Prediction, others: Sequence[Prediction]) -> str:
    if best.choice.num_shards == 1:
        return "One process is enough: more of them would share the same cores and the same accelerator."
    alone = [other.seconds for other in others if other.choice.num_shards == 1]
    return f"{best.choice.num_shards} shards take {best.seconds / min(alone):.0%} of the time of one."


def command(config: RunConfig, model: Model, choice: Choice) -> str:
    """Make the shell command that runs the evaluation as recommended."""
    forward, costs = choice.forward, model.costs
    rows = forward.rows if forward is not None and forward is not costs.passes[0] else config.eval.inference_batch_size
    evaluation = replace(config.eval, batch_size=choice.batch_size, inference_batch_size=rows)
    config = replace(config, eval=replace(evaluation, num_shards=1, shard_id=0))
    if choice.drawing is not costs.drawings[0]:
        config = replace(config, env={**config.env, "render_device": choice.drawing.backend})
    several = choice.num_shards > 1
    words = ["parallel", f"--num-shards={choice.num_shards}"] if several else ["eval"]
    return shlex.join(["proctor", *words, *arguments(config)])


def arguments(config: RunConfig) -> list[str]:
    """Make the command-line options for ``config``: one for each value that differs from the default."""
    return list(_options(config, RunConfig(), "--"))


def _options(config: Any, default: Any, prefix: str) -> Iterator[str]:
    for field in dataclasses.fields(config):
        value, usual = getattr(config, field.name), getattr(default, field.name)
        if value == usual:
            continue
        if dataclasses.is_dataclass(value):
            yield from _options(value, usual, f"{prefix}{field.name}.")
        elif field.name in ("policy", "env"):
            yield from (f"{prefix}{field.name}.{name}={_written(given)}" for name, given in value.items())
        else:
            yield f"{prefix}{field.name}={_written(value)}"


def _written(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


# -------------------------------------------------------------------------------------------------------- the machine


def _asked_for(hardware: Hardware, device: object) -> Hardware:
    """Return the machine with the accelerators that ``--policy.device`` names; with all of them if it names none."""
    names = [name.strip() for name in str(device or "").split(",") if name.strip()]
    numbers = [number for _, colon, number in (name.partition(":") for name in names) if colon]
    if not names or (not numbers and names != ["cpu"]):
        return hardware
    chosen = tuple(hardware.gpus[int(n)] for n in numbers if n.isdigit() and int(n) < len(hardware.gpus))
    return replace(hardware, gpus=chosen)
