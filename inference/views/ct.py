"""Computed tomography: one window, or three as red, green and blue."""

from dataclasses import replace

import numpy as np
from pydicom import Dataset

from config.views import CtWindow, ViewsSection, WindowSection
from inference.attributes import functional_group, items
from inference.frames import Frame
from inference.pixels.lookup import Floats
from inference.pixels.values import in_hounsfield
from inference.pixels.windows import Window, body_part_window, by_default, ct_window, header_window, robust_range
from inference.views.view import SeriesRanges, frame_index
from inference.views.window import shown_anew

_CHANNELS = ("red", "green", "blue")


def ct(frame: Frame, header: Dataset, wanted: ViewsSection, _: SeriesRanges) -> Frame:
    """A slice through the windows that the manifest asks for; as it was decoded where the values are no HU."""
    windows = wanted.ct.windows
    values = frame.values
    if values is None or not in_hounsfield(header, frame_index(frame)):
        return frame
    if windows == ("header",):
        return frame if _is_shown(frame, values, header) else _single(frame, values, header, "body-part", "no usable window")
    if len(windows) == 1:
        return _single(frame, values, header, windows[0], "asked for")
    chosen = [_window(one, frame, header) for one in windows]
    pixels = np.stack([window.apply(values) for _, window in chosen], axis=-1)
    if frame.padding is not None:
        pixels[frame.padding] = 0
    words = ", ".join(f"{channel} {_words(*one)}" for channel, one in zip(_CHANNELS, chosen, strict=True))
    return replace(frame, pixels=pixels, steps=(*frame.steps, f"instead three windows: {words}"))


def _single(frame: Frame, values: Floats, header: Dataset, wanted: CtWindow, why: str) -> Frame:
    name, window = _window(wanted, frame, header)
    return shown_anew(frame, header, window.apply(values), f"instead {_words(name, window)} ({why})")


def _is_shown(frame: Frame, values: Floats, header: Dataset) -> bool:
    """True if the slice was decoded through a VOI LUT or window that shows some of it, be it the header's or that of the body part."""
    if by_default(ct_window(body_part_window(header))) in frame.steps:
        return True
    source = functional_group(header, frame_index(frame), "FrameVOILUTSequence") or header
    window = header_window(source)
    if window is None:
        return bool(items(source, "VOILUTSequence"))
    low, high = robust_range(values, frame.padding)
    return low >= high or window.meets(low, high)


def _window(wanted: CtWindow, frame: Frame, header: Dataset) -> tuple[str, Window]:
    if isinstance(wanted, WindowSection):
        return "", Window(centre=wanted.centre, width=wanted.width)
    if wanted == "header":
        window = header_window(functional_group(header, frame_index(frame), "FrameVOILUTSequence") or header)
        if window is not None:
            return "header's", window
    name = body_part_window(header) if wanted == "header" or wanted == "body-part" else wanted  # noqa: PLR1714 - mypy narrows this
    return name, ct_window(name)


def _words(name: str, window: Window) -> str:
    return f"{name} {window}".strip()
