"""The header of a data set as pydicom reads it, without touching pixels, text or personal attributes."""

import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO, cast

from pydicom import Dataset
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from dicom_node.quiet import keep_libraries_silent
from dicom_node.receiving.instance_header import (
    REQUEST_ATTRIBUTES_SEQUENCE,
    REQUESTED_PROCEDURE_PRIORITY,
    WANTED,
    InstanceHeader,
    UnreadableHeaderError,
    header_of,
)

_WANTED: list[BaseTag | int] = [*sorted(WANTED), REQUEST_ATTRIBUTES_SEQUENCE]
_LONGEST_VALUE = 1 << 16
_LONGEST_INFLATED_HEADER = 16 << 20
_MOST_READS = 100_000  # of a header, two or three for an element; pydicom takes a minute for some millions


def peek(file: BinaryIO, *, transfer_syntax_uid: str) -> InstanceHeader:
    """Return the header of the data set that starts at the position of `file`.

    Nothing after Requested Procedure Priority (0040,1003) is read, so a truncated or absurd Pixel Data is no matter here.
    Memory is bounded whatever lengths the header claims; a deflated data set is inflated to 16 MiB at most.

    Raises:
        UnreadableHeaderError: this is no DICOM data set. The message holds nothing of its content.
    """
    keep_libraries_silent()
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
        header = header_of(
            {tag: _raw(data_set, tag) for tag in WANTED}, tuple(_raw(item, REQUESTED_PROCEDURE_PRIORITY) for item in _requests(data_set))
        )
    except Exception as exc:  # pydicom raises a dozen kinds on hostile bytes; each means the same here
        raise UnreadableHeaderError(f"the data set cannot be parsed ({type(exc).__name__})") from exc
    if not header.sop_class_uid and not header.sop_instance_uid:
        raise UnreadableHeaderError("the data set holds neither SOP Class UID nor SOP Instance UID")
    return header


class _Bounded:
    """A file whose `read` allocates no more than the file holds, however long a value claims to be, and ends a header without end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        start = file.tell()
        self._end = file.seek(0, 2)
        self._reads = 0
        file.seek(start)

    def read(self, size: int = -1) -> bytes:
        self._reads += 1
        if self._reads > _MOST_READS:
            raise ValueError("the header has no end")
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
    return int(tag) > REQUESTED_PROCEDURE_PRIORITY


def _raw(data_set: Dataset, tag: int) -> bytes:
    """Return the bytes of a value without padding, unconverted: conversion warns with the value in the message."""
    if tag not in data_set:
        return b""
    element: RawDataElement | DataElement = data_set.get_item(tag)
    value = element.value
    return value.strip(b"\0 ") if isinstance(value, bytes) else b""


def _requests(data_set: Dataset) -> Iterator[Dataset]:
    """Yield the items of Request Attributes Sequence."""
    if REQUEST_ATTRIBUTES_SEQUENCE in data_set:
        yield from data_set[REQUEST_ATTRIBUTES_SEQUENCE].value or ()
