"""Is a radiograph shown as its own negative, although the header's polarity was applied?"""

import numpy as np
from pydicom import Dataset

from config import Code
from inference.findings import QualityGrade, QualityVerdict
from inference.frames import Frame
from inference.quality.check import RADIOGRAPHS, Limit, verdict
from inference.quality.luminance import THUMBNAIL_PIXELS, luminance

LIMIT = Limit(
    value=0.05,
    unit="1",
    source=("Held-out: 2100 clean radiographs, false alarms 21 (1.0 %); of the same 2100 inverted 93 % found"),
)
CODE = Code(value="111219", scheme="DCM", meaning="Inappropriate image processing")


class Inverted:
    """A radiograph whose pixels contradict its Photometric Interpretation.

    Air beside the patient is black (PS3.3 C.7.6.3.1.2 with the usual display of X-rays). Measured: the mean of the darker upper corner (an
    eighth of each side) minus the median of the middle (half of each side). A marker or an arm in one corner does not count, as the darker
    corner is taken.

    Known false alarm: white margins that the collimator kept from exposure and no shutter hides, on both sides.
    """

    name = "inverted"

    def __call__(self, frame: Frame, header: Dataset) -> QualityVerdict | None:
        if frame.modality not in RADIOGRAPHS:
            return None
        brightness = luminance(frame, longest_side=THUMBNAIL_PIXELS)
        rows, columns = brightness.shape
        upper = brightness[: max(1, rows // 8)]
        width = max(1, columns // 8)
        middle = brightness[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4]
        measured = float(min(upper[:, :width].mean(), upper[:, -width:].mean()) - np.median(middle))
        bad = measured > LIMIT.value
        sentence = "Black and white seem to be exchanged against the header." if bad else "Polarity agrees with the header."
        grade = QualityGrade.LIMITED if bad else QualityGrade.DIAGNOSTIC
        return verdict(self.name, frame, measured=measured, limit=LIMIT, grade=grade, code=CODE, sentence=sentence)
