"""Do the pixels look as if another kind of equipment had made them than the header names?"""

from collections.abc import Mapping

from inference.findings import QualityVerdict
from inference.quality.check import Limit
from inference.quality.header.check import OTHER_FAILURE, HeaderSubject, header_verdict
from inference.quality.header.sure import SURE, SURE_SOURCE

LIMIT = Limit(value=SURE, unit="1", source=SURE_SOURCE)

# Modality (0008,0060) -> what the codes of the gate's kinds (CID 29) may be. Other modalities are not judged: of what they make the model
# has seen too little.
_MAY_BE: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("CR", "DX", "RG"), frozenset({"RG", "CR", "DX", "MG", "XA", "RF"})),
    "CT": frozenset({"CT"}),
    "MR": frozenset({"MR"}),
}


class Modality:
    """The kind of image that the model is sure of, against Modality. Measured: its share if another equipment makes such, else 0."""

    name = "modality"

    def __call__(self, subject: HeaderSubject) -> QualityVerdict | None:
        possible, shown = _MAY_BE.get(subject.modality), subject.shown
        if possible is None or shown is None or shown.foreign or not shown.made_by:
            return None
        other = shown.made_by not in possible
        return header_verdict(
            self.name,
            subject,
            measured=shown.share if other else 0.0,
            limit=LIMIT,
            found=other and shown.share >= LIMIT.value,
            code=OTHER_FAILURE,
            good="The pixels look like the modality that the header names, or the model is not sure of another.",
            bad=f"The header says modality {subject.modality}, the pixels show {shown.words} (p = {shown.share:.2f}).",
        )
