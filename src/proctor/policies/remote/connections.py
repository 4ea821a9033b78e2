"""Connections to a policy server: several at a time, made again when the server is reachable again, one per request.

A server that is started again has lost the state of every episode. So connections count the server's *lives*: a life
ends if a connection ends without a close message, or if the server refuses connections. An episode that has begun in
one life is not continued in another; it starts again (:class:`~proctor.errors.EpisodeLostError`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Protocol

from proctor.errors import ConfigError, EpisodeLostError, FingerprintError, PolicyError, PolicyGoneError
from proctor.machine.threads import call_while

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 5.0
_FIRST_REPLY_S = 600.0
_LEAST_REPLY_S, _TIMES_SLOWEST = 30.0, 20.0


class NotThereError(Exception):
    """No connection can be made now, for the reason in the message. Another try may succeed."""


class LostError(Exception):
    """A connection ended before a reply came.

    ``sent`` is true if the request had been sent, so that the server may have received it. ``orderly`` is true if the
    server closed the connection and continues to serve, such as after a time without requests.
    """

    def __init__(self, reason: str, *, sent: bool, orderly: bool = False) -> None:
        super().__init__(reason)
        self.sent, self.orderly = sent, orderly


class Connection(Protocol):
    """One connection: a request is sent, and its reply is received before the next one is sent."""

    @property
    def greeting(self) -> bytes:
        """The server's first message, from which the policy is recognised: its metadata, undecoded."""

    def ask(self, request: bytes, seconds: float, closed: threading.Event) -> bytes:
        """Send a request and give its reply.

        Raises:
            LostError: the connection ended, and cannot be used any more.
            PolicyError: the server answered with an error, or not within ``seconds``; the connection cannot be used
                any more either.
        """

    def abort(self) -> None:
        """Let a request that is under way on another thread fail soon, whatever the server does."""

    def close(self) -> None:
        """Close the connection; this is allowed in every state."""


class Patience:
    """The timeout of a reply: the user's, else 20 times the duration of the slowest reply so far, at least 30 seconds.

    The first reply may take 600 seconds, because servers compile their network then.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._slowest: float | None = None

    @property
    def seconds(self) -> float:
        """The timeout of the next reply, in seconds."""
        if self._seconds is not None:
            return self._seconds
        return _FIRST_REPLY_S if self._slowest is None else max(_LEAST_REPLY_S, _TIMES_SLOWEST * self._slowest)

    def took(self, seconds: float) -> None:
        """Record the duration of a reply, in seconds."""
        self._slowest = max(seconds, self._slowest or 0.0)


class Lease:
    """A connection that is lent.

    ``life`` is the server's life in which it was made. ``owner`` is the episode that used it last, or "" if that
    episode has ended. ``is_new_owner`` is true if the present owner did not use the connection before.
    """

    __slots__ = ("connection", "is_new_owner", "life", "owner")

    def __init__(self, connection: Connection, life: int) -> None:
        self.connection, self.life, self.owner = connection, life, ""
        self.is_new_owner = False


class Connections:
    """At most ``limit`` connections that ``connect`` makes (given the seconds that it may take).

    ``back_within_s`` is the time in seconds after which a server that cannot be reached ends the run.
    """

    def __init__(self, connect: Callable[[float], Connection], url: str, *, limit: int, back_within_s: float) -> None:
        self._connect, self._url = connect, url
        self._limit, self._back_within_s = limit, back_within_s
        self._changed = threading.Condition()
        self._idle: list[Lease] = []
        self._lent: set[Lease] = set()
        self._n_open = 0
        self._life = 0
        self._is_up = False
        self._greeting: bytes | None = None
        self.closed = threading.Event()

    @property
    def greeting(self) -> bytes:
        """The server's first message on the first connection."""
        assert self._greeting is not None
        return self._greeting

    def begin(self, within_s: float) -> None:
        """Make the first connection, as soon as the server can be reached.

        Raises:
            ConfigError: the server could not be reached within ``within_s`` seconds.
        """
        self.closed.clear()
        with self._changed:
            self._n_open += 1
        try:
            lease = self._made(within_s)
        except PolicyGoneError as error:
            raise ConfigError(
                f"No policy server answers at {self._url} ({error.reason}); start it, or give its address with "
                "--policy.url and a longer --policy.connect_timeout_s if it takes longer to load."
            ) from None
        self._give_back(lease)

    @contextmanager
    def lent(self, owner: str) -> Iterator[Lease]:
        """Lend a connection for one request: the one that ``owner`` used last, if it is idle.

        If the request fails, its connection is closed.

        Raises:
            PolicyGoneError: the server could not be reached again in time.
            FingerprintError: the server was started again with another policy.
        """
        lease = self._take(owner)
        lease.is_new_owner, lease.owner = lease.owner != owner, owner
        self._lent.add(lease)
        try:
            yield lease
        except EpisodeLostError:
            self._give_back(lease)
            raise
        except BaseException as error:
            self._drop(lease, error)
            raise
        self._give_back(lease)

    def disown(self, owner: str) -> None:
        """Make the connection of ``owner``, which has ended, available to other owners."""
        with self._changed:
            for lease in self._idle:
                if lease.owner == owner:
                    lease.owner = ""

    def close(self) -> None:
        """Close the idle connections, and make every request that is waiting fail soon."""
        self.closed.set()
        with self._changed:
            idle, self._idle = self._idle, []
            self._n_open -= len(idle)
            self._changed.notify_all()
            lent = list(self._lent)
        _side_by_side([each.connection.abort for each in lent] + [each.connection.close for each in idle])

    def _take(self, owner: str) -> Lease:
        with self._changed:
            while not (lease := self._idle_one(owner)) and self._n_open >= self._limit:
                if self.closed.is_set():
                    raise PolicyError("the run ended before the server replied")
                self._changed.wait(1.0)
            if lease is not None:
                return lease
            self._n_open += 1
        return self._made(self._back_within_s)

    def _idle_one(self, owner: str) -> Lease | None:
        """Give the owner's own connection; None if a new one may be made; else the one that has been idle longest."""
        own = next((lease for lease in self._idle if lease.owner == owner), None)
        free = own or next((lease for lease in self._idle if not lease.owner), None)
        if free is None and self._n_open >= self._limit and self._idle:
            free = self._idle[0]
        if free is not None:
            self._idle.remove(free)
        return free

    def _give_back(self, lease: Lease) -> None:
        with self._changed:
            self._lent.discard(lease)
            if lease.life == self._life and not self.closed.is_set():
                self._idle.append(lease)
                self._changed.notify()
                return
            self._n_open -= 1
            self._changed.notify()
        lease.connection.close()

    def _drop(self, lease: Lease, error: BaseException) -> None:
        with self._changed:
            self._lent.discard(lease)
            self._n_open -= 1
            stale: list[Lease] = []
            if isinstance(error, LostError) and not error.orderly and lease.life == self._life:
                stale = self._end_life()
            self._changed.notify_all()
        _side_by_side([each.connection.close for each in (lease, *stale)])

    def _end_life(self) -> list[Lease]:
        """Count another life of the server, and give the idle connections of the life before."""
        self._life, self._is_up = self._life + 1, False
        stale, self._idle = self._idle, []
        self._n_open -= len(stale)
        return stale

    def _made(self, within_s: float) -> Lease:
        """Make a connection, with growing pauses between the tries. The caller has counted the connection."""
        try:
            return self._made_in_time(monotonic() + within_s)
        except BaseException:
            with self._changed:
                self._n_open -= 1
                self._changed.notify_all()
            raise

    def _made_in_time(self, deadline: float) -> Lease:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                connection = connect_while(self._check_open, self._connect, max(0.1, deadline - monotonic()))
            except NotThereError as error:
                self._is_away()
                if monotonic() + pause > deadline:
                    raise PolicyGoneError(self._url, str(error)) from None
            else:
                return self._known(connection)
            self.closed.wait(pause)
            self._check_open()
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _check_open(self) -> None:
        if self.closed.is_set():
            raise PolicyError("the run ended while the server could not be reached")

    def _is_away(self) -> None:
        with self._changed:
            stale = self._end_life() if self._is_up else []
        _side_by_side([each.connection.close for each in stale])

    def _known(self, connection: Connection) -> Lease:
        """Give a lease of a new connection, if its server sent the same first message as when the run began."""
        with self._changed:
            if self._greeting is None:
                self._greeting = connection.greeting
            same = connection.greeting == self._greeting
            self._is_up = True
            life = self._life
        if same:
            return Lease(connection, life)
        with suppress(Exception):
            connection.close()
        raise FingerprintError(
            f"The first message of the server at {self._url} differs from the one at the beginning of this run, so the "
            "server may have another policy; start it again with the policy that the run began with."
        )


def connect_while(check: Callable[[], None], connect: Callable[[float], Connection], seconds: float) -> Connection:
    """Make a connection within ``seconds``; give up at once if ``check``, which is called meanwhile, raises."""
    # No step of connecting (resolving the name, TCP, TLS, the handshakes) can be ended from another thread at once.
    return call_while(check, lambda: connect(seconds), lambda connection: connection.close())


def _side_by_side(calls: Sequence[Callable[[], None]]) -> None:
    """Close connections, each on a thread, because a server that hangs delays the closing of every one of them."""
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
