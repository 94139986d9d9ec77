"""What a check of a header is: a name, and a function from the header of one image, or of the first of a series, beside its pixels."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from pydicom import Dataset

from config import Code
from inference.attributes import text
from inference.findings import ImageRef, QualityGrade, QualityVerdict
from inference.frames import Frame
from inference.gate import KindShare
from inference.quality.check import Limit

OTHER_FAILURE = Code(value="111220", scheme="DCM", meaning="Other failure")  # CID 6135
PROCESSING = Code(value="111219", scheme="DCM", meaning="Inappropriate image processing")  # CID 6135
FACTORS_MISSING = Code(value="111194", scheme="DCM", meaning="Technical factors missing")  # CID 6041
MARKER_MISSING = Code(value="111177", scheme="DCM", meaning="View and Laterality Marker is missing")  # CID 6041
MARKER_INCORRECT = Code(value="111183", scheme="DCM", meaning="View and Laterality Marker is incorrect")  # CID 6041
POOR_FOV = Code(value="130577", scheme="DCM", meaning="Poor FOV selection")  # CID 6315


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFacts:
    """What the checks of a header need of the pixels, over all frames that were read of one image or series.

    `image`: the first frame. `lowest`, `highest`: of the modality values that are not padding; None in colour.
    """

    image: ImageRef
    header: Dataset
    rows: int
    columns: int
    spacing_mm: tuple[float, float] | None
    lowest: float | None
    highest: float | None

    @classmethod
    def of(cls, frame: Frame, header: Dataset) -> "PixelFacts":
        """What one frame tells; `header` is its instance's."""
        values = frame.values
        if values is not None and frame.padding is not None:
            values = values[~frame.padding]
        known = values is not None and values.size > 0
        return cls(
            image=frame.ref,
            header=header,
            rows=frame.pixels.shape[0],
            columns=frame.pixels.shape[1],
            spacing_mm=frame.spacing_mm,
            lowest=float(np.min(values)) if known and values is not None else None,
            highest=float(np.max(values)) if known and values is not None else None,
        )

    def and_also(self, other: "PixelFacts") -> "PixelFacts":
        """The same with the values of another frame."""
        lowest = [value for value in (self.lowest, other.lowest) if value is not None]
        highest = [value for value in (self.highest, other.highest) if value is not None]
        return PixelFacts(
            image=self.image,
            header=self.header,
            rows=self.rows,
            columns=self.columns,
            spacing_mm=self.spacing_mm,
            lowest=min(lowest, default=None),
            highest=max(highest, default=None),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderSubject:
    """A header, its pixels, and what the model takes them for (`shown`); None if there is no gate or it was not asked."""

    pixels: PixelFacts
    shown: KindShare | None

    @property
    def header(self) -> Dataset:
        return self.pixels.header

    @property
    def modality(self) -> str:
        return text(self.header, "Modality")


class HeaderCheck(Protocol):
    """One contradiction or gap that is looked for. `name` is the key in the registry."""

    @property
    def name(self) -> str: ...

    def __call__(self, subject: HeaderSubject) -> QualityVerdict | None:
        """The verdict; None if there is nothing to compare."""


def header_verdict(
    check: str, subject: HeaderSubject, *, measured: float, limit: Limit, found: bool, code: Code, good: str, bad: str
) -> QualityVerdict:
    """The verdict of `check`: LIMITED and `bad` if `found`, else DIAGNOSTIC and `good`. A header alone never makes it worse."""
    return QualityVerdict(
        check=check,
        image=subject.pixels.image,
        measured=round(measured, 4),
        unit=limit.unit,
        threshold=limit.value,
        threshold_source=limit.source,
        grade=QualityGrade.LIMITED if found else QualityGrade.DIAGNOSTIC,
        code=code,
        sentence=bad if found else good,
    )
