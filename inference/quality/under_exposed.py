"""Did the detector get too little exposure?"""

import numpy as np
from pydicom import Dataset

from config import Code
from inference.findings import QualityGrade, QualityVerdict
from inference.frames import Frame
from inference.quality.check import RADIOGRAPHS, Limit, verdict
from inference.quality.deviation_index import LOWEST, MODALITIES, deviation_index
from inference.quality.luminance import anatomy, thumbnail

LIMIT = Limit(
    value=0.5,
    unit="1",
    source=("Held-out: 2100 clean radiographs, false alarms 4 (0.2 %); with darkness reduced to 40 % or 30 % all found"),
)
CODE = Code(value="111211", scheme="DCM", meaning="Under exposed")

_DARK_END = 0.02


class UnderExposed:
    """A radiograph with too little exposure: by the Deviation Index if the header has one, else by being pale all over.

    More exposure is blacker in a radiograph, so an under-exposed one has nothing dark. Measured without a Deviation Index: the 2nd
    percentile of brightness in the anatomy.
    """

    name = "under-exposed"

    def __call__(self, frame: Frame, header: Dataset) -> QualityVerdict | None:
        if frame.modality in MODALITIES and (deviation := deviation_index(header)) is not None:
            return self._verdict(frame, deviation, LOWEST, bad=deviation <= LOWEST.value)
        if frame.modality not in RADIOGRAPHS:
            return None
        measured = float(np.quantile(anatomy(thumbnail(frame)), _DARK_END))
        return self._verdict(frame, measured, LIMIT, bad=measured > LIMIT.value)

    def _verdict(self, frame: Frame, measured: float, limit: Limit, *, bad: bool) -> QualityVerdict:
        sentence = "Too little exposure: the image is pale or noisy." if bad else "No sign of too little exposure."
        grade = QualityGrade.LIMITED if bad else QualityGrade.DIAGNOSTIC
        return verdict(self.name, frame, measured=measured, limit=limit, grade=grade, code=CODE, sentence=sentence)
