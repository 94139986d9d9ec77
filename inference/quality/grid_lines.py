"""Is the shadow of an anti-scatter grid, or another regular pattern, over the image?"""

import numpy as np
from pydicom import Dataset

from config import Code
from inference.quality.check import MeasuringCheck, held_out, limits
from inference.quality.luminance import Floats
from inference.quality.medians import median_down
from inference.quality.sample import Sample

_FEWEST_PIXELS = 128
_MOST_PIXELS = 2048
_LOWEST, _HIGHEST = 0.06, 0.49  # cycles a pixel: below lies anatomy, ribs among it
_BLOCK = 8
_NEIGHBOURS = 12
_BINS_OF_A_PEAK = 2.5  # the width of the Hann window's main lobe
_NOTHING = 1e-9

_LIMITS = limits(
    "dB",
    ("CR DX RG", 7.0, held_out("0 of 15", "15 of 15")),
)


def regular_pattern(sample: Sample, _header: Dataset) -> float | None:
    """The highest peak of the spectrum along rows or columns over its surroundings, in decibels; None below 128 pixels.

    Spectra of up to 256 lines at full resolution; at each frequency their median, as a grid is on all lines and an edge on some.
    Multiples of an eighth are left out: they are blocks of compression.
    """
    found = [_highest_peak(lines) for lines in (sample.rows, sample.columns) if lines.shape[1] >= _FEWEST_PIXELS]
    return max(found) if found else None


def _highest_peak(lines: Floats) -> float:
    count = min(lines.shape[1], _MOST_PIXELS)
    part = lines[:, :count] - lines[:, :count].mean(axis=1, keepdims=True)
    spectra = np.abs(np.fft.rfft(part * np.hanning(count).astype(np.float32), axis=1)) ** 2
    level = 10 * np.log10(median_down(spectra) + _NOTHING)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(level, _NEIGHBOURS, mode="reflect"), 2 * _NEIGHBOURS + 1)
    frequency = np.arange(level.size) / count
    used = (frequency > _LOWEST) & (frequency < _HIGHEST)
    for harmonic in range(1, _BLOCK // 2):
        used &= np.abs(frequency - harmonic / _BLOCK) > _BINS_OF_A_PEAK / count
    return float((level - np.median(around, axis=1))[used].max())


GRID_LINES = MeasuringCheck(
    name="grid-lines",
    measure=regular_pattern,
    limits=_LIMITS,
    bad="above",
    code=Code(value="111208", scheme="DCM", meaning="Grid artifact(s)"),
    good_sentence="No regular pattern is seen.",
    bad_sentence="A regular pattern of lines is seen, as of an anti-scatter grid.",
)
