"""Making files and folders durable, and telling the kernel early that they will have to be."""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

_SYNC_FILE_RANGE_WRITE = 2


def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    """Return Linux' sync_file_range(2), where the C library has it."""
    try:
        function = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return function


_RANGE = _sync_file_range()


def start_writing(descriptor: int, offset: int = 0, length: int = 0) -> None:
    """Begin to write what is in memory of a file to the disk, without waiting; `length` 0 is the rest of it.

    This makes nothing durable, and a failure is told by `os.fsync` afterwards. It does two things: a large file is on the disk for the
    most part when its last byte comes, and several files whose blocks are given out before the first of them is synchronised
    are committed to the file system's journal in one go.
    """
    if _RANGE is not None:
        _RANGE(descriptor, offset, length, _SYNC_FILE_RANGE_WRITE)


def synchronise(place: Path | str) -> None:
    """Make durable what is in a file, or the names in a folder."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
