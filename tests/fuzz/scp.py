"""A real receiver on a real socket, and what it has open."""

import socket
import ssl
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import structlog

from tests.receiving import CALLING, Node, receiving

_LONGEST_ANSWER_S = 20.0


def open_descriptors() -> int:
    """Return how many files and sockets this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def threads() -> int:
    return threading.active_count()


class SocketTarget:
    """Says things to a listener and waits until it hangs up; afterwards it must still listen."""

    def __init__(self, folder: Path, *, client: ssl.SSLContext | None = None, **settings: Any) -> None:
        self._folder = folder
        self._client = client
        self._failures: list[str] = []
        self._settings = {"calling_ae_titles": (CALLING,), "network_timeout_s": 5, "maximum_associations": 20, **settings}
        self._stack = ExitStack()
        self.node: Node

    def __enter__(self) -> "SocketTarget":
        processors = structlog.get_config()["processors"]
        structlog.configure(processors=[self._keep_failures, *processors])
        self._stack.callback(lambda: structlog.configure(processors=processors))
        self.node = self._stack.enter_context(receiving(self._folder, **self._settings))
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def say(self, data: bytes) -> str:
        """Send everything, end our side, and read until the node ends its own."""
        started = time.monotonic()
        heard = bytearray()
        with (
            socket.create_connection(("127.0.0.1", self.node.port), timeout=_LONGEST_ANSWER_S) as plain,
            self._secured(plain) as connection,
        ):
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while piece := connection.recv(1 << 16):
                    heard += piece
            except TimeoutError:
                raise AssertionError(f"the listener neither answered nor hung up within {_LONGEST_ANSWER_S:g} s") from None
            except OSError:
                return "hung up in the middle"
        assert not self._failures, self._failures
        assert time.monotonic() - started < self._settings["network_timeout_s"], "it was ended by a time-out only"
        return f"{heard[0] if heard else 'nothing'} first"

    def _secured(self, connection: socket.socket) -> socket.socket:
        return connection if self._client is None else self._client.wrap_socket(connection, server_hostname="localhost")

    def _keep_failures(self, _logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """Note what the listener survived but should never have met."""
        if event["event"] == "connection_failed" or "internal error" in str(event.get("reason")):
            self._failures.append(str(event))
        return event
