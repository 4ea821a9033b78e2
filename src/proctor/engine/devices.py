"""Inference on all devices: decides which observations share a forward pass, and when the pass starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import inf
from time import monotonic
from typing import Any

from proctor.engine.batching import Batching
from proctor.engine.inference import Inference, InferenceRequest, InferenceResult
from proctor.engine.observer import Observer
from proctor.engine.options import EngineOptions, EngineSetup
from proctor.engine.scheduler import Scheduler, device_of
from proctor.engine.trace import DeviceTracks, Trace
from proctor.engine.worker.messages import Finished, Observed
from proctor.policies.base import PolicySource
from proctor.types import EpisodeSpec

OnPolicyLoaded = Callable[[Mapping[str, Any]], None]
"""Is given a policy's fingerprint once the policy is loaded."""


class _Device:
    """One device: a policy that infers there, and the rule that says when a batch for it is closed."""

    def __init__(self, inference: Inference, options: EngineOptions, tracks: DeviceTracks | None) -> None:
        self.inference = inference
        self.batching = Batching(options.batch_wait_timeout_s)
        self.tracks = tracks
        self._max_batch = options.max_inference_batch

    @property
    def rows(self) -> int:
        """The number of episodes that may share a forward pass."""
        rows = self.inference.batch_size
        return min(rows, self._max_batch or rows)

    def passed(self, results: list[InferenceResult], now: float) -> None:
        """Take note of a forward pass that is over."""
        first = results[0]
        self.batching.passed(now - first.submitted)
        if self.tracks is not None:
            self.tracks.passed(first.began, first.seconds, len(results), first.loaded_at)


class Devices(Observer):
    """The devices on which a policy infers. If ``policy`` is None, actions come from inside the workers: there are
    none.

    The policy is loaded on all of them, one after another, on threads of their own; ``on_loaded`` is called there.
    """

    def __init__(
        self, policy: PolicySource | None, setup: EngineSetup, trace: Trace | None, on_loaded: OnPolicyLoaded | None
    ) -> None:
        options, sources = setup.options, policy.per_device if policy is not None else ()
        self._devices = [
            _Device(
                Inference(
                    source,
                    n_threads=options.inference_threads,
                    batch_size=options.inference_batch_size,
                    on_loaded=on_loaded,
                    max_slots=setup.n_workers,  # so many observations can wait at a time
                    timeout_s=options.inference_timeout_s,
                ),
                options,
                trace.device(number) if trace is not None else None,
            )
            for number, source in enumerate(sources)
        ]

    def __len__(self) -> int:
        return len(self._devices)

    @property
    def wake_descriptors(self) -> list[int]:
        """Descriptors of which one is readable when there are results, or a policy has been loaded."""
        return [device.inference.wake_descriptor for device in self._devices]

    def results(self) -> Iterator[InferenceResult]:
        """Yield every result that has come since the last call.

        Raises:
            Exception: a pass failed for a reason that is not the policy's.
        """
        for device in self._devices:
            for results in device.inference.results():
                device.passed(results, monotonic())
                yield from results

    def start_passes(self, scheduler: Scheduler, request_of: Callable[[int], InferenceRequest]) -> float:
        """Start the forward passes for which it does not pay to wait for more observations.

        ``request_of`` gives the request of a worker whose episode is ready. Returns the seconds after which to call
        this again although nothing has happened; infinity if there is no such time.

        Raises:
            Exception: whatever loading the policy raised.
        """
        patience_s = inf
        for number, device in enumerate(self._devices):
            inference, batching = device.inference, device.batching
            while inference.has_free_slot() and (ready := scheduler.ready(number, inference.fixed_rows)):
                now = monotonic()
                if wait_s := batching.seconds_to_wait(len(ready), device.rows, now):
                    patience_s = min(patience_s, wait_s)
                    break
                batch = ready[: device.rows]
                scheduler.mark_inferring(batch)
                batching.closed(scheduler.n_ready(number), now)
                inference.submit([request_of(worker_id) for worker_id in batch])
        return patience_s

    @property
    def loading(self) -> bool:
        """True while the policy is being loaded on a device."""
        return any(device.inference.policy is None for device in self._devices)

    @property
    def first_loaded_at(self) -> float | None:
        """When the policy was ready on the first device, on the monotonic clock; None before."""
        loaded = (device.inference.loaded_at for device in self._devices)
        return min((moment for moment in loaded if moment is not None), default=None)

    def busy_share(self, now: float) -> float | None:
        """The part of the time since the policy was loaded that the devices were busy, 0 to 1; None before."""
        shares = [share for device in self._devices if (share := device.inference.busy_share(now)) is not None]
        return sum(shares) / len(shares) if shares else None

    @property
    def mean_batch(self) -> float | None:
        """Observations per forward pass so far, without padding; None before the first pass."""
        n_passes = sum(device.inference.n_passes for device in self._devices)
        n_requests = sum(device.inference.n_requests for device in self._devices)
        return n_requests / n_passes if n_passes else None

    def close(self) -> None:
        """End the inference threads and let go of the policy. Safe to call twice."""
        while self._devices:
            self._devices.pop().inference.close()

    # ---------------------------------------------------------------------- when each worker's observation is expected

    def acted(self, worker_id: int, spec: EpisodeSpec, n_actions: int, now: float) -> None:
        if (batching := self._batching_of(worker_id)) is not None:
            batching.left(worker_id, spec.task, n_actions, now)

    def observed(self, worker_id: int, spec: EpisodeSpec, reply: Observed, now: float) -> None:
        if (batching := self._batching_of(worker_id)) is not None:
            batching.came(worker_id, now)

    def finished(self, worker_id: int, spec: EpisodeSpec, reply: Finished, now: float) -> None:
        self.lost(worker_id, spec, now)

    def lost(self, worker_id: int, spec: EpisodeSpec | None, now: float) -> None:
        if (batching := self._batching_of(worker_id)) is not None:
            batching.lost(worker_id)

    def _batching_of(self, worker_id: int) -> Batching | None:
        return self._devices[device_of(worker_id, len(self._devices))].batching if self._devices else None
