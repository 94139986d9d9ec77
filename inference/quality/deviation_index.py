"""How far the exposure at the detector was from its target, as the modality measured it."""

import math

from pydicom import Dataset

from inference.attributes import number
from inference.quality.check import Limit

MODALITIES = frozenset({"CR", "DX", "RG", "MG"})
_SOURCE = "IEC 62494-1: Deviation Index = 10 log10(Exposure Index / Target Exposure Index); {} is {} the target exposure"
HIGHEST = Limit(value=3.0, unit="1", source=_SOURCE.format("+3", "twice"))
LOWEST = Limit(value=-3.0, unit="1", source=_SOURCE.format("-3", "half"))


def deviation_index(header: Dataset) -> float | None:
    """Deviation Index (0018,1413), else computed from Exposure Index (0018,1411) and its target (0018,1412); None without them."""
    if (stated := number(header, "DeviationIndex")) is not None:
        return stated
    exposure, target = number(header, "ExposureIndex"), number(header, "TargetExposureIndex")
    if exposure is None or target is None or exposure <= 0 or target <= 0:
        return None
    return 10 * math.log10(exposure / target)
