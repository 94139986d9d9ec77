"""HL7 v2 messages over MLLP (HL7 v2.5.1, 2.9.2 acknowledgements; MLLP release 1): one message, one acknowledgement."""

import re
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from config.destinations import Hl7Destination
from dicom_node.delivery import Outgoing, Receipt
from dicom_node.delivery.associating import tls_failed
from dicom_node.delivery.pace import Pace
from dicom_node.delivery.variants import read_content
from dicom_node.failures import (
    ConnectionEndedError,
    DestinationUnreachableError,
    EmptyAnswerError,
    ResultUnsuitableError,
    StoreRefusedError,
)
from dicom_node.tls.contexts import following_client_context

START, END = b"\x0b", b"\x1c\r"
LONGEST_ACKNOWLEDGEMENT = 1024 * 1024
ACCEPTED = frozenset({"AA", "CA"})
REFUSED = {
    "AE": "it could not process the message; correct the cause there and retry",
    "CE": "it could not take the message; correct the cause there and retry",
    "AR": "it rejects such messages; agree with its administrator on type, version and sender",
    "CR": "it rejects such messages; agree with its administrator on type, version and sender",
}
_CODE = re.compile(r"[A-Za-z0-9]{1,20}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """MSA-1, MSA-2 and the first HL7 error code (ERR-3.1), which is empty where none is given."""

    code: str
    control_id: str
    error_code: str


class Hl7Channel:
    """Sends one message and waits for the acknowledgement that names it. The connection is kept for the next message.

    A connection is never used again after a message on it got no acknowledgement: one that comes late would be taken for that of
    the next message by a receiver that does not fill in MSA-2.
    """

    def __init__(self, destination: Hl7Destination, *, calling_ae_title: str, clock: Callable[[], datetime]) -> None:
        self._destination = destination
        self._clock = clock
        self._pace = Pace(destination.maximum_bytes_per_s)
        self._context = following_client_context(destination.tls) if destination.tls else None
        self._connection: socket.socket | None = None

    def deliver(self, result: Outgoing) -> Receipt:
        """Return the receiver's receipt; its status is MSA-1."""
        message = read_content(result)
        _require_message(message, result.sop_instance_uid)
        kept, self._connection = self._connection, None
        if kept is not None and _is_quiet(kept):
            try:
                return self._receipt(self._exchange(kept, message, result.sop_instance_uid), result.sop_instance_uid)
            except ConnectionEndedError:
                pass  # it was closed between the look and the message; the same message again is what would come next anyway
        elif kept is not None:
            kept.close()
        return self._receipt(self._exchange(self._connect(), message, result.sop_instance_uid), result.sop_instance_uid)

    def probe(self) -> str:
        """Return that a connection was made. MLLP has no question that changes nothing; it raises as `DeliveryChannel` says."""
        self._connect().close()
        return "connected, with TLS" if self._context else "connected"

    def _connect(self) -> socket.socket:
        to = self._destination
        try:
            connection = socket.create_connection((to.host, to.port), timeout=to.timeout_s)
        except OSError as exc:
            raise self._unreachable() from exc
        if self._context is None:
            return connection
        try:
            return self._context.current().wrap_socket(connection, server_hostname=to.host)
        except ssl.SSLError as exc:
            connection.close()
            raise tls_failed(to.name, exc) from exc
        except OSError as exc:
            connection.close()
            raise self._unreachable() from exc

    def _unreachable(self) -> DestinationUnreachableError:
        to = self._destination
        return DestinationUnreachableError(f"{to.name} is not reachable at {to.host}:{to.port}; is it running, is the network open?")

    def _exchange(self, connection: socket.socket, message: bytes, control_id: str) -> Acknowledgement:
        """Return the acknowledgement of the message; the connection is kept after one and closed otherwise."""
        try:
            acknowledgement = self._asked(connection, message, control_id)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return acknowledgement

    def _asked(self, connection: socket.socket, message: bytes, control_id: str) -> Acknowledgement:
        name = self._destination.name
        others = 0
        try:
            connection.settimeout(self._destination.timeout_s)
            for block in self._pace.blocks(START + message + END):
                connection.sendall(block)
            for frame in _frames(connection, time.monotonic() + self._destination.timeout_s):
                found = parse_acknowledgement(frame)
                if found is not None and found.control_id == control_id:
                    return found
                others += 1
        except TimeoutError as exc:
            told = f"{others} answers about something else" if others else "silence"
            raise EmptyAnswerError(f"{name} did not acknowledge {control_id} in time ({told}); it will be sent again") from exc
        except OSError as exc:
            raise ConnectionEndedError(f"{name} broke the connection before it acknowledged {control_id}; it will be sent again") from exc
        raise ConnectionEndedError(f"{name} closed the connection before it acknowledged {control_id}; it will be sent again")

    def _receipt(self, found: Acknowledgement, control_id: str) -> Receipt:
        name = self._destination.name
        status = f"{found.code} {found.error_code}".strip()
        if found.code in ACCEPTED:
            return Receipt(destination=name, status=status, accepted=True, warning=False, at=self._clock())
        meaning = REFUSED.get(found.code, "an acknowledgement code that HL7 does not know")
        raise StoreRefusedError(f"{name} answered {status} for {control_id}: {meaning}", status=status)


def parse_acknowledgement(frame: bytes) -> Acknowledgement | None:
    """Return what a message acknowledges, or None if it is no acknowledgement. Its free text is left out: it may quote what was sent."""
    text = frame.decode("latin-1")  # codes and identifiers are ASCII in every character set that HL7 v2 knows
    if not text.startswith("MSH") or len(text) < 5:  # noqa: PLR2004 - MSH, the field separator and the component separator
        return None
    separator, component = text[3], text[4]
    segments = [segment.split(separator) for segment in re.split(r"[\r\n]+", text)]
    acknowledged = next((fields for fields in segments if fields[0] == "MSA"), [])
    if len(acknowledged) < 3:  # noqa: PLR2004 - MSA-1 and MSA-2
        return None
    errors = next((fields for fields in segments if fields[0] == "ERR"), [])
    error_code = errors[3].split(component)[0] if len(errors) > 3 else ""  # noqa: PLR2004 - ERR-3
    return Acknowledgement(
        code=acknowledged[1] if _CODE.fullmatch(acknowledged[1]) else "?",
        control_id=acknowledged[2].strip(),
        error_code=error_code if _CODE.fullmatch(error_code) else "",
    )


def _require_message(message: bytes, control_id: str) -> None:
    """Raise ResultUnsuitableError unless it is a message with that control id (MSH-10) that MLLP can frame."""
    header = message.split(b"\r", 1)[0]
    fields = header.split(header[3:4]) if header.startswith(b"MSH") and len(header) > 3 else []  # noqa: PLR2004 - MSH and the separator
    if len(fields) < 10 or fields[9].decode("latin-1") != control_id or START in message or b"\x1c" in message:  # noqa: PLR2004 - MSH-10
        raise ResultUnsuitableError(f"the file of result {control_id} is no HL7 message of that control id; requeue the study")


def _is_quiet(connection: socket.socket) -> bool:
    """True if nothing came since the last acknowledgement: neither the end of the connection nor one for which nobody asked."""
    with suppress(OSError, ValueError):
        pending = connection.pending() if isinstance(connection, ssl.SSLSocket) else 0
        return not pending and not select.select([connection], [], [], 0)[0]
    return False


def _frames(connection: socket.socket, deadline: float) -> Iterator[bytes]:
    """Yield the content of each frame that comes until `deadline` (monotonic, in seconds) or until the peer closes.

    Raises:
        TimeoutError: the deadline has passed.
        OSError: the connection broke, or what comes is no frame and has no end.
    """
    received = b""
    while True:
        while END[:1] in received:  # some receivers leave the carriage return out
            frame, _, received = received.partition(END[:1])
            yield frame.rpartition(START)[2]  # what stands before the start is no part of a message
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        if len(received) > LONGEST_ACKNOWLEDGEMENT:
            raise ConnectionError("more than any acknowledgement")
        connection.settimeout(left_s)
        block = connection.recv(65536)
        if not block:
            return
        received += block
