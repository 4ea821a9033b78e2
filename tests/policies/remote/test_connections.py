"""Connections are lent to one request each, made again, and tell the lives of a server apart."""

from __future__ import annotations

import threading
from contextlib import suppress
from time import monotonic, sleep

import pytest

from proctor.errors import ConfigError, EpisodeLostError, FingerprintError, PolicyError, PolicyGoneError
from proctor.policies.remote.connections import Connections, LostError, NotThereError, Patience


class Connection:
    def __init__(self, greeting):
        self.greeting, self.is_closed, self.is_aborted = greeting, False, False

    def abort(self):
        self.is_aborted = True

    def close(self):
        self.is_closed = True


class Server:
    """Makes connections as long as it is there."""

    def __init__(self):
        self.is_there, self.greeting = True, b"one"
        self.made: list[Connection] = []

    def connect(self, seconds):
        if not self.is_there:
            raise NotThereError("refused")
        self.made.append(Connection(self.greeting))
        return self.made[-1]


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def connections(server):
    found = Connections(server.connect, "ws://there", limit=2, back_within_s=0.2)
    found.begin(0.2)
    return found


def use(connections, owner="", error=None):
    with connections.lent(owner) as lease:
        if error is not None:
            raise error
        return lease


def lost(*, sent=False, orderly=False):
    return LostError("gone", sent=sent, orderly=orderly)


def test_a_connection_is_used_again_and_a_second_one_made_only_while_the_first_is_lent(server, connections):
    use(connections)
    use(connections)
    assert len(server.made) == 1

    with connections.lent("") as one, connections.lent("") as other:
        assert one.connection is not other.connection
    assert len(server.made) == 2


def test_whoever_finds_all_connections_lent_waits_for_one(server, connections):
    with connections.lent(""), connections.lent(""):
        waiting = threading.Thread(target=use, args=[connections])
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
    waiting.join(60)

    assert not waiting.is_alive()
    assert len(server.made) == 2


def test_an_owner_gets_its_own_connection_back(server, connections):
    first, second = use(connections, "a"), use(connections, "b")

    assert use(connections, "a") is first is not second
    assert not first.is_new_owner


def test_a_third_owner_takes_the_one_that_was_idle_longest(connections):
    first, second = use(connections, "a"), use(connections, "b")

    assert use(connections, "c") is first
    assert first.is_new_owner
    assert use(connections, "b") is second


def test_what_nobody_owns_any_more_goes_to_the_next(server, connections):
    first = use(connections, "a")
    connections.disown("a")

    assert use(connections, "b") is first
    assert len(server.made) == 1


@pytest.mark.parametrize("error", [PolicyError("bad"), lost(sent=True), lost(orderly=True), KeyboardInterrupt()])
def test_a_connection_whose_request_failed_is_closed(server, connections, error):
    with suppress(type(error)):
        use(connections, error=error)

    assert server.made[0].is_closed
    assert use(connections).connection is server.made[1]


def test_an_episode_that_was_lost_leaves_the_connection_as_it_is(server, connections):
    with suppress(EpisodeLostError):
        use(connections, error=EpisodeLostError("before"))

    assert use(connections).connection is server.made[0]


def test_a_life_ends_with_a_connection_that_ends_without_a_word_and_with_it_all_others(server, connections):
    """Those that are idle are closed at once."""
    with connections.lent(""):
        idle = use(connections)
    before = use(connections).life
    with suppress(LostError):
        use(connections, error=lost())

    assert use(connections).life == before + 1
    assert idle.connection.is_closed or server.made[0].is_closed
    assert len(server.made) == 3


def test_two_connections_that_one_restart_ends_end_one_life(connections):
    with suppress(LostError), connections.lent("") as late:
        with suppress(LostError):
            use(connections, error=lost())
        new = use(connections)
        raise lost()

    assert late.life == 0
    assert new.life == 1
    assert use(connections).life == 1


@pytest.mark.parametrize("error", [PolicyError("bad"), lost(orderly=True)])
def test_a_life_does_not_end_where_the_server_goes_on(connections, error):
    with suppress(type(error)):
        use(connections, error=error)

    assert use(connections).life == 0


def test_a_connection_that_comes_back_into_another_life_is_closed(connections):
    with connections.lent("") as lease, suppress(LostError):
        use(connections, error=lost())

    assert lease.connection.is_closed


def test_a_server_that_refuses_has_ended_a_life(server, connections):
    """Also if it closed its connections in good order before."""
    server.is_there = False
    connections._back_within_s = 60
    threading.Timer(0.1, setattr, (server, "is_there", True)).start()
    with suppress(LostError):
        use(connections, error=lost(orderly=True))

    assert use(connections).life == 1


def test_a_server_that_stays_away_is_gone(server, connections):
    server.is_there = False
    with suppress(LostError):
        use(connections, error=lost())

    with pytest.raises(PolicyGoneError, match="ws://there is gone"):
        use(connections)
    server.is_there = True
    assert use(connections).life == 1


def test_a_server_that_was_never_there_is_said_otherwise(server):
    server.is_there = False

    with pytest.raises(ConfigError, match="No policy server answers at ws://there"):
        Connections(server.connect, "ws://there", limit=1, back_within_s=60).begin(0.1)


def test_a_server_that_says_something_else_of_itself_is_another_one(server, connections):
    server.greeting = b"two"
    with suppress(LostError):
        use(connections, error=lost())

    with pytest.raises(FingerprintError, match="another policy"):
        use(connections)
    assert server.made[-1].is_closed


def test_closing_ends_every_wait(server, connections):
    """For a connection that is lent, and for a server that is away."""
    errors = []

    def wait():
        try:
            use(connections)
        except PolicyError as error:
            errors.append(str(error))

    with connections.lent(""), connections.lent(""):
        waiting = threading.Thread(target=wait)
        waiting.start()
        connections.close()
        waiting.join(60)

    assert errors == ["the run ended before the server replied"]
    assert all(connection.is_closed for connection in server.made)


def test_closing_aborts_the_requests_under_way_and_no_others(server, connections):
    with connections.lent(""):
        use(connections)
    first, second = server.made
    with connections.lent("") as lease:
        connections.close()

    assert lease.connection.is_aborted
    assert [first.is_aborted, second.is_aborted].count(True) == 1


def test_closing_does_not_wait_for_a_connection_that_is_being_made():
    """What it makes later is closed."""
    connecting, is_late = threading.Event(), threading.Event()
    late = Connection(b"one")

    def connect(seconds):
        connecting.set()
        is_late.wait(60)
        return late

    connections = Connections(connect, "ws://there", limit=1, back_within_s=60)
    closer = threading.Thread(target=lambda: connecting.wait(60) and connections.close())
    closer.start()
    with pytest.raises(PolicyError, match="the run ended while the server could not be reached"):
        connections.begin(60)
    closer.join()

    assert not late.is_closed
    is_late.set()
    until = monotonic() + 30
    while not late.is_closed and monotonic() < until:
        sleep(0.01)
    assert late.is_closed


def test_connections_to_a_server_that_hangs_are_closed_side_by_side(server):
    """Each of them is closed only once all of them are being closed."""
    connections = Connections(server.connect, "ws://there", limit=3, back_within_s=0.2)
    connections.begin(0.2)
    with connections.lent(""), connections.lent(""), connections.lent(""):
        pass
    together = threading.Barrier(3)
    for connection in server.made:
        connection.close = lambda: together.wait(60)

    connections.close()

    assert not together.broken


def test_the_first_reply_may_take_long_and_later_ones_as_long_as_the_slowest_suggests():
    patience = Patience(None)
    assert patience.seconds == 600

    patience.took(0.1)
    assert patience.seconds == 30
    patience.took(5)
    patience.took(1)
    assert patience.seconds == 100
    assert Patience(7.0).seconds == 7
