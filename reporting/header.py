"""The patient and study attributes of a report: a new data set, built from a source header and repaired.

Identity is copied as it is, or the archive files the report under another patient. What would make the report invalid
although the source was accepted (PS3.3 C.7.1.1, C.7.1.3, C.7.2.1) is completed or left out: nothing is made up.
"""

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from reporting.attributes import SourceHeader

CHARACTER_SET = "ISO_IR 192"  # UTF-8, PS3.3 table C.12-5
_LONG_STRING = 64  # characters in VR LO, PS3.5 table 6.2-1
_SHORT_STRING = 16  # characters in VR SH
_REQUEST_NAMES = ("RequestedProcedureID", "RequestedProcedureDescription", "AccessionNumber")
_UNSTATED_METHOD = "Not stated in the source header"


def study_level(header: SourceHeader, study_instance_uid: str) -> Dataset:
    """Return the Patient, Clinical Trial Subject and General Study modules of a report on `study_instance_uid`, in UTF-8."""
    study = Dataset()
    study.SpecificCharacterSet = CHARACTER_SET
    _patient(study, header)
    _de_identification(study, header)
    _clinical_trial_subject(study, header)
    study.StudyInstanceUID = study_instance_uid
    put(study, "StudyDate", header.date("StudyDate"))
    put(study, "StudyTime", header.time("StudyTime"))
    for keyword in ("ReferringPhysicianName", "StudyID", "AccessionNumber"):
        put(study, keyword, header.identity(keyword))
    _put_if_any(study, "StudyDescription", header.text("StudyDescription")[:_LONG_STRING])
    _put_items(study, "IssuerOfAccessionNumberSequence", _issuers(header, "IssuerOfAccessionNumberSequence"))
    _put_items(study, "ProcedureCodeSequence", coded_items(header, "ProcedureCodeSequence"))
    _put_items(study, "ReferencedStudySequence", _referenced_instances(header, "ReferencedStudySequence"))
    _put_items(study, "ReferencedRequestSequence", _requests(header, study_instance_uid))
    return study


def put(dataset: Dataset, keyword: str, value: object) -> None:
    """Set an attribute without pydicom's own checks, which would write the value of a patient's attribute in a warning."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no DICOM keyword")
    dataset[tag] = DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE)


def coded_items(header: SourceHeader, keyword: str) -> tuple[Dataset, ...]:
    """Return new items of a code sequence; those without value, scheme and meaning are left out."""
    found = []
    for item in header.items(keyword):
        value, scheme = item.text("CodeValue"), item.text("CodingSchemeDesignator")
        meaning = item.text("CodeMeaning")[:_LONG_STRING]
        if value and scheme and meaning and max(len(value), len(scheme)) <= _SHORT_STRING:
            code = Dataset()
            put(code, "CodeValue", value)
            put(code, "CodingSchemeDesignator", scheme)
            _put_if_any(code, "CodingSchemeVersion", item.text("CodingSchemeVersion")[:_SHORT_STRING])
            put(code, "CodeMeaning", meaning)
            found.append(code)
    return tuple(found)


def _patient(study: Dataset, header: SourceHeader) -> None:
    put(study, "PatientName", header.identity("PatientName"))
    put(study, "PatientID", header.identity("PatientID"))
    _put_if_any(study, "IssuerOfPatientID", header.identity("IssuerOfPatientID"))
    _put_items(study, "IssuerOfPatientIDQualifiersSequence", _issuers(header, "IssuerOfPatientIDQualifiersSequence"))
    put(study, "PatientBirthDate", header.date("PatientBirthDate"))
    sex = header.text("PatientSex").upper()
    put(study, "PatientSex", sex if sex in {"M", "F", "O"} else "")


def _de_identification(study: Dataset, header: SourceHeader) -> None:
    """De-identification Method is required with Patient Identity Removed = YES (PS3.3 C.7.1.1)."""
    removed = header.text("PatientIdentityRemoved").upper()
    if removed not in {"YES", "NO"}:
        return
    study.PatientIdentityRemoved = removed
    if removed == "YES":
        codes = coded_items(header, "DeidentificationMethodCodeSequence")
        _put_items(study, "DeidentificationMethodCodeSequence", codes)
        put(study, "DeidentificationMethod", header.text("DeidentificationMethod")[:_LONG_STRING] or _UNSTATED_METHOD)


def _clinical_trial_subject(study: Dataset, header: SourceHeader) -> None:
    """The module is copied whole, with its Type 2 attributes added, or not at all (PS3.3 C.7.1.3)."""
    subjects = {keyword: header.text(keyword) for keyword in ("ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID")}
    required = {keyword: header.text(keyword) for keyword in ("ClinicalTrialSponsorName", "ClinicalTrialProtocolID")}
    if not (all(required.values()) and any(subjects.values())):
        return
    for keyword, value in required.items():
        put(study, keyword, value[:_LONG_STRING])
    for keyword in ("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName"):
        put(study, keyword, header.text(keyword)[:_LONG_STRING])
    for keyword, value in subjects.items():
        _put_if_any(study, keyword, value[:_LONG_STRING])


def _issuers(header: SourceHeader, keyword: str) -> tuple[Dataset, ...]:
    """Return items of the HL7v2 Hierarchic Designator macro (PS3.3 table 10-17), whole ones only."""
    found = []
    for item in header.items(keyword):
        issuer = Dataset()
        entity, kind = item.text("UniversalEntityID"), item.text("UniversalEntityIDType").upper()
        _put_if_any(issuer, "LocalNamespaceEntityID", item.text("LocalNamespaceEntityID"))
        if entity and kind:
            put(issuer, "UniversalEntityID", entity)
            put(issuer, "UniversalEntityIDType", kind)
        if len(issuer):
            found.append(issuer)
    return tuple(found[:1])


def _referenced_instances(header: SourceHeader, keyword: str) -> tuple[Dataset, ...]:
    """Return items that name both a class and an instance; a reference without class is invalid (PS3.3 table 10-11)."""
    found = []
    for item in header.items(keyword):
        sop_class, instance = item.uid("ReferencedSOPClassUID"), item.uid("ReferencedSOPInstanceUID")
        if sop_class and instance:
            reference = Dataset()
            put(reference, "ReferencedSOPClassUID", sop_class)
            put(reference, "ReferencedSOPInstanceUID", instance)
            found.append(reference)
    return tuple(found)


def _requests(header: SourceHeader, study_instance_uid: str) -> tuple[Dataset, ...]:
    """Return Referenced Request items (PS3.3 table C.17-3) for the requests that the source names."""
    return tuple(
        _request(item, header, study_instance_uid)
        for item in header.items("RequestAttributesSequence")
        if any(item.text(keyword) for keyword in _REQUEST_NAMES) or coded_items(item, "RequestedProcedureCodeSequence")
    )


def _request(item: SourceHeader, header: SourceHeader, study_instance_uid: str) -> Dataset:
    request = Dataset()
    request.StudyInstanceUID = item.uid("StudyInstanceUID") or study_instance_uid
    _put_items(request, "ReferencedStudySequence", _referenced_instances(item, "ReferencedStudySequence"), empty=True)
    put(request, "AccessionNumber", item.text("AccessionNumber") or header.text("AccessionNumber"))
    put(request, "PlacerOrderNumberImagingServiceRequest", _first(item, header, "PlacerOrderNumberImagingServiceRequest"))
    put(request, "FillerOrderNumberImagingServiceRequest", _first(item, header, "FillerOrderNumberImagingServiceRequest"))
    put(request, "RequestedProcedureID", item.text("RequestedProcedureID")[:_SHORT_STRING])
    put(request, "RequestedProcedureDescription", item.text("RequestedProcedureDescription")[:_LONG_STRING])
    _put_items(request, "RequestedProcedureCodeSequence", coded_items(item, "RequestedProcedureCodeSequence")[:1], empty=True)
    return request


def _first(item: SourceHeader, header: SourceHeader, keyword: str) -> str:
    return (item.text(keyword) or header.text(keyword))[:_LONG_STRING]


def _put_if_any(dataset: Dataset, keyword: str, value: str) -> None:
    if value:
        put(dataset, keyword, value)


def _put_items(dataset: Dataset, keyword: str, items: tuple[Dataset, ...], *, empty: bool = False) -> None:
    if items or empty:
        put(dataset, keyword, Sequence(items))
