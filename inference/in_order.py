"""Results that threads compute ahead of whoever needs them, in the order of the jobs, no more of them waiting than memory has room for."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Generic, TypeVar

Result = TypeVar("Result")

WAITING_BYTES = 256 << 20  # of results that wait, or of one that is larger


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Generic[Result]):
    """Something to compute. `size`: how many bytes it and its result hold while they wait. `group`: what it belongs to."""

    compute: Callable[[], Result]
    size: int
    group: int = 0


def in_order(jobs: Iterable[Job[Result]], *, threads: Executor, ahead: int) -> Generator[tuple[int, "Future[Result]"], None, None]:
    """Yield group and future of each job, in their order; meanwhile `ahead` jobs at most (and 256 MB of them, or one) are taken.

    Jobs are taken in the caller's thread. What was not yet begun when the caller stops is never begun.
    """
    waiting: deque[tuple[Job[Result], Future[Result]]] = deque()
    try:
        for job in jobs:
            while waiting and (len(waiting) >= ahead or job.size + sum(one.size for one, _ in waiting) > WAITING_BYTES):
                yield _next(waiting)
            waiting.append((job, threads.submit(job.compute)))
        while waiting:
            yield _next(waiting)
    finally:
        for _, future in waiting:
            future.cancel()


def _next(waiting: "deque[tuple[Job[Result], Future[Result]]]") -> tuple[int, "Future[Result]"]:
    job, future = waiting.popleft()
    return job.group, future
