"""Messages over a connection whose other end may stand still."""

from __future__ import annotations

import os
from multiprocessing import Pipe
from threading import Thread
from time import monotonic, sleep

import pytest

from proctor.child.wire import Wire


@pytest.fixture
def ends():
    ours, theirs = Pipe()
    wire = Wire(ours)
    yield wire, theirs
    wire.close()
    theirs.close()


@pytest.mark.parametrize("size", [0, 1, 1 << 16, 3_000_000])
def test_messages_arrive_whole_in_both_directions(ends, size):
    """The other end is a connection of the standard library."""
    wire, theirs = ends
    message, answers = os.urandom(size), []

    def answer():
        answers.append(theirs.recv_bytes())
        theirs.send_bytes(answers[0])
        theirs.send_bytes(b"last")

    peer = Thread(target=answer)
    peer.start()
    wire.send(message)
    received: list[bytes] = []
    until = monotonic() + 60
    while len(received) < 2 and monotonic() < until:
        received += wire.receive()
        sleep(0.001)
    peer.join()

    assert answers == [message]
    assert received == [message, b"last"]


def test_sending_does_not_wait_for_a_peer_that_does_not_read(ends):
    """A thread sends the rest as it reads, and keeps the order."""
    wire, theirs = ends
    messages = [bytes([number]) * 400_000 for number in range(5)]

    for message in messages:
        wire.send(message)  # if it waited, nobody would ever read

    assert [theirs.recv_bytes() for _ in messages] == messages


def test_a_message_that_is_incomplete_is_not_waited_for(ends):
    """It is returned once the rest has come."""
    wire, theirs = ends
    os.write(theirs.fileno(), b"\0\0")
    assert wire.receive() == []
    os.write(theirs.fileno(), b"\0\x05hel")
    assert wire.receive() == []
    os.write(theirs.fileno(), b"lo\0\0\0\0")

    assert wire.receive() == [b"hello", b""]


def test_a_length_of_more_than_two_gigabytes_is_read():
    """As the standard library writes it."""
    ours, theirs = Pipe()
    wire = Wire(ours)
    os.write(theirs.fileno(), b"\xff\xff\xff\xff" + (3).to_bytes(8, "big") + b"abc")

    assert wire.receive() == [b"abc"]

    wire.close()
    theirs.close()


def test_the_end_comes_after_the_last_message(ends):
    wire, theirs = ends
    theirs.send_bytes(b"last")
    theirs.close()

    assert wire.receive() == [b"last"]
    with pytest.raises(EOFError):
        wire.receive()
    with pytest.raises(OSError):
        wire.send(b"too late")


def test_nothing_is_written_after_the_end(ends):
    """The number of its descriptor may belong to another file by then."""
    wire, _ = ends
    wire.close()
    with pytest.raises(ConnectionResetError):
        wire.send(b"too late")


def test_messages_before_bytes_that_are_none_are_received(ends):
    """And the call after that fails, however much has come since."""
    wire, theirs = ends
    os.write(theirs.fileno(), b"\0\0\0\3abc\0\0\0\0\xff\xff\xff\xfe")

    assert wire.receive() == [b"abc", b""]
    theirs.close()
    with pytest.raises(ConnectionAbortedError):
        wire.receive()
