"""A real heat map and its region, as every document that shows places has them, under independent validators."""

import io
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pypdf import PdfReader

from config import load
from config.calibrations import Calibration, LabelCalibration
from config.catalogue import model_digest, prompt_set_digest
from dicom_node.demo.studies import DATA_FOLDER
from dicom_node.pictures import pictures_of
from inference.analysis import analyse
from inference.engine import Engine
from inference.explanation import Explain, explain
from inference.findings import Analysis
from inference.selection import SelectedInstance
from reporting import ENCODERS, ILLUSTRATED, SHOWING_PLACES, heat_to_show, images_to_show, readable_text
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
    files = [(str(header.SOPInstanceUID), FILE)]
    shown = pictures_of(images_to_show(explained), files, heat=heat_to_show(explained), maximum_megapixels=400)
    made = {}
    for kind in ("sr-findings", *sorted(SHOWING_PLACES)):
        if kind in ILLUSTRATED:
            encode = partial(ILLUSTRATED[kind], pictures=shown.plain, heat_pictures=shown.under_heat)
        else:
            encode = partial(ENCODERS[kind])
        result = encode(explained, [header], producer=PRODUCER, previous=None)
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


@pytest.mark.parametrize("kind", ["secondary-capture", "encapsulated-pdf"])
def test_the_page_with_the_heat_map_is_valid(documents: Mapping[str, Path], kind: str) -> None:
    said = [line for line in dciodvfy(documents[kind]) if "Laterality" not in line]  # no source says it
    assert (said, dicom_validator(documents[kind])) == ([], ())


def test_the_page_shows_the_heat_map_of_the_radiograph(explained: Analysis, documents: Mapping[str, Path]) -> None:
    (heat_map,) = explained.heat_maps
    assert (heat_map.label, heat_map.image) == (FINDING, explained.findings[0].image)
    image = dcmread(documents["secondary-capture"])
    assert (image.Columns, image.Rows) == (1024, 1024)
    column = image.pixel_array[160:, 708:988].astype(int)
    yellow, outline = column[..., :2].sum(axis=-1) - 2 * column[..., 2] > 150, (column == [255, 176, 59]).all(axis=-1)
    assert (yellow & ~outline).sum() > 1000  # without a map all there is grey, but for the outline
    pdf = PdfReader(io.BytesIO(dcmread(documents["encapsulated-pdf"]).EncapsulatedDocument))
    assert len(pdf.pages[0].images) == 2


def test_the_outline_in_the_report_is_the_box_of_the_map(explained: Analysis, documents: Mapping[str, Path]) -> None:
    ((region,),) = (finding.regions for finding in explained.findings)
    (drawn,) = (list(item.GraphicData) for item in walk(dcmread(documents["sr-regions"])) if "GraphicData" in item)
    corners = [value for point in (*region.points, region.points[0]) for value in point]
    assert drawn == pytest.approx(corners)


def test_the_report_says_that_a_region_is_where_the_score_comes_from_and_no_lesion(documents: Mapping[str, Path]) -> None:
    words = readable_text(documents["sr-regions"].read_bytes())
    assert " ".join(REGION.split()) in " ".join(words.split())
