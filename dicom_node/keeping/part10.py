"""The DICOM file format (PS3.10 section 7): what stands before a data set that is kept as it was sent."""

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO

from config.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.quiet import keep_libraries_silent

if TYPE_CHECKING:
    from pydicom import Dataset

_META_GROUP = 0x0002
_META_VERSION = b"\x00\x01"
_PREAMBLE = bytes(128) + b"DICM"


def _element(element: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\x00" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", _META_GROUP, element, vr, len(value)) + value


def preamble_and_file_meta(
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    sending_ae_title: str,
    receiving_ae_title: str,
) -> bytes:
    """Return preamble, prefix and File Meta Information; the data set as sent follows directly (PS3.10 Table 7.1-1).

    Raises:
        UnicodeEncodeError: a UID or title is not ASCII.
    """
    before = _before_instance(sop_class_uid)
    instance = _element(0x0003, b"UI", sop_instance_uid.encode("ascii"))
    after = _after_instance(transfer_syntax_uid, sending_ae_title, receiving_ae_title)
    length = struct.pack("<L", len(before) + len(instance) + len(after))
    return b"".join((_PREAMBLE, _element(0x0000, b"UL", length), before, instance, after))


@lru_cache(256)
def _before_instance(sop_class_uid: str) -> bytes:
    version = struct.pack("<HH2sHL", _META_GROUP, 0x0001, b"OB", 0, len(_META_VERSION)) + _META_VERSION
    return version + _element(0x0002, b"UI", sop_class_uid.encode("ascii"))


@lru_cache(256)
def _after_instance(transfer_syntax_uid: str, sending_ae_title: str, receiving_ae_title: str) -> bytes:
    return b"".join(
        (
            _element(0x0010, b"UI", transfer_syntax_uid.encode("ascii")),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode("ascii")),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode("ascii")),
            _element(0x0017, b"AE", sending_ae_title.encode("ascii")),
            _element(0x0018, b"AE", receiving_ae_title.encode("ascii")),
        )
    )


class NotDicomError(Exception):
    """The bytes do not even start as DICOM does. The message holds nothing of them."""


def read_file_meta(file: BinaryIO) -> "Dataset":
    """Return the File Meta Information, with `file` left at the first byte of the data set. Empty if there is none.

    The preamble may be missing, as in files that other software wrote.

    Raises:
        NotDicomError: pydicom cannot read the start of the file.
    """
    from pydicom.filereader import read_dataset, read_preamble  # noqa: PLC0415 - whoever only writes such files needs no pydicom

    keep_libraries_silent()
    try:
        read_preamble(file, force=True)
        return read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, _vr, _length: tag.group != _META_GROUP)
    except Exception as exc:
        raise NotDicomError(f"not a DICOM file ({type(exc).__name__})") from exc
