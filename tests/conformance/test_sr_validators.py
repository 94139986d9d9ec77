"""Every kind of report under independent validators, dirty source headers included, and mutants that must be rejected."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from highdicom.sr import srread
from pydicom import dcmread
from pydicom.dataset import Dataset

from reporting import encode_structured_report
from tests.conformance.sr_documents import FAILED, FRONTAL, KINDS, NOTHING_FOUND, POSITIVE, PRODUCER, dirty_headers, encode
from tests.conformance.sr_readback import concept, groups, readback, walk
from tests.conformance.sr_validators import dciodvfy, dsrdump, pixelmed

DIRTY = dirty_headers()
DIRTY_UNDER_PIXELMED = ("minimal",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One fault put into a passing report, and the validators that must see it."""

    source: str
    fault: Callable[[Dataset], None]
    rejected_by: tuple[str, ...]


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
    asserted = dcmread(io.BytesIO(encode(POSITIVE).data))
    present = next(item for item in groups(asserted)[1].ContentSequence if concept(item) == "121071")
    group.ContentSequence.insert(2, present)


MUTANTS: Mapping[str, Mutant] = {
    "no completion flag": Mutant(source="failed", fault=_no_completion_flag, rejected_by=("dciodvfy", "dsrdump")),
    "number without unit": Mutant(source="positive", fault=_number_without_unit, rejected_by=("dciodvfy", "dsrdump")),
    "tracking with the wrong relationship": Mutant(source="not attempted", fault=_tracking_as_content, rejected_by=("pixelmed",)),
    "wrong code meaning": Mutant(source="failed", fault=_wrong_meaning, rejected_by=("readback",)),
    "no device UID": Mutant(source="not attempted", fault=_no_device_uid, rejected_by=("pixelmed",)),
    "no evidence": Mutant(source="failed", fault=_no_evidence, rejected_by=("readback",)),
    "dangling image": Mutant(source="failed", fault=_dangling_image, rejected_by=("readback",)),
    "empty text": Mutant(source="failed", fault=_empty_text, rejected_by=("dciodvfy", "dsrdump")),
    "no algorithm": Mutant(source="failed", fault=_no_algorithm, rejected_by=("readback",)),
    "verified by nobody": Mutant(source="failed", fault=_verified_by_nobody, rejected_by=("dciodvfy", "dsrdump", "readback")),
    "wrong title": Mutant(source="failed", fault=_wrong_title, rejected_by=("readback",)),
    "illegal relationship": Mutant(source="failed", fault=_illegal_relationship, rejected_by=("dsrdump",)),
    "no results": Mutant(source="not attempted", fault=_no_results, rejected_by=("pixelmed",)),
    "absent finding asserted": Mutant(source="nothing found", fault=_absent_finding_asserted, rejected_by=("readback",)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every report of this module as a file."""
    folder = tmp_path_factory.mktemp("reports")
    for name, analysis in KINDS.items():
        (folder / f"{name}.dcm").write_bytes(encode(analysis).data)
    for name, dirty in DIRTY.items():
        made = encode_structured_report(NOTHING_FOUND, [dirty.dataset], producer=PRODUCER, previous=None)
        (folder / f"dirty {name}.dcm").write_bytes(made.data)
    for name in DIRTY_UNDER_PIXELMED:  # a small tree, because PixelMed's time grows with it
        made = encode_structured_report(FAILED, [DIRTY[name].dataset], producer=PRODUCER, previous=None)
        (folder / f"small {name}.dcm").write_bytes(made.data)
    for name, mutant in MUTANTS.items():
        document = dcmread(folder / f"{mutant.source}.dcm")
        mutant.fault(document)
        document.save_as(folder / f"mutant {name}.dcm")
    return folder


@pytest.fixture(scope="module")
def pixelmed_says(folder: Path) -> dict[Path, tuple[str, ...]]:
    """PixelMed's answers, from one run over all files that are for it."""
    mutants = [f"mutant {name}" for name, mutant in MUTANTS.items() if "pixelmed" in mutant.rejected_by]
    names = [*KINDS, *(f"small {name}" for name in DIRTY_UNDER_PIXELMED), *mutants]
    return pixelmed([folder / f"{name}.dcm" for name in names])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_report_passes_dciodvfy_dsrdump_and_readback(folder: Path, kind: str) -> None:
    path = folder / f"{kind}.dcm"

    assert (dciodvfy(path), dsrdump(path), readback(path)) == ((), (), ())


@pytest.mark.parametrize("name", [*KINDS, *(f"small {name}" for name in DIRTY_UNDER_PIXELMED)])
def test_every_kind_of_report_passes_pixelmed(folder: Path, pixelmed_says: dict[Path, tuple[str, ...]], name: str) -> None:
    assert pixelmed_says[folder / f"{name}.dcm"] == ()


@pytest.mark.parametrize("name", DIRTY)
def test_a_dirty_source_header_gives_a_valid_report(folder: Path, name: str) -> None:
    path = folder / f"dirty {name}.dcm"
    faithful = DIRTY[name].faithful

    remaining = [line for line in dciodvfy(path) if not any(f"</{keyword}(" in line for keyword in faithful)]

    assert (remaining, dsrdump(path), readback(path)) == ([], (), ())


@pytest.mark.parametrize("name", [name for name, dirty in DIRTY.items() if dirty.faithful])
def test_an_identity_that_is_too_long_is_kept_and_is_the_only_error(folder: Path, name: str) -> None:
    errors = dciodvfy(folder / f"dirty {name}.dcm")

    assert [line.partition("</")[2].partition("(")[0] for line in errors] == list(DIRTY[name].faithful)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_report_with_one_fault_is_rejected(folder: Path, pixelmed_says: dict[Path, tuple[str, ...]], name: str) -> None:
    path = folder / f"mutant {name}.dcm"
    verdicts = {"dciodvfy": dciodvfy(path), "dsrdump": dsrdump(path), "readback": readback(path), "pixelmed": pixelmed_says.get(path, ())}

    assert {tool for tool in MUTANTS[name].rejected_by if not verdicts[tool]} == set()


@pytest.mark.parametrize("kind", KINDS)
def test_highdicom_reads_every_kind_of_report(folder: Path, kind: str) -> None:
    report = srread(folder / f"{kind}.dcm")

    expected = 1 + len(KINDS[kind].findings) + len({(verdict.by_model, verdict.image) for verdict in KINDS[kind].quality})
    assert len(report.content.get_image_measurement_groups()) == expected


def test_the_image_of_a_positive_report_is_found_by_its_tracking_uid(folder: Path) -> None:
    document = dcmread(folder / "positive.dcm")

    images = [item for item in groups(document)[1].ContentSequence if item.ValueType == "IMAGE"]

    assert [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in images] == [FRONTAL.sop_instance_uid]
