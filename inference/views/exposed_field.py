"""Where a radiograph was exposed, found in its pixels: what straight collimator blades kept dark (shown white or blackened) is a border."""

from collections.abc import Iterator

import numpy as np

from inference.frames import Frame
from inference.views.box import Box, Mask
from inference.views.reduced import reduced

_LONGEST_SIDE = 256
_WHITE, _BLACK = 0.95, 0.02  # as the quality checks take them
_LINE = 0.9  # share of a line that is of the border's tone: a side marker may lie in it
_EDGE = 0.5  # share of the second line inside at most: a blade's edge is straight and sharp, a body's against air is neither
_SMALLEST_FIELD = 1 / 4
_SMALLEST_BORDER = 0.02


def exposed_field(frame: Frame) -> Box | None:
    """Return the field between blades that lie along rows and columns; None if there is no border whose edge is sharp and straight."""
    small = reduced(frame, longest_side=_LONGEST_SIDE)
    shape = small.brightness.shape
    for border in (small.brightness >= _WHITE, small.brightness <= _BLACK):
        found = _between_blades(border)
        share = found.area / border.size
        if _SMALLEST_FIELD <= share <= 1 - _SMALLEST_BORDER and found.clipped(*shape) == found:
            return small.enlarged(found, *frame.pixels.shape[:2])
    return None


def _between_blades(border: Mask) -> Box:
    """The box that is left after the outer lines of the border's tone, sides without a sharp edge put back."""
    rows, columns = border.shape
    box = Box(top=0, left=0, bottom=rows, right=columns)
    while (smaller := _narrowed(border, box)) != box:
        box = smaller
    sharp = dict(_sharp_sides(border, box))
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


def _sharp_sides(border: Mask, box: Box) -> Iterator[tuple[str, bool]]:
    inside = border[box.slices]
    second = {"top": inside[1:2], "bottom": inside[-2:-1], "left": inside[:, 1:2], "right": inside[:, -2:-1]}
    for side, line in second.items():
        yield side, bool(line.size and line.mean() <= _EDGE)
