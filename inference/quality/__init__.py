"""Checks of image quality on pixels. Each is one file here and one entry in `CHECKS`; its limit stands beside it with its source.

These checks measure. What only the content tells, such as rotation or anatomy that is cut off, the model is asked (`inference.questions`,
with the limits of its manifest). Of some faults both have a say: the two verdicts stand beside each other, neither overrules.
"""

from collections.abc import Mapping

from pydicom import Dataset

from inference.findings import QualityGrade, QualityVerdict
from inference.frames import Frame
from inference.quality.annotation import ANNOTATION
from inference.quality.blank import Blank
from inference.quality.blurred import BLURRED
from inference.quality.burnt_in_text import BurntInText
from inference.quality.check import QualityCheck
from inference.quality.clipped import Clipped
from inference.quality.collimation import COLLIMATION
from inference.quality.colour import COLOUR
from inference.quality.compressed import COMPRESSED
from inference.quality.compression_ratio import COMPRESSION_RATIO
from inference.quality.dead_lines import DEAD_LINES
from inference.quality.document import DOCUMENT
from inference.quality.double_exposure import DOUBLE_EXPOSURE
from inference.quality.grid_lines import GRID_LINES
from inference.quality.inverted import Inverted
from inference.quality.low_contrast import LOW_CONTRAST
from inference.quality.motion import MOTION
from inference.quality.noise import NOISE
from inference.quality.over_exposed import OverExposed
from inference.quality.rotated import ROTATED
from inference.quality.sample import Sample
from inference.quality.under_exposed import UnderExposed

__all__ = ["CHECKS", "QualityCheck", "Sample", "check_frame"]

_BLANK = Blank()
CHECKS: Mapping[str, QualityCheck] = {
    check.name: check
    for check in (
        _BLANK,
        DOCUMENT,
        COLOUR,
        Clipped(),
        UnderExposed(),
        OverExposed(),
        LOW_CONTRAST,
        NOISE,
        BLURRED,
        MOTION,
        Inverted(),
        ROTATED,
        COLLIMATION,
        BurntInText(),
        ANNOTATION,
        COMPRESSED,
        COMPRESSION_RATIO,
        GRID_LINES,
        DEAD_LINES,
        DOUBLE_EXPOSURE,
    )
}


def check_frame(frame: Frame, header: Dataset) -> tuple[QualityVerdict, ...]:
    """The verdicts of every check that applies to the frame. On a blank frame the others have nothing to measure and are left out."""
    sample = Sample(frame)
    blank = _BLANK(sample, header)
    if blank.grade is not QualityGrade.DIAGNOSTIC:
        return (blank,)
    others = (check(sample, header) for name, check in CHECKS.items() if name != _BLANK.name)
    return (blank, *(verdict for verdict in others if verdict is not None))
