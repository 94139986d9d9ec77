"""RLE frames as native ones, where they are what they should be: no process of their own, whose copies take longer than the decoding.

The rest, damaged ones among them, is for the plug-ins of `codecs`, which have more patience and may take more memory.
"""

import struct
from itertools import pairwise

import msgspec
import numpy as np
from pydicom.uid import ExplicitVRLittleEndian
from rle.rle import decode_segment  # type: ignore[import-not-found]  # compiled, without stubs

from inference.pixels.codecs import EncodedFrame

_HEADER = struct.Struct("<16L")
_LARGEST_BYTES = 4 << 20  # of the frame: up to here the copies show (512 x 512 of 16 bits: 3.5 of 4.6 ms; at 18 MB nothing)
_LONGEST_RUN = 64  # two bytes stand for 128 at most (PS3.5 G.3.1)
_MOST_MADE_BYTES = 64 << 20
_BYTES_A_SAMPLE = frozenset({1, 2, 4})


def unpacked(frame: EncodedFrame) -> EncodedFrame | None:
    """Return the frame as it would be without compression, colour by plane; None if it is large, or not encoded just as PS3.5 G says.

    A segment may go on after its last pixel.
    """
    width, odd = divmod(frame.bits_allocated, 8)
    if odd or width not in _BYTES_A_SAMPLE or frame.samples * width > _LARGEST_BYTES:
        return None
    segments = _segments(frame.data, frame.samples_per_pixel * width)
    if segments is None or _LONGEST_RUN * max(map(len, segments)) > _MOST_MADE_BYTES:
        return None
    planes = np.empty((frame.samples_per_pixel, frame.rows * frame.columns, width), dtype=np.uint8)
    for number, segment in enumerate(segments):
        try:
            made = np.frombuffer(decode_segment(segment), dtype=np.uint8)
        except ValueError:  # it ends within a run
            return None
        if made.size < planes.shape[1]:
            return None
        sample, byte = divmod(number, width)
        planes[sample, :, width - 1 - byte] = made[: planes.shape[1]]  # the most significant byte comes first (PS3.5 G.2)
    return msgspec.structs.replace(
        frame, data=planes.tobytes(), transfer_syntax=str(ExplicitVRLittleEndian), vr="OW", planar_configuration=1
    )


def _segments(data: bytes, count: int) -> list[bytes] | None:
    """The segments by the header of a frame (PS3.5 G.5); None unless there are `count`, none of them empty, one after the other."""
    if len(data) <= _HEADER.size or count >= _HEADER.size // 4:
        return None
    said, *offsets = _HEADER.unpack_from(data)
    ends = [*offsets[:count], len(data)]
    if said != count or ends[0] != _HEADER.size or any(begin >= end for begin, end in pairwise(ends)):
        return None
    return [data[begin:end] for begin, end in pairwise(ends)]
