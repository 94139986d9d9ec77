"""Did the detector get too much exposure?"""

import numpy as np
from pydicom import Dataset

from config import Code
from inference.findings import QualityGrade, QualityVerdict
from inference.frames import Frame
from inference.quality.check import RADIOGRAPHS, Limit, verdict
from inference.quality.deviation_index import HIGHEST, MODALITIES, deviation_index
from inference.quality.luminance import anatomy, thumbnail

LIMIT = Limit(
    value=0.42,
    unit="1",
    source=(
        "Held-out: 2100 clean radiographs, false alarms 7 (0.3 %); with brightness reduced to 40 % or 30 % all found, lowered by "
        "half the range 80 %"
    ),
)
CODE = Code(value="111212", scheme="DCM", meaning="Over exposed")

_BRIGHT_END = 0.95


class OverExposed:
    """A radiograph with too much exposure: by the Deviation Index if the header has one, else by being dark all over.

    More exposure is blacker in a radiograph, so an over-exposed one has nothing bright. Measured without a Deviation Index: the 95th
    percentile of brightness in the anatomy.
    """

    name = "over-exposed"

    def __call__(self, frame: Frame, header: Dataset) -> QualityVerdict | None:
        if frame.modality in MODALITIES and (deviation := deviation_index(header)) is not None:
            return self._verdict(frame, deviation, HIGHEST, bad=deviation >= HIGHEST.value)
        if frame.modality not in RADIOGRAPHS:
            return None
        measured = float(np.quantile(anatomy(thumbnail(frame)), _BRIGHT_END))
        return self._verdict(frame, measured, LIMIT, bad=measured < LIMIT.value)

    def _verdict(self, frame: Frame, measured: float, limit: Limit, *, bad: bool) -> QualityVerdict:
        sentence = (
            "Too much exposure: the image is dark, or the patient got more dose than needed." if bad else "No sign of too much exposure."
        )
        grade = QualityGrade.LIMITED if bad else QualityGrade.DIAGNOSTIC
        return verdict(self.name, frame, measured=measured, limit=limit, grade=grade, code=CODE, sentence=sentence)
