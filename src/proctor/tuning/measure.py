"""Measures what the parts of an evaluation cost, by running its first episodes with real workers and the real policy.

Everything is timed while all workers are busy, as in an evaluation: if all cores are in use, each is slower than alone.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from math import ceil
from statistics import fmean
from time import monotonic, process_time, thread_time

from proctor.engine import Engine, EngineSetup, Observer
from proctor.engine.plan import choose_batch_size, plan_episodes
from proctor.engine.worker.messages import Built, Finished, Observed
from proctor.errors import EnvironmentBuildError, ResourceError
from proctor.evaluation.prepared_run import PreparedRun
from proctor.machine.hardware import Hardware, core_seconds_in_use, cpu_seconds, descendants, memory_bytes
from proctor.policies.base import LocalPolicy
from proctor.rendering import choose_renderer
from proctor.tuning.model import HEADROOM, Choice, Costs, Drawing, Model, Pass
from proctor.tuning.passes import Accelerator, WatchedPolicy, rows_in_use, sizes, time_passes
from proctor.types import EpisodeResult, EpisodeSpec, Outcome, PackedArrays, Task

_GL_VARIABLE = "MUJOCO_GL"
_SOFTWARE = "osmesa"
_LOOKS_S = 5.0
"""The longest time, in seconds, that one worker draws in software."""
_EPISODES_PER_TASK = 1000
"""More episodes than can be run while measuring, so that no worker runs out of them."""
_TASKS_PER_WORKER = 3
"""Tasks whose episodes are run while measuring, as lengths differ between tasks. With more tasks, the time would be
spent on building simulators.
"""
_EPISODES_AT_ONCE = 2
"""Episodes of a task that are run for each worker before the next task's."""
_FIRST_REPLIES = 4
"""Replies of the first worker, which runs alone to fill caches and to show how much memory a worker takes."""
_WARM_REPLIES = 2
"""Replies of every worker before time counts: those to its reset and to its first chunk."""

OnProgress = Callable[[str], None]


def measure(prepared: PreparedRun, hardware: Hardware, seconds: float, on_progress: OnProgress) -> Costs:
    """Run the first episodes of an evaluation for a while, and return what everything costs.

    ``seconds`` count from the moment at which every worker is at work. ``on_progress`` is called with what is being
    done. If there is an accelerator and the user leaves open what draws, drawing in software is measured too.

    Raises:
        ResourceError: an episode could not be run.
        ProctorError: the simulator cannot be built, the policy cannot be loaded, or they do not fit.
    """
    may_draw_otherwise = bool(hardware.gpus) and prepared.benchmark.draws_with_gl and _GL_VARIABLE not in os.environ
    may_draw_otherwise = may_draw_otherwise and prepared.benchmark.config.render_device == "auto"
    choose_renderer(
        prepared.benchmark, prepared.config.policy.get("device"), draws=not isinstance(prepared.policy, LocalPolicy)
    )
    began, accelerator = monotonic(), Accelerator()
    policy = None
    if not isinstance(prepared.policy, LocalPolicy):
        on_progress("loading the policy")
        policy = WatchedPolicy(prepared.policy.per_device[0].open(prepared.config.eval.inference_threads))
        accelerator.holds(policy)
    bench = _Bench(prepared, policy, accelerator, load_seconds=monotonic() - began)
    on_progress("one worker")
    first = bench.run(1, seconds, _FIRST_REPLIES)
    n_workers = _affordable_workers(prepared, hardware, first.worker_bytes)
    on_progress(f"{n_workers} workers, for {seconds:g} s" if n_workers > 1 else f"one worker, for {seconds:g} s")
    tally = bench.run(n_workers, seconds)
    drawings = [tally.drawing(max(0, tally.device_bytes - first.device_bytes) // n_workers)]
    if may_draw_otherwise and tally.looks and (in_software := _drawn_in_software(bench, on_progress)) is not None:
        drawings.append(in_software)
    passes = [] if policy is None else list(_passes(policy, prepared, accelerator, tally, on_progress))
    costs = bench.costs(tally, drawings, passes)
    in_use = Choice(1, n_workers, passes[0] if passes else None, drawings[0])
    rest = n_workers / costs.rate - Model(hardware, costs, n_episodes=1).cycle(in_use)
    return replace(costs, overhead=max(0.0, rest))


def _passes(
    policy: WatchedPolicy, prepared: PreparedRun, accelerator: Accelerator, in_use: _Tally, on_progress: OnProgress
) -> Iterator[Pass]:
    """Yield the forward pass that evaluations make unless the user asks for another one, then passes of other sizes.

    On a CPU, on which batching gains nothing, there is only the first one, as it was measured among the workers.
    """
    rows = rows_in_use(policy, prepared.config.eval.inference_batch_size)
    if not policy.on_accelerator:
        yield Pass(rows, in_use.pass_s)
        return
    for n in sizes(policy, rows):
        on_progress(f"forward passes of {n}")
        yield time_passes(policy, n, accelerator)


def _drawn_in_software(bench: _Bench, on_progress: OnProgress) -> Drawing | None:
    """Measure what a look costs one worker without the accelerator; None if drawing in software does not work."""
    on_progress(f"one worker that draws with {_SOFTWARE}")
    before = dict(os.environ)
    config = replace(bench.prepared.benchmark.config, render_device=_SOFTWARE)
    choose_renderer(type(bench.prepared.benchmark)(config), draws=False)
    try:
        return bench.run(1, _LOOKS_S, _FIRST_REPLIES).drawing(0)
    except (EnvironmentBuildError, ResourceError):
        on_progress(f"{_SOFTWARE} does not draw here")
        return None
    finally:
        os.environ.clear()
        os.environ.update(before)


def _affordable_workers(prepared: PreparedRun, hardware: Hardware, worker_bytes: int) -> int:
    """The number of workers that an evaluation would have by default, as far as there is memory for them."""
    config = replace(prepared.config.eval, batch_size=0)
    n_workers = choose_batch_size(config, _EPISODES_PER_TASK, hardware.cores, prepared.episodes_per_pass)
    if hardware.memory_bytes is None or not worker_bytes:
        return n_workers
    return max(1, min(n_workers, int(HEADROOM * hardware.memory_bytes / worker_bytes)))


# -------------------------------------------------------------------------------------------------- running episodes


@dataclass
class _Tally:
    """The time that workers spent while all of them were at work: seconds and counts, summed over the workers."""

    n_workers: int = 1
    up: float = 0.0
    construct: float = 0.0
    chunks_per_episode: float = 1.0
    n_ended: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    others_cpu_s: float = 0.0
    """CPU seconds of other programs on the same cores."""
    engine_s: float = 0.0
    rebuilding_s: float = 0.0
    """Seconds in which workers built simulators of further tasks, on a core each."""
    pass_s: float = 0.0
    """The mean duration of a forward pass."""
    reset_s: float = 0.0
    step_s: float = 0.0
    look_s: float = 0.0
    resets: int = 0
    steps: int = 0
    looks: int = 0
    chunks: int = 0
    shard_bytes: int = 0
    worker_bytes: int = 0
    device_bytes: int = 0

    def drawing(self, device_bytes: int) -> Drawing:
        """The cost of a look with the backend that is set now."""
        return Drawing(os.environ.get(_GL_VARIABLE, ""), self.look_s / max(1, self.looks), device_bytes)


class _EnoughError(Exception):
    """Ends the engine's run, as enough was measured; the episodes under way are dropped."""


@dataclass(frozen=True)
class _Bench:
    """Runs the first episodes of an evaluation, again and again."""

    prepared: PreparedRun
    policy: WatchedPolicy | None
    accelerator: Accelerator
    load_seconds: float

    def run(self, n_workers: int, seconds: float, n_replies: int | None = None) -> _Tally:
        """Run ``n_workers`` workers for ``seconds``, or until they have sent ``n_replies`` replies."""
        if self.policy is not None:
            self.policy.forget()
        tasks = _spread(self.prepared.tasks, n_workers * _TASKS_PER_WORKER if n_workers > 1 else 1)
        specs = plan_episodes(self.prepared.benchmark, tasks, _EPISODES_PER_TASK, self.prepared.config.seed)
        at_once = ceil(_EPISODES_AT_ONCE * n_workers / len(tasks))
        rounds = _rounds(specs, max(_EPISODES_AT_ONCE, at_once)) if n_workers > 1 else [specs[:1]]
        setup = self.prepared.engine_setup()
        options = replace(setup.options, max_lead=0)
        setup = replace(setup, options=options, in_process=False, batch_size=n_workers, log=None)
        meter = _Meter(setup, rounds, self.policy, n_workers)

        def look_at_the_clock() -> None:
            if meter.has_run(seconds) or (n_replies is not None and meter.n_replies >= n_replies):
                raise _EnoughError

        with closing(meter):
            with suppress(_EnoughError):
                meter.run(look_at_the_clock)
            return meter.sum_up(self.accelerator)

    def costs(self, tally: _Tally, drawings: Sequence[Drawing], passes: Sequence[Pass]) -> Costs:
        """The measured costs by chunk, without the overhead, which is not known yet."""
        policy = self.policy
        return Costs(
            load=self.load_seconds,
            up=tally.up,
            n_workers=tally.n_workers,
            construct=tally.construct,
            reset=tally.reset_s / max(1, tally.resets),
            step=tally.step_s / max(1, tally.steps),
            steps_per_chunk=tally.steps / tally.chunks,
            looks_per_chunk=tally.looks / tally.chunks,
            chunks_per_episode=tally.chunks_per_episode,
            n_ended=tally.n_ended,
            overhead=0.0,
            core=max(0.0, tally.cpu_s - tally.rebuilding_s) / tally.chunks,
            cores_taken=max(0.0, tally.others_cpu_s / tally.seconds),
            engine=tally.engine_s / tally.chunks,
            rate=tally.chunks / (tally.seconds - tally.rebuilding_s / tally.n_workers),
            drawings=tuple(drawings),
            passes=tuple(passes),
            slots=1 if policy is None or policy.runs_alone else policy.n_slots,
            on_accelerator=policy is not None and policy.on_accelerator,
            shard_bytes=tally.shard_bytes,
            # An evaluation refuses more workers than its benchmark says that memory holds.
            worker_bytes=max(tally.worker_bytes, (self.prepared.benchmark.worker_memory_mb or 0) << 20),
        )


def _spread(tasks: Sequence[Task], n: int) -> list[Task]:
    """At most ``n`` of the tasks, evenly spaced."""
    n = min(n, len(tasks))
    return [tasks[position * len(tasks) // n] for position in range(n)]


def _rounds(specs: Sequence[EpisodeSpec], n: int) -> list[list[EpisodeSpec]]:
    """The first ``n`` episodes of every task, then the next ``n``, and so on."""

    def number(spec: EpisodeSpec) -> int:
        return spec.episode_index // n

    return [list(group) for _, group in groupby(sorted(specs, key=number), key=number)]


class _Meter(Observer):
    """Runs an engine, and takes note of what its workers spent. It counts anew once all of them are at work.

    A round of episodes is added to those before when nearly all of them have begun.
    """

    def __init__(
        self, setup: EngineSetup, rounds: Sequence[list[EpisodeSpec]], policy: WatchedPolicy | None, n_workers: int
    ) -> None:
        self._setup, self._watched, self._n_workers = setup, policy, n_workers
        self._rounds, self._not_begun = iter(rounds[1:]), len(rounds[0])
        self._created = monotonic()
        self._up = self._created
        self._constructs: list[float] = []
        self._replies: Counter[int] = Counter()
        self._executed: dict[int, int] = {}
        self._ended: dict[EpisodeSpec, int] = {}
        self._warm = False
        self._engine = Engine(setup, rounds[0], policy, observers=[self])
        self._begin_to_count()

    @property
    def n_replies(self) -> int:
        return self._replies.total()

    def has_run(self, seconds: float) -> bool:
        """Return whether all workers have been at work for ``seconds``, with at least a chunk each and one pass."""
        chunks_are_there = self._warm and self.tally.chunks >= self._n_workers and bool(self._passes())
        return chunks_are_there and monotonic() - self._since >= seconds

    def run(self, on_tick: Callable[[], None]) -> None:
        """Run the episodes until there are no more, or ``on_tick`` raises.

        Raises:
            ResourceError: an episode could not be run.
            ProctorError: see :meth:`proctor.engine.Engine.run`.
        """
        self._engine.run(self._over, on_tick)

    def close(self) -> None:
        """End the engine."""
        self._engine.close()

    def _over(self, result: EpisodeResult, _: PackedArrays | None) -> None:
        if result.outcome is Outcome.ERROR:
            raise ResourceError(f"{result.spec} could not be run: {result.errors[-1].message}")
        self._ended[result.spec] = 1 if self._watched is None else self._watched.chunks[result.spec]

    # ------------------------------------------------------------------------------------------- what the engine tells

    def started(self, worker_id: int, spec: EpisodeSpec, now: float) -> None:
        self._not_begun -= 1
        if self._not_begun < self._n_workers:
            self._engine.add(following := next(self._rounds, []))
            self._not_begun += len(following)

    def built(self, worker_id: int, spec: EpisodeSpec, reply: Built, now: float) -> None:
        self._constructs.append(reply.spent.construct)
        if worker_id not in self._replies:
            self._up = now
        self.tally.rebuilding_s += reply.spent.construct

    def observed(self, worker_id: int, spec: EpisodeSpec, reply: Observed, now: float) -> None:
        self._replied(worker_id, reply)

    def finished(self, worker_id: int, spec: EpisodeSpec, reply: Finished, now: float) -> None:
        self._replied(worker_id, reply)

    def _replied(self, worker_id: int, reply: Observed | Finished) -> None:
        self._note(worker_id, reply)
        self._replies[worker_id] += 1
        if not self._warm and self._all_at_work():
            self._warm = True
            self._begin_to_count()

    # ----------------------------------------------------------------------------------------------------- counting

    def _all_at_work(self) -> bool:
        return len(self._replies) == self._n_workers and min(self._replies.values()) >= _WARM_REPLIES

    def _begin_to_count(self) -> None:
        self.tally = _Tally(self._n_workers)
        self._since, self._engine_since = monotonic(), thread_time()
        self._workers = descendants(os.getpid())
        self._cpu_since, self._cores_since = self._cpu_seconds(), core_seconds_in_use()
        self._passes_before = len(self._watched.seconds) if self._watched else 0

    def _passes(self) -> list[float]:
        """The seconds of the passes that count; those of all passes if none counts yet. [0.0] without a policy."""
        if self._watched is None:
            return [0.0]
        return self._watched.seconds[self._passes_before :] or self._watched.seconds

    def _cpu_seconds(self) -> float:
        return process_time() + sum(map(cpu_seconds, self._workers))

    def _note(self, worker_id: int, reply: Observed | Finished) -> None:
        tally, spent = self.tally, reply.spent
        tally.reset_s += spent.reset
        tally.step_s += spent.step
        tally.look_s += spent.look
        began = bool(spent.reset)
        tally.resets += began
        executed = 0 if began else self._executed[worker_id]
        if isinstance(reply, Finished):
            tally.chunks += 1
            tally.steps += reply.arrays["actions"].shape[0] - executed
            return
        tally.looks += reply.arrays[0].shape[0]
        self._executed[worker_id] = executed
        if not began:
            assert self._watched is not None
            tally.chunks += 1
            tally.steps += self._watched.chunk_length
            self._executed[worker_id] += self._watched.chunk_length

    def sum_up(self, accelerator: Accelerator) -> _Tally:
        """Complete the tally. The workers have to be alive, as their memory is measured."""
        tally = self.tally
        tally.seconds, tally.engine_s = monotonic() - self._since, thread_time() - self._engine_since
        tally.cpu_s = self._cpu_seconds() - self._cpu_since
        tally.others_cpu_s = core_seconds_in_use() - self._cores_since - tally.cpu_s
        tally.up, tally.construct = self._up - self._created, fmean(self._constructs)
        tally.shard_bytes = memory_bytes(os.getpid())
        tally.worker_bytes = sum(map(memory_bytes, descendants(os.getpid()))) // max(1, len(self._replies))
        tally.device_bytes = accelerator.taken()
        tally.n_ended = len(self._ended)
        tally.pass_s = fmean(self._passes())
        if self._watched is not None:
            under_way = [n - 1 for spec, n in self._watched.chunks.items() if spec not in self._ended]
            steps = max(task.max_episode_steps for task in self._setup.tasks.values())
            most = ceil(steps / self._watched.chunk_length)
            tally.chunks_per_episode = mean_chunks([*self._ended.values()], under_way, most)
        return tally


def mean_chunks(ended: Sequence[int], under_way: Sequence[int], most: int) -> float:
    """The mean number of chunks of an episode, from the lengths of episodes that ended and of episodes under way.

    It is the area under Kaplan and Meier's estimate of the survival function. The mean over the ended episodes alone
    would be too small, as short episodes end first. ``most`` is the largest number of chunks that an episode can have.
    """
    mean = 0.0
    surviving = 1.0
    for n in range(1, most + 1):
        mean += surviving
        at_risk = sum(length >= n for length in (*ended, *under_way))
        if at_risk:
            surviving *= 1 - sum(length == n for length in ended) / at_risk
    return mean
