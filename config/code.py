"""A coded concept: the triple that names a thing in DICOM (PS3.3 section 8, Basic Coded Entry)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A coded concept: Code Value, Coding Scheme Designator (DCM, SCT, UCUM, ...) and Code Meaning."""

    value: str
    scheme: str
    meaning: str
