"""Whose images and results: the Patient ID out of a file, which nothing but the audit trail asks for."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydicom import Dataset, dcmread

from dicom_node.audit.message import SopClassCount
from inference.attributes import UNUSABLE

_PID, _PATIENT_IDENTIFIERS = b"PID", 3
_HL7_ENDING, _FHIR_ENDING = ".hl7", ".json"


def patient_id(header: Dataset) -> str:
    """Return Patient ID (0010,0020) of a header, empty if it has none that can be read."""
    try:
        return str(header.get("PatientID") or "").strip()
    except UNUSABLE:
        return ""


def patient_id_of(headers: Sequence[Dataset]) -> str:
    """Return the first Patient ID of several headers of one study."""
    return next(filter(None, map(patient_id, headers)), "")


def patient_id_in(path: Path) -> str:
    """Return the Patient ID in a file of the store, an instance or a message; empty if there is none or it cannot be read."""
    try:
        if path.suffix == _HL7_ENDING:
            return _in_hl7(path.read_bytes())
        if path.suffix == _FHIR_ENDING:
            return next(_in_fhir(json.loads(path.read_bytes())), "")
        return patient_id(dcmread(path, specific_tags=["PatientID"], stop_before_pixels=True, force=True))
    except Exception:  # noqa: BLE001 - hostile bytes raise anything; the event is recorded all the same, without a patient
        return ""


def _in_hl7(message: bytes) -> str:
    """PID-3.1 of the first PID segment."""
    for segment in message.split(b"\r"):
        fields = segment.split(b"|")
        if fields[0] == _PID and len(fields) > _PATIENT_IDENTIFIERS:
            return fields[_PATIENT_IDENTIFIERS].split(b"~")[0].split(b"^")[0].decode("utf-8", errors="replace")
    return ""


def _in_fhir(value: object) -> Iterator[str]:
    """Every identifier of a patient that a resource refers to."""
    if isinstance(value, dict):
        if value.get("type") == "Patient" and isinstance(identifier := value.get("identifier"), dict):
            yield str(identifier.get("value", ""))
        for inner in value.values():
            yield from _in_fhir(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _in_fhir(inner)


def counted(sop_class_uids: Iterable[str]) -> tuple[SopClassCount, ...]:
    """Return how many instances there are of each SOP class, by class."""
    return tuple(SopClassCount(sop_class_uid=uid, instances=number) for uid, number in sorted(Counter(sop_class_uids).items()))
