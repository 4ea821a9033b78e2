"""Machines that are not there, described by what would be measured on them, and an event simulation of each.

The simulation shares nothing with the model but the numbers that go into both: workers want cores, which all that run
share evenly; observations queue for the shard's passes, and passes for the accelerator; times vary from chunk to chunk.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count

from proctor.machine.hardware import Gpu, Hardware
from proctor.tuning.model import Choice, Costs, Drawing, Model, Pass

GB = 1 << 30
SPREAD = 0.2
"""Of the time a chunk is simulated, as part of its mean."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """A machine with a benchmark and a policy. Times in milliseconds, memory in GB.

    A pass of ``b`` rows takes ``pass_ms + row_ms * b``; for ``kernels`` of it the accelerator computes, the rest is
    the work of a core. Without GPUs passes run on the cores, one row each.
    """

    cores: int
    ram: float
    gpus: int = 0
    gpu_ram: float = 0.0
    step_ms: float
    look_ms: float = 0.0
    chunk: int = 1
    pass_ms: float
    row_ms: float = 0.0
    kernels: float = 1.0
    engine_ms: float = 0.1
    model: float = 0.5
    worker: float = 0.3
    draws: float = 0.0
    """GPU memory of a worker that draws."""
    alone: bool = False
    """One episode per pass, one pass at a time."""

    @property
    def simulate(self) -> float:
        return (self.chunk * self.step_ms + self.look_ms) / 1000

    def forward(self, rows: int) -> Pass:
        seconds = (self.pass_ms + self.row_ms * rows) / 1000
        return Pass(rows, seconds, self.kernels, int((self.model + 0.02 * rows) * GB) if self.gpus else 0)

    def passes(self) -> tuple[Pass, ...]:
        if not self.gpus or self.alone:
            return (self.forward(1),)
        return tuple(self.forward(rows) for rows in (16, 1, 2, 4, 8, 32))

    def host(self, forward: Pass) -> float:
        """A core's seconds with a pass."""
        return (1 - self.kernels) * forward.seconds if self.gpus else forward.seconds

    def model_of(self) -> Model:
        """As if all of it had been measured without error."""
        usual = self.passes()[0]
        work = self.simulate + self.engine_ms / 1000 + self.host(usual) / usual.rows
        costs = Costs(
            load=20.0,
            up=4.0,
            n_workers=max(1, int(0.7 * self.cores)),
            construct=2.0,
            reset=0.0,
            step=self.step_ms / 1000,
            steps_per_chunk=self.chunk,
            looks_per_chunk=1.0,
            chunks_per_episode=200 / self.chunk,
            n_ended=1,
            overhead=self.engine_ms / 1000,
            core=work,
            cores_taken=0.0,
            engine=self.engine_ms / 1000,
            rate=0.0,
            drawings=(Drawing("egl", self.look_ms / 1000, int(self.draws * GB)),),
            passes=self.passes(),
            slots=1 if self.gpus or self.alone else self.cores,
            on_accelerator=bool(self.gpus),
            shard_bytes=int(((2.0 if self.gpus else self.model) + 0.5) * GB),
            worker_bytes=int(self.worker * GB),
        )
        gpus = (Gpu("described", int(self.gpu_ram * GB), int(self.gpu_ram * GB)),) * self.gpus
        return Model(Hardware(self.cores, int(self.ram * GB), gpus), costs, n_episodes=100_000)


_H100 = Described(cores=16, ram=128, gpus=1, gpu_ram=80, step_ms=20, pass_ms=5, model=14, worker=2)
_LAPTOP = Described(cores=8, ram=16, step_ms=0.5, look_ms=120, chunk=10, pass_ms=150)
_EIGHT = replace(_H100, cores=128, ram=1000, gpus=8, step_ms=15, look_ms=6, pass_ms=40, row_ms=2, model=8)
_SLOW_GPU = replace(_H100, cores=64, gpu_ram=12, step_ms=2, look_ms=4, chunk=5, pass_ms=60, row_ms=8, model=3, worker=1)
_TIGHT = replace(_H100, cores=32, ram=24, gpu_ram=24, step_ms=15, look_ms=5, chunk=10, pass_ms=20, row_ms=1, model=0.5)
_SMALL = Described(cores=2, ram=24, step_ms=0.5, look_ms=145, chunk=10, pass_ms=170)

MACHINES: dict[str, Described] = {
    "H100, 20 ms step, 5 ms pass, 14 GB": _H100,
    "H100, 5 ms for each row": replace(_H100, pass_ms=0, row_ms=5),
    "H100, half of a pass is Python": replace(_H100, pass_ms=40, kernels=0.5),
    "H100, most of a pass is Python": replace(_H100, pass_ms=40, step_ms=2, kernels=0.2, cores=32),
    "H100, one episode per pass": replace(_H100, alone=True, pass_ms=30),
    "H100, one episode per pass, mostly Python": replace(_H100, alone=True, pass_ms=30, kernels=0.25),
    "H100, chunks of 10": replace(_H100, chunk=10, pass_ms=60, row_ms=3),
    "H100, chunks of 50": replace(_H100, chunk=50, pass_ms=60, row_ms=3),
    "H100, 4 cores": replace(_H100, cores=4),
    "H100, 96 cores": replace(_H100, cores=96, ram=512),
    "H100, simulators draw on it": replace(_H100, draws=0.5, look_ms=5, gpu_ram=24),
    "laptop": _LAPTOP,
    "laptop, chunks of 50": replace(_LAPTOP, chunk=50),
    "laptop, a look every step": replace(_LAPTOP, chunk=1),
    "laptop, slow policy": replace(_LAPTOP, pass_ms=2500),
    "laptop, tiny policy": replace(_LAPTOP, pass_ms=1, look_ms=0.3, step_ms=0.1),
    "laptop, 8 GB, big simulators": replace(_LAPTOP, ram=8, worker=2),
    "laptop, one episode per pass": replace(_LAPTOP, alone=True, pass_ms=20),
    "laptop with a GPU": replace(_LAPTOP, gpus=1, gpu_ram=8, pass_ms=15, row_ms=2, model=1),
    "laptop with a GPU, 12 steps": replace(_LAPTOP, gpus=1, gpu_ram=6, chunk=12, pass_ms=30, row_ms=6, model=2),
    "one core": replace(_SMALL, cores=1),
    "two cores": _SMALL,
    "two cores, chunks of 50": replace(_SMALL, chunk=50),
    "two cores, LIBERO": replace(_SMALL, step_ms=14.8, look_ms=214, worker=2),
    "two cores, ALOHA": replace(_SMALL, step_ms=0.4, look_ms=62, chunk=100),
    "two cores, PushT": replace(_SMALL, step_ms=0.26, look_ms=1.6, chunk=8, pass_ms=40),
    "four cores": replace(_SMALL, cores=4),
    "eight GPUs": _EIGHT,
    "eight GPUs, chunks of 10": replace(_EIGHT, chunk=10),
    "eight GPUs, 32 cores": replace(_EIGHT, cores=32),
    "eight GPUs, fast passes": replace(_EIGHT, pass_ms=5, row_ms=0.1),
    "eight GPUs, little memory": replace(_EIGHT, ram=100),
    "eight small GPUs": replace(_EIGHT, gpu_ram=10, model=7),
    "four GPUs": replace(_EIGHT, gpus=4, cores=48),
    "two GPUs": replace(_EIGHT, gpus=2, cores=32),
    "two GPUs, one episode per pass": replace(_EIGHT, gpus=2, cores=32, alone=True, pass_ms=20),
    "two GPUs, half Python": replace(_EIGHT, gpus=2, cores=32, kernels=0.5),
    "many cores, slow GPU": _SLOW_GPU,
    "many cores, slow GPU, chunks of 20": replace(_SLOW_GPU, chunk=20),
    "many cores, slow GPU, a look every step": replace(_SLOW_GPU, chunk=1),
    "many cores, no GPU": replace(_SLOW_GPU, gpus=0, pass_ms=400, look_ms=60),
    "many cores, no GPU, tiny policy": replace(_SLOW_GPU, gpus=0, pass_ms=3, look_ms=1, engine_ms=0.3),
    "many cores, no GPU, busy main process": replace(_SLOW_GPU, gpus=0, pass_ms=2, look_ms=0.2, chunk=1, engine_ms=0.5),
    "many cores, one function": replace(_SLOW_GPU, gpus=0, alone=True, pass_ms=25, look_ms=30),
    "tight memory": _TIGHT,
    "tight memory, chunks of 1": replace(_TIGHT, chunk=1),
    "tight memory, 8 GB": replace(_TIGHT, ram=8),
    "tight GPU memory": replace(_TIGHT, ram=256, model=20),
    "tight GPU memory, simulators draw on it": replace(_TIGHT, ram=256, model=16, draws=0.4),
    "tight memory of both kinds": replace(_TIGHT, model=20, ram=16),
    "workstation": replace(_H100, cores=24, gpu_ram=24, pass_ms=12, row_ms=0.5, model=3, step_ms=8, look_ms=3, chunk=8),
    "workstation, VLA": replace(_H100, cores=24, gpu_ram=24, pass_ms=180, row_ms=25, model=15, chunk=10),
    "workstation, diffusion": replace(_H100, cores=24, gpu_ram=24, pass_ms=250, row_ms=4, model=2, chunk=8, step_ms=2),
    "workstation, fast simulator": replace(
        _H100, cores=24, step_ms=0.3, look_ms=2, chunk=5, pass_ms=8, row_ms=0.2, worker=0.3
    ),
}


# Described after the model was made, and never looked at while it was.
UNSEEN: dict[str, Described] = {
    "GH200, 72 cores, VLA": Described(
        cores=72, ram=480, gpus=1, gpu_ram=96, step_ms=8, look_ms=4, chunk=8, pass_ms=90, row_ms=3, model=9, worker=1.2
    ),
    "A10 cloud, 8 cores": Described(
        cores=8, ram=32, gpus=1, gpu_ram=24, step_ms=6, look_ms=12, chunk=10, pass_ms=35, row_ms=3, model=4, worker=1
    ),
    "T4, 4 cores": Described(
        cores=4, ram=16, gpus=1, gpu_ram=16, step_ms=3, look_ms=20, chunk=16, pass_ms=60, row_ms=12, model=2, worker=0.7
    ),
    "three cores": Described(cores=3, ram=12, step_ms=1.2, look_ms=40, chunk=20, pass_ms=90, worker=0.6),
    "16-core desktop, no GPU": Described(cores=16, ram=64, step_ms=1, look_ms=90, chunk=25, pass_ms=300, worker=0.6),
    "CartPole on two cores": Described(
        cores=2, ram=8, step_ms=0.02, look_ms=0.02, chunk=1, pass_ms=0.2, engine_ms=0.15, worker=0.05
    ),
    "CartPole on 32 cores": Described(
        cores=32, ram=64, step_ms=0.02, look_ms=0.02, chunk=1, pass_ms=0.2, engine_ms=0.15, worker=0.05
    ),
    "six GPUs, odd cores": Described(
        cores=50,
        ram=300,
        gpus=6,
        gpu_ram=40,
        step_ms=11,
        look_ms=7,
        chunk=5,
        pass_ms=45,
        row_ms=1.5,
        model=6,
        worker=1.5,
    ),
    "GPU, 80 % Python, 20 cores": Described(
        cores=20,
        ram=128,
        gpus=1,
        gpu_ram=48,
        step_ms=4,
        look_ms=6,
        chunk=8,
        pass_ms=70,
        row_ms=1,
        kernels=0.2,
        model=3,
        worker=1,
    ),
    "slow look, huge chunk": Described(
        cores=12,
        ram=48,
        gpus=1,
        gpu_ram=12,
        step_ms=0.5,
        look_ms=250,
        chunk=100,
        pass_ms=25,
        row_ms=3,
        model=1,
        worker=1,
    ),
    "two GPUs draw": Described(
        cores=40,
        ram=200,
        gpus=2,
        gpu_ram=24,
        step_ms=5,
        look_ms=3,
        chunk=4,
        pass_ms=30,
        row_ms=1,
        model=5,
        worker=1,
        draws=0.6,
    ),
    "alone on 10 cores": Described(
        cores=10, ram=32, step_ms=2, look_ms=15, chunk=8, pass_ms=12, alone=True, worker=0.5
    ),
}


# -------------------------------------------------------------------------------------------------------- simulation


class Cores:
    """``n`` cores, shared evenly by all jobs that run: by each at most one."""

    def __init__(self, n: int) -> None:
        self._n, self._now, self._given = n, 0.0, 0.0
        self._jobs: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def run(self, seconds: float, then: Callable[[], None]) -> None:
        heapq.heappush(self._jobs, (self._given + seconds, next(self._order), then))

    @property
    def _speed(self) -> float:
        return min(1.0, self._n / len(self._jobs))

    def next_end(self) -> float:
        return self._now + max(0.0, self._jobs[0][0] - self._given) / self._speed if self._jobs else float("inf")

    def until(self, moment: float) -> None:
        if self._jobs:
            self._given += (moment - self._now) * self._speed
        self._now = moment

    def pop(self) -> Callable[[], None]:
        return heapq.heappop(self._jobs)[2]


@dataclass
class Shard:
    """Who waits for its main process and for its passes, and how many more passes it can make at a time."""

    slots: int
    device: int
    received: deque[int] = field(default_factory=deque)
    waiting: deque[int] = field(default_factory=deque)


class Simulation:
    """Workers of some shards on a described machine."""

    def __init__(self, machine: Described, choice: Choice, seed: int = 0) -> None:
        assert choice.forward is not None
        self.machine, self.forward, self.now, self.answered = machine, choice.forward, 0.0, 0
        self._random = random.Random(seed)
        self._cores = Cores(machine.cores)
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._devices = [0.0] * max(1, machine.gpus)
        slots = 1 if machine.gpus or machine.alone else machine.cores
        self._shards = [Shard(slots, n % len(self._devices)) for n in range(choice.num_shards)]
        for shard in self._shards:
            for worker in range(choice.batch_size):
                self._simulate(shard, worker)

    def chunks_per_second(self, n: int) -> float:
        """Over ``n`` chunks, after half as many."""
        while self.answered < n // 2:
            self._turn()
        before, began = self.answered, self.now
        while self.answered < before + n:
            self._turn()
        return (self.answered - before) / (self.now - began)

    def _turn(self) -> None:
        timer = self._timers[0][0] if self._timers else float("inf")
        self.now = min(timer, self._cores.next_end())
        self._cores.until(self.now)
        happened = heapq.heappop(self._timers)[2] if timer <= self.now else self._cores.pop()
        happened()

    def _at(self, moment: float, then: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (moment, next(self._order), then))

    def _simulate(self, shard: Shard, worker: int) -> None:
        seconds = self.machine.simulate * max(0.2, self._random.gauss(1.0, SPREAD))
        self._cores.run(seconds, lambda: self._ready(shard, worker))

    def _ready(self, shard: Shard, worker: int) -> None:
        shard.received.append(worker)
        if len(shard.received) == 1:
            self._receive(shard)

    def _receive(self, shard: Shard) -> None:
        self._cores.run(self.machine.engine_ms / 1000, lambda: self._received(shard))

    def _received(self, shard: Shard) -> None:
        shard.waiting.append(shard.received.popleft())
        if shard.received:
            self._receive(shard)
        self._infer(shard)

    def _infer(self, shard: Shard) -> None:
        while shard.slots and shard.waiting:
            shard.slots -= 1
            batch = [shard.waiting.popleft() for _ in range(min(self.forward.rows, len(shard.waiting)))]
            self._cores.run(self.machine.host(self.forward), lambda batch=batch: self._compute(shard, batch))

    def _compute(self, shard: Shard, batch: list[int]) -> None:
        seconds = self.machine.kernels * self.forward.seconds if self.machine.gpus else 0.0
        end = max(self.now, self._devices[shard.device]) + seconds if seconds else self.now
        if seconds:
            self._devices[shard.device] = end
        self._at(end, lambda: self._answer(shard, batch))

    def _answer(self, shard: Shard, batch: list[int]) -> None:
        shard.slots += 1
        self.answered += len(batch)
        for worker in batch:
            self._simulate(shard, worker)
        self._infer(shard)


_WORKERS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 160)


def grid(model: Model) -> Iterator[Choice]:
    """What is searched exhaustively: numbers of shards and workers, each pass; as far as there is memory."""
    most = 4 * model.n_devices if model.costs.on_accelerator else min(32, model.hardware.cores)
    for num_shards in sorted({1, 2, model.n_devices, most // 4, most} - {0}):
        for batch_size in _WORKERS:
            for forward in model.costs.passes:
                choice = Choice(num_shards, batch_size, forward, model.costs.drawings[0])
                worth_it = num_shards * batch_size <= 4 * model.hardware.cores + 64 and forward.rows <= 2 * batch_size
                if worth_it and not model.shortage(choice):
                    yield choice
