"""Were the brightest parts of a radiograph cut off?"""

import numpy as np
from pydicom import Dataset

from config import Code
from inference.quality.check import MeasuringCheck, limits
from inference.quality.sample import Sample

_WHITE = 0.99

_LIMITS = limits(
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


CLIPPED = MeasuringCheck(
    name="clipped",
    measure=white_anatomy,
    limits=_LIMITS,
    bad="above",
    code=Code(value="111219", scheme="DCM", meaning="Inappropriate image processing"),
    good_sentence="No large part of the anatomy is white without detail.",
    bad_sentence="Part of the anatomy is white without detail: beyond the end of the stored range or of the window.",
)
