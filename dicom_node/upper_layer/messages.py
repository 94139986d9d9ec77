"""DIMSE messages as they come in fragments, and the command sets of requests and answers (PS3.7 sections 6.3, 9.3 and Annex E)."""

import enum
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

LONGEST_COMMAND_BYTES = 1 << 14

NO_DATA_SET = 0x0101
_RESPONSE = 0x8000
_ELEMENT = struct.Struct("<HHL")
_LONGEST_ERROR_COMMENT = 64

_GROUP_LENGTH, _AFFECTED_SOP_CLASS_UID, _COMMAND_FIELD, _MESSAGE_ID, _RESPONDED_TO = 0x0000, 0x0002, 0x0100, 0x0110, 0x0120
_DATA_SET_TYPE, _STATUS, _ERROR_COMMENT, _AFFECTED_SOP_INSTANCE_UID = 0x0800, 0x0900, 0x0902, 0x1000


class CommandField(enum.IntEnum):
    """The requests that this node knows (PS3.7 Table E.1-1)."""

    C_STORE = 0x0001
    C_ECHO = 0x0030
    C_CANCEL = 0x0FFF


class MessageError(Exception):
    """What came is no DIMSE message: the association cannot go on. The message holds nothing of its content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A request. UIDs are as they came, without padding; they may be anything."""

    field: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_data_set: bool


class DataSetSink(Protocol):
    """Takes a data set while it comes."""

    def write(self, data: memoryview, /) -> object: ...


class MessageUser(Protocol):
    """Is told of messages."""

    def on_command(self, context_id: int, command: Command) -> DataSetSink | None:
        """A request without data set is complete; for one with a data set, return where that goes (None: it is thrown away)."""

    def on_data_set(self, context_id: int, command: Command) -> None:
        """The data set of a request is complete."""


class Messages:
    """Puts fragments together to messages, data sets excepted: they are handed on at once."""

    __slots__ = ("_command", "_context_id", "_pieces", "_sink", "_user")

    def __init__(self, user: MessageUser) -> None:
        self._user = user
        self._pieces = bytearray()
        self._context_id: int | None = None
        self._command: Command | None = None
        self._sink: DataSetSink | None = None

    def take(self, context_id: int, fragment: memoryview, *, command: bool, last: bool) -> None:
        """Take a piece of a fragment.

        Raises:
            MessageError: a message within another one, in two contexts, without a command set, or with one that cannot be read.
        """
        if self._context_id is None:
            self._context_id = context_id
        elif context_id != self._context_id:
            raise MessageError("a message in two presentation contexts, or in another one")
        if command != (self._command is None):
            raise MessageError("a data set without its command set, or a command set in a data set")
        if command:
            self._take_command(context_id, fragment, last=last)
            return
        assert self._command is not None
        if self._sink is not None:
            self._sink.write(fragment)
        if last:
            complete = self._command
            self._context_id = self._command = self._sink = None
            self._user.on_data_set(context_id, complete)

    def _take_command(self, context_id: int, fragment: memoryview, *, last: bool) -> None:
        if len(self._pieces) + len(fragment) > LONGEST_COMMAND_BYTES:
            raise MessageError("a command set is too long")
        self._pieces += fragment
        if not last:
            return
        command = decode_command(bytes(self._pieces))
        self._pieces.clear()
        if command.has_data_set:
            self._command = command
        else:
            self._context_id = None
        self._sink = self._user.on_command(context_id, command)


def decode_command(data: bytes) -> Command:
    """Return what a command set (Implicit VR Little Endian, PS3.7 6.3.1) asks for.

    Raises:
        MessageError: it cannot be read, or lacks what each request has.
    """
    elements = _elements(data)
    return Command(
        field=_number(elements, _COMMAND_FIELD),
        message_id=_number(elements, _MESSAGE_ID if _MESSAGE_ID in elements else _RESPONDED_TO),
        sop_class_uid=_text(elements.get(_AFFECTED_SOP_CLASS_UID, b"")),
        sop_instance_uid=_text(elements.get(_AFFECTED_SOP_INSTANCE_UID, b"")),
        has_data_set=_number(elements, _DATA_SET_TYPE) != NO_DATA_SET,
    )


def encode_response(
    field: int, *, message_id: int, sop_class_uid: str, sop_instance_uid: str = "", status: int, comment: str = ""
) -> bytes:
    """Return the command set of an answer without data set; what is no text that can be sent is left out or replaced."""
    elements = [
        _element(_AFFECTED_SOP_CLASS_UID, _padded(sop_class_uid, b"\0")) if sop_class_uid else b"",
        _element(_COMMAND_FIELD, struct.pack("<H", field | _RESPONSE)),
        _element(_RESPONDED_TO, struct.pack("<H", message_id)),
        _element(_DATA_SET_TYPE, struct.pack("<H", NO_DATA_SET)),
        _element(_STATUS, struct.pack("<H", status)),
        _element(_ERROR_COMMENT, _padded(comment[:_LONGEST_ERROR_COMMENT], b" ")) if comment else b"",
        _element(_AFFECTED_SOP_INSTANCE_UID, _padded(sop_instance_uid, b"\0")) if sop_instance_uid else b"",
    ]
    rest = b"".join(elements)
    return _element(_GROUP_LENGTH, struct.pack("<L", len(rest))) + rest


def _elements(data: bytes) -> Mapping[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        if at + _ELEMENT.size > len(data):
            raise MessageError("a command set is cut off")
        group, element, length = _ELEMENT.unpack_from(data, at)
        at += _ELEMENT.size
        if group != 0 or at + length > len(data):
            raise MessageError("a command set is not built as the Standard says")
        found[element] = data[at : at + length]
        at += length
    return found


def _number(elements: Mapping[int, bytes], element: int) -> int:
    value = elements.get(element, b"")
    if len(value) != 2:  # noqa: PLR2004 - US
        raise MessageError("a command set lacks an element, or has one of the wrong length")
    return int.from_bytes(value, "little")


def _text(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("ascii", errors="replace")


def _padded(text: str, padding: bytes) -> bytes:
    value = text.encode("ascii", errors="replace")
    return value + padding if len(value) % 2 else value


def _element(element: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0, element, len(value)) + value
