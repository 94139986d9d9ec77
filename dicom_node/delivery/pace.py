"""A bandwidth limit: how long to wait so that no more than so many bytes a second leave this node."""

import time
from collections.abc import Callable, Iterator

_BLOCK = 64 * 1024
_BLOCKS_A_SECOND = 8
SLOWEST_BYTES_PER_S = 100_000
"""A network that is slower than this needs `maximum_bytes_per_s`, so that large results are given the time they take."""


class Pace:
    """Keeps the average since the first byte of each result at or below `maximum_bytes_per_s`; None: no limit."""

    def __init__(
        self,
        maximum_bytes_per_s: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._rate = maximum_bytes_per_s
        self._clock = clock
        self._wait = wait
        self._free_at = 0.0

    def sent(self, size_bytes: int) -> None:
        """Wait until `size_bytes`, which were just sent, have used up their share of the time."""
        if self._rate is None:
            return
        now = self._clock()
        self._free_at = max(self._free_at, now) + size_bytes / self._rate
        self._wait(self._free_at - now)

    def blocks(self, content: bytes) -> Iterator[bytes]:
        """Yield `content` in blocks, each when it may be sent."""
        size = _BLOCK if self._rate is None else max(1, min(_BLOCK, self._rate // _BLOCKS_A_SECOND))
        for start in range(0, len(content), size):
            block = content[start : start + size]
            yield block
            self.sent(len(block))

    def seconds_for(self, size_bytes: int) -> float:
        """Return how long sending may take, in seconds, before anything is wrong."""
        return size_bytes / (self._rate or SLOWEST_BYTES_PER_S)
