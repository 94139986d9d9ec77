"""PDUs of a requestor, made by hand: also those that no library would make."""

import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"

RELEASE_RQ = b"\x05\x00\x00\x00\x00\x04" + bytes(4)
RELEASE_RP = b"\x06\x00\x00\x00\x00\x04" + bytes(4)
ABORT = b"\x07\x00\x00\x00\x00\x04" + bytes(4)
REJECT = b"\x03\x00\x00\x00\x00\x04\x00\x01\x01\x01"


def pdu(kind: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">BxL", kind, len(content)) + content


def item(kind: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">BxH", kind, len(content)) + content


def context(number: int, abstract: str, *transfer: str) -> bytes:
    syntaxes = [item(0x40, uid.encode()) for uid in transfer or (EXPLICIT, IMPLICIT)]
    return item(0x20, bytes((number, 0, 0, 0)), item(0x30, abstract.encode()), *syntaxes)


def user_information(*items: bytes, longest: int = 16384) -> bytes:
    return item(0x50, item(0x51, struct.pack(">L", longest)), item(0x52, b"2.25.1"), item(0x55, b"TEST"), *items)


def request(
    *contexts: bytes,
    called: bytes = b"DICOM-NODE",
    calling: bytes = b"CT-1",
    version: int = 1,
    application: bytes = APPLICATION_CONTEXT,
    user: bytes | None = None,
) -> bytes:
    """An A-ASSOCIATE-RQ, for CT and Verification unless told otherwise."""
    return pdu(
        1,
        struct.pack(">Hxx16s16s32x", version, called.ljust(16), calling.ljust(16)),
        item(0x10, application),
        *(contexts or (context(1, CT), context(3, VERIFICATION))),
        user_information() if user is None else user,
    )


def pdv(number: int, fragment: bytes, *, command: bool, last: bool = True) -> bytes:
    return struct.pack(">LBB", len(fragment) + 2, number, int(command) | 2 * last) + fragment


def data(number: int, fragment: bytes, *, command: bool, last: bool = True) -> bytes:
    """A P-DATA-TF with one presentation data value."""
    return pdu(4, pdv(number, fragment, command=command, last=last))


def command_set(field: int, *, uid: str = CT, instance: str = "", has_data: bool, message_id: int = 1, rest: bytes = b"") -> bytes:
    """A command set of a request."""

    def element(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HHL", 0, number, len(value)) + value

    elements = element(0x0002, uid.encode()) + element(0x0100, struct.pack("<H", field)) + element(0x0110, struct.pack("<H", message_id))
    elements += element(0x0700, struct.pack("<H", 2)) if field == 1 else b""
    elements += element(0x0800, struct.pack("<H", 1 if has_data else 0x0101))
    elements += element(0x1000, instance.encode()) if instance else b""
    elements += rest
    return element(0x0000, struct.pack("<L", len(elements))) + elements


def echo(number: int = 3, message_id: int = 1) -> bytes:
    """A C-ECHO request."""
    return data(number, command_set(0x30, uid=VERIFICATION, has_data=False, message_id=message_id), command=True)


def store(number: int, instance: str, data_set: bytes, *, message_id: int = 1, piece: int = 4096) -> bytes:
    """A C-STORE request, its data set in P-DATA-TFs of `piece` bytes."""
    head = data(number, command_set(1, instance=instance, has_data=True, message_id=message_id), command=True)
    starts = range(0, max(1, len(data_set)), piece)
    return head + b"".join(
        data(number, data_set[start : start + piece], command=False, last=start + piece >= len(data_set)) for start in starts
    )


@dataclass(frozen=True, slots=True)
class Pdu:
    """One PDU as it came: its type and what follows the header."""

    kind: int
    body: bytes

    @property
    def status(self) -> int:
        """Of a DIMSE answer, Status (0000,0900)."""
        at = self.body.index(struct.pack("<HHL", 0, 0x0900, 2))
        return int.from_bytes(self.body[at + 8 : at + 10], "little")

    @property
    def responded_to(self) -> int:
        """Of a DIMSE answer, Message ID Being Responded To (0000,0120)."""
        at = self.body.index(struct.pack("<HHL", 0, 0x0120, 2))
        return int.from_bytes(self.body[at + 8 : at + 10], "little")


class Requestor:
    """A connection on which anything can be said."""

    def __init__(self, port: int, *, timeout_s: float = 10) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)

    def __enter__(self) -> "Requestor":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, *messages: bytes, piece: int | None = None) -> None:
        """Send; `piece` bytes at a time if asked for."""
        content = b"".join(messages)
        for start in range(0, len(content), piece or max(1, len(content))):
            self.socket.sendall(content[start : start + (piece or len(content))])

    def hear(self) -> Pdu | None:
        """Return the next PDU, or None if the connection is closed."""
        try:
            header = self._exactly(6)
            return None if header is None else Pdu(header[0], self._exactly(int.from_bytes(header[2:], "big")) or b"")
        except ConnectionResetError:
            return None

    def hear_all_until_closed_by_us(self) -> list[Pdu]:
        """Return every PDU up to the last word of an association, A-RELEASE-RP or A-ABORT: then it is for the requestor to close."""
        heard: list[Pdu] = []
        while (one := self.hear()) is not None:
            heard.append(one)
            if one.kind in {6, 7}:
                self.socket.close()
                break
        return heard

    def associate(self, *contexts: bytes) -> Pdu:
        """Associate and return the answer."""
        self.say(request(*contexts))
        answer = self.hear()
        assert answer is not None, "the connection was closed"
        return answer

    def _exactly(self, count: int) -> bytes | None:
        content = b""
        while len(content) < count:
            piece = self.socket.recv(count - len(content))
            if not piece:
                return None
            content += piece
        return content


def results(accept: Pdu) -> dict[int, int]:
    """Return context ID -> result of an A-ASSOCIATE-AC."""
    return {value[0]: value[2] for kind, value in items(accept.body[68:]) if kind == 0x21}


def transfer_syntaxes(accept: Pdu) -> dict[int, str]:
    """Return context ID -> transfer syntax of the accepted contexts of an A-ASSOCIATE-AC."""
    contexts = [value for kind, value in items(accept.body[68:]) if kind == 0x21 and value[2] == 0]
    return {value[0]: next(content.decode() for kind, content in items(value[4:]) if kind == 0x40) for value in contexts}


def user_items(accept: Pdu) -> dict[int, list[bytes]]:
    """Return the user information of an A-ASSOCIATE-AC, by type of item."""
    found: dict[int, list[bytes]] = {}
    for kind, value in items(accept.body[68:]):
        if kind == 0x50:
            for sub, content in items(value):
                found.setdefault(sub, []).append(content)
    return found


def items(content: bytes) -> Iterable[tuple[int, bytes]]:
    while content:
        kind, length = struct.unpack(">BxH", content[:4])
        yield kind, content[4 : 4 + length]
        content = content[4 + length :]


def kinds(pdus: Sequence[Pdu]) -> list[int]:
    """Return the types of PDUs."""
    return [one.kind for one in pdus]
