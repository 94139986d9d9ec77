"""Is the frame blurred in every direction?"""

from pydicom import Dataset

from config import Code
from inference.quality.check import MeasuringCheck, limits
from inference.quality.sample import Sample
from inference.quality.sharpness import directional_sharpness

_LIMITS = limits(
    "1",
    ("CR DX RG", 0.275, "tuning"),
    ("CT", 0.3, "tuning"),
    ("MR", 0.275, "tuning"),
    ("US", 0.29, "tuning"),
    ("XC", 0.27, "tuning"),
    ("ES", 0.29, "tuning"),
    ("SM", 0.277, "tuning"),
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
