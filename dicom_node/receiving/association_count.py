"""How many associations the receivers of a node have open together: each writes its own number, and reads those of the others."""

import mmap
import os
import struct
from pathlib import Path

_NUMBER = struct.Struct("<q")
_MOST_RECEIVERS = 64


class AssociationCount:
    """One receiver's place in a file that all of them map. What a dead one left there counts until its successor starts."""

    def __init__(self, path: Path, number: int) -> None:
        """`number` is that of this receiver, from 0; no two that run have the same."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, _NUMBER.size * _MOST_RECEIVERS)
            self._shared = mmap.mmap(descriptor, _NUMBER.size * _MOST_RECEIVERS)
        finally:
            os.close(descriptor)
        self._number = number
        self.say(0)

    def say(self, open_here: int) -> None:
        """Let the others know how many are open here."""
        _NUMBER.pack_into(self._shared, self._number * _NUMBER.size, open_here)

    def elsewhere(self) -> int:
        """Return how many are open in the other receivers."""
        counts: list[int] = [count for (count,) in _NUMBER.iter_unpack(self._shared[:])]
        return sum(counts) - counts[self._number]
