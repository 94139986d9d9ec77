"""FHIR R4: an analysis as a transaction Bundle of a preliminary DiagnosticReport and what belongs to it.

Nothing here can be final: the status of a report or an observation is a `Status`, which has neither `final` nor `amended`,
`corrected` or `appended` (those are "subsequent to being final"). A revision is the same resources again, by the same ids: ids follow
from what the resources are about, and every entry is a PUT, so that sending twice, or sending late, makes nothing twice. What an
earlier Bundle said and this one does not is put again as `entered-in-error`.

Patient, order and study are named by their identifiers and never made: they are not ours.
"""

import enum
import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

from pydicom.dataset import Dataset

from config import Code
from inference.findings import Analysis, Finding, FlagLevel, QualityGrade
from reporting import codes, narrative
from reporting.algorithm import Algorithm, Algorithms, algorithms_of
from reporting.attributes import SourceHeader, printable
from reporting.content import processing_summary
from reporting.evidence import evidence_of
from reporting.result import EncodedResult, MediaType, PreviousReport, Producer
from reporting.uids import derived_uid, tracking_uid

KIND = "fhir-report"

_TYPE = "resourceType"
_Json = dict[str, object]

_SYSTEMS = {
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "LOINC": "http://loinc.org",
    "UCUM": "http://unitsofmeasure.org",
    "RADLEX": "http://radlex.org",
}
_DIAGNOSTIC_IMAGING = Code(value="18748-4", scheme="LN", meaning="Diagnostic imaging study")
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_ABNORMAL = {FlagLevel.EMERGENCY: ("AA", "Critical abnormal"), FlagLevel.URGENT: ("A", "Abnormal")}
_PRIORITY = {FlagLevel.EMERGENCY: "stat", FlagLevel.URGENT: "urgent"}  # request-priority; there is no way down
_SCORE_DECIMALS = 4


class Status(enum.Enum):
    """DiagnosticReportStatus and ObservationStatus, as far as this software can say them."""

    PRELIMINARY = "preliminary"
    ENTERED_IN_ERROR = "entered-in-error"


class TaskStatus(enum.Enum):
    """What becomes of a proposal to read a study early. Only people accept or complete it."""

    REQUESTED = "requested"
    CANCELLED = "cancelled"
    ENTERED_IN_ERROR = "entered-in-error"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """Whom and what the resources are about."""

    analysis: Analysis
    source: SourceHeader
    algorithms: Algorithms
    at: datetime

    @property
    def status(self) -> Status:
        return Status.PRELIMINARY if self.analysis.withdrawn is None else Status.ENTERED_IN_ERROR

    @property
    def report_id(self) -> str:
        return _id("report", self.analysis.study_instance_uid, self.analysis.route)


def encode_bundle(
    analysis: Analysis,
    headers: Sequence[Dataset],
    *,
    producer: Producer,
    previous: PreviousReport | None,
    companions: Sequence[EncodedResult] = (),
) -> EncodedResult:
    """Return a transaction Bundle: devices, observations, the report, a task for a raised flag, and where it all comes from.

    Raises:
        ValueError: as `evidence_of`.
    """
    evidence = evidence_of(analysis, headers)
    source = evidence.header
    subject = _Subject(
        analysis=analysis,
        source=source,
        algorithms=algorithms_of(analysis, producer),
        at=analysis.analysed_at.astimezone(source.utc_offset() or analysis.analysed_at.tzinfo),
    )
    observations = [] if analysis.withdrawn is not None else list(_observations(subject))
    resources = [
        *(_device(algorithm) for algorithm in dict.fromkeys((subject.algorithms.node, subject.algorithms.main))),
        *observations,
        _report(subject, observations),
        *_task(subject, previous),
        _provenance(subject, observations),
    ]
    resources += _retracted(previous, resources)
    entries: list[_Json] = [{"resource": one, "request": {"method": "PUT", "url": f"{one[_TYPE]}/{one['id']}"}} for one in resources]
    bundle: _Json = {_TYPE: "Bundle", "type": "transaction", "timestamp": subject.at.isoformat(), "entry": entries}
    data = json.dumps(bundle, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return EncodedResult(
        kind=KIND,
        sop_class_uid="",
        sop_instance_uid=f"urn:uuid:{_id('bundle', data.decode())}",
        data=data,
        digest=hashlib.sha256(data).hexdigest(),
        media_type=MediaType.FHIR_JSON,
    )


def _id(*parts: str) -> str:
    """Return a version 5 UUID that follows from what a resource is about."""
    return str(uuid.UUID(int=int(derived_uid("fhir", *parts).removeprefix("2.25."))))


def _report(subject: _Subject, observations: Sequence[_Json]) -> _Json:
    analysis, source = subject.analysis, subject.source
    words = (narrative.summary(analysis), *narrative.comments(analysis))
    accession = source.text("AccessionNumber")
    return {
        _TYPE: "DiagnosticReport",
        "id": subject.report_id,
        "text": _text(words),
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{subject.report_id}"}],
        **({"basedOn": [{"type": "ServiceRequest", "identifier": _accession(accession)}]} if accession else {}),
        "status": subject.status.value,
        "category": [{"coding": [{"system": f"{_TERMINOLOGY}/v2-0074", "code": "RAD", "display": "Radiology"}]}],
        "code": _concept(_DIAGNOSTIC_IMAGING, text=source.text("StudyDescription")),
        "subject": _patient(source),
        **_effective(source),
        "issued": subject.at.isoformat(),
        **({"result": [_reference(one) for one in observations]} if observations else {}),
        "imagingStudy": [_study(analysis.study_instance_uid)],
        "conclusion": "\n".join(words),
        "conclusionCode": [_concept(processing_summary(analysis))],
    }


def _observations(subject: _Subject) -> Iterator[_Json]:
    """How far the analysis went, each finding, and the quality of the images."""
    analysis = subject.analysis
    yield _observation(subject, _id("status", subject.report_id), codes.SUMMARY_OF_ANALYSES, codes.OUTCOME[analysis.outcome])
    for finding in analysis.findings:
        yield _finding(subject, finding)
    if analysis.grade is not None:
        quality = _observation(subject, _id("quality", subject.report_id), codes.IMAGE_QUALITY, codes.GRADE[analysis.grade])
        defects = {verdict.code.value: verdict.code for verdict in analysis.quality if verdict.grade is not QualityGrade.DIAGNOSTIC}
        if defects:
            found = [{"code": _concept(codes.QUALITY_FINDING), "valueCodeableConcept": _concept(one)} for one in defects.values()]
            quality["component"] = found
        yield quality


def _finding(subject: _Subject, finding: Finding) -> _Json:
    """A finding by its tracking UID, so that it is the same Observation in every revision."""
    uid = tracking_uid(subject.analysis.study_instance_uid, finding.image.sop_instance_uid, finding.image.frame_number, finding.label)
    made = _observation(subject, _id("finding", subject.report_id, uid), finding.concept, codes.PRESENCE[finding.presence])
    made["identifier"] = [_dicom_uid(uid)]
    if finding.site is not None:
        made["bodySite"] = _concept(finding.site)
    if finding.flag is not FlagLevel.NONE:
        code, display = _ABNORMAL[finding.flag]
        made["interpretation"] = [
            {"coding": [{"system": f"{_TERMINOLOGY}/v3-ObservationInterpretation", "code": code, "display": display}]}
        ]
    made["component"] = list(_numbers(finding))
    return made


def _numbers(finding: Finding) -> Iterator[_Json]:
    if finding.calibrated:
        yield _number(codes.CERTAINTY_OF_FINDING, narrative.percent(finding.score), codes.PERCENT)
    else:
        yield _number(codes.SCORE, round(finding.score, _SCORE_DECIMALS), codes.NO_UNITS)
    if finding.threshold is not None and finding.calibrated:
        yield _number(codes.THRESHOLD_VALUE, narrative.percent(finding.threshold), codes.PERCENT)
    elif finding.threshold is not None:
        yield _number(codes.THRESHOLD_VALUE, round(finding.threshold, _SCORE_DECIMALS), codes.NO_UNITS)
    for image in finding.images:
        frame = f" frame {image.frame_number}" if image.frame_number else ""
        yield {"code": _concept(codes.SOURCE_OF_MEASUREMENT), "valueString": f"urn:oid:{image.sop_instance_uid}{frame}"}


def _observation(subject: _Subject, identity: str, concept: Code, value: Code) -> _Json:
    return {
        _TYPE: "Observation",
        "id": identity,
        "status": Status.PRELIMINARY.value,
        "category": [{"coding": [{"system": f"{_TERMINOLOGY}/observation-category", "code": "imaging", "display": "Imaging"}]}],
        "code": _concept(concept),
        "subject": _patient(subject.source),
        **_effective(subject.source),
        "issued": subject.at.isoformat(),
        "valueCodeableConcept": _concept(value),
        "device": {"reference": f"Device/{_device_id(subject.algorithms.main)}"},
        "derivedFrom": [_study(subject.analysis.study_instance_uid)],
    }


def _task(subject: _Subject, previous: PreviousReport | None) -> Iterator[_Json]:
    """A proposal to read the study early, for a raised flag; with `previous` also the end of an earlier one."""
    analysis = subject.analysis
    if analysis.flag is FlagLevel.NONE and previous is None:
        return
    status, why = TaskStatus.REQUESTED, ""
    if analysis.withdrawn is not None:
        status, why = TaskStatus.ENTERED_IN_ERROR, f"Withdrawn: {printable(analysis.withdrawn)}"
    elif analysis.flag is FlagLevel.NONE:
        status, why = TaskStatus.CANCELLED, "The images were analysed again and are not flagged any more"
    names = dict.fromkeys(finding.concept.meaning for finding in analysis.findings if finding.flag is not FlagLevel.NONE)
    flagged = f": {', '.join(names)}" if names else ""
    yield {
        _TYPE: "Task",
        "id": _id("flag", subject.report_id),
        "status": status.value,
        **({"statusReason": {"text": why}} if why else {}),
        "businessStatus": {"text": "AI, unverified"},
        "intent": "proposal",
        **({"priority": _PRIORITY[analysis.flag]} if analysis.flag is not FlagLevel.NONE else {}),
        "code": {"text": "Read this study early"},
        "description": f"AI triage, UNVERIFIED{flagged}. For the order of reading only; not for diagnosis.",
        "focus": {"reference": f"DiagnosticReport/{subject.report_id}"},
        "for": _patient(subject.source),
        "authoredOn": subject.at.isoformat(),
        "requester": {"reference": f"Device/{_device_id(subject.algorithms.node)}"},
    }


def _device(algorithm: Algorithm) -> _Json:
    """A build of an algorithm: another build is another Device."""
    return {
        _TYPE: "Device",
        "id": _device_id(algorithm),
        "identifier": [_dicom_uid(algorithm.device_uid)],
        "status": "active",
        "manufacturer": algorithm.manufacturer,
        "deviceName": [{"name": algorithm.name, "type": "model-name"}],
        "version": [{"value": algorithm.version}],
        **({"note": [{"text": parameter} for parameter in algorithm.parameters]} if algorithm.parameters else {}),
    }


def _device_id(algorithm: Algorithm) -> str:
    """The digest in the parameters makes it another one where the Device UID is the same for several prompt sets."""
    return _id("device", algorithm.device_uid, *algorithm.parameters)


def _provenance(subject: _Subject, observations: Sequence[_Json]) -> _Json:
    targets = [{"reference": f"DiagnosticReport/{subject.report_id}"}, *(_reference(one) for one in observations)]
    performer = {"coding": [{"system": f"{_TERMINOLOGY}/provenance-participant-type", "code": "performer", "display": "Performer"}]}
    return {
        _TYPE: "Provenance",
        "id": _id("provenance", subject.report_id),
        "target": targets,
        "occurredDateTime": subject.at.isoformat(),
        "recorded": subject.at.isoformat(),
        "agent": [
            {"type": performer, "who": {"reference": f"Device/{_device_id(one)}"}}
            for one in dict.fromkeys((subject.algorithms.main, subject.algorithms.node))
        ],
        "entity": [{"role": "source", "what": _study(subject.analysis.study_instance_uid)}],
    }


def _retracted(previous: PreviousReport | None, resources: Sequence[_Json]) -> list[_Json]:
    """Observations of the earlier Bundle that are not in this one, as entered in error."""
    if previous is None or not previous.data:
        return []
    now = {(one[_TYPE], one["id"]) for one in resources}
    earlier = (entry["resource"] for entry in json.loads(previous.data)["entry"])
    gone = [one for one in earlier if one[_TYPE] == "Observation" and (one[_TYPE], one["id"]) not in now]
    return [{**one, "status": Status.ENTERED_IN_ERROR.value} for one in gone]


def _patient(source: SourceHeader) -> _Json:
    """A reference by identifier: whose Patient resource it is, the server knows."""
    issuer = source.text("IssuerOfPatientID")
    qualifiers = next(iter(source.items("IssuerOfPatientIDQualifiersSequence")), SourceHeader(dataset=Dataset()))
    entity, kind = qualifiers.text("UniversalEntityID"), qualifiers.text("UniversalEntityIDType").upper()
    system = {"ISO": f"urn:oid:{entity}", "URI": entity, "UUID": f"urn:uuid:{entity.lower()}"}.get(kind, "") if entity else ""
    identifier: _Json = {"value": source.text("PatientID")} if source.text("PatientID") else {}
    if identifier and system:
        identifier["system"] = system
    if identifier and issuer:
        identifier["assigner"] = {"display": issuer}
    name = " ".join(part for part in source.text("PatientName").split("=")[0].split("^") if part)
    return {
        "type": "Patient",
        **({"identifier": identifier} if identifier else {}),
        "display": name or "not named in the images",
    }


def _accession(number: str) -> _Json:
    coding = {"system": f"{_TERMINOLOGY}/v2-0203", "code": "ACSN", "display": "Accession ID"}
    return {"type": {"coding": [coding]}, "value": number}


def _study(study_instance_uid: str) -> _Json:
    return {"type": "ImagingStudy", "identifier": _dicom_uid(study_instance_uid)}


def _dicom_uid(uid: str) -> _Json:
    return {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}


def _reference(resource: _Json) -> _Json:
    return {"reference": f"{resource[_TYPE]}/{resource['id']}"}


def _concept(code: Code, *, text: str = "") -> _Json:
    """A coded concept; a private scheme is named by its UID, an unknown one by its words only."""
    own = codes.OWN_SCHEMES.get(code.scheme)
    system = _SYSTEMS.get(code.scheme) or (f"urn:oid:{own[0]}" if own else "")
    coding = {"system": system, "code": code.value, "display": code.meaning} if system else {"code": code.value, "display": code.meaning}
    return {"coding": [coding], "text": text or code.meaning}


def _number(concept: Code, value: float, unit: Code) -> _Json:
    quantity = {"value": value, "unit": unit.meaning, "system": _SYSTEMS[unit.scheme], "code": unit.value}
    return {"code": _concept(concept), "valueQuantity": quantity}


def _effective(source: SourceHeader) -> _Json:
    """The time of the study: to the second with a zone, else to the day (FHIR has no time without zone)."""
    day, time, zone = source.date("StudyDate"), source.time("StudyTime"), source.text("TimezoneOffsetFromUTC")
    if not day:
        return {}
    date = f"{day[:4]}-{day[4:6]}-{day[6:]}"
    if not (source.utc_offset() and len(time) >= len("HHMMSS") and time[4:6] != "60"):
        return {"effectiveDateTime": date}
    return {"effectiveDateTime": f"{date}T{time[:2]}:{time[2:4]}:{time[4:6]}{zone[:3]}:{zone[3:]}"}


def _text(words: Sequence[str]) -> _Json:
    paragraphs = "".join(f"<p>{escape(one, quote=False)}</p>" for one in words)
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{paragraphs}</div>'}
