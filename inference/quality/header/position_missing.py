"""Does the header lack what places the image in the patient?"""

from collections.abc import Mapping

from pydicom import Dataset

from inference.attributes import functional_group, items, numbers, text, texts
from inference.findings import QualityVerdict
from inference.quality.check import Limit
from inference.quality.header.check import FACTORS_MISSING, HeaderSubject, header_verdict

LIMIT = Limit(
    value=0,
    unit="{attributes}",
    source=(
        "PS3.3 C.7.6.2: Pixel Spacing, Image Orientation and Image Position (Patient) are Type 1 in CT, MR and PET images; C.8.11.2: Image"
        " Laterality is Type 1 in digital radiographs and mammograms (U if the side is unknown)"
    ),
)

_PLANE = {"PixelSpacing": 2, "ImageOrientationPatient": 6, "ImagePositionPatient": 3}
_WORDS = {
    "PixelSpacing": "Pixel Spacing",
    "ImageOrientationPatient": "Image Orientation (Patient)",
    "ImagePositionPatient": "Image Position (Patient)",
    "PatientPosition": "Patient Position",
    "ImageLaterality": "Image Laterality",
}
_MACROS = {
    "PixelSpacing": "PixelMeasuresSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "ImagePositionPatient": "PlanePositionSequence",
}
_NAMES = tuple(_PLANE)
_NEEDED: Mapping[str, tuple[str, ...]] = {  # by SOP Class, without 1.2.840.10008.5.1.4.1.1.
    **dict.fromkeys(("2", "2.1", "2.2", "4", "4.1", "4.4", "128", "128.1", "130"), _NAMES),
    **dict.fromkeys(("1.1", "1.1.1", "1.2", "1.2.1"), ("ImageLaterality",)),
}
_ROOT = "1.2.840.10008.5.1.4.1.1."


class PositionMissing:
    """Attributes by which a reader knows side, level and size, and that the object must have. Measured: how many it lacks.

    Patient Position counts where no Image Orientation says the same more exactly.
    """

    name = "position-missing"

    def __call__(self, subject: HeaderSubject) -> QualityVerdict | None:
        header = subject.header
        needed = _NEEDED.get(text(header, "SOPClassUID").removeprefix(_ROOT))
        if needed is None:
            return None
        frame_index = (subject.pixels.image.frame_number or 1) - 1
        missing = [keyword for keyword in needed if not _there(header, frame_index, keyword)]
        if "ImageOrientationPatient" in missing and not text(header, "PatientPosition"):
            missing.append("PatientPosition")
        named = ", ".join(_WORDS[keyword] for keyword in missing)
        return header_verdict(
            self.name,
            subject,
            measured=len(missing),
            limit=LIMIT,
            found=len(missing) > LIMIT.value,
            code=FACTORS_MISSING,
            good="The header says where in the patient the image lies.",
            bad=f"The header does not say where in the patient the image lies; it lacks {named}.",
        )


def _there(header: Dataset, frame_index: int, keyword: str) -> bool:
    if (count := _PLANE.get(keyword)) is None:
        return bool(texts(header, keyword)) and all(texts(header, keyword))
    enhanced = items(header, "SharedFunctionalGroupsSequence") or items(header, "PerFrameFunctionalGroupsSequence")
    source = functional_group(header, frame_index, _MACROS[keyword]) if enhanced else header
    return source is not None and len(numbers(source, keyword)) == count
