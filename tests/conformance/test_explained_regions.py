"""The region of a real heat map, as every document that shows places has it, under independent validators."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from config import load
from config.calibrations import Calibration, LabelCalibration
from config.catalogue import model_digest, prompt_set_digest
from dicom_node.demo.studies import DATA_FOLDER
from inference.analysis import analyse
from inference.engine import Engine
from inference.explanation import Explain, explain
from inference.findings import Analysis
from inference.selection import SelectedInstance
from reporting import ENCODERS, SHOWING_PLACES, readable_text
from reporting.narrative import REGION
from tests.conformance.sr_documents import PRODUCER
from tests.conformance.sr_readback import readback, walk
from tests.conformance.sr_validators import dciodvfy, dcmpschk, dicom_validator, dsrdump, pixelmed
from tests.embedded import FINDING, FINDINGS, MODEL

FILE = next((DATA_FOLDER / "04-chest-pneumonia-child").glob("*.dcm"))


@pytest.fixture(scope="module")
def header() -> Dataset:
    return dcmread(FILE, stop_before_pixels=True)


@pytest.fixture(scope="module")
def explained(header: Dataset) -> Analysis:
    """The radiograph of a child under a made-up calibration that finds pneumonia present, and where its score comes from."""
    shipped = load(None)[1]
    manifest, asked = shipped.manifest(MODEL), shipped.prompt_set(FINDINGS)
    calibration = Calibration(
        id="made-up",
        site="our-site",
        model=manifest.name,
        model_digest=model_digest(manifest),
        prompt_set=asked.name,
        prompt_set_digest=prompt_set_digest(asked),
        labels={FINDING: LabelCalibration(slope=1, intercept=5, threshold=0.5, undetermined_from=0.5, source="made up")},
    )
    catalogue = replace(shipped, calibrations=(calibration,))
    engine = Engine(catalogue, device="cpu", batch_size=32, cache_folder=None)
    route, selected = catalogue.route("chest-radiograph"), (SelectedInstance(path=FILE, header=header),)
    analysis = analyse(
        study_instance_uid=str(header.StudyInstanceUID),
        revision=1,
        route=route,
        selected=selected,
        excluded=(),
        engine=engine,
        catalogue=catalogue,
        site="our-site",
        analysed_at=datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
        maximum_frame_megapixels=400,
    )
    made = explain(
        analysis,
        selected=selected,
        route=route,
        scorer=engine,
        catalogue=catalogue,
        which=Explain.PRESENT,
        maximum_frame_megapixels=400,
    )
    return made.analysis


@pytest.fixture(scope="module")
def documents(explained: Analysis, header: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Each kind of document as a file."""
    folder = tmp_path_factory.mktemp("documents")
    made = {}
    for kind in ("sr-findings", *sorted(SHOWING_PLACES)):
        result = ENCODERS[kind](explained, [header], producer=PRODUCER, previous=None)
        assert result is not None, kind
        made[kind] = folder / f"{kind}.dcm"
        made[kind].write_bytes(result.data)
    return made


def test_the_report_and_its_regions_are_valid_everywhere(documents: Mapping[str, Path]) -> None:
    reports = [documents["sr-findings"], documents["sr-regions"]]
    said = {path.stem: (dciodvfy(path), dicom_validator(path), dsrdump(path)) for path in reports}
    assert said == {path.stem: ((), (), ()) for path in reports}
    assert [line for path in reports for line in readback(path) if "'Pneumonia'" not in line] == []  # a code of a prompt set
    assert pixelmed([documents["sr-regions"]]) == {documents["sr-regions"]: ()}


def test_the_outline_over_the_image_is_a_valid_presentation_state(documents: Mapping[str, Path]) -> None:
    assert (dciodvfy(documents["gsps-outline"]), dcmpschk(documents["gsps-outline"])) == ((), ())


def test_the_outline_in_the_report_is_the_box_of_the_map(explained: Analysis, documents: Mapping[str, Path]) -> None:
    ((region,),) = (finding.regions for finding in explained.findings)
    (drawn,) = (list(item.GraphicData) for item in walk(dcmread(documents["sr-regions"])) if "GraphicData" in item)
    corners = [value for point in (*region.points, region.points[0]) for value in point]
    assert drawn == pytest.approx(corners)


def test_the_report_says_that_a_region_is_where_the_score_comes_from_and_no_lesion(documents: Mapping[str, Path]) -> None:
    words = readable_text(documents["sr-regions"].read_bytes())
    assert " ".join(REGION.split()) in " ".join(words.split())
