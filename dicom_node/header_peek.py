"""What reception must know about a data set, read from its header without touching pixels, text or personal attributes."""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO, cast

from pydicom import Dataset
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018
_MODALITY = 0x00080060
_STUDY_INSTANCE_UID = 0x0020000D
_SERIES_INSTANCE_UID = 0x0020000E
_NUMBER_OF_STUDY_RELATED_INSTANCES = 0x00201208
_REQUEST_ATTRIBUTES_SEQUENCE = 0x00400275
_REQUESTED_PROCEDURE_PRIORITY = 0x00401003
_WANTED: list[BaseTag | int] = [
    _SOP_CLASS_UID,
    _SOP_INSTANCE_UID,
    _MODALITY,
    _STUDY_INSTANCE_UID,
    _SERIES_INSTANCE_UID,
    _NUMBER_OF_STUDY_RELATED_INSTANCES,
    _REQUEST_ATTRIBUTES_SEQUENCE,
    _REQUESTED_PROCEDURE_PRIORITY,
]

# PS3.3 Table C.4-11, Requested Procedure Priority: STAT, HIGH, ROUTINE, MEDIUM, LOW.
_URGENT_PRIORITIES = frozenset({b"STAT", b"HIGH"})

_LONGEST_UID = 64
_LONGEST_VALUE = 1 << 16
_LONGEST_INFLATED_HEADER = 16 << 20
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


def peek(file: BinaryIO, *, transfer_syntax_uid: str) -> InstanceHeader:
    """Return the header of the data set that starts at the position of `file`.

    Nothing after Requested Procedure Priority (0040,1003) is read, so a truncated or absurd Pixel Data is no matter here.
    Memory is bounded whatever lengths the header claims; a deflated data set is inflated to 16 MiB at most.

    Raises:
        UnreadableHeaderError: this is no DICOM data set. The message holds nothing of its content.
    """
    syntax = UID(transfer_syntax_uid)
    source = BytesIO(_inflate(file)) if syntax == DeflatedExplicitVRLittleEndian else file
    try:
        data_set = read_dataset(
            cast("BinaryIO", _Bounded(source)),
            is_implicit_VR=syntax.is_implicit_VR,
            is_little_endian=syntax.is_little_endian,
            stop_when=_after_header,
            defer_size=_LONGEST_VALUE,
            specific_tags=_WANTED,
        )
        header = InstanceHeader(
            sop_class_uid=_uid(data_set, _SOP_CLASS_UID),
            sop_instance_uid=_uid(data_set, _SOP_INSTANCE_UID),
            study_instance_uid=_uid(data_set, _STUDY_INSTANCE_UID),
            series_instance_uid=_uid(data_set, _SERIES_INSTANCE_UID),
            modality=_modality(data_set),
            expected_instances=_expected_instances(data_set),
            high_priority=any(_raw(item, _REQUESTED_PROCEDURE_PRIORITY) in _URGENT_PRIORITIES for item in _requests(data_set)),
        )
    except Exception as exc:  # pydicom raises a dozen kinds on hostile bytes; each means the same here
        raise UnreadableHeaderError(f"the data set cannot be parsed ({type(exc).__name__})") from exc
    if not header.sop_class_uid and not header.sop_instance_uid:
        raise UnreadableHeaderError("the data set holds neither SOP Class UID nor SOP Instance UID")
    return header


class _Bounded:
    """A file whose `read` allocates no more than the file holds, however long a value claims to be."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        start = file.tell()
        self._end = file.seek(0, 2)
        file.seek(start)

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._end - self._file.tell())
        return self._file.read(left if size < 0 else min(size, left))

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _inflate(file: BinaryIO) -> bytes:
    """Return the start of a deflated data set (PS3.5 A.5), as much as there is of it."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = bytearray()
    while len(inflated) < _LONGEST_INFLATED_HEADER and not inflater.eof:
        chunk = inflater.unconsumed_tail or file.read(1 << 16)
        if not chunk:
            break
        try:
            inflated += inflater.decompress(chunk, 1 << 20)
        except zlib.error:
            break
    return bytes(inflated)


def _after_header(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return int(tag) > _REQUESTED_PROCEDURE_PRIORITY


def _raw(data_set: Dataset, tag: int) -> bytes:
    """Return the bytes of a value without padding, unconverted: conversion warns with the value in the message."""
    if tag not in data_set:
        return b""
    element: RawDataElement | DataElement = data_set.get_item(tag)
    value = element.value
    return value.strip(b"\0 ") if isinstance(value, bytes) else b""


def _uid(data_set: Dataset, tag: int) -> str:
    return _raw(data_set, tag).decode("ascii", errors="replace")


def _modality(data_set: Dataset) -> str:
    text = _raw(data_set, _MODALITY).decode("ascii", errors="replace")
    return text if _CODE_STRING.fullmatch(text) else ""


def _expected_instances(data_set: Dataset) -> int | None:
    digits = _raw(data_set, _NUMBER_OF_STUDY_RELATED_INSTANCES)
    return int(digits) if _POSITIVE_COUNT.fullmatch(digits) else None


def _requests(data_set: Dataset) -> Iterator[Dataset]:
    """Yield the data set and the items of Request Attributes Sequence: senders write the priority in either."""
    yield data_set
    if _REQUEST_ATTRIBUTES_SEQUENCE in data_set:
        yield from data_set[_REQUEST_ATTRIBUTES_SEQUENCE].value or ()
