"""Did the patient or the detector move?"""

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
    ("US", 0.2818, held_out("0 of 8", "8 of 8")),
    ("XC", 0.2645, held_out("0 of 31", "23 of 24")),
    ("ES", 0.2745, held_out("0 of 25", "24 of 24")),
    ("SM", 0.268, held_out("2 of 26", "22 of 24")),
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
