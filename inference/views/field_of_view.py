"""Where the picture is in a photograph with a black border: the round field of a fundus camera, the octagon of an endoscope."""

import numpy as np

from inference.frames import Frame
from inference.views.box import Box, Mask, around
from inference.views.reduced import largest_part, reduced

_LONGEST_SIDE = 192
_BLACK = 0.1  # of full brightness in the brightest channel: glow beside the field stays below it, a dark lumen does not reach the edge
_FULL = 0.6  # share of its box that a field fills: pi / 4 for a disc, 0.83 for an octagon, less where its rim is dark
_SMALLEST_FIELD = 0.15
_SMALLEST_BORDER = 0.05


def field_of_view(frame: Frame) -> Box | None:
    """Return the box around the field; None if there is no black border, or what is not black does not look like a field.

    Text and small pictures beside the field are not of it, as they do not hang together with it.
    """
    small = reduced(frame, longest_side=_LONGEST_SIDE)
    bright = small.brightness > _BLACK
    if not _framed(bright):
        return None
    field = largest_part(bright)
    box = around(field)
    if box is None:
        return None
    share = box.area / field.size
    if not _SMALLEST_FIELD <= share <= 1 - _SMALLEST_BORDER or field.sum() < _FULL * box.area:
        return None
    return small.enlarged(box, *frame.pixels.shape[:2])


def _framed(bright: Mask) -> bool:
    """True if at least two opposite edges of the frame are black from end to end."""
    black = [not line.any() for line in (bright[0], bright[-1], bright[:, 0], bright[:, -1])]
    return (black[0] and black[1]) or (black[2] and black[3]) if np.size(bright) else False
