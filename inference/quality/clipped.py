"""Were the brightest parts of a radiograph cut off?"""

from dataclasses import replace

import numpy as np
from pydicom import Dataset

from config import Code
from inference.findings import QualityVerdict
from inference.quality.check import MeasuringCheck, held_out, limits
from inference.quality.frontal_chest import is_frontal_chest
from inference.quality.sample import Sample

_WHITE = 0.99

_CODE = Code(value="111219", scheme="DCM", meaning="Inappropriate image processing")
_GOOD = "No large part of the anatomy is white without detail."
_BAD = "Part of the anatomy is white without detail: beyond the end of the stored range or of the window."

_CHEST_LIMITS = limits(
    "1",
    ("CR DX RG", 0.03, held_out("0 of 141", "140 of 141")),
)
_RADIOGRAPH_LIMITS = limits(
    "1",
    (
        "CR DX RG",
        0.08,
        "Held-out: 2100 clean radiographs, false alarms 5 (0.2 %); found with brightness doubled 99 %, times 1.6 93 %, contrast "
        "tripled 90 %",
    ),
)


def white_anatomy(sample: Sample, _header: Dataset) -> float:
    """The fraction of the anatomy (all but the black that reaches the border) at 0.99 of full brightness or above.

    Black is not measured: air beside the patient is rightly black, and between the fingers of a hand it cannot be told from anatomy.
    Slices are not judged: bone and gas are rightly beyond the ends of a window for soft tissue.
    """
    return float(np.mean(sample.anatomy >= _WHITE))


_CHEST = MeasuringCheck(
    name="clipped", measure=white_anatomy, limits=_CHEST_LIMITS, bad="above", code=_CODE, good_sentence=_GOOD, bad_sentence=_BAD
)
_RADIOGRAPH = replace(_CHEST, limits=_RADIOGRAPH_LIMITS)


class Clipped:
    """White anatomy, with a limit of its own for frontal chests: metal is rightly white in other parts, and there is more of it."""

    name = "clipped"

    def __call__(self, sample: Sample, header: Dataset) -> QualityVerdict | None:
        return (_CHEST if is_frontal_chest(sample, header) else _RADIOGRAPH)(sample, header)
