"""Is a frame too flat to read?"""

import numpy as np
from pydicom import Dataset

from config import Code
from inference.quality.check import MeasuringCheck, held_out, limits
from inference.quality.sample import Sample

_QUANTILES = (0.02, 0.98)

_LIMITS = limits(
    "1",
    ("CR DX RG", 0.235, held_out("2 of 262", "262 of 262")),
    ("CT", 0.315, held_out("0 of 88", "88 of 88")),
    ("MR", 0.245, held_out("0 of 144", "144 of 144")),
    ("US", 0.195, held_out("0 of 48", "46 of 48")),
    ("ES", 0.275, held_out("0 of 85", "85 of 85")),
    ("SM", 0.168, held_out("1 of 182", "182 of 182")),
    ("OP", 0.21, held_out("0 of 27", "27 of 27")),
    ("MG", 0.23, held_out("0 of 25", "25 of 25")),
    ("XA", 0.23, held_out("0 of 12", "12 of 12")),
)


def band_of_greys(sample: Sample, _header: Dataset) -> float:
    """98th minus 2nd percentile of brightness in the anatomy. Skin, evenly lit, is rightly flat: photographs of it are not judged."""
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
