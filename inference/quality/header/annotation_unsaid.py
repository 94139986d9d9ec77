"""Does the header leave open whether the pixels identify the patient?"""

from inference.attributes import text
from inference.findings import QualityVerdict
from inference.quality.check import Limit
from inference.quality.header.check import FACTORS_MISSING, HeaderSubject, header_verdict

LIMIT = Limit(
    value=0,
    unit="{attributes}",
    source="PS3.3 C.8.11.3: Burned In Annotation (0028,0301) is Type 1 in digital radiographs and mammograms, YES or NO",
)
_ROOT = "1.2.840.10008.5.1.4.1.1."
_CLASSES = frozenset({"1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1"})


class AnnotationUnsaid:
    """Burned In Annotation that is neither YES nor NO where the object must say it. What is in the pixels, `burnt-in-text` measures."""

    name = "annotation-unsaid"

    def __call__(self, subject: HeaderSubject) -> QualityVerdict | None:
        if text(subject.header, "SOPClassUID").removeprefix(_ROOT) not in _CLASSES:
            return None
        unsaid = text(subject.header, "BurnedInAnnotation") not in {"YES", "NO"}
        return header_verdict(
            self.name,
            subject,
            measured=float(unsaid),
            limit=LIMIT,
            found=unsaid,
            code=FACTORS_MISSING,
            good="The header says whether the pixels identify the patient.",
            bad="The header does not say whether text that identifies the patient is burnt into the pixels.",
        )
