"""How far the exposure at the detector was from its target, as the modality measured it."""

import math

from pydicom import Dataset

from config import Code
from inference.attributes import number
from inference.findings import QualityGrade, QualityVerdict
from inference.quality.check import Limit, verdict
from inference.quality.sample import Sample

MODALITIES = frozenset({"CR", "DX", "RG", "MG"})
_SOURCE = "IEC 62494-1: Deviation Index = 10 log10(Exposure Index / Target Exposure Index); {} is {} the target exposure"
HIGHEST = Limit(value=3.0, unit="1", source=_SOURCE.format("+3", "twice"))
LOWEST = Limit(value=-3.0, unit="1", source=_SOURCE.format("-3", "half"))

# A hundred times the target or a hundredth of it: no exposure that makes an image, but an index of another kind in the same element.
_ABSURD = 20.0
# The index and the exposures are rounded when they are written, each by itself.
_ROUNDING = 0.5


def deviation_index(header: Dataset) -> float | None:
    """Deviation Index (0018,1413), else computed from Exposure Index (0018,1411) and its target (0018,1412); None without them.

    None as well where the stated index contradicts the two exposures beside it, or is beyond any exposure.
    """
    stated, computed = number(header, "DeviationIndex"), _computed(header)
    index = computed if stated is None else stated
    if index is None or abs(index) > _ABSURD:
        return None
    return None if stated is not None and computed is not None and abs(stated - computed) > _ROUNDING else index


def index_verdict(
    check: str, sample: Sample, header: Dataset, *, limit: Limit, code: Code, good_sentence: str, bad_sentence: str
) -> QualityVerdict | None:
    """The verdict by the Deviation Index: from the limit on, away from 0, it is a fault. None where there is no index to judge by."""
    index = deviation_index(header) if sample.modality in MODALITIES else None
    if index is None:
        return None
    bad = index >= limit.value if limit.value > 0 else index <= limit.value
    return verdict(
        check,
        sample,
        measured=index,
        limit=limit,
        grade=QualityGrade.LIMITED if bad else QualityGrade.DIAGNOSTIC,
        code=code,
        sentence=bad_sentence if bad else good_sentence,
    )


def _computed(header: Dataset) -> float | None:
    exposure, target = number(header, "ExposureIndex"), number(header, "TargetExposureIndex")
    if exposure is None or target is None or exposure <= 0 or target <= 0:
        return None
    return 10 * math.log10(exposure / target)
