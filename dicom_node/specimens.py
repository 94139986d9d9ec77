"""One result of each kind and the codes in them, made by the encoders themselves: what the conformance statement's tables are read from."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import get_args

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, MultiFrameTrueColorSecondaryCaptureImageStorage
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]  # made at run time

from config import Code
from config.destinations import DicomKind, FhirKind, Hl7Kind
from inference.findings import (
    Analysis,
    Finding,
    FlagLevel,
    ImageRef,
    Outcome,
    Presence,
    Provenance,
    QualityGrade,
    QualityVerdict,
    Region,
)
from reporting import ENCODERS, VARIANTS, EncodedResult, MediaType, Producer, codes

_STUDY, _SERIES = "2.25.1", "2.25.2"
_IMAGE = ImageRef(sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1", sop_instance_uid="2.25.3")
_FINDING = Code(value="finding", scheme="99SPECIMEN", meaning="the finding")
_SITE = Code(value="site", scheme="99SPECIMEN", meaning="its site")
_DEFECT = Code(value="111211", scheme="DCM", meaning="the defect")
_PRODUCER = Producer(
    manufacturer="dicom-node project", model_name="dicom-node", software_version="0", serial_number="0", ae_title="NODE", institution=""
)
_PROVENANCE = Provenance(
    model="model",
    version="1",
    manufacturer="maker",
    weights_digest="0",
    prompt_set="words",
    prompt_set_digest="0",
    calibration_id="calibration",
    intended_use="none",
)
_PRESENT = Finding(
    label="label",
    concept=_FINDING,
    site=_SITE,
    presence=Presence.PRESENT,
    score=0.9,
    calibrated=True,
    threshold=0.5,
    threshold_source="specimen",
    flag=FlagLevel.EMERGENCY,
    image=_IMAGE,
    regions=(Region.box(_IMAGE, left=1, top=1, right=2, bottom=2),),
)
_LIMITED = QualityVerdict(
    check="check",
    image=_IMAGE,
    measured=0,
    unit="1",
    threshold=0,
    threshold_source="specimen",
    grade=QualityGrade.LIMITED,
    code=_DEFECT,
    sentence="specimen",
)
_POSITIVE = Analysis(
    study_instance_uid=_STUDY,
    revision=1,
    route="route",
    outcome=Outcome.SUCCEEDED,
    analysed_at=datetime(2000, 1, 1, tzinfo=UTC),
    inputs=(_IMAGE,),
    findings=(_PRESENT,),
    quality=(_LIMITED,),
    provenance=_PROVENANCE,
)
_SHADOW = replace(
    _POSITIVE,
    findings=(replace(_PRESENT, presence=Presence.UNDETERMINED, calibrated=False, threshold=None, flag=FlagLevel.NONE, regions=()),),
    provenance=replace(_PROVENANCE, calibration_id=None),
)
_WITHDRAWN = replace(_POSITIVE, outcome=Outcome.NOT_ATTEMPTED, findings=(), quality=(), withdrawn="specimen")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentLine:
    """One kind of content item of a document, at its depth in the tree."""

    depth: int
    relationship: str
    value_type: str
    concept: str


def results_table() -> str:
    """Return every kind of result with what it is sent as, and the kinds of destination that can take it."""
    takers = {"c-store, stow, folder": get_args(DicomKind), "hl7, folder": get_args(Hl7Kind), "fhir, folder": get_args(FhirKind)}
    rows = ["| kind | sent as | modality | series | title or root template | destinations |", "|---|---|---|---|---|---|"]
    for kind in ENCODERS:
        result = _specimen(kind, _POSITIVE)
        taken_by = next(names for names, kinds in takers.items() if kind in kinds)
        rows.append(f"| `{kind}` | {_sent_as(result)} | {taken_by} |")
    return "\n".join(rows) + "\n"


def report_classes_table() -> str:
    """Return the SOP classes that a report can be sent as, in the order in which they are tried."""
    return "\n".join(["| SOP class | UID |", "|---|---|", *(f"| {UID(uid).name} | {uid} |" for uid in VARIANTS)]) + "\n"


def proposed_classes_table() -> str:
    """Return the SOP classes that the node proposes as SCU to destinations, with the results that need them."""
    kinds: dict[str, list[str]] = {uid: ["`sr-findings`, `sr-regions`"] for uid in VARIANTS}
    for kind in get_args(DicomKind):
        uid = _specimen(kind, _POSITIVE).sop_class_uid
        if uid not in VARIANTS:
            kinds.setdefault(uid, []).append(f"`{kind}`")
    kinds[MultiFrameTrueColorSecondaryCaptureImageStorage] = ["`secondary-capture` of several pages"]
    kinds[StorageCommitmentPushModel] = ["storage commitment"]
    kinds[Verification] = ["`dicom-node destinations`"]
    rows = (f"| {UID(uid).name} | {uid} | {', '.join(names)} |" for uid, names in kinds.items())
    return "\n".join(["| SOP class | UID | for |", "|---|---|---|", *rows]) + "\n"


def content_tree() -> str:
    """Return every content item that a findings report can have, as its encoder writes them."""
    return _tree("sr-findings")


def region_tree() -> str:
    """Return every content item that a region report can have."""
    return _tree("sr-regions")


def key_object_tree() -> str:
    """Return every content item that a key object selection can have."""
    return _tree("key-objects-quality")


def codes_table() -> str:
    """Return the codes that reports name things with, by scheme and value."""
    named = {code for value in vars(codes).values() for code in _codes(value)}
    ordered = sorted(named, key=lambda code: (code.scheme, len(code.value), code.value))
    return (
        "\n".join(["| code | scheme | meaning |", "|---|---|---|", *(f"| {c.value} | {c.scheme} | {c.meaning} |" for c in ordered)]) + "\n"
    )


def coding_schemes_table() -> str:
    """Return the coding schemes of those codes."""
    schemes = {**codes.CODING_SCHEMES, **codes.OWN_SCHEMES}
    rows = (f"| {designator} | {uid} | {name} |" for designator, (uid, name) in schemes.items())
    return "\n".join(["| designator | UID | name |", "|---|---|---|", *rows]) + "\n"


def _header() -> Dataset:
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = _IMAGE.sop_class_uid, _IMAGE.sop_instance_uid
    header.StudyInstanceUID, header.SeriesInstanceUID = _STUDY, _SERIES
    header.Modality, header.ViewPosition, header.PatientOrientation = "DX", "PA", ["L", "F"]
    header.Rows, header.Columns, header.PixelSpacing = 8, 8, [1, 1]
    header.PhotometricInterpretation = "MONOCHROME2"
    return header


@cache
def _specimen(kind: str, analysis: Analysis) -> EncodedResult:
    result = ENCODERS[kind](analysis, [_header()], producer=_PRODUCER, previous=None)
    if result is None:
        raise ValueError(f"no specimen of {kind}")
    return result


def _sent_as(result: EncodedResult) -> str:
    if result.media_type is not MediaType.DICOM:
        message = (
            result.data.split(b"\r")[0].split(b"|")[8].decode() if result.media_type is MediaType.HL7_V2 else "FHIR R4 transaction Bundle"
        )
        return f"{message} | | | "
    document = dcmread(io.BytesIO(result.data))
    template = document.ContentTemplateSequence[0].TemplateIdentifier if "ContentTemplateSequence" in document else ""
    title = _meaning(document) if "ConceptNameCodeSequence" in document else document.get("ContentLabel", "")
    named = ", ".join(filter(None, (title, f"TID {template}" if template else "")))
    series = f"{document.SeriesNumber}, `{document.SeriesDescription}`"
    return f"{document.SOPClassUID.name}, {document.SOPClassUID} | {document.Modality} | {series} | {named}"


def _tree(kind: str) -> str:
    """The items of all specimens merged: an item that several have stands once, in the place of the first."""
    merged: dict[tuple[ContentLine, ...], None] = {}
    for analysis in (_POSITIVE, _SHADOW, _WITHDRAWN):
        try:
            document = dcmread(io.BytesIO(_specimen(kind, analysis).data))
        except ValueError:
            continue
        root = ContentLine(depth=0, relationship="", value_type="CONTAINER", concept=_name(document))
        known = list(merged)
        for path in ((root,), *_paths(document, (root,))):
            if path not in merged:
                known.insert(_place(known, path), path)
                merged = dict.fromkeys(known)
    lines = (f"{'  ' * path[-1].depth}{_line(path[-1])}" for path in merged)
    return "```\n" + "\n".join(lines) + "\n```\n"


def _line(item: ContentLine) -> str:
    return " ".join(filter(None, (item.relationship, item.value_type, item.concept)))


def _place(known: list[tuple[ContentLine, ...]], path: tuple[ContentLine, ...]) -> int:
    """Behind the last item below the same parent."""
    family = [at for at, other in enumerate(known) if other[: len(path) - 1] == path[:-1]]
    return family[-1] + 1 if family else len(known)


def _paths(item: Dataset, above: tuple[ContentLine, ...]) -> Iterator[tuple[ContentLine, ...]]:
    for child in item.get("ContentSequence", []):
        line = ContentLine(depth=len(above), relationship=child.RelationshipType, value_type=child.ValueType, concept=_name(child))
        yield (*above, line)
        yield from _paths(child, (*above, line))


def _name(item: Dataset) -> str:
    if "ConceptNameCodeSequence" not in item:
        return ""
    code = item.ConceptNameCodeSequence[0]
    if code.CodingSchemeDesignator == _FINDING.scheme:
        return f"<{code.CodeMeaning}>"
    return f'({code.CodeValue}, {code.CodingSchemeDesignator}, "{code.CodeMeaning}")'


def _meaning(document: Dataset) -> str:
    code = document.ConceptNameCodeSequence[0]
    return f"({code.CodeValue}, {code.CodingSchemeDesignator}) {code.CodeMeaning}"


def _codes(value: object) -> Iterator[Code]:
    if isinstance(value, Code):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _codes(one)
