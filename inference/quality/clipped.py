"""Were the brightest parts of a radiograph cut off?"""

import numpy as np
from pydicom import Dataset

from config import Code
from inference.findings import QualityGrade, QualityVerdict
from inference.frames import Frame
from inference.quality.check import RADIOGRAPHS, Limit, verdict
from inference.quality.luminance import anatomy, thumbnail

LIMIT = Limit(
    value=0.08,
    unit="1",
    source=(
        "Held-out: 2100 clean radiographs, false alarms 5 (0.2 %); found with brightness doubled 99 %, times 1.6 93 %, contrast "
        "tripled 90 %"
    ),
)
CODE = Code(value="111219", scheme="DCM", meaning="Inappropriate image processing")

_WHITE = 0.99


class Clipped:
    """White without detail in a radiograph: anatomy beyond the end of the stored range or of the window.

    Measured: the fraction of the anatomy (all but the black that reaches the border) at 0.99 of full brightness or above. Black is not
    measured: air beside the patient is rightly black, and between the fingers of a hand it cannot be told from anatomy.
    """

    name = "clipped"

    def __call__(self, frame: Frame, header: Dataset) -> QualityVerdict | None:
        if frame.modality not in RADIOGRAPHS:
            return None
        measured = float(np.mean(anatomy(thumbnail(frame)) >= _WHITE))
        bad = measured > LIMIT.value
        sentence = "Part of the anatomy is white without detail." if bad else "No large part of the anatomy is white without detail."
        grade = QualityGrade.LIMITED if bad else QualityGrade.DIAGNOSTIC
        return verdict(self.name, frame, measured=measured, limit=LIMIT, grade=grade, code=CODE, sentence=sentence)
