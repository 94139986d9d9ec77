"""A grey frame shown through another window than the one it was decoded with: polarity and padding stay as the header says."""

import math
from dataclasses import replace

import numpy as np
from pydicom import Dataset

from config.views import PercentileSection
from inference.attributes import functional_group, number
from inference.frames import Frame
from inference.pixels.lookup import Floats
from inference.pixels.values import inversion
from inference.pixels.windows import PERCENTILES, header_window, robust_range, sampled, spread
from inference.views.view import SeriesRange, frame_index

# A header's window is absurd if it leaves less of the brightness than this between the outer percentiles of what it shows. Source: of 1070
# radiographs of eight collections, shown as they were stored, 2 leave less (0.16 and 0.21); of real CR and DX with a window none of 4 does
# (0.72 or more), and all of 3 whose pixels somebody replaced (0.17 or less).
LEAST_CONTRAST = 0.25
# Or if fewer of the pixels than this are neither black nor white, although percentiles would keep half of them so. Source: of the same 1070
# radiographs none has fewer than 0.29.
FEWEST_GREYS = 0.05

_PICTURE_BITS = 8
_PIXELS_LOOKED_AT = 1 << 15
_NEARLY = 1 / 512
_HALF = 0.5


def is_rendered(header: Dataset) -> bool:
    """True if the pixels have 8 bits or fewer: somebody chose their brightness, and no window brings back what is gone."""
    return (number(header, "BitsStored") or 0) <= _PICTURE_BITS


def shown_anew(frame: Frame, header: Dataset, brightness: Floats, words: str) -> Frame:
    """Return the frame with this brightness in [0, 1] (before the header's inversion), the step `words` added."""
    pixels = 1 - brightness if inversion(header) else brightness
    if frame.padding is not None:
        pixels = np.where(frame.padding, np.float32(0), pixels)
    return replace(frame, pixels=pixels, steps=(*frame.steps, words))


def by_percentiles(frame: Frame, header: Dataset, wanted: PercentileSection, why: str) -> Frame:
    """Return the frame with its own percentiles as black and white; itself if it has no values, or all are the same."""
    if frame.values is None:
        return frame
    low, high = robust_range(frame.values, frame.padding, (wanted.lowest_percent, wanted.highest_percent))
    if low >= high:
        return frame
    words = f"instead {_range(low, high)}, percentiles {wanted.lowest_percent:g} and {wanted.highest_percent:g} ({why})"
    return shown_anew(frame, header, spread(frame.values, low, high), words)


def by_series(frame: Frame, header: Dataset, found: SeriesRange) -> Frame:
    """Return the frame with the percentiles of its series as black and white; itself if it has no values."""
    if frame.values is None:
        return frame
    of = "this image" if found.images == 1 else f"{found.images} images of the series"
    words = f"instead {_range(found.low, found.high)}, percentiles {found.lowest_percent:g} and {found.highest_percent:g} of {of}"
    return shown_anew(frame, header, spread(frame.values, found.low, found.high), words)


def radiograph_window(frame: Frame, header: Dataset, wanted: PercentileSection, *, window: str) -> Frame:
    """Return the frame as its header shows it, or by percentiles where that is absurd or `window` asks for them."""
    if is_rendered(header) and header_window(functional_group(header, frame_index(frame), "FrameVOILUTSequence") or header) is None:
        return frame
    if window == "percentiles":
        return by_percentiles(frame, header, wanted, "asked for")
    return by_percentiles(frame, header, wanted, "the window shows next to nothing") if is_absurd(frame) else frame


def is_absurd(frame: Frame) -> bool:
    """True if a grey frame is shown nearly without contrast, or nearly all black and white, and its values would give more."""
    if frame.values is None:
        return False
    values, shown = sampled(frame.values, frame.padding, _PIXELS_LOOKED_AT), sampled(frame.pixels, frame.padding, _PIXELS_LOOKED_AT)
    low, high = np.percentile(values, PERCENTILES) if values.size else (0.0, 0.0)
    if low >= high:
        return False
    darkest, brightest = np.percentile(shown, PERCENTILES)
    if brightest - darkest < LEAST_CONTRAST:
        return True
    return _greys(shown) < FEWEST_GREYS and _greys(spread(values, float(low), float(high))) >= _HALF


def _range(low: float, high: float) -> str:
    """Both ends with as many digits as make a difference to the eye: a thousandth of what lies between."""
    digits = max(0, 2 - math.floor(math.log10(high - low)))
    return f"{low:.{digits}f} to {high:.{digits}f}"


def _greys(shown: Floats) -> float:
    """The share that is neither black nor white."""
    return float(np.mean((shown > _NEARLY) & (shown < 1 - _NEARLY)))
