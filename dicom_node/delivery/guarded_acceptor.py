"""What pynetdicom's acceptor leaves to others: bounds on silence and on lengths, TLS handshakes out of the thread that accepts.

The Storage SCP has an upper layer of its own. This is for the services that pynetdicom serves.
"""

import ssl
from collections.abc import Callable
from typing import Any

import structlog
from pynetdicom import evt

from dicom_node.tls.contexts import FollowedContext

LONGEST_PDU_BYTES = 1 << 20
"""Longest PDU that is read: an A-ASSOCIATE-RQ has no agreed length; 128 contexts with 60 transfer syntaxes each take 200 kB."""

_log = structlog.get_logger(__name__)


class DeferredHandshake:
    """Stands for the SSLContext that pynetdicom wraps a connection in: the handshake waits for the association's own thread.

    In the thread that accepts, a peer that says nothing would keep out all others.
    """

    def __init__(self, followed: FollowedContext) -> None:
        self._followed = followed

    def wrap_socket(self, connection: Any, *, server_side: bool) -> ssl.SSLSocket:
        """Return the wrapped connection; its first read shakes hands."""
        return self._followed.current().wrap_socket(connection, server_side=server_side, do_handshake_on_connect=False)


def guards(timeout_s: float) -> list[tuple[evt.EventType, Callable[[evt.Event], None]]]:
    """Return event handlers for `start_server` that bound what a peer may hold up."""
    return [(evt.EVT_CONN_OPEN, lambda event: _limit(event, timeout_s)), (evt.EVT_CONN_CLOSE, _free_the_place)]


def _limit(event: evt.Event, timeout_s: float) -> None:
    """Bound how long a peer may be silent within a PDU or a handshake, and how long a PDU it may announce."""
    connection: Any = event.assoc.dul.socket
    connection.socket.settimeout(timeout_s)
    receive = connection.recv

    def receive_bounded(nr_bytes: int) -> bytearray:
        if nr_bytes > LONGEST_PDU_BYTES:
            _log.warning("pdu_refused", peer=event.assoc.requestor.address, announced_bytes=nr_bytes, longest_bytes=LONGEST_PDU_BYTES)
            connection.close()
            raise ConnectionAbortedError("a longer PDU than was agreed")
        answer: bytearray = receive(nr_bytes)
        return answer

    connection.recv = receive_bounded


def _free_the_place(event: evt.Event) -> None:
    """End the wait for an A-ASSOCIATE-RQ that cannot come any more: a health check that only connects must not hold a place."""
    if event.assoc.requestor.primitive is None:
        queue: Any = event.assoc.dul.to_user_queue
        queue.put(None)  # what pynetdicom reads as a time-out
