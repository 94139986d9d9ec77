"""A sample of what `make conformance` does in full: every kind of document under independent validators, and mutants rejected."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from highdicom.sr import srread
from pydicom import dcmread

from reporting import VARIANTS
from tests.conformance.mutants import MUTANTS, write_mutant
from tests.conformance.sr_documents import CHARACTER_SETS, FRONTAL, KINDS, dirty_headers
from tests.conformance.sr_readback import groups, readback
from tests.conformance.sr_validators import dciodvfy, dicom_validator, dsrdump, pixelmed
from tests.conformance.suite import CLEAN, Document, documents, verdicts

DIRTY = dirty_headers()
UNDER_PIXELMED = (  # its time grows with the tree, so it sees one report of each shape here and all of them in `make conformance`
    ("sr-findings", "positive"),
    ("sr-findings", "private class"),
    ("sr-findings", "failed"),
    ("sr-findings", "withdrawn"),
    ("sr-regions", "localised"),
)
RICHEST = VARIANTS[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for every document of this module."""
    return tmp_path_factory.mktemp("documents")


@pytest.fixture(scope="module")
def reports(folder: Path) -> Mapping[tuple[str, str], Document]:
    """The two reports of every analysis, by kind and analysis, as they are stored."""
    made = documents(folder, KINDS, [CLEAN], kinds=("sr-findings", "sr-regions"))
    return {(one.kind, one.analysis): one for one in made if one.sop_class_uid == RICHEST}


@pytest.fixture(scope="module")
def mutants(folder: Path) -> Mapping[str, Path]:
    """Every mutant as a file."""
    return {name: write_mutant(folder, name) for name in MUTANTS}


@pytest.fixture(scope="module")
def pixelmed_says(reports: Mapping[tuple[str, str], Document], mutants: Mapping[str, Path], folder: Path) -> Mapping[Path, tuple[str, ...]]:
    """PixelMed's answers, from one run over all files that are for it."""
    for_it = [reports[which].path for which in UNDER_PIXELMED]
    for_it += [mutants[name] for name, mutant in MUTANTS.items() if "pixelmed" in mutant.rejected_by]
    minimal = documents(folder, ["failed"], ["minimal"], kinds=("sr-findings",))
    return pixelmed([*for_it, *(one.path for one in minimal if one.sop_class_uid == RICHEST)])


@pytest.mark.parametrize("analysis", KINDS)
def test_the_findings_report_of_every_analysis_is_valid(reports: Mapping[tuple[str, str], Document], analysis: str) -> None:
    path = reports["sr-findings", analysis].path

    assert (dciodvfy(path), dsrdump(path), dicom_validator(path), readback(path)) == ((), (), (), ())


@pytest.mark.parametrize(("kind", "analysis"), [("sr-findings", "positive"), ("sr-regions", "localised"), ("sr-findings", "withdrawn")])
def test_a_report_is_valid_in_every_sop_class(folder: Path, kind: str, analysis: str) -> None:
    made = list(documents(folder, [analysis], [CLEAN], kinds=(kind,)))

    said = {(one.class_name, tool): lines for one in made for tool, lines in verdicts(one).items() if lines}

    assert [one.sop_class_uid for one in made] == list(VARIANTS)
    assert said == {}


def test_pixelmed_accepts_the_reports(pixelmed_says: Mapping[Path, tuple[str, ...]], mutants: Mapping[str, Path]) -> None:
    assert {path.name: said for path, said in pixelmed_says.items() if said and path not in mutants.values()} == {}


@pytest.mark.parametrize("name", [*DIRTY, *(f"in {name}" for name in CHARACTER_SETS)])
def test_a_header_as_it_is_met_in_the_field_gives_a_valid_report(folder: Path, name: str) -> None:
    (report,) = (one for one in documents(folder, ["nothing found"], [name], kinds=("sr-findings",)) if one.sop_class_uid == RICHEST)
    faithful = report.faithful

    remaining = [line for line in dciodvfy(report.path) if not any(f"</{keyword}(" in line for keyword in faithful)]

    assert (remaining, dsrdump(report.path), readback(report.path)) == ([], (), ())


@pytest.mark.parametrize("name", [name for name, dirty in DIRTY.items() if dirty.faithful])
def test_an_identity_that_is_too_long_is_kept_and_is_the_only_error(folder: Path, name: str) -> None:
    (report,) = (one for one in documents(folder, ["nothing found"], [name], kinds=("sr-findings",)) if one.sop_class_uid == RICHEST)

    errors = dciodvfy(report.path)

    assert [line.partition("</")[2].partition("(")[0] for line in errors] == list(DIRTY[name].faithful)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_report_with_one_fault_is_rejected(mutants: Mapping[str, Path], pixelmed_says: Mapping[Path, tuple[str, ...]], name: str) -> None:
    path = mutants[name]
    said = {"dciodvfy": dciodvfy(path), "dsrdump": dsrdump(path), "readback": readback(path), "pixelmed": pixelmed_says.get(path, ())}

    assert {tool for tool in MUTANTS[name].rejected_by if not said[tool]} == set()


@pytest.mark.parametrize("analysis", KINDS)
def test_highdicom_reads_the_report_of_every_analysis(reports: Mapping[tuple[str, str], Document], analysis: str) -> None:
    report = srread(reports["sr-findings", analysis].path)

    of = KINDS[analysis]
    expected = 1 + len(of.findings) + len({(verdict.by_model, verdict.image) for verdict in of.quality})
    assert len(report.content.get_image_measurement_groups()) == expected


def test_highdicom_finds_the_regions(reports: Mapping[tuple[str, str], Document]) -> None:
    report = srread(reports["sr-regions", "localised"].path)

    shapes = [group.roi.GraphicType for group in report.content.get_planar_roi_measurement_groups()]
    assert shapes == ["POLYLINE", "POLYLINE"], "the two of the Present finding, and none of the undetermined one"


def test_the_image_of_a_positive_report_is_found_by_its_tracking_uid(reports: Mapping[tuple[str, str], Document]) -> None:
    document = dcmread(reports["sr-findings", "positive"].path)

    images = [item for item in groups(document)[1].ContentSequence if item.ValueType == "IMAGE"]

    assert [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in images] == [FRONTAL.sop_instance_uid]
