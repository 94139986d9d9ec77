"""Is there too much noise for what is shown?"""

import numpy as np
from pydicom import Dataset

from config import Code
from inference.quality.check import MeasuringCheck, held_out, limits
from inference.quality.luminance import Floats
from inference.quality.sample import Sample

_MEDIAN_OF_NOISE = 0.6745  # median of the absolute value of a normal variable of unit variance
_FEWEST_PIXELS = 96  # a shorter side below this leaves too few means of eight by eight
_FEWEST_SHOWN = 64
_GREYS = (0.04, 0.96)  # what is black or white shows no noise

_LIMITS = limits(
    "1",
    ("CR DX RG", 0.0059, held_out("0 of 15", "15 of 15")),
    ("CT", 0.0113, held_out("0 of 6", "6 of 6")),
    ("MR", 0.0105, held_out("0 of 22", "22 of 22")),
    ("XC", 0.0086, held_out("0 of 31", "31 of 31")),
    ("ES", 0.01, held_out("0 of 25", "25 of 25")),
)


def noise(sample: Sample, _header: Dataset) -> float | None:
    """The standard deviation of what is noise in the means of two by two pixels on the working scale; None where too little is shown.

    The median of the absolute diagonal Haar coefficients over 0.6745 (Donoho and Johnstone, Biometrika 1994), outside black and white, one
    level below the finest, which coding smooths. It counts in full where it halves on the next level, as noise does, whose pixels know
    nothing of each other; texture and edges are as strong there: it counts by the square of how nearly it halves.
    """
    if min(sample.working.shape) < _FEWEST_PIXELS:
        return None
    finest, _ = _haar(sample.working)
    coarser, detail = _haar(finest)
    coarsest, next_detail = _haar(coarser)
    shown, still_shown = _shown(coarser), _shown(coarsest)
    if min(shown.sum(), still_shown.sum()) < _FEWEST_SHOWN:
        return None
    deviation, next_deviation = _deviation(detail[shown]), _deviation(next_detail[still_shown])
    if next_deviation <= 0:
        return deviation
    return deviation * min(1.0, deviation / (2 * next_deviation)) ** 2


def _shown(means: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return (means > _GREYS[0]) & (means < _GREYS[1])


def _deviation(diagonal: Floats) -> float:
    return float(np.median(np.abs(diagonal))) / _MEDIAN_OF_NOISE


def _haar(pixels: Floats) -> tuple[Floats, Floats]:
    """Means of two by two pixels, and their diagonal detail of the same variance as the pixels' noise."""
    rows, columns = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
    a, b = pixels[0:rows:2, 0:columns:2], pixels[0:rows:2, 1:columns:2]
    c, d = pixels[1:rows:2, 0:columns:2], pixels[1:rows:2, 1:columns:2]
    return (a + b + c + d) / np.float32(4), (a - b - c + d) / np.float32(2)


NOISE = MeasuringCheck(
    name="noise",
    measure=noise,
    limits=_LIMITS,
    bad="above",
    code=Code(value="130578", scheme="DCM", meaning="Poor SNR"),  # CID 6315
    good_sentence="There is little noise.",
    bad_sentence="The image is noisy: fine or faint detail may be lost.",
)
