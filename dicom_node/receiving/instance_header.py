"""What reception must know of an instance, and the quick way to know it. Nothing here loads pydicom, until a data set needs it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dicom_node.keeping.incoming_file import IncomingFile
from dicom_node.receiving.header_walk import NotPlainError, Read, elements

SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
MODALITY = 0x00080060
STUDY_INSTANCE_UID = 0x0020000D
SERIES_INSTANCE_UID = 0x0020000E
NUMBER_OF_STUDY_RELATED_INSTANCES = 0x00201208
REQUEST_ATTRIBUTES_SEQUENCE = 0x00400275
REQUESTED_PROCEDURE_PRIORITY = 0x00401003
WANTED = frozenset(
    {
        SOP_CLASS_UID,
        SOP_INSTANCE_UID,
        MODALITY,
        STUDY_INSTANCE_UID,
        SERIES_INSTANCE_UID,
        NUMBER_OF_STUDY_RELATED_INSTANCES,
        REQUESTED_PROCEDURE_PRIORITY,
    }
)

_IMPLICIT_LITTLE_ENDIAN, _EXPLICIT_BIG_ENDIAN, _DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"

# PS3.3 Table C.4-11, Requested Procedure Priority: STAT, HIGH, ROUTINE, MEDIUM, LOW.
_URGENT_PRIORITIES = frozenset({b"STAT", b"HIGH"})

_LONGEST_UID = 64
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_POSITIVE_COUNT = re.compile(rb"[1-9][0-9]{0,5}")
_CODE_STRING = re.compile(r"[A-Z0-9_ ]{1,16}")


class UnreadableHeaderError(Exception):
    """The bytes are no data set in the transfer syntax that was negotiated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceHeader:
    """The attributes that decide whether an instance is taken; an absent or unreadable one is the empty string."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    expected_instances: int | None
    high_priority: bool


def is_valid_uid(text: str) -> bool:
    """Return True for a UID as PS3.5 section 9.1 defines it: at most 64 characters, no leading zeros."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def peek_start(start: memoryview, *, transfer_syntax_uid: str) -> InstanceHeader | None:
    """Return the header of a data set of which only so much has come yet; None if `peek_received` has to look, once all is there."""
    return _walk(lambda at, count: bytes(start[at : at + count]), len(start), transfer_syntax_uid, whole=False)


def peek_received(file: IncomingFile, *, transfer_syntax_uid: str) -> InstanceHeader:
    """Return the header of a data set that has arrived: as `peek`, and much faster for one that is as nearly all are.

    Raises:
        UnreadableHeaderError: as `peek`.
    """
    header = _walk(file.read, file.size_bytes, transfer_syntax_uid, whole=True)
    if header is not None:
        return header
    from dicom_node.receiving.header_peek import peek  # noqa: PLC0415 - pydicom takes 40 MB, and nearly no data set needs it

    with file.content() as content:
        return peek(content, transfer_syntax_uid=transfer_syntax_uid)


def _walk(read: Read, size: int, transfer_syntax_uid: str, *, whole: bool) -> InstanceHeader | None:
    # Encapsulated transfer syntaxes are Explicit VR Little Endian up to Pixel Data (PS3.5 A.4), the deflated one excepted.
    if transfer_syntax_uid in {_EXPLICIT_BIG_ENDIAN, _DEFLATED}:
        return None
    try:
        values, priorities = elements(
            read,
            size,
            whole=whole,
            explicit=transfer_syntax_uid != _IMPLICIT_LITTLE_ENDIAN,
            wanted=WANTED,
            sequence=REQUEST_ATTRIBUTES_SEQUENCE,
            in_items=REQUESTED_PROCEDURE_PRIORITY,
            last=REQUESTED_PROCEDURE_PRIORITY,
        )
    except NotPlainError:
        return None
    return header_of(values, priorities) if SOP_CLASS_UID in values or SOP_INSTANCE_UID in values else None


def header_of(values: Mapping[int, bytes], priorities: tuple[bytes, ...]) -> InstanceHeader:
    """Return the header with these values, by tag and padded; `priorities` are those in the items of Request Attributes Sequence."""

    def raw(tag: int) -> bytes:
        return values.get(tag, b"").strip(b"\0 ")

    modality = raw(MODALITY).decode("ascii", errors="replace")
    digits = raw(NUMBER_OF_STUDY_RELATED_INSTANCES)
    # Senders write the priority in the data set or in the request that it answers.
    return InstanceHeader(
        sop_class_uid=raw(SOP_CLASS_UID).decode("ascii", errors="replace"),
        sop_instance_uid=raw(SOP_INSTANCE_UID).decode("ascii", errors="replace"),
        study_instance_uid=raw(STUDY_INSTANCE_UID).decode("ascii", errors="replace"),
        series_instance_uid=raw(SERIES_INSTANCE_UID).decode("ascii", errors="replace"),
        modality=modality if _CODE_STRING.fullmatch(modality) else "",
        expected_instances=int(digits) if _POSITIVE_COUNT.fullmatch(digits) else None,
        high_priority=any(value.strip(b"\0 ") in _URGENT_PRIORITIES for value in (raw(REQUESTED_PROCEDURE_PRIORITY), *priorities)),
    )
