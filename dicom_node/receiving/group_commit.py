"""Data sets that arrived at about the same time are made durable together, by one thread, and answered afterwards.

While one batch is written, the next collects: nobody waits for a clock, and the slower the disk, the larger the batches.
"""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition, Thread

from dicom_node.receiving.reception import Answer
from dicom_node.receiving.storage_session import Submission

_LARGEST_BATCH = 64
"""Bounds how long the first of a batch waits for the others."""


class GroupCommit:
    """A queue and the thread that empties it."""

    def __init__(
        self,
        complete: Callable[[Sequence[Submission]], Sequence[Answer]],
        answered: Callable[[Sequence[tuple[Submission, Answer]]], None],
    ) -> None:
        """`complete` makes a batch durable and never raises; `answered` is told of it in this object's thread."""
        self._complete = complete
        self._answered = answered
        self._waiting: deque[Submission] = deque()
        self._changed = Condition()
        self._stopping = False
        self._thread = Thread(target=self._run, name="group-commit", daemon=True)

    def start(self) -> None:
        """Begin to commit."""
        self._thread.start()

    def submit(self, submission: Submission) -> None:
        """Let a complete data set be part of the next batch."""
        with self._changed:
            self._waiting.append(submission)
            self._changed.notify()

    def stop(self) -> None:
        """Commit what waits, then end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            self._answered(tuple(zip(batch, self._complete(batch), strict=True)))

    def _next_batch(self) -> list[Submission]:
        with self._changed:
            while not self._waiting and not self._stopping:
                self._changed.wait()
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), _LARGEST_BATCH))]
