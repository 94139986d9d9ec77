"""Checks of a header against itself, its pixels and what the model sees. Each is one file here and one entry in `HEADER_CHECKS`."""

from collections.abc import Mapping

from inference.findings import QualityVerdict
from inference.quality.header.annotation_unsaid import AnnotationUnsaid
from inference.quality.header.bits_stored import BitsStored
from inference.quality.header.body_part import BodyPart
from inference.quality.header.check import HeaderCheck, HeaderSubject, PixelFacts
from inference.quality.header.laterality import Laterality
from inference.quality.header.modality import Modality
from inference.quality.header.photometric import Photometric
from inference.quality.header.pixel_spacing import PixelSpacing
from inference.quality.header.position_missing import PositionMissing
from inference.quality.header.view_position import ViewPosition
from inference.quality.header.window import WindowOfHeader

__all__ = ["HEADER_CHECKS", "HeaderCheck", "HeaderSubject", "PixelFacts", "check_header"]

HEADER_CHECKS: Mapping[str, HeaderCheck] = {
    check.name: check
    for check in (
        BodyPart(),
        Modality(),
        ViewPosition(),
        Laterality(),
        Photometric(),
        PixelSpacing(),
        BitsStored(),
        WindowOfHeader(),
        PositionMissing(),
        AnnotationUnsaid(),
    )
}


def check_header(subject: HeaderSubject) -> tuple[QualityVerdict, ...]:
    """The verdicts of every check that has something to compare."""
    verdicts = (check(subject) for check in HEADER_CHECKS.values())
    return tuple(verdict for verdict in verdicts if verdict is not None)
