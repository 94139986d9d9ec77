"""A process that decodes frames for `decoding`: requests on the standard input, answers on the standard output, until it ends.

A decoder that is asked to read damaged data can abort its whole process or write to the standard error; here it does no harm.
"""

import os
import resource
import struct
import sys
from typing import BinaryIO

import msgspec
import numpy as np

from inference.pixels.codecs import CodecError, EncodedFrame, decode

LENGTH = struct.Struct("<Q")
READY = b"ready"  # said once, so that nobody's patience with a frame is spent on the start

# What a decoder may take beside the frame: openjpeg holds 32-bit samples two or three times, and pydicom two copies of its own.
_BYTES_A_SAMPLE = 64
_SPARE_BYTES = 256 << 20


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a frame: values of `shape` and `dtype` that follow in `length` bytes, or why there are none."""

    refusal: str = ""
    dtype: str = ""
    shape: tuple[int, ...] = ()
    photometric_interpretation: str = ""
    length: int = 0


def main() -> None:
    """Answer until the other side closes."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what libraries print must not get among the answers
    answers.write(READY)
    answers.flush()
    asked = sys.stdin.buffer
    while len(head := asked.read(LENGTH.size)) == LENGTH.size:
        frame = msgspec.msgpack.decode(asked.read(*LENGTH.unpack(head)), type=EncodedFrame)
        _answer(answers, frame)


def _answer(answers: BinaryIO, frame: EncodedFrame) -> None:
    try:
        _limit_memory(frame)
        values, interpretation = decode(frame)
    except CodecError as exc:
        _send(answers, Answer(refusal=str(exc)))
    except MemoryError:
        _send(answers, Answer(refusal="decoding takes far more memory than such a frame needs; ask the sender to send it again"))
    else:
        data = np.ascontiguousarray(values)
        answer = Answer(dtype=data.dtype.str, shape=data.shape, photometric_interpretation=interpretation, length=data.nbytes)
        _send(answers, answer, data.reshape(-1).view(np.uint8).data)


def _send(answers: BinaryIO, answer: Answer, values: memoryview | bytes = b"") -> None:
    head = msgspec.msgpack.encode(answer)
    answers.write(LENGTH.pack(len(head)) + head)
    answers.write(values)
    answers.flush()


def _limit_memory(frame: EncodedFrame) -> None:
    """So that a codestream cannot make its decoder take what neither header nor file account for."""
    pages = int(open("/proc/self/statm", encoding="ascii").read().split()[0])  # noqa: PTH123, SIM115 - once a frame; closed at once
    allowed = pages * resource.getpagesize() + _SPARE_BYTES + frame.samples * _BYTES_A_SAMPLE
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (allowed if most == resource.RLIM_INFINITY else min(allowed, most), most))


if __name__ == "__main__":
    main()
