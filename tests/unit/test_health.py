"""The operator's port answers, whoever else holds connections to it open."""

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from dicom_node.processes.health import HealthServer


@pytest.fixture
def server() -> Iterator[HealthServer]:
    found = HealthServer(
        host="127.0.0.1", port=0, registry=CollectorRegistry(), healthy=dict, ready=lambda: {"space": "less than 1 MB is free"}
    )
    found.start()
    yield found
    found.stop()


def status(server: HealthServer, page: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{page}", timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        return exc.code


def test_clients_that_say_nothing_hold_up_nobody_and_are_let_go(server: HealthServer) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(20)]
    silent[0].sendall(b"GET /metr")
    started = time.monotonic()
    assert (status(server, "/healthz"), status(server, "/readyz"), status(server, "/nothing")) == (200, 503, 404)
    assert time.monotonic() - started < 5
    for connection in silent:
        with connection:
            while connection.recv(4096):
                pass
