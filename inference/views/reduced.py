"""A frame made smaller to find large things in it: a collimated border, a breast, a field of view. Pure numpy."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.frames import Frame
from inference.views.box import Box, Mask

Floats = npt.NDArray[np.float32]

_GREY_DIMENSIONS = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reduced:
    """Brightness in [0, 1] as means of square blocks of `block` pixels; rows and columns that do not fill a block are left out."""

    brightness: Floats
    block: int

    def enlarged(self, box: Box, rows: int, columns: int) -> Box:
        """Return the box in pixels of the frame, which has this size; what was left out at the end belongs to the last block."""
        height, width = self.brightness.shape
        return Box(
            top=box.top * self.block,
            left=box.left * self.block,
            bottom=rows if box.bottom == height else box.bottom * self.block,
            right=columns if box.right == width else box.right * self.block,
        )


def reduced(frame: Frame, *, longest_side: int) -> Reduced:
    """Return the frame with neither side longer than `longest_side`; colour is as bright as its brightest channel."""
    pixels = frame.pixels if frame.pixels.ndim == _GREY_DIMENSIONS else frame.pixels.max(axis=2)
    block = max(1, -(-max(pixels.shape) // longest_side))
    if block == 1 or min(pixels.shape) < block:
        return Reduced(brightness=pixels, block=1)
    rows, columns = pixels.shape[0] // block, pixels.shape[1] // block
    blocks = pixels[: rows * block, : columns * block].reshape(rows, block, columns, block)
    return Reduced(brightness=blocks.mean((1, 3), dtype=np.float32), block=block)


def largest_part(mask: Mask) -> Mask:
    """Return the largest set of true pixels that hang together by their sides; all false if none is true."""
    labels = _labels(mask)
    sizes = np.bincount(labels[mask]) if mask.any() else np.zeros(1, dtype=np.intp)
    largest: Mask = mask & (labels == int(sizes.argmax()))
    return largest


def _labels(mask: Mask) -> npt.NDArray[np.intp]:
    """A number for each part: every true pixel takes the smallest index that reaches it, until nothing changes."""
    labels = np.where(mask, np.arange(mask.size).reshape(mask.shape), mask.size)
    while True:
        before = labels.copy()
        for axis in (0, 1):
            labels = _swept(labels, mask, axis)
        if np.array_equal(before, labels):
            return labels


def _swept(labels: npt.NDArray[np.intp], mask: Mask, axis: int) -> npt.NDArray[np.intp]:
    """The smallest label of each run of true pixels along an axis, in the whole run."""
    lines, on = np.moveaxis(labels, axis, 1), np.moveaxis(mask, axis, 1)
    starts = on & ~np.pad(on, ((0, 0), (1, 0)))[:, :-1]
    runs = np.cumsum(starts.ravel()).reshape(on.shape) * on
    smallest = np.full(int(runs.max(initial=0)) + 1, mask.size, dtype=np.intp)
    np.minimum.at(smallest, runs[on], lines[on])
    return np.moveaxis(np.where(on, smallest[runs], mask.size), 1, axis)
