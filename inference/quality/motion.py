"""Did the patient or the detector move?"""

import math

from pydicom import Dataset

from config import Code
from inference.quality.check import MeasuringCheck, held_out, limits
from inference.quality.sample import Sample
from inference.quality.sharpness import directional_sharpness

_LIMITS = limits(
    "1",
    ("CR DX RG", 0.262, held_out("0 of 15", "15 of 15")),
    ("CT", 0.274, held_out("0 of 6", "6 of 6")),
    ("MR", 0.2704, held_out("0 of 22", "22 of 22")),
    ("US", 0.2818, held_out("0 of 6", "6 of 6")),
    ("XC", 0.2645, held_out("0 of 31", "30 of 31")),
    ("ES", 0.2745, held_out("0 of 25", "25 of 25")),
    ("SM", 0.254, held_out("0 of 26", "26 of 26")),
)


def softest_direction(sample: Sample, _header: Dataset) -> float | None:
    """The sharpness along the direction in which the frame is least sharp (`directional_sharpness`).

    In tissue and blood times the root of its ratio to the sharpest: cells have edges in every direction, and are soft or crisp.

    A movement blurs along its path. A frame that is blurred in every direction is below this limit too: then `blurred` says so as well,
    and which of the two it was cannot be told.
    """
    sharpness = directional_sharpness(sample)
    if sharpness is None:
        return None
    softest = min(sharpness)
    return softest * math.sqrt(softest / max(sharpness)) if sample.modality == "SM" else softest


MOTION = MeasuringCheck(
    name="motion",
    measure=softest_direction,
    limits=_LIMITS,
    bad="below",
    code=Code(value="111210", scheme="DCM", meaning="Motion blur"),
    good_sentence="Edges are sharp in every direction.",
    bad_sentence="Edges are blurred along at least one direction, as by a movement.",
)
