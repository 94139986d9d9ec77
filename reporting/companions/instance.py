"""What every companion object has in common: patient, study, series, equipment, derived UIDs and the analysis time."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset

from inference.findings import Analysis
from reporting.algorithm import Algorithms, contribution
from reporting.attributes import SourceHeader
from reporting.evidence import Evidence
from reporting.header import study_level
from reporting.part10 import encoded, part10
from reporting.result import EncodedResult, PreviousReport, Producer
from reporting.uids import derived_uid


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The series that a kind of companion lies in: one for each kind, study and model, behind any modality's own."""

    kind: str
    modality: str
    number: int
    description: str


def source_header(evidence: Evidence) -> SourceHeader:
    """Return the header that identity is copied from."""
    return evidence.header


def local_time(analysis: Analysis, header: SourceHeader) -> datetime:
    """Return the time of the analysis in the zone of the source, or as it is."""
    return analysis.analysed_at.astimezone(header.utc_offset() or analysis.analysed_at.tzinfo)


def companion(
    series: Series, analysis: Analysis, evidence: Evidence, *, algorithms: Algorithms, producer: Producer, previous: PreviousReport | None
) -> Dataset:
    """Return a new object with patient, study, series and equipment modules and its Instance Number; no UIDs and no times yet."""
    document = study_level(source_header(evidence), analysis.study_instance_uid)
    if series.modality != "KO":  # of the modules here, only Key Object Document has it
        document.pop("ReferencedRequestSequence", None)
    document.Modality = series.modality
    document.SeriesNumber = series.number
    document.SeriesDescription = series.description
    document.InstanceNumber = 1 if previous is None else previous.instance_number + 1
    document.Manufacturer = producer.manufacturer
    document.ManufacturerModelName = producer.model_name
    document.StationName = producer.ae_title
    document.DeviceSerialNumber = producer.serial_number
    document.DeviceUID = algorithms.node.device_uid
    document.SoftwareVersions = producer.software_version
    if producer.institution:
        document.InstitutionName = producer.institution
    return document


def finished(
    document: Dataset,
    series: Series,
    sop_class_uid: str,
    *,
    analysis: Analysis,
    algorithms: Algorithms,
    at: datetime,
    previous: PreviousReport | None,
) -> EncodedResult:
    """Give the object its UIDs and its time, and encode it.

    The SOP Instance UID follows from all that `document` holds, so that other content is never sent under a known UID.
    """
    origin = (analysis.study_instance_uid, analysis.route, *_model(analysis), series.kind)
    content = hashlib.sha256(encoded(document)).hexdigest()
    document.SOPClassUID = sop_class_uid
    document.SOPInstanceUID = derived_uid("instance", *origin, str(analysis.revision), content)
    document.SeriesInstanceUID = derived_uid("series", *origin) if previous is None else previous.series_instance_uid
    document.InstanceCreatorUID = document.DeviceUID
    document.InstanceCreationDate = at.strftime("%Y%m%d")
    document.InstanceCreationTime = at.strftime("%H%M%S")
    if series.modality != "PR":  # a presentation state has a creation date of its own
        document.ContentDate, document.ContentTime = document.InstanceCreationDate, document.InstanceCreationTime
    document.TimezoneOffsetFromUTC = at.strftime("%z")[:5]
    document.ContributingEquipmentSequence = [contribution(algorithm, at) for algorithm in algorithms.used]
    data = part10(document)
    return EncodedResult(
        kind=series.kind,
        sop_class_uid=sop_class_uid,
        sop_instance_uid=str(document.SOPInstanceUID),
        data=data,
        digest=hashlib.sha256(data).hexdigest(),
    )


def _model(analysis: Analysis) -> tuple[str, ...]:
    builds = (analysis.provenance, analysis.seen_by)
    return tuple(text for one in builds if one for text in (one.weights_digest, one.prompt_set_digest, one.calibration_id or ""))
