"""A content tree as a Comprehensive 3D SR (PS3.3 A.35.13) of the study: always UNVERIFIED, always PRELIMINARY."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import Comprehensive3DSRStorage

from inference.findings import Analysis, Outcome
from reporting import codes
from reporting.algorithm import Algorithms, algorithms_of, contribution
from reporting.evidence import Evidence, hierarchy, reference
from reporting.header import CHARACTER_SET, study_level
from reporting.narrative import completion_description
from reporting.part10 import encoded, part10
from reporting.repairs import repairs
from reporting.result import EncodedResult, PreviousReport, Producer
from reporting.uids import derived_uid

_CONTENT_SEQUENCE = 0x0040A730


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentKind:
    """A kind of report and the series that it lies in, behind any modality's own, so that viewers list it last."""

    name: str
    series_description: str
    series_number: int


def encode_document(
    kind: DocumentKind, analysis: Analysis, evidence: Evidence, root: Dataset, *, producer: Producer, previous: PreviousReport | None
) -> EncodedResult:
    """Return the document with the content tree `root`. The same arguments give the same bytes; the analysis time gives no UID.

    With `previous` it is the next instance of that report's series and names it as its predecessor.
    """
    algorithms = algorithms_of(analysis, producer)
    header = evidence.header
    document = study_level(header, analysis.study_instance_uid)
    repaired = repairs(evidence, document)
    _equipment(document, kind, algorithms, producer)
    _document_general(document, analysis, evidence, previous)
    tree = _encoded_tree(root)
    document.update({tag: element for tag, element in root.items() if tag != _CONTENT_SEQUENCE})
    _identify(document, tree, kind, analysis, previous)
    _date(document, algorithms, analysis.analysed_at.astimezone(header.utc_offset() or analysis.analysed_at.tzinfo))
    data = part10(document) + tree
    return EncodedResult(
        kind=kind.name,
        sop_class_uid=str(document.SOPClassUID),
        sop_instance_uid=str(document.SOPInstanceUID),
        data=data,
        digest=hashlib.sha256(data).hexdigest(),
        repairs=repaired,
    )


def _equipment(document: Dataset, kind: DocumentKind, algorithms: Algorithms, producer: Producer) -> None:
    """SR Document Series, General Equipment and Enhanced General Equipment modules."""
    document.Modality = "SR"
    document.SeriesNumber = kind.series_number
    document.SeriesDescription = kind.series_description
    document.ReferencedPerformedProcedureStepSequence = []
    document.Manufacturer = producer.manufacturer
    document.ManufacturerModelName = producer.model_name
    document.StationName = producer.ae_title
    document.DeviceSerialNumber = producer.serial_number
    document.DeviceUID = algorithms.node.device_uid
    document.SoftwareVersions = producer.software_version
    if producer.institution:
        document.InstitutionName = producer.institution


def _document_general(document: Dataset, analysis: Analysis, evidence: Evidence, previous: PreviousReport | None) -> None:
    """SR Document General module, but for its times."""
    document.InstanceNumber = 1 if previous is None else previous.instance_number + 1
    document.CompletionFlag = "COMPLETE" if analysis.outcome is Outcome.SUCCEEDED else "PARTIAL"
    if analysis.outcome is not Outcome.SUCCEEDED:
        document.CompletionFlagDescription = completion_description(analysis)
    document.VerificationFlag = "UNVERIFIED"
    document.PreliminaryFlag = "PRELIMINARY"
    document.ContentQualification = "RESEARCH"
    document.PerformedProcedureCodeSequence = []
    if references := evidence.sequence():
        document.CurrentRequestedProcedureEvidenceSequence = references
    if previous is not None:
        predecessor = reference(previous.sop_class_uid, previous.sop_instance_uid)
        document.PredecessorDocumentsSequence = [hierarchy(previous.study_instance_uid, {previous.series_instance_uid: [predecessor]})]
    document.AuthorObserverSequence = [_author(document)]
    document.CodingSchemeIdentificationSequence = [_coding_scheme(*found) for found in _coding_schemes(analysis)]


def _author(document: Dataset) -> Dataset:
    """The author is the device (PS3.3 table 10-1 and C.17-2), never a person."""
    author = Dataset()
    author.ObserverType = "DEV"
    author.Manufacturer = document.Manufacturer
    author.ManufacturerModelName = document.ManufacturerModelName
    author.StationName = document.StationName
    author.DeviceUID = document.DeviceUID
    author.InstitutionName = document.get("InstitutionName", "")
    author.InstitutionCodeSequence = []
    return author


def _coding_schemes(analysis: Analysis) -> Iterator[tuple[str, str, str]]:
    """Designator, UID and name: those that every report uses, and private ones of ours where a finding has a code of them."""
    used = {code.scheme for finding in analysis.findings for code in (finding.concept, finding.site) if code is not None}
    if analysis.withdrawn is not None:
        used.add(codes.OWN_SCHEME)
    for schemes in (codes.CODING_SCHEMES, {name: codes.OWN_SCHEMES[name] for name in codes.OWN_SCHEMES if name in used}):
        yield from ((designator, uid, name) for designator, (uid, name) in schemes.items())


def _coding_scheme(designator: str, uid: str, name: str) -> Dataset:
    scheme = Dataset()
    scheme.CodingSchemeDesignator = designator
    scheme.CodingSchemeUID = uid
    scheme.CodingSchemeName = name
    return scheme


def _identify(document: Dataset, tree: bytes, kind: DocumentKind, analysis: Analysis, previous: PreviousReport | None) -> None:
    """Give the document its UIDs. The instance's follows from all that the document holds so far, which is all but times."""
    provenance = analysis.provenance
    model = (provenance.weights_digest, provenance.prompt_set_digest, provenance.calibration_id or "") if provenance else ("", "", "")
    content = hashlib.sha256(encoded(document) + tree).hexdigest()
    sight = (analysis.seen_by.weights_digest, analysis.seen_by.prompt_set_digest) if analysis.seen_by else ()
    origin = (analysis.study_instance_uid, analysis.route, *model, *sight, kind.name)
    document.SOPClassUID = Comprehensive3DSRStorage
    document.SOPInstanceUID = derived_uid("instance", *origin, str(analysis.revision), content)
    document.SeriesInstanceUID = derived_uid("series", *origin) if previous is None else previous.series_instance_uid
    document.InstanceCreatorUID = document.DeviceUID


def _date(document: Dataset, algorithms: Algorithms, at: datetime) -> None:
    """Write the analysis time, and no other, in all places that want one."""
    day, time, offset = at.strftime("%Y%m%d"), at.strftime("%H%M%S"), at.strftime("%z")[:5]
    document.InstanceCreationDate = document.ContentDate = day
    document.InstanceCreationTime = document.ContentTime = time
    document.TimezoneOffsetFromUTC = offset
    document.ContributingEquipmentSequence = [contribution(algorithm, at) for algorithm in algorithms.used]


def _encoded_tree(root: Dataset) -> bytes:
    """Return Content Sequence as encoded bytes. Its tag is the highest of the document, so they end the file as they are."""
    tree = Dataset()
    tree.ContentSequence = root.ContentSequence
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, tree, CHARACTER_SET)
    return buffer.getvalue()
