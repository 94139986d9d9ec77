"""Preprocessing in threads beside the model: while it computes one batch, the frames of the next are read and prepared."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from functools import partial
from itertools import islice

import torch

from inference.frames import Frame
from inference.in_order import Job, in_order

Finish = Callable[[Iterator[torch.Tensor]], Iterator[torch.Tensor]]


def batches(
    frames: Iterable[Frame],
    preprocess: Callable[[Frame], torch.Tensor],
    *,
    size: int,
    threads: Executor,
    ahead: int,
    pinned: bool,
    finish: Finish = iter,
) -> Iterator[torch.Tensor]:
    """Yield the frames preprocessed, in their order, in batches of `size`; the last may be smaller.

    Frames are taken in the caller's thread, at most `ahead` (and 256 MB, or one) more than were prepared. `pinned`: in memory
    that CUDA copies from while other work goes on. `finish`: what is left to do in the caller's thread with what `preprocess` gave.

    Raises:
        ValueError: as `preprocess` does, for the first frame in order.
    """
    jobs = (Job(compute=partial(preprocess, frame), size=_held(frame)) for frame in frames)
    prepared = finish(future.result() for _, future in in_order(jobs, threads=threads, ahead=ahead))
    while rows := list(islice(prepared, size)):
        yield torch.stack(rows, out=torch.empty((len(rows), *rows[0].shape), dtype=rows[0].dtype, device=rows[0].device, pin_memory=pinned))


def _held(frame: Frame) -> int:
    return frame.pixels.nbytes + (0 if frame.values is None else frame.values.nbytes)
