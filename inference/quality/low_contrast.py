"""Is a radiograph too flat to read?"""

import numpy as np
from pydicom import Dataset

from config import Code
from inference.findings import QualityGrade, QualityVerdict
from inference.frames import Frame
from inference.quality.check import RADIOGRAPHS, Limit, verdict
from inference.quality.luminance import anatomy, thumbnail

LIMIT = Limit(
    value=0.2,
    unit="1",
    source=("Held-out: 2100 clean radiographs, false alarms 6 (0.3 %); with a fifth of their contrast 99.9 % found"),
)
CODE = Code(value="111219", scheme="DCM", meaning="Inappropriate image processing")

_QUANTILES = (0.05, 0.95)


class LowContrast:
    """A radiograph in a narrow band of greys. Measured: 95th minus 5th percentile of brightness in the anatomy."""

    name = "low-contrast"

    def __call__(self, frame: Frame, header: Dataset) -> QualityVerdict | None:
        if frame.modality not in RADIOGRAPHS:
            return None
        low, high = np.quantile(anatomy(thumbnail(frame)), _QUANTILES)
        measured = float(high - low)
        bad = measured < LIMIT.value
        sentence = "The anatomy is shown in a narrow band of greys." if bad else "The anatomy is shown with contrast."
        grade = QualityGrade.LIMITED if bad else QualityGrade.DIAGNOSTIC
        return verdict(self.name, frame, measured=measured, limit=LIMIT, grade=grade, code=CODE, sentence=sentence)
