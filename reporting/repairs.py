"""What of the source headers could not go into a report as it was: by tag, never by value, for the log."""

from collections.abc import Iterator

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from reporting.attributes import SourceHeader
from reporting.character_sets import UNDECODABLE, is_known
from reporting.evidence import Evidence

_TEXTS = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("ReferringPhysicianName", "AccessionNumber", "StudyDescription", "PatientIdentityRemoved", "DeidentificationMethod"),
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID"),
    *("ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID"),
)
_SEQUENCES = {  # where the source says it -> where the report says it
    "IssuerOfPatientIDQualifiersSequence": "IssuerOfPatientIDQualifiersSequence",
    "IssuerOfAccessionNumberSequence": "IssuerOfAccessionNumberSequence",
    "ProcedureCodeSequence": "ProcedureCodeSequence",
    "ReferencedStudySequence": "ReferencedStudySequence",
    "RequestAttributesSequence": "ReferencedRequestSequence",
    "DeidentificationMethodCodeSequence": "DeidentificationMethodCodeSequence",
}
_IDENTITY = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "AccessionNumber", "StudyID")


def repairs(evidence: Evidence, made: Dataset) -> tuple[str, ...]:
    """Return one line for each attribute that is not in `made` as the header says that it was made from, or is not the same in all."""
    header = evidence.header
    lines = {**dict(_character_sets(header)), **dict(_texts(header, made)), **dict(_sequences(header, made))}
    for keyword in _IDENTITY:
        if len({one.header.identity(keyword) for one in evidence.instances}) > 1:
            lines[keyword] = "differs between the inputs"
    return tuple(f"{Tag(tag_for_keyword(keyword) or 0)} {keyword}: {what}" for keyword, what in lines.items())


def _character_sets(header: SourceHeader) -> Iterator[tuple[str, str]]:
    named = header.named_character_sets
    if not all(map(is_known, named)):
        yield "SpecificCharacterSet", "unknown, the default was used"


def _texts(header: SourceHeader, made: Dataset) -> Iterator[tuple[str, str]]:
    report = SourceHeader(dataset=made)
    for keyword in _TEXTS:
        said, written = (one.decoded(keyword).rstrip("=") for one in (header, report))  # null groups of a name, PS3.5 6.2.1
        if UNDECODABLE in written:
            yield keyword, "not in the character set that is named, characters replaced"
        elif said and not written:
            yield keyword, "left out"
        elif written and not said:
            yield keyword, "completed"
        elif said != written:
            yield keyword, "rewritten"
        elif header.has(keyword) and not said:
            yield keyword, "unreadable, left out"
        elif keyword in made and keyword not in header.dataset:
            yield keyword, "absent, written empty"


def _sequences(header: SourceHeader, made: Dataset) -> Iterator[tuple[str, str]]:
    for source, target in _SEQUENCES.items():
        if source not in header.dataset:
            continue
        items, kept = len(header.items(source)), len(made.get(target) or ())
        if kept < items or not items:
            yield source, f"{items - kept} of {items} items left out" if items else "empty or unreadable, left out"
