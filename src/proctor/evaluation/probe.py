"""A first look at a policy: one short episode, of which everything that went out and came back is recorded."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from proctor.engine import Engine
from proctor.engine.observer import Observer
from proctor.engine.worker.messages import Built
from proctor.errors import ConfigError
from proctor.evaluation.prepared_run import PreparedRun
from proctor.evaluation.probe_numbers import (
    ActionNumbers,
    ArrayCounter,
    ArrayNumbers,
    action_numbers,
    odd_actions,
    odd_arrays,
)
from proctor.policies.actions import to_array
from proctor.policies.base import EpisodeMemory, LocalPolicy, Policy
from proctor.policies.remote.codec import unpack
from proctor.policies.remote.policy import Exchange
from proctor.rendering import choose_renderer
from proctor.security.foreign_code import refusing_exits
from proctor.security.redaction import redact, redact_text
from proctor.types import Array, EpisodeResult, EpisodeSpec, Features, Observation, Outcome, PackedArrays

_LONGEST_TEXT = 200


@dataclass(frozen=True)
class Latency:
    """The time of the policy's replies in seconds: the first one, which may include compilation, and all of them."""

    n: int
    first: float
    median: float
    p95: float


@dataclass(frozen=True)
class Wire:
    """The requests to a policy behind a server, as they were sent.

    ``arrays`` and ``values`` (texts, and numbers that are not arrays) are those of the requests, under the path of
    their keys; of a value it is the first one, and secrets are redacted. ``request_bytes`` and ``reply_bytes`` are
    medians. ``server`` is the server's first message, in which an array is described by its dtype and shape.
    """

    arrays: tuple[ArrayNumbers, ...]
    values: Mapping[str, str]
    request_bytes: int
    reply_bytes: int
    server: Any


@dataclass(frozen=True)
class Probe:
    """The outcome of a first look.

    ``observations`` are the arrays that the policy was given, with their leading time axis. ``actions`` is None if no
    actions came back, ``latency`` if the policy runs inside the worker, and ``wire`` if it has no server.
    ``n_action_steps`` is None if every chunk is executed to its end. ``error`` is the reason why the episode could not
    be run to its end, "" if it could. ``notes`` are the simulator's; ``warnings`` say what is odd.
    """

    task: str
    spec: EpisodeSpec
    policy: Mapping[str, Any]
    exactness: str | None
    n_action_steps: int | None
    look_offsets: tuple[int, ...]
    instructions: tuple[str, ...]
    observations: tuple[ArrayNumbers, ...]
    wire: Wire | None
    actions: ActionNumbers | None
    latency: Latency | None
    outcome: Outcome
    steps: int | None
    sum_reward: float | None
    max_reward: float | None
    error: str
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


class Recorder(Observer):
    """Keeps what a policy was given, what it gave, and the bounds of the environment's actions."""

    def __init__(self) -> None:
        self.observations: dict[str, ArrayCounter] = {}
        self.sent: dict[str, ArrayCounter] = {}
        self.values: dict[str, str] = {}
        self.instructions: dict[str, None] = {}
        self.chunks: list[Array] = []
        self.seconds: list[float] = []
        self.sizes: list[tuple[int, int]] = []
        self.bounds: tuple[Sequence[float], Sequence[float]] = ((), ())
        self.notes: tuple[str, ...] = ()

    def built(self, worker_id: int, spec: EpisodeSpec, reply: Built, now: float) -> None:
        """Keep the bounds of the actions, and the simulator's notes."""
        self.bounds, self.notes = (reply.action_low, reply.action_high), reply.notes

    def observed_by_policy(self, observation: Observation) -> None:
        """Take in an observation that the policy is given."""
        self.instructions[observation.instruction] = None
        for key, array in observation.arrays.items():
            self.observations.setdefault(key, ArrayCounter(key)).add(array)

    def exchanged(self, request: bytes, reply: bytes) -> None:
        """Take in a request to a server, and its reply."""
        self.sizes.append((len(request), len(reply)))
        for key, value in _leaves(unpack(request)):
            if isinstance(value, np.ndarray):
                self.sent.setdefault(key, ArrayCounter(key)).add(value)
            else:
                self.values.setdefault(key, _text(value))

    def gave(self, chunk: Any, seconds: float) -> None:
        """Take in a chunk that the policy gave after ``seconds``."""
        self.seconds.append(seconds)
        array = to_array(chunk)
        if array.dtype.kind in "biuf":
            self.chunks.append(array.copy())


class RecordedPolicy(Policy):
    """Wraps a policy; everything that it is given and gives goes into ``recorder`` too."""

    def __init__(self, policy: Policy, recorder: Recorder) -> None:
        self._wrapped, self._recorder = policy, recorder
        self.n_action_steps, self.look_offsets = policy.n_action_steps, policy.look_offsets
        self.randomness, self.place_matters = policy.randomness, policy.place_matters
        self.batch_size, self.n_slots, self.times_out = policy.batch_size, policy.n_slots, policy.times_out
        self.episodes_per_pass = policy.episodes_per_pass
        self.distributions, self.sources = policy.distributions, policy.sources
        self.unidentified = policy.unidentified

    @property
    def pinned(self) -> Mapping[str, Any]:
        """The fields that name the wrapped policy."""
        return self._wrapped.pinned

    def predict(self, observations: Sequence[Observation], memories: Sequence[EpisodeMemory]) -> list[Array]:
        """Record the only observation and its chunk: a first look has one episode, and passes of one observation."""
        self._recorder.observed_by_policy(observations[0])
        began = perf_counter()
        chunks = self._wrapped.predict(observations, memories)
        self._recorder.gave(chunks[0], perf_counter() - began)
        return chunks

    def check_contract(self, features: Features) -> None:
        """Let the wrapped policy compare."""
        self._wrapped.check_contract(features)

    def fingerprint(self) -> Mapping[str, Any]:
        """Give the fingerprint of the wrapped policy."""
        return self._wrapped.fingerprint()

    def disconnect(self) -> None:
        """Close the connections of the wrapped policy."""
        self._wrapped.disconnect()


def probe(prepared: PreparedRun, steps: int) -> Probe:
    """Run the first episode of the plan, at most ``steps`` steps of it, and record it.

    Nothing is written but the workers' log.

    Raises:
        ConfigError: ``steps`` is below 1.
        ContractError: policy and environment do not fit.
        ProctorError: the policy cannot be loaded, or the simulator cannot be built.
    """
    if steps < 1:
        raise ConfigError(f"steps is {steps}; it must be at least 1.")
    tasks = [replace(task, max_episode_steps=min(steps, task.max_episode_steps)) for task in prepared.tasks]
    evaluation = replace(prepared.config.eval, inference_batch_size=1, max_attempts=1, trace=False)
    prepared = replace(prepared, tasks=tasks, config=replace(prepared.config, eval=evaluation))
    is_local = isinstance(prepared.policy, LocalPolicy)
    choose_renderer(prepared.benchmark, prepared.config.policy.get("device"), draws=not is_local)
    recorder = Recorder()
    policy = _opened(prepared)
    exchange = getattr(policy, "exchange", None)
    if isinstance(exchange, Exchange):
        exchange.on_exchange = recorder.exchanged
    result = _run(prepared, policy and RecordedPolicy(policy, recorder), recorder)
    wire = _wire(recorder, exchange) if isinstance(exchange, Exchange) and recorder.sizes else None
    return _report(prepared, policy, recorder, result, wire)


def _opened(prepared: PreparedRun) -> Policy | None:
    if isinstance(prepared.policy, LocalPolicy):
        return None
    with refusing_exits("The policy cannot be loaded"):
        return prepared.policy.open(prepared.config.eval.inference_threads)


def _run(prepared: PreparedRun, policy: Policy | None, recorder: Recorder) -> EpisodeResult:
    """Run the episode; the actions of a policy inside the worker are those that were executed."""
    results: list[EpisodeResult] = []

    def keep(result: EpisodeResult, arrays: PackedArrays | None) -> None:
        results.append(result)
        if policy is None and arrays is not None and (actions := arrays["actions"].unpack()).size:
            recorder.chunks.append(actions)

    with closing(Engine(prepared.engine_setup(1), prepared.plan[:1], policy, observers=[recorder])) as engine:
        engine.run(keep)
    return results[0]


def _report(
    prepared: PreparedRun, policy: Policy | None, recorder: Recorder, result: EpisodeResult, wire: Wire | None
) -> Probe:
    fingerprint = redact(dict((policy or prepared.policy).fingerprint()))
    n_action_steps = None if policy is None or policy.n_action_steps == sys.maxsize else policy.n_action_steps
    observations = tuple(each.numbers() for each in recorder.observations.values())
    actions = action_numbers(recorder.chunks, *recorder.bounds) if recorder.chunks else None
    (name,) = (task.name for task in prepared.tasks if task.key == result.spec.task)
    return Probe(
        task=name,
        spec=result.spec,
        policy=fingerprint,
        exactness=fingerprint.get("exactness"),
        n_action_steps=n_action_steps,
        look_offsets=policy.look_offsets if policy is not None else (),
        instructions=tuple(recorder.instructions),
        observations=observations,
        wire=wire,
        actions=actions,
        latency=_latency(recorder.seconds),
        outcome=result.outcome,
        steps=None if result.outcome is Outcome.ERROR else result.length,
        sum_reward=result.sum_reward,
        max_reward=result.max_reward,
        error=redact_text(result.errors[-1].message) if result.errors else "",
        notes=recorder.notes,
        warnings=tuple(_warnings(observations, wire, actions, n_action_steps)),
    )


def _warnings(
    observations: Sequence[ArrayNumbers], wire: Wire | None, actions: ActionNumbers | None, n_action_steps: int | None
) -> Iterator[str]:
    yield from odd_arrays(observations, "the policy was given it")
    if wire is not None:
        yield from odd_arrays(wire.arrays, "it was sent")
    if actions is not None:
        yield from odd_actions(actions, n_action_steps)
    if observations and observations[0].n == 1:
        yield "The policy looked only once, so what never changes cannot be seen: give more --steps."


def _latency(seconds: Sequence[float]) -> Latency | None:
    if not seconds:
        return None
    return Latency(len(seconds), seconds[0], float(np.median(seconds)), float(np.percentile(seconds, 95)))


def _wire(recorder: Recorder, exchange: Exchange) -> Wire:
    arrays = tuple(each.numbers() for each in recorder.sent.values())
    request_bytes, reply_bytes = (int(each) for each in np.median(recorder.sizes, axis=0))
    server = redact(_plain(unpack(exchange.connections.greeting)))
    return Wire(arrays, redact(recorder.values), request_bytes, reply_bytes, server)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of a request that is not a map, with the path of its keys."""
    if not isinstance(value, dict):
        yield path, value
        return
    for key, child in value.items():
        yield from _leaves(child, f"{path}/{_text(key)}" if path else _text(key))


def _plain(value: Any) -> Any:
    """Give a server's message as JSON can hold it."""
    match value:
        case dict():
            return {_text(key): _plain(child) for key, child in value.items()}
        case list() | tuple():
            return [_plain(child) for child in value]
        case np.ndarray():
            return f"{value.dtype}{list(value.shape)}"
        case bool() | int() | float() | None:
            return value
    return _text(value)


def _text(value: Any) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
