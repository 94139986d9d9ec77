"""What a quality check is: a name, and a function from one frame, as a `Sample`, and its header to a verdict."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from pydicom import Dataset

from config import Code
from inference.findings import QualityGrade, QualityVerdict
from inference.quality.sample import Sample

# Projection radiographs that the thresholds on brightness were measured on. Mammograms are not among them: 6 clean ones are too few.
RADIOGRAPHS = frozenset({"CR", "DX", "RG"})
# Consoles of these modalities write and draw on the screen that is stored: text and lines there are no surprise.
ANNOTATED = frozenset({"US", "IVUS", "ES", "GM", "XC", "OT", "SC", "DOC", "ECG", "OP", "OPT"})


# No limit was measured on images of fewer pixels a side: crops, icons and drawings, of which no part of the body fills the frame.
SMALLEST_SIDE = 64


class QualityCheck(Protocol):
    """One defect that is looked for. `name` is the key in the registry."""

    @property
    def name(self) -> str: ...

    def __call__(self, sample: Sample, header: Dataset) -> QualityVerdict | None:
        """The verdict on one frame; None if the check says nothing about such a frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The number that separates a good frame from a bad one, and where it comes from."""

    value: float
    unit: str
    source: str


def held_out(alarms: str, found: str) -> str:
    """The source of a limit that was chosen on one half of the images: what it did on the other half, both as `3 of 100`."""
    return (
        f"Chosen on one half of the images of docs/quality.md; on the other half false alarms in {alarms} clean images, faults of medium "
        f"strength found in {found}"
    )


def limits(unit: str, *of_modalities: tuple[str, float, str]) -> Mapping[str, Limit]:
    """One limit a modality from rows of modalities (separated by blanks), value and source. A modality without a row is not judged."""
    return {
        modality: Limit(value=value, unit=unit, source=source)
        for modalities, value, source in of_modalities
        for modality in modalities.split()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuringCheck:
    """A check that is one number and one limit a modality. `measure` gives None where such a frame cannot be measured.

    `bad`: on which side of the limit a fault lies; the limit itself is no fault. Frames with a side below `smallest_side` are not judged.
    """

    name: str
    measure: Callable[[Sample, Dataset], float | None]
    limits: Mapping[str, Limit]
    bad: Literal["above", "below"]
    code: Code
    good_sentence: str
    bad_sentence: str
    grade: QualityGrade = QualityGrade.LIMITED
    smallest_side: int = SMALLEST_SIDE

    def __call__(self, sample: Sample, header: Dataset) -> QualityVerdict | None:
        limit = self.limits.get(sample.modality)
        too_small = min(sample.shape) < self.smallest_side
        measured = None if limit is None or too_small else self.measure(sample, header)
        if limit is None or measured is None:
            return None
        bad = measured > limit.value if self.bad == "above" else measured < limit.value
        return verdict(
            self.name,
            sample,
            measured=measured,
            limit=limit,
            grade=self.grade if bad else QualityGrade.DIAGNOSTIC,
            code=self.code,
            sentence=self.bad_sentence if bad else self.good_sentence,
        )


def verdict(check: str, sample: Sample, *, measured: float, limit: Limit, grade: QualityGrade, code: Code, sentence: str) -> QualityVerdict:
    """The verdict of `check` on the frame of `sample`, with the limit's number and source in it."""
    return QualityVerdict(
        check=check,
        image=sample.frame.ref,
        measured=round(measured, 4),
        unit=limit.unit,
        threshold=limit.value,
        threshold_source=limit.source,
        grade=grade,
        code=code,
        sentence=sentence,
    )
