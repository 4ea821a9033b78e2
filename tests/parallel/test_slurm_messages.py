"""The two ways on which the driver and the jobs of Slurm exchange messages: who is let in, and what arrives."""

from __future__ import annotations

import ast
import inspect
import socket
import threading
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic, sleep

import msgspec
import pytest

from proctor.errors import ConfigError
from proctor.parallel.launchers.slurm import folder as folder_module
from proctor.parallel.launchers.slurm import network
from proctor.parallel.launchers.slurm.folder import FolderAddress, FolderHub
from proctor.parallel.launchers.slurm.hub import CLOSED, OPENED
from proctor.parallel.launchers.slurm.network import Greeting, NetworkHub, own_address

KINDS = ["network", "files"]


@pytest.fixture(params=KINDS)
def hub(request, tmp_path, monkeypatch):
    """The driver's end, once for each way."""
    monkeypatch.setattr(folder_module, "_LOOK_S", 0.02)
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    with closing(NetworkHub("127.0.0.1") if request.param == "network" else FolderHub(tmp_path)) as hub:
        yield hub


def happenings(hub, n: int, seconds: float = 60) -> list:
    """The next ``n`` that the hub reports."""
    found, until = [], monotonic() + seconds
    while len(found) < n:
        assert monotonic() < until, found
        found += hub.poll(0.1)
    return found


# ----------------------------------------------------------------------------------------------------------- both


def test_messages_arrive_whole_and_in_order_in_both_directions(hub):
    """Each shard has a channel of its own; the end of a job is the last that happens on it."""
    channels = {shard_id: hub.expect(shard_id).connect() for shard_id in (3, 5)}
    assert sorted(happenings(hub, 2)) == [(3, OPENED), (5, OPENED)]
    long = bytes(200_000)

    for shard_id, channel in channels.items():
        for message in (b"one", long, f"of {shard_id}".encode()):
            channel.send(message)
        channel.close()
        assert happenings(hub, 4) == [(shard_id, what) for what in (b"one", long, f"of {shard_id}".encode(), CLOSED)]


def test_orders_arrive_until_the_driver_drops_the_shard(hub):
    """The job then sees the end of its orders, which ends its shard."""
    channel = hub.expect(0).connect()
    happenings(hub, 1)
    orders = []
    reader = threading.Thread(target=lambda: orders.extend(channel.messages()))
    reader.start()

    hub.send(0, b"first")
    hub.send(0, b"second")
    hub.send(1, b"to nobody")
    hub.drop(0)
    reader.join(60)
    channel.close()

    assert not reader.is_alive()
    assert orders == [b"first", b"second"]
    assert hub.poll(0.1) == []


def test_the_address_of_a_shard_that_was_dropped_is_void(hub):
    """A job that starts late, after its shard was given up, changes nothing."""
    dropped, replaced = hub.expect(0), hub.expect(1)
    hub.drop(0)
    hub.expect(1)

    channels = [dropped.connect(), replaced.connect()]
    for channel in channels:
        with suppress(OSError):
            channel.send(b"too late")

    assert hub.poll(1) == []
    for channel in channels:
        channel.close()


def test_a_job_that_slurm_starts_again_opens_another_channel(hub, monkeypatch):
    """The address is the same. Orders go to the new one only, and what is left of the old one changes nothing."""
    address = hub.expect(0)
    before = address.connect()
    before.send(b"report")
    assert happenings(hub, 2) == [(0, OPENED), (0, b"report")]
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    after = address.connect()
    assert happenings(hub, 1) == [(0, OPENED)]

    hub.send(0, b"order")

    assert next(after.messages()) == b"order"
    after.send(b"another report")
    assert (0, b"another report") in happenings(hub, 1)
    before.close()
    after.close()


# ------------------------------------------------------------------------------------------------------- the network


@pytest.fixture
def listening(monkeypatch):
    monkeypatch.setattr(network, "_GREETING_TIMEOUT_S", 0.5)
    with closing(NetworkHub("127.0.0.1")) as hub:
        yield hub


def is_refused(connected: Connection) -> bool:
    """The driver closes the connection without having sent more than its challenge."""
    assert connected.poll(60)
    try:
        return not connected.recv_bytes()
    except (EOFError, OSError):
        return True


def connected_with(hub) -> Connection:
    return Connection(socket.create_connection(("127.0.0.1", hub._port)).detach())


@pytest.mark.parametrize(
    "what", ["nothing", "the token itself", "another token", "another shard", "an old token", "text"]
)
def test_a_connection_without_the_token_of_an_expected_shard_is_closed(listening, what):
    """It is closed whether it is silent, guesses, or has the token of another start; and nothing is reported of it."""
    old = listening.expect(0)
    address = listening.expect(0)
    with connected_with(listening) as connected:
        challenge = connected.recv_bytes()
        proofs = {
            "the token itself": Greeting(0, address.token),
            "another token": Greeting(0, network._proof(bytes(32), challenge)),
            "another shard": Greeting(1, network._proof(address.token, challenge)),
            "an old token": Greeting(0, network._proof(old.token, challenge)),
        }
        if what in proofs:
            connected.send_bytes(msgspec.msgpack.encode(proofs[what]))
        elif what == "text":
            connected.send_bytes(b"GET / HTTP/1.1")

        assert is_refused(connected)

    assert listening.poll(0.1) == []


def test_a_long_greeting_is_not_read(listening):
    """Its length alone closes the connection."""
    listening.expect(0)
    with connected_with(listening) as connected:
        connected.recv_bytes()
        connected.send_bytes(bytes(network._LARGEST_GREETING + 1))

        assert is_refused(connected)


def test_so_many_strangers_do_not_keep_a_job_out(listening, monkeypatch):
    """A stranger is closed after a while, and the job tries again."""
    listening._unknown = threading.BoundedSemaphore(2)
    strangers = [connected_with(listening) for _ in range(5)]
    address = listening.expect(0)
    until = monotonic() + 60
    while True:
        try:
            channel = address.connect()
            channel.send(b"here")
            found = happenings(listening, 2, seconds=2)
            break
        except (OSError, AssertionError):
            assert monotonic() < until
            sleep(0.2)

    assert found == [(0, OPENED), (0, b"here")]
    channel.close()
    for stranger in strangers:
        stranger.close()


def test_the_token_is_shown_nowhere_and_is_another_one_for_each_start(listening):
    """What is printed of an address could land in a log."""
    one, other = listening.expect(0), listening.expect(0)

    assert one.token != other.token
    assert len(one.token) == 32
    assert "token" not in repr(one)


def test_no_message_is_unpickled():
    """A connection of multiprocessing unpickles in ``recv`` and pickles in ``send``; neither is called."""
    for module in (network, folder_module):
        calls = [node.func for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.Call)]
        names = {ast.unparse(call) for call in calls if isinstance(call, ast.Attribute)}
        assert not [name for name in names if name.endswith((".recv", "connection.send"))]
        assert {name for name in names if name.endswith("bytes")} or module is folder_module


def test_an_address_that_this_machine_does_not_have_is_refused():
    """The sentence names the two options that help."""
    with pytest.raises(
        ConfigError, match=r"cannot listen on 192\.0\.2\.77 .* --slurm-address.* --slurm-connection=files"
    ):
        NetworkHub("192.0.2.77")


def test_the_address_that_is_chosen_is_not_a_loopback_address_if_there_is_another(monkeypatch):
    """Many machines know their own name as 127.0.1.1."""
    monkeypatch.setattr(socket, "gethostbyname", lambda name: "10.1.2.3")
    assert own_address() == "10.1.2.3"

    class Probe(socket.socket):
        def connect(self, address):
            pass

        def getsockname(self):
            return ("10.9.8.7", 1)

    monkeypatch.setattr(socket, "gethostbyname", lambda name: "127.0.1.1")
    monkeypatch.setattr(network.socket, "socket", Probe)
    assert own_address() == "10.9.8.7"


# ----------------------------------------------------------------------------------------------------------- files


def test_a_message_that_is_not_whole_yet_waits(tmp_path, monkeypatch):
    """File systems show a file while it is being written."""
    monkeypatch.setattr(folder_module, "_LOOK_S", 0.02)
    with closing(FolderHub(tmp_path)) as hub:
        address = hub.expect(0)
        address.connect()
        assert happenings(hub, 1) == [(0, OPENED)]
        with (Path(address.folder) / "reports_0").open("ab", buffering=0) as file:
            file.write(folder_module._LENGTH.pack(6) + b"who")
            assert hub.poll(0.1) == []
            file.write(b"le!")

        assert happenings(hub, 1) == [(0, b"whole!")]


def test_a_job_whose_driver_gives_no_sign_of_life_ends(tmp_path, monkeypatch):
    """A driver that lives gives them without being asked."""
    monkeypatch.setattr(folder_module, "_LOOK_S", 0.02)
    monkeypatch.setattr(folder_module, "_SIGN_OF_LIFE_S", 0.05)
    monkeypatch.setattr(folder_module, "_PATIENCE_S", 2.0)
    with closing(FolderHub(tmp_path)) as hub:
        channel = hub.expect(0).connect()
        ended = threading.Event()
        threading.Thread(target=lambda: [*channel.messages(), ended.set()]).start()
        until = monotonic() + 3.0
        while monotonic() < until:
            hub.poll(0.05)
        assert not ended.is_set()

        assert ended.wait(60)


def test_only_the_user_can_read_the_folder_and_it_is_removed(tmp_path):
    """A job that starts afterwards finds no driver."""
    hub = FolderHub(tmp_path)
    address = hub.expect(0)
    assert Path(address.folder).stat().st_mode & 0o777 == 0o700
    hub.close()

    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError):
        FolderAddress(address.folder).connect()
