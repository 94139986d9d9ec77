"""Is there an image at all?"""

import numpy as np
from pydicom import Dataset

from config import Code
from inference.findings import QualityGrade, QualityVerdict
from inference.quality.check import Limit, verdict
from inference.quality.sample import Sample

LIMIT = Limit(
    value=0.04,
    unit="1",
    source=(
        "Held-out: 5099 clean images of ten modalities, false alarms 0; of 2100 frames of black or of noise with a standard "
        "deviation of 0.02 all found"
    ),
)
CODE = Code(value="111213", scheme="DCM", meaning="No image")

_BLOCKS = 16
_QUANTILES = (0.02, 0.98)


class Blank:
    """A frame without information, in any modality.

    Measured: brightness averaged over at most 16 x 16 blocks, 98th minus 2nd percentile of the block means. Averaging takes noise away, so
    that a frame of noise counts as blank; two percent let a lone side marker not count as an image.
    """

    name = "blank"

    def __call__(self, sample: Sample, header: Dataset) -> QualityVerdict:
        low, high = np.quantile(sample.brightness(_BLOCKS), _QUANTILES)
        measured = float(high - low)
        bad = measured < LIMIT.value
        sentence = "The frame shows next to nothing." if bad else "The frame shows structure."
        grade = QualityGrade.NON_DIAGNOSTIC if bad else QualityGrade.DIAGNOSTIC
        return verdict(self.name, sample, measured=measured, limit=LIMIT, grade=grade, code=CODE, sentence=sentence)
