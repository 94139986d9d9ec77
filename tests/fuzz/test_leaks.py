"""Associations that are aborted, health checks that only connect, and peers that dawdle: afterwards nothing is left open."""

import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.campaign import settled
from tests.fuzz.mutation import split
from tests.fuzz.scp import SocketTarget, open_descriptors, threads
from tests.fuzz.targets import conversations
from tests.peers.test_storescu import run
from tests.receiving import CALLED, CALLING, Node

WHOLE = max(conversations(), key=len)
REQUEST, *DATA = split(WHOLE)
FEW, MANY = 300, pytest.param(10_000, marks=pytest.mark.slow)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[SocketTarget]:
    with SocketTarget(tmp_path, maximum_associations=5, network_timeout_s=1) as found:
        assert found.say(WHOLE)  # what is opened once and for all
        yield found


def is_well(node: Node) -> bool:
    """An association is to be had, and answers."""
    return run("echoscu", "-aet", CALLING, "-aec", CALLED, "127.0.0.1", str(node.port)).returncode == 0


@pytest.mark.parametrize("count", [FEW, MANY])
def test_health_checks_that_only_connect_leave_nothing_open(target: SocketTarget, count: int) -> None:
    before = open_descriptors() + threads()
    for number in range(count):
        with socket.create_connection(("127.0.0.1", target.node.port), timeout=20) as connection:
            if number % 3 == 1:
                connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            elif number % 3 == 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert settled(before) == 0
    assert is_well(target.node)


@pytest.mark.parametrize("count", [FEW, MANY])
def test_associations_that_are_aborted_anywhere_leave_nothing_open(target: SocketTarget, count: int) -> None:
    before = open_descriptors() + threads()
    for number in range(count):
        end = len(REQUEST) + number * 37 % (len(WHOLE) - len(REQUEST))
        with socket.create_connection(("127.0.0.1", target.node.port), timeout=20) as connection:
            connection.sendall(WHOLE[:end])
            if number % 2:
                connection.sendall(b"\x07\x00\x00\x00\x00\x04" + bytes(4))
            # Only now, so that no more than one of them is open: what is tested is that its place is given back.
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass
    assert settled(before) == 0
    assert target.node.files("incoming") == []
    assert is_well(target.node)


SLOW = {
    "in the header of a request": REQUEST[:3],
    "in a request": REQUEST[:80],
    "after the association was accepted": REQUEST,
    "in a command set": REQUEST + DATA[0][:20],
    "between command set and data set": REQUEST + DATA[0],
    "in a data set": REQUEST + DATA[0] + DATA[1][:1000],
    "before it closes, once rejected": REQUEST.replace(CALLING.encode(), b"XX-1"),
    "before it closes, once aborted": REQUEST + b"\x63\x00\x00\x00\x00\x04" + bytes(4),
    "before it closes, once released": WHOLE,
}


@pytest.mark.parametrize("said", SLOW.values(), ids=SLOW.keys())
def test_a_peer_that_falls_silent_is_let_go(target: SocketTarget, said: bytes) -> None:
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", target.node.port), timeout=20) as connection:
        connection.sendall(said)
        while connection.recv(1 << 16):
            pass
    assert time.monotonic() - started < 10
    assert target.node.files("incoming") == []


@pytest.mark.parametrize("place", ["in a request", "in a data set"])
def test_a_peer_that_says_a_byte_now_and_then_is_let_go(target: SocketTarget, place: str) -> None:
    begun = {"in a request": (REQUEST, 0), "in a data set": (REQUEST + DATA[0] + DATA[1], len(REQUEST) + len(DATA[0]) + 1)}
    said, at = begun[place]
    with socket.create_connection(("127.0.0.1", target.node.port), timeout=0.05) as connection:
        connection.sendall(said[:at])
        deadline = time.monotonic() + 15
        while said_more(connection, said[at : at + 1]):
            at += 1
            assert time.monotonic() < deadline, "a byte now and then holds the connection for ever"


def said_more(connection: socket.socket, byte: bytes) -> bool:
    """Say a byte, then listen for a moment; False once the other side has hung up."""
    try:
        connection.sendall(byte)
        return bool(connection.recv(1 << 16))
    except TimeoutError:
        return True
    except OSError:
        return False


def test_more_silent_connections_than_there_are_places_keep_nobody_out(target: SocketTarget) -> None:
    before = open_descriptors() + threads()
    silent = [socket.create_connection(("127.0.0.1", target.node.port), timeout=20) for _ in range(300)]
    try:
        assert is_well(target.node)
    finally:
        for connection in silent:
            connection.close()
    assert settled(before) == 0
