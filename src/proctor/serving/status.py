"""The numbers of the server's live line and of `/metrics`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_RECENT_S = 10.0
_LATENCIES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Status:
    """Counts clients, requests and their latency. Used on the server's event loop alone."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.n_clients = 0
        self._recent: deque[tuple[float, float, int]] = deque()
        """Time, duration in seconds, and number of requests in the same pass, of each of the latest answers."""
        self._clients = Gauge("proctor_clients", "Open connections.", registry=self.registry)
        self._requests = Counter(
            "proctor_requests", "Requests by outcome: answered, or the kind of refusal.", ["outcome"],
            registry=self.registry,
        )  # fmt: skip
        self._latency = Histogram(
            "proctor_request_seconds", "Seconds from a request's arrival to its answer.", buckets=_LATENCIES_S,
            registry=self.registry,
        )  # fmt: skip
        self._inference = Histogram(
            "proctor_pass_seconds", "Seconds of the forward pass that answered a request.", buckets=_LATENCIES_S,
            registry=self.registry,
        )  # fmt: skip
        self._batch = Histogram(
            "proctor_pass_requests", "Requests that shared a forward pass.", buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )  # fmt: skip

    def watch(self, n_waiting: Callable[[], float]) -> None:
        """Export the number of requests that wait for a forward pass or are in one."""
        waiting = Gauge("proctor_requests_waiting", "Requests that have no answer yet.", registry=self.registry)
        waiting.set_function(n_waiting)

    def connected(self) -> None:
        """Count a client that has connected."""
        self.n_clients += 1
        self._clients.set(self.n_clients)

    def disconnected(self) -> None:
        """Count a client that is gone."""
        self.n_clients -= 1
        self._clients.set(self.n_clients)

    def answered(self, seconds: float, pass_seconds: float, n_shared: int) -> None:
        """Record that a request was answered after ``seconds``, by a forward pass that ``n_shared`` requests shared."""
        self._requests.labels("answered").inc()
        self._latency.observe(seconds)
        self._inference.observe(pass_seconds)
        self._batch.observe(n_shared)
        self._recent.append((monotonic(), seconds, n_shared))

    def refused(self, kind: str) -> None:
        """Count a request that was answered without actions."""
        self._requests.labels(kind).inc()

    def exposition(self) -> bytes:
        """The numbers in Prometheus' text format."""
        return generate_latest(self.registry)

    def line(self) -> str:
        """Return the numbers of the last ten seconds in one line."""
        now = monotonic()
        while self._recent and now - self._recent[0][0] > _RECENT_S:
            self._recent.popleft()
        clients = "1 client" if self.n_clients == 1 else f"{self.n_clients} clients"
        if not self._recent:
            return f"{clients}, no requests"
        n = len(self._recent)
        latencies = sorted(seconds for _, seconds, _ in self._recent)
        shared = sum(n_shared for _, _, n_shared in self._recent) / n
        rate = n / min(_RECENT_S, max(1.0, now - self._recent[0][0]))
        return f"{clients}, {rate:.1f} requests/s, {shared:.1f} per pass, {1e3 * latencies[n // 2]:.0f} ms"
