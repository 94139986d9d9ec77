"""Is a frame too flat to read?"""

import numpy as np
from pydicom import Dataset

from config import Code
from inference.quality.check import MeasuringCheck, held_out, limits
from inference.quality.sample import Sample

_QUANTILES = (0.05, 0.95)

_LIMITS = limits(
    "1",
    ("CR DX RG", 0.2, "Held-out: 2100 clean radiographs, false alarms 6 (0.3 %); with a fifth of their contrast 99.9 % found"),
    ("CT", 0.34, held_out("0 of 6", "6 of 6")),
    ("MR", 0.201, held_out("0 of 22", "21 of 22")),
    ("US", 0.14, held_out("0 of 8", "7 of 8")),
    ("ES", 0.224, held_out("0 of 25", "24 of 24")),
    ("SM", 0.168, held_out("0 of 26", "24 of 24")),
)


def band_of_greys(sample: Sample, _header: Dataset) -> float:
    """95th minus 5th percentile of brightness in the anatomy. Skin, evenly lit, is rightly flat: photographs of it are not judged."""
    low, high = np.quantile(sample.anatomy, _QUANTILES)
    return float(high - low)


LOW_CONTRAST = MeasuringCheck(
    name="low-contrast",
    measure=band_of_greys,
    limits=_LIMITS,
    bad="below",
    code=Code(value="111219", scheme="DCM", meaning="Inappropriate image processing"),
    good_sentence="The anatomy is shown with contrast.",
    bad_sentence="The anatomy is shown in a narrow band of greys.",
)
