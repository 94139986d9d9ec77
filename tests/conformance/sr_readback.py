"""What no validator checks: code meanings, references against the evidence, and that nothing absent is asserted."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr._concepts_dict import concepts

# Looked up one by one; typed here again, so that a slip in the product's table is seen.
_LOCAL = {
    ("UMLS", "C0034375"): "Qualitative Evaluations",
    ("UCUM", "{pixels}"): "pixels",
    ("SCT", "260870009"): "Priority",
    ("RFC5646", "en-US"): "English (United States)",
    ("99DCMNODE", "RESULT-STATUS"): "Status of the result",
    ("99DCMNODE", "WITHDRAWN"): "Withdrawn",
}
_REPORT = {("DCM", "126000")}
_SELECTION = {("DCM", "113000"), ("DCM", "113010")}  # and never those that hide images, see IHE RAD IOCM
_KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"
_REFUTED = {"272519000", "373068000"}  # Absent, Undetermined


def readback(path: Path) -> tuple[str, ...]:
    """Return what is wrong in the meaning of a report."""
    document = dcmread(io.BytesIO(path.read_bytes()))
    problems = [*_code_problems(document), *_reference_problems(document), *_group_problems(document)]
    title = document.ConceptNameCodeSequence[0]
    selection = document.SOPClassUID == _KEY_OBJECTS
    if (title.CodingSchemeDesignator, title.CodeValue) not in (_SELECTION if selection else _REPORT):
        problems.append(f"the title is {title.CodeMeaning}")
    if not selection and (document.VerificationFlag != "UNVERIFIED" or document.PreliminaryFlag != "PRELIMINARY"):
        problems.append("the report claims to be verified or final")
    return tuple(problems)


def walk(dataset: Dataset) -> Iterator[Dataset]:
    """All content items below `dataset`, in the order of the document."""
    for item in dataset.get("ContentSequence", []):
        yield item
        yield from walk(item)


def concept(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence", [])  # what a Key Object Selection refers to has none
    return str(names[0].CodeValue) if names else ""


def groups(document: Dataset) -> list[Dataset]:
    """The measurement groups."""
    return [item for item in walk(document) if concept(item) == "125007"]


def _known_meanings() -> dict[tuple[str, str], set[str]]:
    known: dict[tuple[str, str], set[str]] = {}
    for scheme, keywords in concepts.items():
        for values in keywords.values():
            for value, (meaning, _) in values.items():
                plain = meaning.replace("\u200b", "")
                shortened = re.sub(r" \(procedure\)$", " procedure", plain)
                without_tag = re.sub(r" \([a-z /]+\)$", "", plain)
                known.setdefault((scheme, value), set()).update({plain, shortened, without_tag})
    return known


_KNOWN = _known_meanings()


def _code_problems(document: Dataset) -> Iterator[str]:
    for item in walk(document):
        used = [*item.get("ConceptNameCodeSequence", []), *item.get("ConceptCodeSequence", [])]
        used += [unit for value in item.get("MeasuredValueSequence", []) for unit in value.get("MeasurementUnitsCodeSequence", [])]
        for code in used:
            key = (code.CodingSchemeDesignator, code.CodeValue)
            if code.CodeMeaning not in _KNOWN.get(key, {_LOCAL.get(key)}):
                yield f"{key} does not mean {code.CodeMeaning!r}"


def _reference_problems(document: Dataset) -> Iterator[str]:
    evidence = {
        instance.ReferencedSOPInstanceUID
        for study in document.get("CurrentRequestedProcedureEvidenceSequence", [])
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    used = {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in walk(document) if item.ValueType in {"IMAGE", "COMPOSITE"}}
    for uid in used - evidence:
        yield f"{uid} is referenced but no evidence"
    if any(item.ValueType == "SCOORD" and not item.get("ContentSequence") for item in walk(document)):
        yield "a region is on no image"


def _group_problems(document: Dataset) -> Iterator[str]:
    of_regions = any(concept(item) == "130400" for item in walk(document))  # the regions of one finding share its tracking UID
    tracking = [item.UID for item in walk(document) if concept(item) == "112040"]
    if len(set(tracking)) != len(tracking) and not of_regions:
        yield "two groups have the same tracking UID"
    for group in groups(document):
        named = {concept(item) for item in group.ContentSequence}
        if not {"112039", "112040", "111001", "111003"} <= named:
            yield "a group lacks its tracking or its algorithm"
        asserted = {item.ConceptCodeSequence[0].CodeValue for item in group.ContentSequence if concept(item) == "121071"}
        refuted = {
            concept(item)
            for item in group.ContentSequence
            if item.ValueType == "CODE" and item.ConceptCodeSequence[0].CodeValue in _REFUTED
        }
        if asserted & refuted:
            yield "a finding that is not Present is asserted"
