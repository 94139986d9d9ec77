"""What a quality check is: a name, and a function from one frame and its header to a verdict."""

from dataclasses import dataclass
from typing import Protocol

from pydicom import Dataset

from config import Code
from inference.findings import QualityGrade, QualityVerdict
from inference.frames import Frame

# Projection radiographs that the thresholds on brightness were measured on. Mammograms are not among them: 6 clean ones are too few.
RADIOGRAPHS = frozenset({"CR", "DX", "RG"})


class QualityCheck(Protocol):
    """One defect that is looked for. `name` is the key in the registry."""

    @property
    def name(self) -> str: ...

    def __call__(self, frame: Frame, header: Dataset) -> QualityVerdict | None:
        """The verdict on one frame; None if the check says nothing about such a frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The number that separates a good frame from a bad one, and where it comes from."""

    value: float
    unit: str
    source: str


def verdict(check: str, frame: Frame, *, measured: float, limit: Limit, grade: QualityGrade, code: Code, sentence: str) -> QualityVerdict:
    """The verdict of `check` on `frame`, with the limit's number and source in it."""
    return QualityVerdict(
        check=check,
        image=frame.ref,
        measured=round(measured, 4),
        unit=limit.unit,
        threshold=limit.value,
        threshold_source=limit.source,
        grade=grade,
        code=code,
        sentence=sentence,
    )
