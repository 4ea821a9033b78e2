"""The process of `proctor serve`: the clients that may connect, the answers over HTTP, and the shutdown."""

from __future__ import annotations

import asyncio
import hmac
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response

from proctor.errors import ConfigError, ResourceError
from proctor.policies.base import Policy, PolicySource, why_unidentified
from proctor.policies.remote.codec import WireError, pack, unpack
from proctor.policies.remote.extension import Offer
from proctor.serving.batching import BatchedInference
from proctor.serving.session import Connection, Sessions
from proctor.serving.status import Status
from proctor.serving.wire import metadata

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_TICK_S = 1.0
_SCHEMES = ("Api-Key ", "Bearer ")


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """The options of a server. Times are in seconds, sizes in bytes.

    ``token`` is the token that a client must send; without one the server listens on loopback only. ``seed`` is the
    seed of the random numbers of requests without a seed. The last three options are those of
    :class:`~proctor.config.EvalConfig`.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    max_message_bytes: int = 64 << 20
    max_clients: int = 256
    max_sessions: int = 1024
    idle_timeout_s: float = 600.0
    drain_timeout_s: float = 30.0
    seed: int = 1000
    inference_threads: int = 1
    inference_batch_size: int = 0
    batch_wait_timeout_s: float | None = None

    def __post_init__(self) -> None:
        if self.host not in LOOPBACK and not self.token:
            raise ConfigError(
                f"--host={self.host} can be reached from other machines, so clients must send a token; "
                "name the environment variable that holds one with --token_env."
            )


class PolicyServer:
    """Serves a policy until SIGTERM or SIGINT; after that, only requests under way are answered.

    ``on_started`` is called with the URL once the policy is loaded and clients can connect, and ``on_tick`` once a
    second with a line of the server's numbers.
    """

    def __init__(
        self,
        source: PolicySource,
        options: ServerOptions,
        on_started: Callable[[str], None] = lambda _: None,
        on_tick: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._source, self._options = source, options
        self._on_started, self._on_tick = on_started, on_tick
        self._status = Status()
        self._stopping = asyncio.Event()
        self._policy: Policy | None = None
        self._n_busy = 0
        self._idle = asyncio.Event()

    def run(self) -> None:
        """Serve on a new event loop.

        Raises:
            ResourceError: the server cannot listen on the address.
            ProctorError: the policy cannot be loaded.
        """
        asyncio.run(self.serve())

    async def serve(self) -> None:
        """Serve on this event loop. See :meth:`run`."""
        options = self._options
        inference = BatchedInference(
            self._source,
            n_threads=options.inference_threads,
            batch_size=options.inference_batch_size,
            wait_s=options.batch_wait_timeout_s,
        )
        with closing(inference), _stopped_by_signals(self.stop):
            if (policy := await self._loaded(inference)) is None:
                return
            self._policy = policy
            self._greeting = pack(metadata(_offer(policy, self._source, inference, options)))
            self._inference = inference
            self._sessions = Sessions(inference, limit=options.max_sessions, seed=options.seed)
            self._status.watch(lambda: inference.n_waiting)
            async with await self._listen() as server:
                self._on_started(self._url(server))
                await self._until_stopped()
                server.close(close_connections=False)
                await self._drain()

    def stop(self) -> None:
        """Take no new requests, answer those under way, and end."""
        self._stopping.set()

    async def _loaded(self, inference: BatchedInference) -> Policy | None:
        """Wait until the policy is loaded; return None if the server is stopped before."""
        loading, stopping = asyncio.ensure_future(inference.load()), asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        return await loading if loading.done() else None

    async def _listen(self) -> Server:
        options = self._options
        try:
            return await serve(
                self._handle,
                options.host,
                options.port,
                process_request=self._respond,
                max_size=options.max_message_bytes,
                compression=None,
                origins=[None],  # a page in a browser always sends its origin, so no page can connect
            )
        except OSError as error:
            raise ResourceError(
                f"The server cannot listen on {options.host}:{options.port} ({error.strerror}); choose another --port."
            ) from error

    def _url(self, server: Server) -> str:
        port = next(iter(server.sockets)).getsockname()[1]
        host = f"[{self._options.host}]" if ":" in self._options.host else self._options.host
        return f"ws://{host}:{port}"

    async def _until_stopped(self) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _TICK_S)
            self._on_tick(self._status.line())

    async def _drain(self) -> None:
        if self._n_busy:
            self._idle.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), self._options.drain_timeout_s)

    # ------------------------------------------------------------------------------------------------- HTTP

    def _respond(self, connection: ServerConnection, request: HttpRequest) -> Response | None:
        """Return the response to a plain HTTP request, or a refusal; None lets a client connect."""
        if request.path == "/healthz":
            return connection.respond(HTTPStatus.OK, "ok\n")
        if not self._may_connect(request):
            return connection.respond(HTTPStatus.UNAUTHORIZED, "The token is missing or wrong.\n")
        if request.path == "/metrics":
            return connection.respond(HTTPStatus.OK, self._status.exposition().decode())
        if self._stopping.is_set():
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "The server is shutting down.\n")
        if self._status.n_clients >= self._options.max_clients:
            return connection.respond(
                HTTPStatus.SERVICE_UNAVAILABLE, f"There are {self._options.max_clients} clients already.\n"
            )
        return None

    def _may_connect(self, request: HttpRequest) -> bool:
        if self._options.token is None:
            return True
        given = request.headers.get("Authorization", "")
        for scheme in _SCHEMES:
            given = given.removeprefix(scheme)
        return hmac.compare_digest(given.encode(), self._options.token.encode())

    # -------------------------------------------------------------------------------------------- websocket

    async def _handle(self, websocket: ServerConnection) -> None:
        assert self._policy is not None
        self._status.connected()
        connection = Connection(self._policy, self._inference, self._sessions, self._status)
        try:
            await websocket.send(self._greeting)
            with closing(connection), suppress(ConnectionClosed):
                await self._converse(websocket, connection)
        finally:
            self._status.disconnected()

    async def _converse(self, websocket: ServerConnection, connection: Connection) -> None:
        while not self._stopping.is_set():
            message = await self._receive(websocket)
            if message is None:
                await websocket.close(CloseCode.GOING_AWAY, "idle or stopping")
                return
            self._n_busy += 1
            try:
                answer = await self._answer(connection, message)
                await websocket.send(answer if isinstance(answer, str) else pack(answer))
            finally:
                self._n_busy -= 1
                if not self._n_busy:
                    self._idle.set()

    async def _receive(self, websocket: ServerConnection) -> bytes | str | None:
        """Return the next message; None if the client has been idle for too long, or the server is shutting down."""
        receiving = asyncio.ensure_future(websocket.recv())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait(
                {receiving, stopping}, timeout=self._options.idle_timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            return receiving.result() if receiving.done() else None
        finally:
            stopping.cancel()
            if not receiving.done():
                receiving.cancel()

    @staticmethod
    async def _answer(connection: Connection, message: bytes | str) -> dict[str, Any] | str:
        if isinstance(message, str):
            return "A request is a binary message."
        try:
            decoded = unpack(message)
        except WireError as error:
            return f"The request cannot be decoded: {error}"
        return await connection.answer(decoded)


def _offer(policy: Policy, source: PolicySource, inference: BatchedInference, options: ServerOptions) -> Offer:
    return Offer(
        policy=dict(policy.fingerprint()),
        n_action_steps=policy.n_action_steps,
        look_offsets=policy.look_offsets,
        episodes_per_pass=policy.episodes_per_pass,
        inference_batch_size=inference.batch_size,
        inference_threads=options.inference_threads,
        unidentified=why_unidentified(source),
    )


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at the first SIGTERM or SIGINT; a second one ends the process as usual."""
    loop, numbers = asyncio.get_running_loop(), (signal.SIGTERM, signal.SIGINT)

    def forget() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    def received() -> None:
        forget()
        stop()

    for number in numbers:
        loop.add_signal_handler(number, received)
    try:
        yield
    finally:
        forget()
