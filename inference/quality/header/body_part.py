"""Does the model see another part of the body than the header names?"""

from collections.abc import Mapping

from inference.attributes import items, text
from inference.findings import QualityVerdict
from inference.quality.check import Limit
from inference.quality.header.check import OTHER_FAILURE, HeaderSubject, header_verdict
from inference.quality.header.sure import SURE, SURE_SOURCE

LIMIT = Limit(value=SURE, unit="1", source=SURE_SOURCE)

# Body Part Examined (defined terms of PS3.16 Annex L, and what modalities write) by the word with which the gate's kinds begin.
_HEAD = ("HEAD", "BRAIN", "SKULL", "HEADNECK", "FACE", "SINUS", "ORBIT", "IAC", "PITUITARY")
_TRUNK = ("CHESTABDOMEN", "CHESTABDPELVIS")
_REGIONS: Mapping[str, frozenset[str]] = {
    "chest": frozenset({"CHEST", "THORAX", "LUNG", "LUNGS", "RIB", "RIBS", "STERNUM", "HEART", "MEDIASTINUM", *_TRUNK}),
    "abdomen": frozenset({"ABDOMEN", "ABDOMENPELVIS", "PELVIS", "LIVER", "KIDNEY", "PANCREAS", "SPLEEN", "STOMACH", "COLON", *_TRUNK}),
    "head": frozenset(_HEAD),
    "brain": frozenset(_HEAD),
    "hand": frozenset({"HAND", "FINGER", "THUMB", "WRIST"}),
    "knee": frozenset({"KNEE", "PATELLA"}),
    "breast": frozenset({"BREAST"}),
}
# What lies in one field of view: an image of either may be taken for the other.
_NEIGHBOURS = (
    frozenset({"chest", "abdomen"}),
    frozenset({"chest", "breast"}),
    frozenset({"head", "brain"}),
)


class BodyPart:
    """The kind of image that the model is sure of, against Body Part Examined or the Anatomic Region.

    Compared only where both name a part that the model knows in several kinds of image: of a spine it cannot say that it is no abdomen.
    Measured: the share of the likeliest kind if that is another part, else 0.
    """

    name = "body-part"

    def __call__(self, subject: HeaderSubject) -> QualityVerdict | None:
        stated, shown = _stated(subject), subject.shown
        if not stated or shown is None or shown.foreign:
            return None
        seen = shown.label.split("-")[0]
        if seen not in _REGIONS:
            return None
        other = not any(seen == region or {seen, region} in _NEIGHBOURS for region in stated)
        return header_verdict(
            self.name,
            subject,
            measured=shown.share if other else 0.0,
            limit=LIMIT,
            found=other and shown.share >= LIMIT.value,
            code=OTHER_FAILURE,
            good="The model sees the part of the body that the header names, or is not sure of another.",
            bad=f"The header names another part of the body than the pixels show: {shown.words} (p = {shown.share:.2f}).",
        )


def _stated(subject: HeaderSubject) -> frozenset[str]:
    """The regions that the header names; empty if it names none that the model knows."""
    named = {text(subject.header, "BodyPartExamined")}
    named |= {text(item, "CodeMeaning") for item in items(subject.header, "AnatomicRegionSequence")}
    return frozenset(region for region, terms in _REGIONS.items() if named & terms)
