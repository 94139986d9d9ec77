"""Nuclear medicine and PET: one window for the series, uptake dark on white as it is read."""

from dataclasses import replace

import numpy as np
from pydicom import Dataset

from config.views import ViewsSection
from inference.frames import Frame
from inference.pixels.values import inversion
from inference.views.view import SeriesRanges
from inference.views.window import by_series, is_rendered


def nuclear(frame: Frame, header: Dataset, wanted: ViewsSection, ranges: SeriesRanges) -> Frame:
    """A slice or projection in inverted grey, unless its header inverted it already or somebody rendered it before."""
    section = wanted.nuclear
    if is_rendered(header) or frame.values is None:
        return frame
    shown = frame
    if section.window == "series-percentiles":
        found = ranges(frame, header, section.lowest_percent, section.highest_percent)
        shown = frame if found is None else by_series(frame, header, found)
    if section.polarity == "as-decoded" or inversion(header):
        return shown
    return replace(shown, pixels=np.float32(1) - shown.pixels, steps=(*shown.steps, "inverted: uptake dark on white"))
