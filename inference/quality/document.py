"""Is this a page of text or a screen instead of an image of a patient?"""

import numpy as np
from pydicom import Dataset

from config import Code
from inference.findings import QualityGrade
from inference.quality.check import MeasuringCheck, limits
from inference.quality.sample import Sample

_SMALLEST_SIDE = 64
_SOFT = 16  # of 255
_LEVELS = 255

_LIMITS = limits(
    "1",
    ("CR DX RG CT MR MG US XA RF XC ES SM OP", 0.022, "tuning"),
)


def soft_shares(sample: Sample, _header: Dataset) -> float | None:
    """The share of pixels that differ a little (1 to 16 of 255, right and below together) from their neighbours, on at most 512 a side.

    Tissue shades; a page or a screen is of flat areas and hard edges. A page that was scanned has shades: the model is asked about those.
    """
    brightness = sample.brightness(512)
    if min(brightness.shape) < _SMALLEST_SIDE:
        return None
    levels = np.rint(brightness * _LEVELS).astype(np.int16)
    difference = np.abs(np.diff(levels, axis=1))[:-1] + np.abs(np.diff(levels, axis=0))[:, :-1]
    return float(np.mean((difference > 0) & (difference <= _SOFT)))


DOCUMENT = MeasuringCheck(
    name="document",
    measure=soft_shares,
    limits=_LIMITS,
    bad="below",
    grade=QualityGrade.NON_DIAGNOSTIC,
    code=Code(value="111220", scheme="DCM", meaning="Other failure"),
    good_sentence="The frame has the shades of an image.",
    bad_sentence="The frame is made of flat areas and hard edges, as a page of text, a screen or a drawing.",
)
