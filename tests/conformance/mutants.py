"""Reports with one fault each, and which validators must see it: no single one sees all of them."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage, Comprehensive3DSRStorage, ComprehensiveSRStorage

from reporting import ENCODERS, as_variant
from tests.conformance.sr_documents import KINDS, PRODUCER, encode, headers_of
from tests.conformance.sr_readback import concept, groups, walk


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One fault put into a passing report (kind and analysis), and the validators that must see it."""

    source: str
    fault: Callable[[Dataset], None]
    rejected_by: tuple[str, ...]
    sop_class_uid: str = Comprehensive3DSRStorage


def _items(document: Dataset, *codes: str) -> list[Dataset]:
    return [item for item in walk(document) if concept(item) in codes]


def _no_completion_flag(document: Dataset) -> None:
    del document.CompletionFlag


def _number_without_unit(document: Dataset) -> None:
    del _items(document, "111012")[0].MeasuredValueSequence[0].MeasurementUnitsCodeSequence


def _tracking_as_content(document: Dataset) -> None:
    for item in _items(document, "112039"):
        item.RelationshipType = "CONTAINS"


def _wrong_meaning(document: Dataset) -> None:
    _items(document, "111017")[0].ConceptCodeSequence[0].CodeMeaning = "No findings at all"


def _no_device_uid(document: Dataset) -> None:
    document.ContentSequence = [item for item in document.ContentSequence if concept(item) != "121012"]


def _no_evidence(document: Dataset) -> None:
    del document.CurrentRequestedProcedureEvidenceSequence


def _dangling_image(document: Dataset) -> None:
    _items(document, "121112")[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.3.4.5"


def _empty_text(document: Dataset) -> None:
    _items(document, "121111")[0].TextValue = ""


def _no_algorithm(document: Dataset) -> None:
    for group in groups(document):
        group.ContentSequence = [item for item in group.ContentSequence if concept(item) != "111001"]


def _verified_by_nobody(document: Dataset) -> None:
    document.VerificationFlag = "VERIFIED"


def _wrong_title(document: Dataset) -> None:
    document.ConceptNameCodeSequence[0].CodeValue = "999999"


def _illegal_relationship(document: Dataset) -> None:
    groups(document)[0].ContentSequence[0].RelationshipType = "INFERRED FROM"


def _no_results(document: Dataset) -> None:
    document.ContentSequence = [item for item in document.ContentSequence if concept(item) not in {"126010", "C0034375"}]


def _absent_finding_asserted(document: Dataset) -> None:
    group = groups(document)[1]
    asserted = dcmread(io.BytesIO(encode(KINDS["positive"]).data))
    present = next(item for item in groups(asserted)[1].ContentSequence if concept(item) == "121071")
    group.ContentSequence.insert(2, present)


def _no_image_of_a_region(document: Dataset) -> None:
    del _items(document, "111030")[0].ContentSequence


def _half_a_point(document: Dataset) -> None:
    region = _items(document, "111030")[0]
    region.GraphicData = list(region.GraphicData)[:-1]


def _region_without_finding(document: Dataset) -> None:
    group = groups(document)[0]
    group.ContentSequence = [item for item in group.ContentSequence if concept(item) not in {"112039", "112040"}]


def _number_in_plain_text(document: Dataset) -> None:
    rich = dcmread(io.BytesIO(encode(KINDS["positive"]).data))
    _items(document, "125007")[1].ContentSequence.append(_items(rich, "122411")[0])


def _coordinates_in_three_dimensions(document: Dataset) -> None:
    region = _items(document, "111030")[0]
    region.ValueType, region.ReferencedFrameOfReferenceUID = "SCOORD3D", "1.2.3"


def _final(document: Dataset) -> None:
    document.PreliminaryFlag = "FINAL"


MUTANTS: Mapping[str, Mutant] = {
    "no completion flag": Mutant(source="sr-findings failed", fault=_no_completion_flag, rejected_by=("dciodvfy", "dsrdump")),
    "number without unit": Mutant(source="sr-findings positive", fault=_number_without_unit, rejected_by=("dciodvfy", "dsrdump")),
    "tracking with the wrong relationship": Mutant(
        source="sr-findings not attempted", fault=_tracking_as_content, rejected_by=("pixelmed",)
    ),
    "wrong code meaning": Mutant(source="sr-findings failed", fault=_wrong_meaning, rejected_by=("readback",)),
    "no device UID": Mutant(source="sr-findings not attempted", fault=_no_device_uid, rejected_by=("pixelmed",)),
    "no evidence": Mutant(source="sr-findings failed", fault=_no_evidence, rejected_by=("readback",)),
    "dangling image": Mutant(source="sr-findings failed", fault=_dangling_image, rejected_by=("readback",)),
    "empty text": Mutant(source="sr-findings failed", fault=_empty_text, rejected_by=("dciodvfy", "dsrdump")),
    "no algorithm": Mutant(source="sr-findings failed", fault=_no_algorithm, rejected_by=("readback",)),
    "verified by nobody": Mutant(source="sr-findings failed", fault=_verified_by_nobody, rejected_by=("dciodvfy", "dsrdump", "readback")),
    "wrong title": Mutant(source="sr-findings failed", fault=_wrong_title, rejected_by=("readback",)),
    "illegal relationship": Mutant(source="sr-findings failed", fault=_illegal_relationship, rejected_by=("dsrdump",)),
    "no results": Mutant(source="sr-findings not attempted", fault=_no_results, rejected_by=("pixelmed",)),
    "absent finding asserted": Mutant(source="sr-findings nothing found", fault=_absent_finding_asserted, rejected_by=("readback",)),
    "final": Mutant(source="sr-findings failed", fault=_final, rejected_by=("readback",)),
    "region without its image": Mutant(source="sr-regions localised", fault=_no_image_of_a_region, rejected_by=("readback",)),
    "region with half a point": Mutant(source="sr-regions localised", fault=_half_a_point, rejected_by=("dsrdump",)),
    "region without tracking": Mutant(source="sr-regions localised", fault=_region_without_finding, rejected_by=("readback",)),
    "three dimensions in Comprehensive SR": Mutant(
        source="sr-regions localised",
        sop_class_uid=ComprehensiveSRStorage,
        fault=_coordinates_in_three_dimensions,
        rejected_by=("dsrdump",),
    ),
    "number in Basic Text SR": Mutant(
        source="sr-findings positive", sop_class_uid=BasicTextSRStorage, fault=_number_in_plain_text, rejected_by=("dciodvfy", "dsrdump")
    ),
}


def write_mutant(folder: Path, name: str) -> Path:
    """Write the report with this fault, and return where."""
    mutant = MUTANTS[name]
    kind, analysis = mutant.source.split(" ", maxsplit=1)
    result = ENCODERS[kind](KINDS[analysis], headers_of(KINDS[analysis]), producer=PRODUCER, previous=None)
    if result is None:
        raise ValueError(f"{mutant.source} gives no report")
    document = dcmread(io.BytesIO(as_variant(result.data, mutant.sop_class_uid).data))
    mutant.fault(document)
    path = folder / f"mutant_{name.replace(' ', '_')}.dcm"
    document.save_as(path)
    return path
