"""What every encoder takes and gives."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

from pydicom.dataset import Dataset

from inference.findings import Analysis

_LONGEST = {"ae_title": 16}
_LONGEST_STRING = 64  # VR LO, PS3.5 table 6.2-1


@dataclass(frozen=True, slots=True, kw_only=True)
class Producer:
    """The node that makes the reports, as the reports name it. `institution` may be empty; the others may not.

    Raises:
        ValueError: a value is empty, too long for its attribute, or holds a backslash or a control character.
    """

    manufacturer: str
    model_name: str
    software_version: str
    serial_number: str
    ae_title: str
    institution: str

    def __post_init__(self) -> None:
        for field in fields(self):
            value: str = getattr(self, field.name)
            longest = _LONGEST.get(field.name, _LONGEST_STRING)
            if "\\" in value or not value.isprintable() or len(value) > longest:
                raise ValueError(f"{field.name} must be printable, without backslash, and at most {longest} characters")
            if not value.strip() and field.name != "institution":
                raise ValueError(f"{field.name} must not be empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousReport:
    """The report that a new one supersedes. `instance_number` is its Instance Number (0020,0013)."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    instance_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedResult:
    """One encoded object. `data` is a complete Part 10 file, `digest` its SHA-256 in hexadecimal."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    data: bytes
    digest: str


class ResultEncoder(Protocol):
    """Turns an analysis into one object. `headers` are those of `analysis.inputs`, in any order."""

    def __call__(
        self, analysis: Analysis, headers: Sequence[Dataset], *, producer: Producer, previous: PreviousReport | None
    ) -> EncodedResult: ...
