"""Is a grey image shown as its own negative, although the header's polarity was applied?"""

import numpy as np
from pydicom import Dataset

from config import Code
from inference.findings import QualityVerdict
from inference.quality.check import RADIOGRAPHS, MeasuringCheck, held_out, limits
from inference.quality.chest_template import likeness_by_turn
from inference.quality.frontal_chest import is_frontal_chest
from inference.quality.sample import Sample

_CODE = Code(value="111219", scheme="DCM", meaning="Inappropriate image processing")
_GOOD = "Polarity agrees with the header."
_BAD = "Black and white seem to be exchanged against the header."

_CHEST_LIMITS = limits(
    "1",
    ("CR DX RG", 0.0, held_out("0 of 141", "141 of 141")),
)
_RADIOGRAPH_LIMITS = limits(
    "1", ("CR DX RG", 0.05, "Held-out: 2100 clean radiographs, false alarms 21 (1.0 %); of the same 2100 inverted 93 % found")
)
_SLICE_LIMITS = limits(
    "1",
    ("CT", 0.55, held_out("0 of 88", "87 of 88")),
    ("MR", 0.6, held_out("0 of 144", "144 of 144")),
    ("US", 0.575, held_out("1 of 48", "46 of 48")),
)


def unlikeness(sample: Sample, _header: Dataset) -> float:
    """The correlation of a frontal chest radiograph with the negative of the mean chest."""
    return -likeness_by_turn(sample.thumbnail)[0]


def bright_corners(sample: Sample, _header: Dataset) -> float:
    """The mean of the darker upper corner (an eighth of each side) minus the median of the middle (half of each side).

    Air beside the patient is black (PS3.3 C.7.6.3.1.2 with the usual display of X-rays). A marker or an arm in one corner does not count,
    as the darker corner is taken. Known false alarm: white margins that the collimator kept from exposure, on both sides.
    """
    brightness = sample.brightness(128)
    rows, columns = brightness.shape
    upper = brightness[: max(1, rows // 8)]
    width = max(1, columns // 8)
    middle = brightness[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4]
    return float(min(upper[:, :width].mean(), upper[:, -width:].mean()) - np.median(middle))


def bright_border(sample: Sample, _header: Dataset) -> float:
    """The median brightness along the border: air around a slice, and the surroundings of an ultrasound sector, are black."""
    brightness = sample.brightness(128)
    return float(np.median(np.concatenate([brightness[0], brightness[-1], brightness[:, 0], brightness[:, -1]])))


_CHEST = MeasuringCheck(
    name="inverted", measure=unlikeness, limits=_CHEST_LIMITS, bad="above", code=_CODE, good_sentence=_GOOD, bad_sentence=_BAD
)
_RADIOGRAPH = MeasuringCheck(
    name="inverted", measure=bright_corners, limits=_RADIOGRAPH_LIMITS, bad="above", code=_CODE, good_sentence=_GOOD, bad_sentence=_BAD
)
_SLICE = MeasuringCheck(
    name="inverted", measure=bright_border, limits=_SLICE_LIMITS, bad="above", code=_CODE, good_sentence=_GOOD, bad_sentence=_BAD
)


class Inverted:
    """An image whose pixels contradict its Photometric Interpretation: measured as its kind allows."""

    name = "inverted"

    def __call__(self, sample: Sample, header: Dataset) -> QualityVerdict | None:
        if is_frontal_chest(sample, header):
            return _CHEST(sample, header)
        return _RADIOGRAPH(sample, header) if sample.modality in RADIOGRAPHS else _SLICE(sample, header)
