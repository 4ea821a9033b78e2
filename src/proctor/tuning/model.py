"""How fast an evaluation runs, from what its parts cost: a few bounds, of which the lowest counts.

A *chunk* is what goes round and round: a worker executes the actions of one prediction and looks, and the policy takes
a forward pass for the next ones. (A policy that lives in the workers has no pass; its chunk is a whole episode.) With
K shards of N workers, passes of B rows, C cores and G accelerators, chunks per second are at most

::

    cores        C / core                        core: CPU seconds of a chunk, everything included; C is without what
                                                 other programs took while measuring
    workers      K N / cycle                     cycle: a worker's seconds from one chunk to the next
    inference    K slots min(B, N) / pass        pass: seconds of one of B rows; slots: passes that run side by side
    device       min(K, G) min(B, N) / kernels   kernels: the seconds of a pass in which the accelerator computes
    interpreter  K / engine                      engine: seconds the main process is busy with a chunk besides passes

The cycle is ``simulate + overhead + pass``. In a shard that makes one pass at a time, an observation that comes while
the pass of the others runs waits for its end, so that a cycle is at least two passes; and shards that share an
accelerator wait for the kernels of the others.

Where cores and workers bound alike, neither bound is reached: of the workers, a random number waits for passes, and
while there are many of them, cores stand idle. That is taken off (:meth:`Model.predict`).

The whole takes the start (the policy loads while simulators are built), the episodes at that rate, the further
simulators that several tasks need, and half an episode at the end, when workers run out of work one by one. What a
second copy of the policy would gain on the same accelerator follows from ``kernels`` alone, and what drawing takes of
the accelerator is not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, erf, exp, pi, sqrt

from proctor.machine.hardware import Hardware

_HALVINGS = 20
HEADROOM = 0.9
"""The part of available memory that is planned with."""

FORMULA = (
    "chunks/s = the lowest of: cores C / core; workers K N / (simulate + pass + overhead), or K N / 2 passes;",
    "inference K slots min(B, N) / pass; device G min(B, N) / kernels; interpreter K / engine",
)
"""The model in two lines, as people are shown it."""


@dataclass(frozen=True, slots=True)
class Pass:
    """A forward pass of ``rows`` observations, alone on its device.

    ``kernels`` is the part of its ``seconds`` in which an accelerator computes, 0 to 1 (1 where it was not measured).
    ``device_bytes`` is what the policy takes of the accelerator's memory once it has made such passes: weights,
    activations and the runtime; 0 on a CPU.
    """

    rows: int
    seconds: float
    kernels: float = 1.0
    device_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a look costs with one GL backend: seconds, and bytes of an accelerator's memory per worker."""

    backend: str
    look: float
    device_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What was measured. Seconds and bytes; "per chunk" is defined above.

    ``drawings`` and ``passes`` begin with those that are in use unless something else is chosen. ``passes`` is empty
    where the policy lives in the workers. ``core`` was measured with the first drawing.
    """

    load: float
    """Start of the process and loading of the policy."""
    up: float
    """From the start of a process to its simulator, ``n_workers`` side by side."""
    n_workers: int
    """With how many workers this was measured."""
    construct: float
    reset: float
    step: float
    steps_per_chunk: float
    looks_per_chunk: float
    chunks_per_episode: float
    n_ended: int
    """Episodes that ended while measuring; with none, every episode is taken to be as long as it can get."""
    overhead: float
    """Of a worker's cycle, what is neither simulation nor inference."""
    core: float
    """CPU seconds per chunk of all processes."""
    engine: float
    """CPU seconds per chunk of the thread that schedules."""
    cores_taken: float
    """By other programs, while measuring."""
    rate: float
    """Chunks per second while measuring, all workers together."""
    drawings: tuple[Drawing, ...]
    passes: tuple[Pass, ...] = ()
    slots: int = 1
    on_accelerator: bool = False
    shard_bytes: int = 0
    """Memory of a main process with its policy."""
    worker_bytes: int = 0

    def simulate(self, drawing: Drawing) -> float:
        """Seconds of a chunk in the simulator."""
        reset = self.reset / self.chunks_per_episode
        return reset + self.steps_per_chunk * self.step + self.looks_per_chunk * drawing.look

    def core_with(self, drawing: Drawing) -> float:
        """CPU seconds of a chunk if it is drawn so: what a look takes longer than before is taken to be CPU time."""
        return self.core + self.looks_per_chunk * max(0.0, drawing.look - self.drawings[0].look)


@dataclass(frozen=True, slots=True)
class Choice:
    """How to run: shards, workers of each, and the rows of a pass and the GL backend that were measured so."""

    num_shards: int
    batch_size: int
    forward: Pass | None
    drawing: Drawing


@dataclass(frozen=True, slots=True)
class Prediction:
    """What comes of a choice: the bounds in chunks per second, the time of the whole, and of its start."""

    choice: Choice
    bounds: dict[str, float]
    seconds: float
    start_seconds: float
    chunks_per_second: float
    episodes_per_hour: float
    """Both while it runs, start and end apart."""

    @property
    def limit(self) -> str:
        """Which bound is the lowest."""
        return min(self.bounds, key=lambda name: self.bounds[name])


@dataclass(frozen=True)
class Model:
    """An evaluation of ``n_episodes`` over ``n_tasks`` tasks on a machine, its parts measured."""

    hardware: Hardware
    costs: Costs
    n_episodes: int
    n_tasks: int = 1

    @property
    def n_devices(self) -> int:
        """Accelerators among which shards are dealt; without one all share the CPU."""
        return max(1, len(self.hardware.gpus)) if self.costs.on_accelerator else 1

    @property
    def cores(self) -> float:
        """Cores that other programs leave, at least those that were used."""
        return max(self.hardware.cores - self.costs.cores_taken, self.costs.core * self.costs.rate)

    def predict(self, choice: Choice) -> Prediction:
        """How a choice would do. Whether there is memory for it is another question: :meth:`shortage`."""
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
        """Chunks per second: the lowest bound, less what cores stand idle while many workers wait for passes at once.

        Of W workers those that wait are a random number, with a mean of rate x waiting; a batch comes back together.
        The others share the cores. The rate is the one at which that is so.
        """
        costs, forward, workers = self.costs, choice.forward, choice.num_shards * choice.batch_size
        on_core = costs.simulate(choice.drawing)
        if forward is not None and not costs.on_accelerator:
            on_core += forward.seconds
        waiting = self.cycle(choice) - on_core
        places = bounds["cores"] * on_core
        low, high = 0.0, min(bounds.values())
        for _ in range(_HALVINGS):
            rate = (low + high) / 2
            away = rate * waiting
            together = max(1.0, min(forward.rows, rate * forward.seconds / choice.num_shards)) if forward else 1.0
            spread = sqrt(together * away * max(0.0, 1 - away / workers))
            if _mean_of_lesser(places, workers - away, spread) > rate * on_core:
                low = rate
            else:
                high = rate
        return high

    def bounds(self, choice: Choice) -> dict[str, float]:
        """What each part of the machine can do at most, chunks per second."""
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
        """A worker's seconds from one chunk to the next, where neither cores nor passes are short."""
        costs, forward = self.costs, choice.forward
        simulate = costs.simulate(choice.drawing)
        if forward is None:
            return simulate + costs.overhead
        shards_per_device = ceil(choice.num_shards / self.n_devices) if costs.on_accelerator else 0
        turn = shards_per_device * forward.kernels * forward.seconds
        if costs.slots > 1 or choice.batch_size == 1:
            return max(forward.seconds + simulate + costs.overhead, turn)
        return max(forward.seconds + max(simulate, forward.seconds) + costs.overhead, 2 * turn)

    def shortage(self, choice: Choice) -> str:
        """Which memory a choice has too little of: a phrase with both numbers, "" if it fits."""
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
    """The mean of the lesser of ``places`` and a number with a normal distribution."""
    if not deviation:
        return min(places, mean)
    z = (mean - places) / deviation
    density, below = exp(-z * z / 2) / sqrt(2 * pi), (1 + erf(z / sqrt(2))) / 2
    return mean - (mean - places) * below - deviation * density


def short_time(seconds: float) -> str:
    """``12.3 ms``, ``1.52 s``."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def gigabytes(n_bytes: float) -> str:
    """``14.2 GB``."""
    return f"{n_bytes / (1 << 30):.1f} GB"
