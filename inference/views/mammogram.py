"""Mammograms: the breast without the air beside it. They are never mirrored."""

from pydicom import Dataset

from config.views import ViewsSection
from inference.frames import Frame
from inference.views.box import Box, around, cropped
from inference.views.radiograph import by_header
from inference.views.reduced import largest_part, reduced
from inference.views.view import SeriesRanges
from inference.views.window import radiograph_window

_LONGEST_SIDE = 192
_ABOVE_AIR = 0.05  # of full brightness: the skin line is brighter
_LARGEST_AIR = 0.3  # brightness of the darkest twentieth of the frame, above which it is not air
_SMALLEST_BREAST = 0.05
_MARGIN = 0.02  # of the longer side, so that the skin line is not the edge


def mammogram(frame: Frame, header: Dataset, wanted: ViewsSection, _: SeriesRanges) -> Frame:
    """A mammogram cropped to the breast."""
    section = wanted.mammogram
    if section.border == "keep":
        return radiograph_window(frame, header, section, window=section.window)
    shown = radiograph_window(by_header(frame, header), header, section, window=section.window)
    breast = _breast(shown)
    return shown if breast is None else cropped(shown, breast, "cropped to the breast")


def _breast(frame: Frame) -> Box | None:
    """The box around the largest thing that is not air, with a margin; None if there is no air, or hardly anything else."""
    small = reduced(frame, longest_side=_LONGEST_SIDE)
    darkest = sorted(small.brightness.ravel().tolist())[: max(1, small.brightness.size // 20)]
    if darkest[-1] > _LARGEST_AIR:
        return None
    breast = largest_part(small.brightness > darkest[-1] + _ABOVE_AIR)
    box = around(breast)
    if box is None or breast.mean() < _SMALLEST_BREAST:
        return None
    rows, columns = frame.pixels.shape[:2]
    margin = round(max(rows, columns) * _MARGIN)
    large = small.enlarged(box, rows, columns)
    return Box(top=large.top - margin, left=large.left - margin, bottom=large.bottom + margin, right=large.right + margin)
