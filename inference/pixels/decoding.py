"""Decoding in processes of their own: a frame that crashes its decoder costs that frame, and frames are decoded beside each other.

Processes, not threads: of the decoders that we use only Pillow's JPEG and the RLE one let other threads run meanwhile.
"""

import atexit
import os
import subprocess
import sys
import threading
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

import msgspec
import numpy as np

from inference.pixels.codecs import RLE_LOSSLESS, CodecError, EncodedFrame, Stored, decode
from inference.pixels.decoder_process import LENGTH, READY, Answer
from inference.pixels.rle import unpacked

MOST_PROCESSES = 8
_ENDS_WITHIN_S = 5.0
# A hundred times what the slowest decoder took when measured: JPEG 2000, 0.2 s a megapixel, and never less than a quarter of one.
_LONGEST_S = 5.0
_LONGEST_S_A_MEGAPIXEL = 20.0
_CRASHED = "the decoder crashed or got stuck on this frame, so it is damaged; ask the sender to send it again"


def processors() -> int:
    """How many frames are worth decoding at once: one a processor that this process may use, 8 at most."""
    return min(MOST_PROCESSES, len(os.sched_getaffinity(0)))


class Decoders:
    """Decoding processes, started when first needed and kept; any thread may ask."""

    def __init__(self, processes: int) -> None:
        self._free = threading.BoundedSemaphore(processes)
        self._idle: list[subprocess.Popen[bytes]] = []

    def decode(self, frame: EncodedFrame) -> tuple[Stored, str]:
        """As `codecs.decode`. Native frames and sound ones of RLE are decoded here and now: a copy would cost more, and nothing can crash.

        Raises:
            CodecError: as there, or the decoder crashed.
        """
        if frame.is_native:
            return decode(frame)
        if frame.transfer_syntax == RLE_LOSSLESS and (native := unpacked(frame)) is not None:
            return decode(native)
        with self._free:
            process = self._taken()
            stuck = threading.Timer(_LONGEST_S + _LONGEST_S_A_MEGAPIXEL * frame.samples / 1e6, process.kill)
            stuck.start()
            try:
                answer, values = _asked(process, frame)
            except BaseException as exc:
                _ended(process)
                if isinstance(exc, EOFError | BrokenPipeError):
                    raise CodecError(_CRASHED) from exc
                raise
            finally:
                stuck.cancel()
            self._idle.append(process)
        if answer.refusal:
            raise CodecError(answer.refusal)
        return values, answer.photometric_interpretation

    def _taken(self) -> "subprocess.Popen[bytes]":
        while True:
            try:
                process = self._idle.pop()
            except IndexError:
                return _started()
            if process.poll() is None:
                return process
            _ended(process)  # somebody ended it while it waited

    def close(self) -> None:
        """End the processes that wait; those at work end when they have answered and their owner is gone."""
        while self._idle:
            _ended(self._idle.pop())

    def forget(self) -> None:
        """Leave the processes to the process that this one was forked from."""
        self._idle.clear()


def _started() -> "subprocess.Popen[bytes]":
    package = str(Path(__file__).parents[2])
    beside = os.environ.get("PYTHONPATH")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (package, beside))), "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "inference.pixels.decoder_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # decoders complain there, in words that nobody can match to an instance
        env=environment,
    )
    try:
        _read(cast("BufferedReader", process.stdout), len(READY))
    except EOFError as exc:
        _ended(process)
        raise CodecError("no decoding process can be started; check the installation") from exc
    return process


def _asked(process: "subprocess.Popen[bytes]", frame: EncodedFrame) -> tuple[Answer, Stored]:
    asks, answers = cast("BinaryIO", process.stdin), cast("BufferedReader", process.stdout)
    request = msgspec.msgpack.encode(frame)
    asks.write(LENGTH.pack(len(request)))
    asks.write(request)
    asks.flush()
    answer = msgspec.msgpack.decode(_read(answers, *LENGTH.unpack(_read(answers, LENGTH.size))), type=Answer)
    values = np.empty(answer.length, dtype=np.uint8)
    if answer.refusal:
        return answer, values
    if answers.readinto(values.data) != answer.length:
        raise EOFError
    return answer, values.view(answer.dtype).reshape(answer.shape)


def _read(stream: BufferedReader, length: int) -> bytes:
    data = stream.read(length)
    if len(data) != length:
        raise EOFError
    return data


def _ended(process: "subprocess.Popen[bytes]") -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            try:
                stream.close()
            except BrokenPipeError:
                continue  # it died with a request unread
    try:
        process.wait(_ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


DECODERS = Decoders(processors())
atexit.register(DECODERS.close)
os.register_at_fork(after_in_child=DECODERS.forget)
