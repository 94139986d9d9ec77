"""A small Storage SCU on a bare socket (PS3.8 9.3, PS3.7 9.3.1): it notices at once when the node dies, and can break off anywhere."""

import contextlib
import socket
import struct

from dicom_node.keeping.part10 import read_file_meta
from dicom_node.receiving.header_peek import peek

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION = "2.25.20260105"
PDU_BYTES = 16384
TIMEOUT_S = 20.0
ASSOCIATE_AC, P_DATA, RELEASE_RQ, ABORT = 0x02, 0x04, 0x05, 0x07
SUCCESS = 0x0000


class NotStoredError(Exception):
    """The node did not say that it stored the object."""


class Instance:
    """A Part 10 file, ready to be sent as it lies there."""

    def __init__(self, path):
        self.path = path
        with path.open("rb") as file:
            meta = read_file_meta(file)
            self.transfer_syntax_uid = str(meta.TransferSyntaxUID)
            start = file.tell()
            header = peek(file, transfer_syntax_uid=self.transfer_syntax_uid)
            file.seek(start)
            self.data_set = file.read()
        self.sop_class_uid, self.sop_instance_uid = header.sop_class_uid, header.sop_instance_uid


class Association:
    """An association for one SOP class in one transfer syntax.

    Raises:
        OSError: the node is not there, or hung up.
        NotStoredError: it does not want the association.
    """

    def __init__(self, instance, *, port, calling, called="DICOM-NODE"):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(_associate_rq(instance, calling, called))
        kind, _ = self._pdu()
        if kind != ASSOCIATE_AC:
            self.close()
            raise NotStoredError(f"no association: PDU {kind:#04x}")

    def store(self, instance, *, message_id=1, share=1.0):
        """Send an object and return the status; with `share` below 1 only so much of it, and return None."""
        self._socket.sendall(_pdv(_store_rq(instance, message_id), command=True, last=True))
        whole = instance.data_set
        for start in range(0, len(whole), PDU_BYTES):
            if start > len(whole) * share:
                return None
            piece = whole[start : start + PDU_BYTES]
            if share < 1:
                piece = piece[: max(1, int(len(piece) * share))]
            self._socket.sendall(_pdv(piece, command=False, last=share >= 1 and start + PDU_BYTES >= len(whole)))
        return self._status() if share >= 1 else None

    def _status(self):
        kind, body = self._pdu()
        if kind != P_DATA:
            raise NotStoredError(f"no answer: PDU {kind:#04x}")
        command, position = body[6:], 0
        while position < len(command):
            group, element, length = struct.unpack_from("<HHL", command, position)
            if (group, element) == (0x0000, 0x0900):
                return struct.unpack_from("<H", command, position + 8)[0]
            position += 8 + length
        raise NotStoredError("an answer without a status")

    def release(self):
        """End the association in good order, as far as the other side is there."""
        with contextlib.suppress(OSError):
            self._socket.sendall(struct.pack(">BBL4x", RELEASE_RQ, 0, 4))
            self._pdu()
        self.close()

    def abort(self):
        with contextlib.suppress(OSError):
            self._socket.sendall(struct.pack(">BBL4x", ABORT, 0, 4))
        self.close()

    def close(self):
        self._socket.close()

    def _pdu(self):
        kind, length = struct.unpack(">BxL", self._exactly(6))
        return kind, self._exactly(length)

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            piece = self._socket.recv(count - len(data))
            if not piece:
                raise ConnectionResetError("the node hung up")
            data += piece
        return data


def send(paths, *, port, calling, on_stored):
    """Send files over one association; call `on_stored` with each that the node says is stored; return those that are left."""
    instances = [Instance(path) for path in paths]
    left = {instance.sop_instance_uid: instance for instance in instances}
    association = None
    try:
        association = Association(instances[0], port=port, calling=calling)
        for number, instance in enumerate(instances, start=1):
            if association.store(instance, message_id=number) == SUCCESS:
                on_stored(instance)
                del left[instance.sop_instance_uid]
    except (OSError, NotStoredError):
        if association is not None:
            association.close()
    else:
        association.release()
    return [instance.path for instance in left.values()]


def _item(kind, content):
    return struct.pack(">BxH", kind, len(content)) + content


def _associate_rq(instance, calling, called):
    syntaxes = _item(0x30, instance.sop_class_uid.encode()) + _item(0x40, instance.transfer_syntax_uid.encode())
    context = _item(0x20, b"\x01\x00\x00\x00" + syntaxes)
    user = _item(0x50, _item(0x51, struct.pack(">L", PDU_BYTES)) + _item(0x52, IMPLEMENTATION.encode()))
    titles = f"{called:<16}{calling:<16}".encode()
    body = struct.pack(">HH", 1, 0) + titles + bytes(32) + _item(0x10, APPLICATION_CONTEXT.encode()) + context + user
    return struct.pack(">BxL", 0x01, len(body)) + body


def _pdv(data, *, command, last):
    header = (1 if command else 0) | (2 if last else 0)
    return struct.pack(">BxLLBB", P_DATA, len(data) + 6, len(data) + 2, 1, header) + data


def _store_rq(instance, message_id):
    def element(number, value):
        return struct.pack("<HHL", 0x0000, number, len(value)) + value

    def uid(text):
        return text.encode() + b"\x00" * (len(text) % 2)

    rest = (
        element(0x0002, uid(instance.sop_class_uid))
        + element(0x0100, struct.pack("<H", 0x0001))
        + element(0x0110, struct.pack("<H", message_id))
        + element(0x0700, struct.pack("<H", 0))
        + element(0x0800, struct.pack("<H", 0x0001))
        + element(0x1000, uid(instance.sop_instance_uid))
    )
    return element(0x0000, struct.pack("<L", len(rest))) + rest
