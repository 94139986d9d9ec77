"""Did the patient or the detector move?"""

from pydicom import Dataset

from config import Code
from inference.quality.check import MeasuringCheck, limits
from inference.quality.sample import Sample
from inference.quality.sharpness import directional_sharpness

_LIMITS = limits(
    "1",
    ("CR DX RG", 0.267, "tuning"),
    ("CT", 0.275, "tuning"),
    ("MR", 0.266, "tuning"),
    ("US", 0.28, "tuning"),
    ("XC", 0.2645, "tuning"),
    ("ES", 0.275, "tuning"),
    ("SM", 0.2665, "tuning"),
)


def softest_direction(sample: Sample, _header: Dataset) -> float | None:
    """The sharpness along the direction in which the frame is least sharp (`directional_sharpness`).

    A movement blurs along its path. A frame that is blurred in every direction is below this limit too: then `blurred` says so as well,
    and which of the two it was cannot be told.
    """
    sharpness = directional_sharpness(sample)
    return None if sharpness is None else min(sharpness)


MOTION = MeasuringCheck(
    name="motion",
    measure=softest_direction,
    limits=_LIMITS,
    bad="below",
    code=Code(value="111210", scheme="DCM", meaning="Motion blur"),
    good_sentence="Edges are sharp in every direction.",
    bad_sentence="Edges are blurred along at least one direction, as by a movement.",
)
