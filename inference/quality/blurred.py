"""Is the frame blurred in every direction?"""

from pydicom import Dataset

from config import Code
from inference.quality.check import MeasuringCheck, held_out, limits
from inference.quality.sample import Sample
from inference.quality.sharpness import directional_sharpness

_LIMITS = limits(
    "1",
    ("CR DX RG", 0.266, held_out("0 of 15", "15 of 15")),
    ("CT", 0.2825, held_out("0 of 6", "6 of 6")),
    ("MR", 0.278, held_out("0 of 22", "22 of 22")),
    ("US", 0.2976, held_out("0 of 6", "6 of 6")),
    ("XC", 0.274, held_out("0 of 31", "31 of 31")),
    ("ES", 0.281, held_out("0 of 25", "25 of 25")),
    ("SM", 0.2746, held_out("0 of 26", "26 of 26")),
)


def sharpest_direction(sample: Sample, _header: Dataset) -> float | None:
    """The sharpness along the direction in which the frame is sharpest (`directional_sharpness`)."""
    sharpness = directional_sharpness(sample)
    return None if sharpness is None else max(sharpness)


BLURRED = MeasuringCheck(
    name="blurred",
    measure=sharpest_direction,
    limits=_LIMITS,
    bad="below",
    code=Code(value="111215", scheme="DCM", meaning="Artifact(s) other than grid or detector artifact"),
    good_sentence="Edges are sharp.",
    bad_sentence="The image is blurred in every direction: out of focus, or moved, or enlarged from few pixels.",
)
