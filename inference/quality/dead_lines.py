"""Does a row or column of the detector not answer?"""

import numpy as np
from pydicom import Dataset

from config import Code
from inference.quality.check import MeasuringCheck, held_out, limits
from inference.quality.luminance import Floats
from inference.quality.medians import median_down
from inference.quality.sample import Sample

_FEWEST_PIXELS = 128
_FEWEST_LINES = 32
_QUARTERS = 4
_NEIGHBOURS = 16
_BORDER = 0.03  # of a side, where images have frames

_LIMITS = limits(
    "1",
    ("CR DX RG", 0.055, held_out("0 of 15", "15 of 15")),
    ("CT", 0.055, held_out("0 of 6", "6 of 6")),
    ("MR", 0.055, held_out("0 of 22", "21 of 22")),
)


def odd_line(sample: Sample, _header: Dataset) -> float | None:
    """How far one row or column stands out from both its neighbours, in brightness, beyond twice what other lines near it do.

    The smaller of the two differences if both have one sign, else 0, so that an edge counts nothing; its median over a quarter of the
    line, the quarter where it is greatest: lines of detectors end at the middle where it is read out from two sides. None below 128
    pixels: on those a sulcus is one pixel wide.
    """
    found = [
        _standing_out(lines)
        for lines in (sample.rows, sample.columns)
        if lines.shape[1] >= _FEWEST_PIXELS and lines.shape[0] >= _FEWEST_LINES
    ]
    return max(found) if found else None


def _standing_out(lines: Floats) -> float:
    before, after = lines[:, 1:-1] - lines[:, :-2], lines[:, 1:-1] - lines[:, 2:]
    standing = np.maximum(np.minimum(before, after), 0) + np.minimum(np.maximum(before, after), 0)
    return max(_beyond_its_surroundings(np.abs(median_down(part))) for part in np.array_split(standing, _QUARTERS))


def _beyond_its_surroundings(standing: Floats) -> float:
    around = np.lib.stride_tricks.sliding_window_view(np.pad(standing, _NEIGHBOURS, mode="reflect"), 2 * _NEIGHBOURS + 1)
    left, right = around[:, : _NEIGHBOURS - 1].max(axis=1), around[:, _NEIGHBOURS + 2 :].max(axis=1)
    border = max(2, round(_BORDER * standing.size))
    return float((standing - 2 * np.maximum(left, right))[border:-border].max())


DEAD_LINES = MeasuringCheck(
    name="dead-lines",
    measure=odd_line,
    limits=_LIMITS,
    bad="above",
    code=Code(value="111214", scheme="DCM", meaning="Detector artifact(s)"),
    good_sentence="No single row or column stands out.",
    bad_sentence="A single row or column stands out from its neighbours, as of a defective detector line.",
)
