"""Is there too much noise for what is shown?"""

import numpy as np
from pydicom import Dataset

from config import Code
from inference.quality.check import MeasuringCheck, held_out, limits
from inference.quality.luminance import Floats
from inference.quality.sample import Sample

_MEDIAN_OF_NOISE = 0.6745  # median of the absolute value of a normal variable of unit variance
_FEWEST_PIXELS = 64
_GREYS = (0.04, 0.96)  # what is black or white shows no noise
_QUANTILES = (0.05, 0.95)
_LEAST_CONTRAST = 0.05
_BLACK_AND_WHITE = frozenset({"CR", "DX", "RG", "CT", "MR"})

_LIMITS = limits(
    "1",
    ("CR DX RG", 0.032, held_out("0 of 15", "15 of 15")),
    ("CT", 0.036, held_out("0 of 6", "6 of 6")),
    ("MR", 0.0455, held_out("0 of 22", "20 of 22")),
    ("XC", 0.0144, held_out("0 of 31", "24 of 24")),
    ("ES", 0.0206, held_out("0 of 25", "22 of 24")),
)


def noise(sample: Sample, _header: Dataset) -> float | None:
    """The standard deviation of the noise, of grey images as a share of their contrast; None for a frame below 64 pixels a side.

    The median of the absolute diagonal Haar coefficients over 0.6745 (Donoho and Johnstone, Biometrika 1994), on the working
    scale, outside black and white. Of photographs, whose coding smooths the finest details, it is taken one level coarser.
    """
    if min(sample.working.shape) < _FEWEST_PIXELS:
        return None
    if sample.modality in _BLACK_AND_WHITE:
        return _relative(*_haar(sample.working))
    means, _ = _haar(sample.working)
    coarser, diagonal = _haar(means)
    shown = _shown(coarser)
    return None if shown.sum() < _FEWEST_PIXELS else _deviation(diagonal[shown]) / 2


def _relative(means: Floats, diagonal: Floats) -> float | None:
    shown = _shown(means)
    if shown.sum() < _FEWEST_PIXELS:
        return None
    low, high = np.quantile(means[shown], _QUANTILES)
    return _deviation(diagonal[shown]) / max(float(high - low), _LEAST_CONTRAST)


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
    good_sentence="Noise is low beside the contrast that is shown.",
    bad_sentence="The image is noisy: fine or faint detail may be lost.",
)
