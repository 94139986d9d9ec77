"""HL7 v2.5.1: an analysis as a preliminary result (ORU^R01), and a raised flag as an order update (ORM^O01 or OMI^O23).

Nothing here can be final. The status of a result is a `ResultStatus` and that of an observation an `ObservationStatus`; neither has
the codes F, C or U of tables 0123 and 0085. C is left out on purpose: table 0085 says that it replaces a *final* result, and there
never was one. A revision is a preliminary result again, which replaces the earlier one of the same filler order number, and names
the message that it replaces. What that one said and this one does not is posted as wrong (W), and so is all that is withdrawn.
"""

import base64
import enum
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset

from config import Code
from inference.findings import Analysis, Finding, FlagLevel, Presence, QualityGrade
from reporting import codes, narrative
from reporting.algorithm import Algorithm, algorithms_of
from reporting.attributes import SourceHeader, printable
from reporting.content import processing_summary
from reporting.er7 import EMPTY, Er7, components, header, repetitions, segment, subcomponents, text
from reporting.evidence import evidence_of
from reporting.result import EncodedResult, MediaType, PreviousReport, Producer

RESULT = "hl7-oru"
ORDER = "hl7-order"

_VERSION = "2.5.1"
_CONTROL_ID_LENGTH = 20  # MSH-10
_LONGEST = 199  # ST
_LONGEST_TEXT = 60000  # TX has 65536, and escaping makes it longer
_SCORE_DECIMALS = 4
_STUDY_UID = Code(value="110180", scheme="DCM", meaning="Study Instance UID")
_DIAGNOSTIC_IMAGING = Code(value="18748-4", scheme="LN", meaning="Diagnostic imaging study")
_PRIORITY = {FlagLevel.EMERGENCY: "S", FlagLevel.URGENT: "A"}  # table 0485, where no site's own map was applied
_ABNORMAL = {FlagLevel.EMERGENCY: "AA", FlagLevel.URGENT: "A"}  # table 0078; never N: no finding of ours is known to be normal
_SCHEMES = {"LOINC": "LN"}  # designators of table 0396 that differ from DICOM's
_Fields = tuple[tuple[int, Er7], ...]
_NAME_GROUPS = ("A", "I", "P")  # table 0465: alphabetic, ideographic, phonetic


class ResultStatus(enum.Enum):
    """Table 0123, as far as this software can say it."""

    PRELIMINARY = "P"


class ObservationStatus(enum.Enum):
    """Table 0085, as far as this software can say it."""

    PRELIMINARY = "P"
    POSTED_AS_WRONG = "W"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """Whom and what a message is about."""

    analysis: Analysis
    source: SourceHeader
    request: SourceHeader
    producer: Producer
    device: Algorithm
    at: datetime


def encode_result(
    analysis: Analysis,
    headers: Sequence[Dataset],
    *,
    producer: Producer,
    previous: PreviousReport | None,
    companions: Sequence[EncodedResult] = (),
) -> EncodedResult:
    """Return ORU^R01 with one group of observations for each finding.

    Raises:
        ValueError: as `evidence_of`.
    """
    subject = _subject(analysis, headers, producer)
    status = ObservationStatus.PRELIMINARY if analysis.withdrawn is None else ObservationStatus.POSTED_AS_WRONG
    made = [(*fields, (11, text(status.value)), *_by(subject)) for fields in _observations(subject, previous)]
    made += [(*fields, (11, text(ObservationStatus.POSTED_AS_WRONG.value)), *_by(subject)) for fields in _not_any_more(previous, made)]
    observations = [segment("OBX", (1, text(str(number))), *fields) for number, fields in enumerate(made, start=1)]
    body = [_patient(subject.source), _order_control(subject, "RE"), _request(subject, ResultStatus.PRELIMINARY), *_timing(subject)]
    return _message(RESULT, "ORU^R01^ORU_R01", subject, [*body, *observations])


def encode_order_update(
    analysis: Analysis,
    headers: Sequence[Dataset],
    *,
    producer: Producer,
    previous: PreviousReport | None,
    companions: Sequence[EncodedResult] = (),
) -> EncodedResult | None:
    """Return a change of the order (ORC-1 XO) that raises its priority; None if no flag is raised.

    With `previous` and no flag any more, the message names no priority, which leaves it as it is (2.5.3.1): it only says in a note
    that the earlier flag does not stand. A priority is never lowered.

    Raises:
        ValueError: as `evidence_of`.
    """
    if analysis.flag is FlagLevel.NONE and previous is None:
        return None
    subject = _subject(analysis, headers, producer)
    note = segment("NTE", (1, text("1")), (2, text("O")), (3, text(_order_note(analysis), _LONGEST_TEXT)))
    order = [_patient(subject.source), _order_control(subject, "XO")]
    if producer.order_message == "OMI^O23":
        body = [*order, *_timing(subject), _request(subject, None), note, _procedure(subject)]
    else:
        body = [*order, _request(subject, None), note]
    return _message(ORDER, f"{producer.order_message}^{producer.order_message.replace('^', '_')}", subject, body)


def _subject(analysis: Analysis, headers: Sequence[Dataset], producer: Producer) -> _Subject:
    evidence = evidence_of(analysis, headers)
    source = evidence.header
    requests = source.items("RequestAttributesSequence")
    return _Subject(
        analysis=analysis,
        source=source,
        request=requests[0] if requests else SourceHeader(dataset=Dataset()),
        producer=producer,
        device=algorithms_of(analysis, producer).main,
        at=analysis.analysed_at.astimezone(source.utc_offset() or analysis.analysed_at.tzinfo),
    )


def _message(kind: str, message_type: str, subject: _Subject, body: Sequence[str]) -> EncodedResult:
    """Return the message. Its control id follows from all that it says, so that the same message has the same one."""
    analysis, producer = subject.analysis, subject.producer
    origin = "\r".join((kind, analysis.study_instance_uid, analysis.route, str(analysis.revision), *body))
    control_id = base64.b32encode(hashlib.sha256(origin.encode()).digest()).decode()[:_CONTROL_ID_LENGTH]
    head = header(
        (3, components(text(producer.ae_title))),
        (4, components(text(producer.institution))),
        (7, _time(subject.at)),
        (9, Er7(message_type)),
        (10, Er7(control_id)),
        (11, text("P")),
        (12, text(_VERSION)),
        (18, text("UNICODE UTF-8")),
    )
    data = "".join(f"{line}\r" for line in (head, *body)).encode()
    return EncodedResult(
        kind=kind,
        sop_class_uid="",
        sop_instance_uid=control_id,
        data=data,
        digest=hashlib.sha256(data).hexdigest(),
        media_type=MediaType.HL7_V2,
    )


def _patient(source: SourceHeader) -> str:
    """PID: identity as the header has it, uncut, with its assigning authority."""
    qualifiers = next(iter(source.items("IssuerOfPatientIDQualifiersSequence")), SourceHeader(dataset=Dataset()))
    authority = subcomponents(
        text(source.text("IssuerOfPatientID")),
        text(qualifiers.text("UniversalEntityID")),
        text(qualifiers.text("UniversalEntityIDType")),
    )
    kind = text(qualifiers.text("IdentifierTypeCode") or "PI")  # table 0203: patient internal identifier
    identifier = text(source.text("PatientID"))
    return segment(
        "PID",
        (1, text("1")),
        (3, components(identifier, EMPTY, EMPTY, authority, kind) if identifier else EMPTY),
        (5, repetitions(tuple(_names(source.text("PatientName"))))),
        (7, text(source.date("PatientBirthDate"))),
        (8, text(sex if (sex := source.text("PatientSex").upper()) in {"M", "F", "O"} else "U")),
    )


def _names(name: str) -> Iterator[Er7]:
    """XPN of each group of a DICOM name. DICOM puts the prefix before the suffix, HL7 the other way round."""
    for group, representation in zip(name.split("="), _NAME_GROUPS, strict=False):
        family, given, middle, prefix, suffix = (*(text(part.strip()) for part in group.split("^")), *([EMPTY] * 5))[:5]
        if any((family, given, middle)):
            yield components(family, given, middle, suffix, prefix, EMPTY, text("L"), text(representation))


def _order_control(subject: _Subject, control: str) -> str:
    """ORC: RE in a result, XO in a change of the order."""
    changed = control == "XO"
    return segment(
        "ORC",
        (1, text(control)),
        (2, _placer(subject)),
        (3, _filler(subject)),
        (7, _quantity_timing(subject) if changed else EMPTY),
        (9, _time(subject.at) if changed else EMPTY),
    )


def _request(subject: _Subject, status: ResultStatus | None) -> str:
    """OBR: the procedure that was ordered, with the numbers that a RIS knows it by."""
    return segment(
        "OBR",
        (1, text("1")),
        (2, _placer(subject)),
        (3, _filler(subject)),
        (4, _ordered(subject)),
        (7, _study_time(subject.source)),
        (18, text(subject.source.text("AccessionNumber"))),
        (22, _time(subject.at) if status else EMPTY),
        (25, text(status.value) if status else EMPTY),
        (27, _quantity_timing(subject)),
    )


def _timing(subject: _Subject) -> list[str]:
    """TQ1 with the priority of a raised flag; none without a flag, because an empty priority changes nothing."""
    priority = _priority(subject.analysis)
    return [segment("TQ1", (1, text("1")), (9, components(text(priority))))] if priority else []


def _procedure(subject: _Subject) -> str:
    """IPC (2.5.1, 4.5.6): the identifiers by which the images are known."""
    source, request = subject.source, subject.request
    return segment(
        "IPC",
        (1, text(source.text("AccessionNumber"))),
        (2, text(request.text("RequestedProcedureID") or source.text("StudyID"))),
        (3, components(text(subject.analysis.study_instance_uid), EMPTY, EMPTY, EMPTY)),
        (4, text(request.text("ScheduledProcedureStepID") or source.text("StudyID"))),
        (5, text(source.text("Modality"))),
    )


def _observations(subject: _Subject, previous: PreviousReport | None) -> Iterator[_Fields]:
    """The fields OBX-2 to OBX-8 of each observation, the study's first, then those of each finding under its own sub-ID."""
    analysis = subject.analysis
    if previous is not None:
        done = "Replaces" if analysis.withdrawn is None else "Withdraws"
        yield _text_value(codes.COMMENT, "TX", f"{done} the preliminary result in message {previous.sop_instance_uid}", "0")
    yield _text_value(codes.SUMMARY, "TX", narrative.summary(analysis))
    for number, comment in enumerate(narrative.comments(analysis), start=1):
        yield _text_value(codes.COMMENT, "TX", comment, str(number))
    if analysis.withdrawn is None:
        yield from _answers(analysis)


def _answers(analysis: Analysis) -> Iterator[_Fields]:
    yield _text_value(_STUDY_UID, "ST", analysis.study_instance_uid)
    yield _coded(codes.SUMMARY_OF_ANALYSES, codes.OUTCOME[analysis.outcome])
    yield _coded(codes.PROCESSING_AND_FINDINGS_SUMMARY, processing_summary(analysis))
    for number, finding in enumerate(analysis.findings, start=1):
        yield from _finding(finding, str(number))
    if analysis.grade is not None:
        yield _coded(codes.IMAGE_QUALITY, codes.GRADE[analysis.grade])
        defects = {verdict.code.value: verdict.code for verdict in analysis.quality if verdict.grade is not QualityGrade.DIAGNOSTIC}
        for number, defect in enumerate(defects.values(), start=1):
            yield _coded(codes.QUALITY_FINDING, defect, str(number))


def _finding(finding: Finding, sub_id: str) -> Iterator[_Fields]:
    """Presence, number, threshold, site and image of one finding. OBX-8 says only that we flag it."""
    yield _coded(finding.concept, codes.PRESENCE[finding.presence], sub_id, abnormal=_ABNORMAL.get(finding.flag, ""))
    if finding.calibrated:
        yield _number(codes.CERTAINTY_OF_FINDING, narrative.percent(finding.score), codes.PERCENT, sub_id)
    else:
        yield _number(codes.SCORE, round(finding.score, _SCORE_DECIMALS), codes.NO_UNITS, sub_id)
    if finding.threshold is not None and finding.calibrated:
        yield _number(codes.THRESHOLD_VALUE, narrative.percent(finding.threshold), codes.PERCENT, sub_id)
    elif finding.threshold is not None:
        yield _number(codes.THRESHOLD_VALUE, round(finding.threshold, _SCORE_DECIMALS), codes.NO_UNITS, sub_id)
    if finding.site is not None:
        yield _coded(codes.FINDING_SITE, finding.site, sub_id)
    frame = f" frame {finding.image.frame_number}" if finding.image.frame_number else ""
    yield _text_value(codes.SOURCE_OF_MEASUREMENT, "ST", f"{finding.image.sop_instance_uid}{frame}", sub_id)


def _coded(concept: Code, value: Code, sub_id: str = "", *, abnormal: str = "") -> _Fields:
    return (2, text("CE")), (3, _ce(concept)), (4, text(sub_id)), (5, _ce(value)), (8, text(abnormal))


def _number(concept: Code, value: float, unit: Code, sub_id: str) -> _Fields:
    return (2, text("NM")), (3, _ce(concept)), (4, text(sub_id)), (5, text(f"{value:g}")), (6, _ce(unit))


def _text_value(concept: Code, value_type: str, value: str, sub_id: str = "") -> _Fields:
    longest = _LONGEST_TEXT if value_type == "TX" else _LONGEST
    return (2, text(value_type)), (3, _ce(concept)), (4, text(sub_id)), (5, text(value, longest))


def _ce(code: Code) -> Er7:
    """A coded element. CWE is no value type of OBX in 2.5.1 (table 0125), and its first components are the same."""
    return components(text(code.value), text(code.meaning, _LONGEST), text(_SCHEMES.get(code.scheme, code.scheme)))


def _ordered(subject: _Subject) -> Er7:
    """The ordered procedure by the header's own code; else what it was in general, with the study's own description."""
    for item in (*subject.request.items("RequestedProcedureCodeSequence"), *subject.source.items("ProcedureCodeSequence")):
        value, scheme, meaning = item.text("CodeValue"), item.text("CodingSchemeDesignator"), item.text("CodeMeaning")
        if value and scheme and meaning:
            return _ce(Code(value=value, scheme=scheme, meaning=meaning))
    described = subject.source.text("StudyDescription")
    return components(_ce(_DIAGNOSTIC_IMAGING), EMPTY, text(described, _LONGEST))


def _placer(subject: _Subject) -> Er7:
    return components(text(_first(subject, "PlacerOrderNumberImagingServiceRequest")))


def _filler(subject: _Subject) -> Er7:
    """The filler's order number. Where the header has none, the accession number: the same thing for most departments."""
    number = _first(subject, "FillerOrderNumberImagingServiceRequest") or _first(subject, "AccessionNumber")
    return components(text(number))


def _first(subject: _Subject, keyword: str) -> str:
    return subject.request.text(keyword) or subject.source.text(keyword)


def _quantity_timing(subject: _Subject) -> Er7:
    """TQ with the priority as its sixth component; empty without a raised flag."""
    priority = _priority(subject.analysis)
    return components(EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, text(priority)) if priority else EMPTY


def _priority(analysis: Analysis) -> str:
    """The site's word for the raised flag; empty if none is raised."""
    if analysis.flag is FlagLevel.NONE:
        return ""
    return analysis.priority.hl7 if analysis.priority else _PRIORITY[analysis.flag]


def _order_note(analysis: Analysis) -> str:
    if analysis.flag is FlagLevel.NONE:
        why = f"withdrawn: {printable(analysis.withdrawn)}" if analysis.withdrawn else "the images were analysed again"
        return f"The earlier AI flag does not stand ({why}). The priority is left as it is."
    flagged = (finding for finding in analysis.findings if finding.flag is not FlagLevel.NONE and finding.presence is Presence.PRESENT)
    names = ", ".join(dict.fromkeys(finding.concept.meaning for finding in flagged))
    return f"AI triage, UNVERIFIED: {names}. For the order of reading only; not for diagnosis."


def _not_any_more(previous: PreviousReport | None, made: Sequence[_Fields]) -> list[_Fields]:
    """The fields OBX-2 to OBX-8 of what the earlier message said and this one does not, by observation and sub-ID."""
    if previous is None:
        return []
    lines = previous.data.decode("utf-8", "replace").split("\r")
    earlier = [dict(enumerate(map(Er7, line.split("|")))) for line in lines if line.startswith("OBX|")]
    now = {(dict(fields)[3], dict(fields).get(4, EMPTY)) for fields in made}
    gone = [fields for fields in earlier if fields[11] == ObservationStatus.PRELIMINARY.value and (fields[3], fields[4]) not in now]
    return [tuple((number, fields[number]) for number in range(2, 9)) for fields in gone]


def _by(subject: _Subject) -> _Fields:
    return (14, _time(subject.at)), (18, _equipment(subject.device))


def _equipment(device: Algorithm) -> Er7:
    """EI of the algorithm's build: it changes when the algorithm does."""
    return components(text(f"{device.name} {device.version}", _LONGEST), EMPTY, text(device.device_uid), text("ISO"))


def _time(at: datetime) -> Er7:
    return text(at.strftime("%Y%m%d%H%M%S%z")[:19])


def _study_time(source: SourceHeader) -> Er7:
    """Study date and time in the zone that the header states; without a date nothing."""
    day, time, zone = source.date("StudyDate"), source.time("StudyTime"), source.text("TimezoneOffsetFromUTC")
    if not day:
        return EMPTY
    return text(f"{day}{time[:6]}{zone if source.utc_offset() and len(time) >= len('HHMM') else ''}")
