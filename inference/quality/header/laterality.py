"""Do the statements about the side contradict each other, or is the side of a paired part not said at all?"""

from collections.abc import Iterator, Mapping

from inference.attributes import items, text
from inference.findings import QualityVerdict
from inference.quality.check import Limit
from inference.quality.header.check import MARKER_INCORRECT, MARKER_MISSING, HeaderSubject, header_verdict

CONTRADICTION = Limit(
    value=0,
    unit="{contradictions}",
    source="PS3.3 C.7.3.1.1.2 and C.10.23: Laterality and Image Laterality of one image are the same side; PS3.16 CID 244 the modifiers",
)
MISSING = Limit(
    value=0,
    unit="{sides}",
    source="PS3.3 C.7.3.1: Laterality is required where a paired part is examined and Image Laterality is not sent (Type 2C)",
)

_PROJECTIONS = frozenset({"CR", "DX", "RG", "MG", "OP"})
_SIDES: Mapping[str, str] = {"L": "left", "R": "right", "B": "both sides", "LEFT": "left", "RIGHT": "right"}
_MODIFIERS: Mapping[str, str] = {
    **dict.fromkeys(("7771000", "G-A101"), "left"),
    **dict.fromkeys(("24028007", "G-A100"), "right"),
    **dict.fromkeys(("51440002", "G-A102"), "both sides"),
}
_PAIRED = frozenset(  # PS3.16 Annex L, where a side is needed
    {
        *("HAND", "FINGER", "THUMB", "WRIST", "FOREARM", "ELBOW", "ARM", "HUMERUS", "SHOULDER", "CLAVICLE", "SCAPULA"),
        *("KNEE", "PATELLA", "ANKLE", "FOOT", "TOE", "CALCANEUS", "LEG", "FEMUR", "BREAST", "EYE"),
    }
)


class Laterality:
    """Image Laterality, Laterality, Frame Laterality and the modifier of the anatomic region; whatever side each names must be one.

    Measured: the statements that differ from the first; or 1 if a paired part has none. The lead marker in the pixels is not read: a
    letter of a few pixels that may be mirrored, printed or missing wants a reader that was measured, and none ships.
    """

    name = "laterality"

    def __call__(self, subject: HeaderSubject) -> QualityVerdict | None:
        if subject.modality not in _PROJECTIONS:
            return None
        stated = tuple(_stated(subject))
        if not stated:
            return self._unstated(subject)
        others = sum(side != stated[0][1] for _, side in stated)
        told = ", ".join(f"{by} says {side}" for by, side in stated)
        return header_verdict(
            self.name,
            subject,
            measured=others,
            limit=CONTRADICTION,
            found=others > CONTRADICTION.value,
            code=MARKER_INCORRECT,
            good="All that the header says of the side agrees.",
            bad=f"What the header says of the side does not agree: {told}.",
        )

    def _unstated(self, subject: HeaderSubject) -> QualityVerdict | None:
        if text(subject.header, "BodyPartExamined") not in _PAIRED or text(subject.header, "ImageLaterality") == "U":
            return None
        return header_verdict(
            self.name,
            subject,
            measured=1,
            limit=MISSING,
            found=True,
            code=MARKER_MISSING,
            good="",
            bad="The header does not say which side is shown, although the part of the body is paired.",
        )


def _stated(subject: HeaderSubject) -> Iterator[tuple[str, str]]:
    header = subject.header
    for keyword, words in (("ImageLaterality", "Image Laterality"), ("Laterality", "Laterality"), ("FrameLaterality", "Frame Laterality")):
        if side := _SIDES.get(text(header, keyword)):
            yield words, side
    for region in items(header, "AnatomicRegionSequence")[:1]:
        for modifier in items(region, "AnatomicRegionModifierSequence"):
            if side := _MODIFIERS.get(text(modifier, "CodeValue")):
                yield "the anatomic region", side
