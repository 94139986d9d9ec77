"""Is the field much wider than the patient in it?"""

from pydicom import Dataset

from config import Code
from inference.quality.check import MeasuringCheck, held_out, limits
from inference.quality.sample import Sample

_LIMITS = limits(
    "1",
    ("CR DX RG", 0.7, held_out("0 of 262", "262 of 262")),
)


def air(sample: Sample, _header: Dataset) -> float:
    """The share of the frame, inside white collimation borders, that is black up to the border: air, or what a shutter hides.

    Too narrow a field cannot be told from the pixels, nor whether there was any collimation: what lies outside is often cut off before
    an image is sent.
    """
    return float(sample.outside.mean())


COLLIMATION = MeasuringCheck(
    name="collimation",
    measure=air,
    limits=_LIMITS,
    bad="above",
    code=Code(value="130577", scheme="DCM", meaning="Poor FOV selection"),  # CID 6315
    good_sentence="The patient fills the field.",
    bad_sentence="Much of the field shows no patient: it could have been collimated closer.",
)
