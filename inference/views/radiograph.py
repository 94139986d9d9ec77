"""Projection X-rays: CR, DX, RG, and the cines of XA and RF."""

import numpy as np
from pydicom import Dataset

from config.views import ViewsSection
from inference.frames import Frame
from inference.views.box import cropped, only
from inference.views.exposed_field import exposed_field
from inference.views.outline import Device, opening
from inference.views.view import SeriesRanges, frame_index
from inference.views.window import radiograph_window

_DEVICES: tuple[tuple[Device, str], ...] = (("Shutter", "the Display Shutter"), ("Collimator", "the collimator"))


def radiograph(frame: Frame, header: Dataset, wanted: ViewsSection, _: SeriesRanges) -> Frame:
    """A radiograph without shutters, collimated borders and absurd windows."""
    section = wanted.radiograph
    inside = frame if section.border == "keep" else by_header(frame, header)
    shown = radiograph_window(inside, header, section, window=section.window)
    if section.border == "exposed-field" and inside is frame and (field := exposed_field(shown)) is not None:
        return cropped(shown, field, "cropped to the exposed field found in the pixels")
    return shown


def fluoroscopy(frame: Frame, header: Dataset, wanted: ViewsSection, _: SeriesRanges) -> Frame:
    """A frame of an X-ray cine without shutters and collimated borders of the header, and without an absurd window."""
    section = wanted.fluoroscopy
    inside = frame if section.border == "keep" else by_header(frame, header)
    return radiograph_window(inside, header, section, window=section.window)


def by_header(frame: Frame, header: Dataset) -> Frame:
    """The frame as it was decoded, without what lies behind the Display Shutter and the collimator of the header."""
    rows, columns = frame.pixels.shape[:2]
    openings = {words: opening(header, frame_index(frame), device, rows, columns) for device, words in _DEVICES}
    drawn = {words: seen for words, seen in openings.items() if seen is not None}
    seen_through_all = np.logical_and.reduce(list(drawn.values())) if drawn else np.zeros((rows, columns), dtype=np.bool_)
    return only(frame, seen_through_all, f"{' and '.join(drawn)} of the header") if seen_through_all.any() else frame
