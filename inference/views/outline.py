"""Shutters and collimators as a header draws them: rectangles, circles and polygons, of which what lies in all is left."""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw
from pydicom import Dataset

from inference.attributes import functional_group, number, numbers, texts
from inference.views.box import Box, Mask

Device = Literal["Shutter", "Collimator"]

_MACROS: Mapping[Device, str] = {"Shutter": "FrameDisplayShutterSequence", "Collimator": "CollimatorShapeSequence"}
_SMALLEST_SHARE = 1 / 16  # of the frame; an opening below it was drawn for other pixels, such as those before a reduction
_FEWEST_CORNERS = 3


def opening(header: Dataset, frame_index: int, device: Device, rows: int, columns: int) -> Mask | None:
    """Return where the device lets a frame (0-based index) be seen, bool (rows, columns); None if it hides nothing or nearly everything.

    Source: PS3.3 C.7.6.11 (Display Shutter), C.8.7.3 (X-Ray Collimator) and their macros for each frame (C.7.6.16.2.16,
    C.8.19.6.12): coordinates count from 1, a shape that is not described is passed over.
    """
    source = functional_group(header, frame_index, _MACROS[device]) or header
    seen = np.ones((rows, columns), dtype=np.bool_)
    for shape in texts(source, f"{device}Shape"):
        drawn = _SHAPES[shape](source, device, rows, columns) if shape in _SHAPES else None
        if drawn is not None:
            seen &= drawn
    return None if seen.all() or seen.mean() < _SMALLEST_SHARE else seen


def _rectangle(source: Dataset, device: Device, rows: int, columns: int) -> Mask | None:
    edges = [number(source, f"{device}{edge}Edge") for edge in ("UpperHorizontal", "LeftVertical", "LowerHorizontal", "RightVertical")]
    top, left, bottom, right = edges
    if top is None or left is None or bottom is None or right is None:
        return None
    inside = np.zeros((rows, columns), dtype=np.bool_)
    box = Box(top=int(top) - 1, left=int(left) - 1, bottom=int(bottom), right=int(right)).clipped(rows, columns)
    if box.area:
        inside[box.slices] = True
    return inside


def _circle(source: Dataset, device: Device, rows: int, columns: int) -> Mask | None:
    centre, radius = numbers(source, f"CenterOfCircular{device}"), number(source, f"RadiusOfCircular{device}")
    if len(centre) != 2 or radius is None or radius <= 0:  # noqa: PLR2004 - row and column
        return None
    row, column = np.ogrid[1 : rows + 1, 1 : columns + 1]
    return np.asarray((row - centre[0]) ** 2 + (column - centre[1]) ** 2 <= radius**2)


def _polygon(source: Dataset, device: Device, rows: int, columns: int) -> Mask | None:
    vertices = numbers(source, f"VerticesOfThePolygonal{device}")
    if len(vertices) < 2 * _FEWEST_CORNERS or len(vertices) % 2:
        return None
    corners = [(column - 1, row - 1) for row, column in zip(vertices[::2], vertices[1::2], strict=True)]
    if any(abs(value) > 2 * (rows + columns) for corner in corners for value in corner):
        return None
    canvas = Image.new("1", (columns, rows))
    ImageDraw.Draw(canvas).polygon(corners, fill=1, outline=1)
    return np.asarray(canvas, dtype=np.bool_)


_SHAPES: Mapping[str, Callable[[Dataset, Device, int, int], Mask | None]] = {
    "RECTANGULAR": _rectangle,
    "CIRCULAR": _circle,
    "POLYGONAL": _polygon,
}
