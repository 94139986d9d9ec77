"""Where a radiograph was exposed, found in its pixels: what straight collimator blades kept dark (shown white or blackened) is a border."""

from collections.abc import Iterator

import numpy as np

from inference.frames import Frame
from inference.views.box import Box, Mask
from inference.views.reduced import Floats, reduced

_LONGEST_SIDE = 256
_WHITE, _BLACK = 0.95, 0.02  # as the quality checks take them
_LINE = 0.9  # share of a line that is of the border's tone: a side marker may lie in it
_EDGE = 0.5  # share of the second line inside at most: a blade's edge is straight, a body's against air is not
_STEP = 0.1  # of full brightness from the border to the second line inside, on average: a blade's edge is sharp
_SMALLEST_FIELD = 1 / 4
_SMALLEST_BORDER = 0.02


def exposed_field(frame: Frame) -> Box | None:
    """Return the field between blades that lie along rows and columns; None if there is no border whose edge is sharp and straight."""
    small = reduced(frame, longest_side=_LONGEST_SIDE)
    shape = small.brightness.shape
    for border in (small.brightness >= _WHITE, small.brightness <= _BLACK):
        found = _between_blades(small.brightness, border)
        share = found.area / border.size
        if _SMALLEST_FIELD <= share <= 1 - _SMALLEST_BORDER and found.clipped(*shape) == found:
            return small.enlarged(found, *frame.pixels.shape[:2])
    return None


def _between_blades(brightness: Floats, border: Mask) -> Box:
    """The box that is left after the outer lines of the border's tone, sides without a sharp edge put back."""
    rows, columns = border.shape
    box = Box(top=0, left=0, bottom=rows, right=columns)
    while (smaller := _narrowed(border, box)) != box:
        box = smaller
    sharp = dict(_sharp_sides(brightness, border, box))
    return Box(
        top=box.top if sharp["top"] else 0,
        left=box.left if sharp["left"] else 0,
        bottom=box.bottom if sharp["bottom"] else rows,
        right=box.right if sharp["right"] else columns,
    )


def _narrowed(border: Mask, box: Box) -> Box:
    """The box without the outer rows, then the outer columns, that are of the border's tone."""
    rows = np.flatnonzero(border[box.slices].mean(1) < _LINE) if box.area else np.empty(0)
    if not rows.size:
        return box
    inner = Box(top=box.top + int(rows[0]), left=box.left, bottom=box.top + int(rows[-1]) + 1, right=box.right)
    columns = np.flatnonzero(border[inner.slices].mean(0) < _LINE)
    if not columns.size:
        return inner
    return Box(top=inner.top, left=box.left + int(columns[0]), bottom=inner.bottom, right=box.left + int(columns[-1]) + 1)


def _sharp_sides(brightness: Floats, border: Mask, box: Box) -> Iterator[tuple[str, bool]]:
    """For each side of the box: True if a border ends there at a straight and sharp edge."""
    inside, bright = border[box.slices], brightness[box.slices]
    outside = brightness[border]
    whole, after, before = slice(None), slice(1, 2), slice(-2, -1)
    second = {"top": (after, whole), "bottom": (before, whole), "left": (whole, after), "right": (whole, before)}
    for side, line in second.items():
        straight = inside[line].size > 0 and inside[line].mean() <= _EDGE
        yield side, bool(straight and outside.size and abs(bright[line].mean() - outside.mean()) >= _STEP)
