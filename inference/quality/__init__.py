"""Checks of image quality on pixels. Each is one file here and one entry in `CHECKS`; its limit stands beside it with its source.

These checks measure. What only the content tells, such as rotation or anatomy that is cut off, the model is asked (`inference.questions`,
with the limits of its manifest). Of some faults both have a say: the two verdicts stand beside each other, neither overrules.
"""

from collections.abc import Mapping

from pydicom import Dataset

from inference.findings import QualityGrade, QualityVerdict
from inference.frames import Frame
from inference.quality.blank import Blank
from inference.quality.burnt_in_text import BurntInText
from inference.quality.check import QualityCheck
from inference.quality.clipped import Clipped
from inference.quality.inverted import Inverted
from inference.quality.low_contrast import LowContrast
from inference.quality.over_exposed import OverExposed
from inference.quality.under_exposed import UnderExposed

__all__ = ["CHECKS", "QualityCheck", "check_frame"]

_BLANK = Blank()
CHECKS: Mapping[str, QualityCheck] = {
    check.name: check for check in (_BLANK, Clipped(), UnderExposed(), OverExposed(), LowContrast(), Inverted(), BurntInText())
}


def check_frame(frame: Frame, header: Dataset) -> tuple[QualityVerdict, ...]:
    """The verdicts of every check that applies to the frame. On a blank frame the others have nothing to measure and are left out."""
    blank = _BLANK(frame, header)
    if blank.grade is not QualityGrade.DIAGNOSTIC:
        return (blank,)
    others = (check(frame, header) for name, check in CHECKS.items() if name != _BLANK.name)
    return (blank, *(verdict for verdict in others if verdict is not None))
