"""Magnetic resonance: one window for all slices of a series that are of one kind, so that slices stay comparable."""

from pydicom import Dataset

from config.views import ViewsSection
from inference.frames import Frame
from inference.views.view import SeriesRanges
from inference.views.window import by_series, is_rendered


def mr(frame: Frame, header: Dataset, wanted: ViewsSection, ranges: SeriesRanges) -> Frame:
    """A slice through the window of its series."""
    section = wanted.mr
    if section.window == "header" or is_rendered(header) or frame.values is None:
        return frame
    found = ranges(frame, header, section.lowest_percent, section.highest_percent)
    return frame if found is None else by_series(frame, header, found)
