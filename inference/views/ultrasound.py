"""Ultrasound: the 2-D regions that the header names, without the strips of text, scales and curves around them."""

from collections.abc import Iterator

import numpy as np
from pydicom import Dataset

from config.views import ViewsSection
from inference.attributes import items, number
from inference.frames import Frame
from inference.views.box import Box, Mask, only
from inference.views.view import SeriesRanges

# Region Spatial Format (0018,6012) and Region Data Type (0018,6014): PS3.3 C.8.5.5.1.1 and C.8.5.5.1.2.
_TWO_DIMENSIONAL = 1
_TISSUE, _COLOUR_FLOW = 1, 2
_SMALLEST_SHARE = 1 / 16
_OVER = 1  # pixels: some machines count the last column from 1, or mean the one after it


def ultrasound(frame: Frame, header: Dataset, wanted: ViewsSection, _: SeriesRanges) -> Frame:
    """A frame cropped to its regions of tissue and colour flow (PS3.3 C.8.5.5); whole where the header names none that fits."""
    if wanted.ultrasound.regions == "keep":
        return frame
    kept = _regions(header, *frame.pixels.shape[:2])
    return frame if kept is None else only(frame, kept, "the 2-D regions of the header")


def _regions(header: Dataset, rows: int, columns: int) -> Mask | None:
    """Where the 2-D regions lie; None if there are none, hardly any, or one does not fit: it was drawn for pixels of another size."""
    kept = np.zeros((rows, columns), dtype=np.bool_)
    for box in _boxes(header):
        if box.top < 0 or box.left < 0 or box.bottom > rows + _OVER or box.right > columns + _OVER:
            return None
        kept[box.clipped(rows, columns).slices] = True
    return kept if kept.mean() >= _SMALLEST_SHARE else None


def _boxes(header: Dataset) -> Iterator[Box]:
    for item in items(header, "SequenceOfUltrasoundRegions"):
        kind = number(item, "RegionSpatialFormat"), number(item, "RegionDataType")
        if kind[0] != _TWO_DIMENSIONAL or kind[1] not in {_TISSUE, _COLOUR_FLOW}:
            continue
        left, top, right, bottom = (number(item, f"RegionLocation{end}") for end in ("MinX0", "MinY0", "MaxX1", "MaxY1"))
        if left is None or top is None or right is None or bottom is None or right <= left or bottom <= top:
            continue
        yield Box(top=int(top), left=int(left), bottom=int(bottom) + 1, right=int(right) + 1)
