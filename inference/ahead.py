"""Preprocessing in threads beside the model: while it computes one batch, the frames of the next are read and prepared."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice

import torch

from inference.frames import Frame

_WAITING_BYTES = 256 << 20  # of frames that were read and not yet prepared; one frame may be larger


def batches(
    frames: Iterable[Frame], preprocess: Callable[[Frame], torch.Tensor], *, size: int, threads: Executor, ahead: int, pinned: bool
) -> Iterator[torch.Tensor]:
    """Yield the frames preprocessed, in their order, in batches of `size`; the last may be smaller.

    Frames are taken in the caller's thread, at most `ahead` (and 256 MB, or one) more than were prepared. `pinned`: in memory
    that CUDA copies from while other work goes on.

    Raises:
        ValueError: as `preprocess` does, for the first frame in order.
    """
    prepared = _prepared(frames, preprocess, threads=threads, ahead=ahead)
    while rows := list(islice(prepared, size)):
        yield torch.stack(rows, out=torch.empty((len(rows), *rows[0].shape), dtype=rows[0].dtype, pin_memory=pinned))


def _prepared(
    frames: Iterable[Frame], preprocess: Callable[[Frame], torch.Tensor], *, threads: Executor, ahead: int
) -> Iterator[torch.Tensor]:
    waiting: deque[tuple[int, Future[torch.Tensor]]] = deque()
    try:
        for frame in frames:
            size = frame.pixels.nbytes + (0 if frame.values is None else frame.values.nbytes)
            while waiting and (len(waiting) >= ahead or sum(held for held, _ in waiting) + size > _WAITING_BYTES):
                yield waiting.popleft()[1].result()
            waiting.append((size, threads.submit(preprocess, frame)))
        while waiting:
            yield waiting.popleft()[1].result()
    finally:
        for _, one in waiting:
            one.cancel()
