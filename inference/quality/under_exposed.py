"""Did the detector or the camera get too little exposure?"""

from dataclasses import replace

import numpy as np
from pydicom import Dataset

from config import Code
from inference.findings import QualityVerdict
from inference.quality.brightness_ends import middle_of_range
from inference.quality.check import MeasuringCheck, held_out, limits
from inference.quality.deviation_index import LOWEST, index_verdict
from inference.quality.frontal_chest import is_frontal_chest
from inference.quality.sample import Sample

_CODE = Code(value="111211", scheme="DCM", meaning="Under exposed")
_GOOD = "No sign of too little exposure."
_BAD = "Too little exposure: the image is pale or noisy."
_DARK_END, _BRIGHT_END = 0.02, 0.95

_CHEST_LIMITS = limits(
    "1",
    ("CR DX RG", 0.675, held_out("0 of 141", "140 of 141")),
)
_RADIOGRAPH_LIMITS = limits(
    "1",
    ("CR DX RG", 0.5, held_out("1 of 121", "51 of 121")),
)
_PHOTOGRAPH_LIMITS = limits(
    "1",
    ("XC", 0.426, held_out("0 of 91", "91 of 91")),
    ("ES", 0.432, held_out("0 of 85", "85 of 85")),
    ("SM", 0.451, held_out("3 of 182", "182 of 182")),
    ("OP", 0.28, held_out("0 of 27", "27 of 27")),
)


def dark_end(sample: Sample, _header: Dataset) -> float:
    """The 2nd percentile of brightness in the anatomy: more exposure is blacker in a radiograph, so with too little nothing is dark."""
    return float(np.quantile(sample.anatomy, _DARK_END))


def bright_end(sample: Sample, _header: Dataset) -> float:
    """The 95th percentile of brightness of what is not black up to the border."""
    return float(np.quantile(sample.anatomy, _BRIGHT_END))


_RADIOGRAPH = MeasuringCheck(
    name="under-exposed", measure=dark_end, limits=_RADIOGRAPH_LIMITS, bad="above", code=_CODE, good_sentence=_GOOD, bad_sentence=_BAD
)
_CHEST = replace(_RADIOGRAPH, measure=middle_of_range, limits=_CHEST_LIMITS)
_PHOTOGRAPH = MeasuringCheck(
    name="under-exposed",
    measure=bright_end,
    limits=_PHOTOGRAPH_LIMITS,
    bad="below",
    code=_CODE,
    good_sentence=_GOOD,
    bad_sentence="Too little light: the image is dark.",
)


class UnderExposed:
    """By the Deviation Index where the header has one, else by the brightness; frontal chests, which are all alike, by both its ends.

    Ultrasound is not judged: with little gain it is as dark as with much fluid.
    """

    name = "under-exposed"

    def __call__(self, sample: Sample, header: Dataset) -> QualityVerdict | None:
        stated = index_verdict(self.name, sample, header, limit=LOWEST, code=_CODE, good_sentence=_GOOD, bad_sentence=_BAD)
        if stated is not None:
            return stated
        if is_frontal_chest(sample, header):
            return _CHEST(sample, header)
        return _RADIOGRAPH(sample, header) or _PHOTOGRAPH(sample, header)
