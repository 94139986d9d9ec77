"""The size that a compressed frame says it has, read before a decoder allocates memory for it."""

import struct

_JPEG_SOI = b"\xff\xd8"
_J2K_SOC_SIZ = b"\xff\x4f\xff\x51"
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "
_MARKER = 0xFF
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_LONGEST_HEADER_BYTES = 1 << 20


def pixels_claimed(codestream: bytes) -> int | None:
    """Rows times columns in the first frame header of a JPEG, JPEG-LS or JPEG 2000 codestream; None if there is none to be read.

    Sources: ISO/IEC 10918-1 B.2.2 (SOFn), ISO/IEC 14495-1 C.2.2 (SOF55), ISO/IEC 15444-1 A.5.1 (SIZ).
    """
    head = codestream[:_LONGEST_HEADER_BYTES]
    if head.startswith(_JP2_SIGNATURE):
        head = head[max(head.find(_J2K_SOC_SIZ), 0) :]
    if head.startswith(_J2K_SOC_SIZ):
        return _in_siz(head)
    return _in_start_of_frame(head) if head.startswith(_JPEG_SOI) else None


def _in_siz(head: bytes) -> int | None:
    try:
        x_end, y_end, x_offset, y_offset = struct.unpack_from(">4L", head, 8)
    except struct.error:
        return None
    return max(0, int(x_end) - int(x_offset)) * max(0, int(y_end) - int(y_offset))


def _in_start_of_frame(head: bytes) -> int | None:
    at = 2
    while at + 4 <= len(head) and head[at] == _MARKER:
        marker = head[at + 1]
        if marker in _STANDALONE or marker == _MARKER:
            at += 1 if marker == _MARKER else 2
            continue
        if marker in _FRAME_HEADERS and at + 9 <= len(head):
            rows, columns = struct.unpack_from(">2H", head, at + 5)
            return int(rows) * int(columns)
        if marker == _START_OF_SCAN:
            return None
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None
