"""Does a chest radiograph stand upright?"""

from pydicom import Dataset

from config import Code
from inference.quality.check import MeasuringCheck, held_out, limits
from inference.quality.chest_template import likeness_by_turn
from inference.quality.frontal_chest import is_frontal_chest
from inference.quality.sample import Sample

_LIMITS = limits(
    "1",
    ("CR DX RG", 0.07, held_out("0 of 141", "276 of 282")),
)


def better_turn(sample: Sample, header: Dataset) -> float | None:
    """How much more a frontal chest radiograph resembles the mean chest when turned: greatest correlation of three turns less its own.

    The sign of its own does not count: what resembles the negative of a chest is inverted, and `inverted` says so.
    Other parts of the body, lateral views and radiographs without View Position have no template here: the model is asked.
    """
    if not is_frontal_chest(sample, header):
        return None
    as_it_is, *turned = likeness_by_turn(sample.thumbnail)
    return max(turned) - abs(as_it_is)


ROTATED = MeasuringCheck(
    name="rotated",
    measure=better_turn,
    limits=_LIMITS,
    bad="above",
    code=Code(value="111209", scheme="DCM", meaning="Positioning"),
    good_sentence="The chest stands upright.",
    bad_sentence="The chest seems to lie on its side or stand on its head.",
)
