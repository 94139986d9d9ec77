"""Data sets that arrived at about the same time are made durable together, by one thread.

While one batch is written, the next collects: nobody waits for a clock, and the slower the disk, the larger the batches.
"""

from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from threading import Thread

from dicom_node.receiving.storage_session import Submission

_LARGEST_BATCH = 64
"""Bounds how long the first of a batch waits for the others."""


class GroupCommit:
    """A queue and the thread that empties it."""

    def __init__(self, commit: Callable[[Sequence[Submission]], None], committed: Callable[[Sequence[Submission]], None]) -> None:
        """`commit` makes a batch durable and never raises; `committed` is told of it. Both are called in this object's thread."""
        self._commit = commit
        self._committed = committed
        self._waiting: SimpleQueue[Submission | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="group-commit", daemon=True)

    def start(self) -> None:
        """Begin to commit."""
        self._thread.start()

    def submit(self, submission: Submission) -> None:
        """Let a complete data set be part of the next batch."""
        self._waiting.put(submission)

    def stop(self) -> None:
        """Commit what waits, then end; nothing may be submitted any more."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        for batch in self._batches():
            self._commit(batch)
            self._committed(batch)

    def _batches(self) -> Iterator[list[Submission]]:
        """Yield what waits, whenever something does, until the queue ends with None."""
        while (submission := self._waiting.get()) is not None:
            batch = [submission]
            while len(batch) < _LARGEST_BATCH and not self._waiting.empty():
                following = self._waiting.get()
                if following is None:
                    self._waiting.put(None)
                    break
                batch.append(following)
            yield batch
