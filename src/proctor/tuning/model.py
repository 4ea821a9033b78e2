"""A model of how fast an evaluation runs, from the costs of its parts: its rate is the lowest of a few bounds.

A *chunk* is the unit that repeats: a worker executes the actions of one prediction and renders an observation, and the
policy makes a forward pass for the next actions. (A policy that runs in the workers has no pass, and its chunk is a
whole episode.) With K shards of N workers, passes of B rows, C cores and G accelerators, chunks per second are at most

::

    cores        C / core                        core: CPU seconds of a chunk in all processes; C does not include the
                                                 cores that other programs used during the measurement
    workers      K N / cycle                     cycle: a worker's seconds from one chunk to the next
    inference    K slots min(B, N) / pass        pass: seconds of one of B rows; slots: passes that run side by side
    device       min(K, G) min(B, N) / kernels   kernels: the seconds of a pass in which the accelerator computes
    interpreter  K / engine                      engine: seconds of the main process for a chunk, besides passes

The cycle is ``simulate + overhead + pass``. In a shard that makes one pass at a time, an observation that arrives
during a pass of other observations waits for its end, so a cycle takes at least two passes. Shards that share an
accelerator also wait for the kernels of the others.

If the core bound and the worker bound are close, neither is reached: a random number of workers waits for inference,
and while it is large, cores are idle. :meth:`Model.predict` subtracts that loss.

The whole evaluation takes the start (the policy loads while simulators are built), the episodes at that rate, the time
to build further simulators if there are several tasks, and half an episode at the end, when workers run out of work one
by one. The gain of a second copy of the policy on the same accelerator follows from ``kernels`` alone; the
accelerator's time for rendering is not modelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, erf, exp, pi, sqrt

from proctor.machine.hardware import Hardware

_HALVINGS = 20
HEADROOM = 0.9
"""The part of the available memory that a choice may use."""

FORMULA = (
    "chunks/s = the lowest of: cores C / core; workers K N / (simulate + pass + overhead), or K N / 2 passes;",
    "inference K slots min(B, N) / pass; device G min(B, N) / kernels; interpreter K / engine",
)
"""The model in two lines, as proctor autotune prints it."""


@dataclass(frozen=True, slots=True)
class Pass:
    """The cost of a forward pass of ``rows`` observations, alone on its device.

    ``kernels`` is the part of its ``seconds`` in which an accelerator computes, 0 to 1 (1 if it was not measured).
    ``device_bytes`` is the accelerator's memory that the policy uses after such passes: weights, activations and the
    runtime; 0 on a CPU.
    """

    rows: int
    seconds: float
    kernels: float = 1.0
    device_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Drawing:
    """The cost of rendering an observation with one GL backend.

    ``look`` is in seconds, ``device_bytes`` are bytes of an accelerator's memory per worker.
    """

    backend: str
    look: float
    device_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The measured costs of an evaluation's parts, in seconds and bytes; a chunk is defined in the module's docstring.

    The first of ``drawings`` and of ``passes`` are those that an evaluation uses unless it is told otherwise.
    ``passes`` is empty if the policy runs in the workers. ``core`` was measured with the first drawing.
    """

    load: float
    """Seconds to start the process and load the policy."""
    up: float
    """Seconds from the start of a worker until its simulator is built, with ``n_workers`` side by side."""
    n_workers: int
    """The number of workers during the measurement."""
    construct: float
    reset: float
    step: float
    steps_per_chunk: float
    looks_per_chunk: float
    chunks_per_episode: float
    n_ended: int
    """Episodes that ended during the measurement. If none did, every episode is assumed to reach its step limit."""
    overhead: float
    """Seconds of a worker's cycle that are neither simulation nor inference."""
    core: float
    """CPU seconds per chunk of all processes."""
    engine: float
    """CPU seconds per chunk of the thread that schedules."""
    cores_taken: float
    """Cores that other programs used during the measurement."""
    rate: float
    """Chunks per second of all workers together during the measurement."""
    drawings: tuple[Drawing, ...]
    passes: tuple[Pass, ...] = ()
    slots: int = 1
    on_accelerator: bool = False
    shard_bytes: int = 0
    """Memory of a main process with its policy."""
    worker_bytes: int = 0

    def simulate(self, drawing: Drawing) -> float:
        """Return the seconds of a chunk in the simulator."""
        reset = self.reset / self.chunks_per_episode
        return reset + self.steps_per_chunk * self.step + self.looks_per_chunk * drawing.look

    def core_with(self, drawing: Drawing) -> float:
        """Return the CPU seconds of a chunk with a ``drawing``. If it is slower than the first one, the difference is
        assumed to be CPU time.
        """
        return self.core + self.looks_per_chunk * max(0.0, drawing.look - self.drawings[0].look)


@dataclass(frozen=True, slots=True)
class Choice:
    """A way to run an evaluation: shards, workers of each, and a measured pass and drawing.

    ``forward`` is None if the policy runs in the workers.
    """

    num_shards: int
    batch_size: int
    forward: Pass | None
    drawing: Drawing


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction for a choice: the bounds in chunks per second, the seconds of the whole and of its start."""

    choice: Choice
    bounds: dict[str, float]
    seconds: float
    start_seconds: float
    chunks_per_second: float
    episodes_per_hour: float
    """This rate, like ``chunks_per_second``, leaves out the start and the end of the evaluation."""

    @property
    def limit(self) -> str:
        """The name of the lowest bound."""
        return min(self.bounds, key=lambda name: self.bounds[name])


@dataclass(frozen=True)
class Model:
    """The model of an evaluation of ``n_episodes`` over ``n_tasks`` tasks on a machine, with measured costs."""

    hardware: Hardware
    costs: Costs
    n_episodes: int
    n_tasks: int = 1

    @property
    def n_devices(self) -> int:
        """The number of accelerators over which shards are spread; 1 if they share the CPU."""
        return max(1, len(self.hardware.gpus)) if self.costs.on_accelerator else 1

    @property
    def cores(self) -> float:
        """The cores that other programs leave free, at least as many as the measurement used."""
        return max(self.hardware.cores - self.costs.cores_taken, self.costs.core * self.costs.rate)

    def predict(self, choice: Choice) -> Prediction:
        """Predict the speed of a choice, whether or not there is memory for it (:meth:`shortage`)."""
        costs, bounds = self.costs, self.bounds(choice)
        workers = choice.num_shards * choice.batch_size
        rate = self._rate(choice, bounds)
        start = max(costs.load, costs.up * max(1.0, workers / costs.n_workers))
        rebuilding = costs.construct * (self.n_tasks - 1) / workers
        episode = costs.chunks_per_episode * workers / rate
        running = max(episode, self.n_episodes * costs.chunks_per_episode / rate + episode / 2 * (1 - 1 / workers))
        per_hour = 3600 * rate / costs.chunks_per_episode
        return Prediction(choice, bounds, start + rebuilding + running, start, rate, per_hour)

    def _rate(self, choice: Choice, bounds: Mapping[str, float]) -> float:
        """Compute chunks per second: the lowest bound, less the loss by cores that are idle while many workers wait.

        The number of the W workers that wait is random. Its mean is rate x waiting (Little's law), and its spread grows
        with the size of a batch, whose workers return together. The others need the cores. The rate is the one at which
        the cores deliver exactly the work that it takes, which is found by bisection.
        """
        costs, forward, workers = self.costs, choice.forward, choice.num_shards * choice.batch_size
        on_core = costs.simulate(choice.drawing)
        if forward is not None and not costs.on_accelerator:
            on_core += forward.seconds  # on a CPU a pass needs a core too, and is not time in which a core is free
        waiting = self.cycle(choice) - on_core
        places = bounds["cores"] * on_core  # workers that the cores can serve at the same time
        low, high = 0.0, min(bounds.values())
        for _ in range(_HALVINGS):
            rate = (low + high) / 2
            away = rate * waiting  # the mean number of waiting workers
            # Workers return in batches: as many as a pass holds, or as arrive during one pass.
            together = max(1.0, min(forward.rows, rate * forward.seconds / choice.num_shards)) if forward else 1.0
            # A binomial deviation for batches instead of single workers.
            spread = sqrt(together * away * max(0.0, 1 - away / workers))
            # Cores deliver what the workers that do not wait ask for, up to the number of places.
            if _mean_of_lesser(places, workers - away, spread) > rate * on_core:
                low = rate
            else:
                high = rate
        return high

    def bounds(self, choice: Choice) -> dict[str, float]:
        """Return the bound of each part of the machine in chunks per second."""
        costs, forward, shards = self.costs, choice.forward, choice.num_shards
        bounds = {
            "cores": self.cores / costs.core_with(choice.drawing),
            "workers": shards * choice.batch_size / self.cycle(choice),
        }
        if forward is not None:
            rows = min(forward.rows, choice.batch_size)
            bounds["inference"] = shards * costs.slots * rows / forward.seconds
            if costs.on_accelerator:
                bounds["device"] = min(shards, self.n_devices) * rows / (forward.kernels * forward.seconds)
        if costs.engine:
            bounds["interpreter"] = shards / costs.engine
        return bounds

    def cycle(self, choice: Choice) -> float:
        """Return a worker's seconds from one chunk to the next if neither cores nor passes are scarce."""
        costs, forward = self.costs, choice.forward
        simulate = costs.simulate(choice.drawing)
        if forward is None:
            return simulate + costs.overhead
        shards_per_device = ceil(choice.num_shards / self.n_devices) if costs.on_accelerator else 0
        # Shards that share an accelerator take turns with their kernels.
        turn = shards_per_device * forward.kernels * forward.seconds
        if costs.slots > 1 or choice.batch_size == 1:
            return max(forward.seconds + simulate + costs.overhead, turn)
        # With one pass at a time, an observation waits for the pass of the others: a cycle is at least two passes.
        return max(forward.seconds + max(simulate, forward.seconds) + costs.overhead, 2 * turn)

    def shortage(self, choice: Choice) -> str:
        """Return a phrase on the memory that a choice lacks, with what it takes and what there is; "" if it fits."""
        costs = self.costs
        memory = choice.num_shards * (costs.shard_bytes + choice.batch_size * costs.worker_bytes)
        available = self.hardware.memory_bytes
        if available is not None and memory > HEADROOM * available:
            return f"{gigabytes(memory)} of memory, of {gigabytes(available)} available"
        if choice.forward is None or not costs.on_accelerator or not self.hardware.gpus:
            return ""
        shards_per_gpu = ceil(choice.num_shards / self.n_devices)
        each = choice.forward.device_bytes + choice.batch_size * choice.drawing.device_bytes
        smallest = min(self.hardware.gpus, key=lambda gpu: gpu.free_bytes)
        if shards_per_gpu * each > HEADROOM * smallest.free_bytes:
            return f"{gigabytes(shards_per_gpu * each)} of GPU memory, of {gigabytes(smallest.free_bytes)} free"
        return ""


def _mean_of_lesser(places: float, mean: float, deviation: float) -> float:
    """Return the mean of the smaller of ``places`` and a normally distributed number."""
    if not deviation:
        return min(places, mean)
    z = (mean - places) / deviation
    density, below = exp(-z * z / 2) / sqrt(2 * pi), (1 + erf(z / sqrt(2))) / 2
    return mean - (mean - places) * below - deviation * density


def short_time(seconds: float) -> str:
    """Format a duration in seconds: ``12.3 ms``, ``1.52 s``."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def gigabytes(n_bytes: float) -> str:
    """Format a number of bytes: ``14.2 GB``."""
    return f"{n_bytes / (1 << 30):.1f} GB"
