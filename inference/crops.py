"""Looks at a frame: the whole, its middle at several scales, corners, tiles. Pure numpy."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from config.looks import Centre, Corners, Grid, Look, Whole

Floats = NDArray[np.float32]


def crops(pixels: Floats, looks: Sequence[Look]) -> tuple[Floats, ...]:
    """Return what each of `looks` shows of pixels (rows, columns) or (rows, columns, 3), in order: `count(looks)` parts of them."""
    return tuple(np.ascontiguousarray(part) for look in looks for part in _parts(pixels, look))


def count(looks: Sequence[Look]) -> int:
    """Return how many crops they make of any frame."""
    return sum(_COUNT[look.kind] if not isinstance(look, Grid) else look.rows * look.columns for look in looks)


_COUNT = {"whole": 1, "centre": 1, "corners": 5}


def _parts(pixels: Floats, look: Look) -> Iterator[Floats]:
    rows, columns = pixels.shape[:2]
    match look:
        case Whole():
            yield pixels
        case Centre():
            yield _middle(pixels, look.fraction)
        case Corners():
            height, width = _kept(rows, look.fraction), _kept(columns, look.fraction)
            for top in (0, rows - height):
                for left in (0, columns - width):
                    yield pixels[top : top + height, left : left + width]
            yield _middle(pixels, look.fraction)
        case Grid():
            for top, height in _tiles(rows, look.rows, look.overlap):
                for left, width in _tiles(columns, look.columns, look.overlap):
                    yield pixels[top : top + height, left : left + width]


def _middle(pixels: Floats, fraction: float) -> Floats:
    height, width = (_kept(side, fraction) for side in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def _kept(side: int, fraction: float) -> int:
    return max(1, round(side * fraction))


def _tiles(side: int, number: int, overlap: float) -> Iterator[tuple[int, int]]:
    """Start and length of each tile: equal lengths, from one edge to the other."""
    length = min(side, max(1, -int(-side // (number - (number - 1) * overlap))))
    for index in range(number):
        yield (round(index * (side - length) / (number - 1)) if number > 1 else 0), length
