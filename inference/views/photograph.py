"""Colour photographs: skin (XC, DMS), eye (OP), endoscopes (ES) and microscopes (GM), without the black around the field of view."""

from pydicom import Dataset

from config.views import ViewsSection
from inference.frames import Frame
from inference.views.box import cropped
from inference.views.field_of_view import field_of_view
from inference.views.view import SeriesRanges


def photograph(frame: Frame, _: Dataset, wanted: ViewsSection, __: SeriesRanges) -> Frame:
    """A photograph cropped to its field of view, where a black border shows that it has one."""
    if wanted.photograph.border == "keep" or (field := field_of_view(frame)) is None:
        return frame
    return cropped(frame, field, "cropped to the field of view")
