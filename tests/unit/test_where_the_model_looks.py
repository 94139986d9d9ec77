"""Heat maps of real scores: they follow the evidence, they name what matters, and they are of the weights and not of the image."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydicom import dcmread
from safetensors.torch import load_file, save_file

from config import Catalogue, load
from config.calibrations import Calibration, LabelCalibration
from config.catalogue import model_digest, prompt_set_digest
from config.heads import ANY_IMAGE
from dicom_node.demo.studies import DATA_FOLDER
from inference.analysis import analyse, decode_analysis, encode_analysis
from inference.engine import Engine
from inference.explanation import Explain, Illustrated, explain
from inference.explanation.answer import Subject, answer_of
from inference.explanation.heat_map import HeatMap, heat_maps, shrunk
from inference.explanation.occlusion import hidden, log_odds
from inference.findings import HEAT_WARNING, NO_PLACE, Analysis, Presence, QualityGrade
from inference.frames import Frame, read_frames
from inference.selection import SelectedInstance
from tests.embedded import GATE, MODEL, chest
from tests.hottest import elsewhere, hottest_tenth
from tests.phantoms import as_frame

AT = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
POLYP, PNEUMONIA, TEXT = "12-endoscopy-polyp", "04-chest-pneumonia-child", "14-ultrasound-burnt-in-text"
FINDING_OF = {POLYP: ("demonstration-colonoscopy", "colon-polyp"), PNEUMONIA: ("demonstration-chest-radiograph", "pneumonia")}
_, SHIPPED = load(None)


def demo_instance(study: str) -> SelectedInstance:
    path = next((DATA_FOLDER / study).glob("*.dcm"))
    return SelectedInstance(path=path, header=dcmread(path, stop_before_pixels=True))


def demo_frame(study: str) -> Frame:
    return next(read_frames(demo_instance(study).path, [1], maximum_megapixels=100))


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(SHIPPED, device="cpu", batch_size=32, cache_folder=None)


def of_image(engine: Engine, frame: Frame, prompt_set: str, labels: Sequence[str]) -> tuple[HeatMap, ...]:
    model, asked = SHIPPED.manifest(MODEL), SHIPPED.prompt_set(prompt_set)
    subject = Subject(images=(frame.ref,), views=ANY_IMAGE)
    answer = answer_of(subject, labels, model=model, prompt_set=asked, scorer=engine, frames=[frame], place=0)
    return heat_maps(frame, tuple(labels), answer, longest_side=512)


def scored(engine: Engine, frames: Sequence[Frame], prompt_set: str, label: str) -> NDArray[np.float64]:
    scores = engine.scores(MODEL, prompt_set, frames)
    return log_odds(np.array([next(score.value for score in row if score.label == label) for row in scores]))


def cut_out(frame: Frame, cells: NDArray[np.bool_]) -> Frame:
    """The frame with these cells replaced by its mean colour: another way of hiding than the one the map was made with."""
    flat = np.broadcast_to(frame.pixels.mean(axis=(0, 1)), frame.pixels.shape).astype(np.float32)
    return replace(frame, pixels=hidden(frame.pixels, flat, cells.astype(np.float32)))


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_the_peak_follows_a_radiograph_that_is_moved_over_a_grey_page(engine: Engine, row: int, column: int) -> None:
    pixels = np.full((256, 256), 0.5, dtype=np.float32)
    pixels[128 * row : 128 * row + 128, 128 * column : 128 * column + 128] = chest()[::2, ::2]
    (found,) = of_image(engine, as_frame(pixels), GATE, ["chest-radiograph"])
    window = 0.1 * 256  # half of a small one: a place as near as that is hidden together with the radiograph
    assert 128 * column - window <= found.peak[0] <= 128 * column + 128 + window
    assert 128 * row - window <= found.peak[1] <= 128 * row + 128 + window


@pytest.mark.parametrize("study", FINDING_OF)
def test_without_the_hottest_tenth_a_score_falls_further_than_without_another_tenth(engine: Engine, study: str) -> None:
    frame, (prompt_set, label) = shrunk(demo_frame(study), longest_side=512), FINDING_OF[study]
    (found,) = of_image(engine, frame, prompt_set, [label])
    hot = hottest_tenth(found)
    whole, without, *others = scored(engine, [frame, *(cut_out(frame, cells) for cells in (hot, *elsewhere(hot, 8)))], prompt_set, label)
    assert whole - without > 0.5
    assert whole - without > 2 * np.mean(whole - np.array(others))


def test_a_map_changes_with_the_weights_so_it_is_no_edge_detector(engine: Engine, tmp_path: Path) -> None:
    """Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018: the same image under weights in random order."""
    frame, (prompt_set, label) = demo_frame(POLYP), FINDING_OF[POLYP]
    other = Engine(shuffled(tmp_path), device="cpu", batch_size=32, cache_folder=None)
    trained, random = (of_image(one, frame, prompt_set, [label])[0].heat.ravel() for one in (engine, other))
    assert abs(np.corrcoef(trained, random)[0, 1]) < 0.5


def shuffled(folder: Path) -> Catalogue:
    """The catalogue with the shipped model, the numbers of each tensor of its image tower in random order."""
    manifest = SHIPPED.manifest(MODEL)
    source = SHIPPED.weights_path(manifest)
    for name in manifest.weights.files:
        (folder / name).write_bytes((source / name).read_bytes())
    generator = torch.Generator().manual_seed(3)
    tensors = load_file(source / manifest.weights.file)
    for name, tensor in tensors.items():
        if name.startswith("visual.") and "running" not in name and tensor.is_floating_point():
            tensors[name] = tensor.flatten()[torch.randperm(tensor.numel(), generator=generator)].reshape(tensor.shape).contiguous()
    save_file(tensors, folder / manifest.weights.file)
    digest = hashlib.sha256((folder / manifest.weights.file).read_bytes()).hexdigest()
    weights = manifest.weights.model_copy(update={"folder": str(folder), "sha256": digest})
    return replace(SHIPPED, manifests=(manifest.model_copy(update={"weights": weights, "golden": None}),))


def analysed(engine: Engine, catalogue: Catalogue, instance: SelectedInstance, route: str) -> Analysis:
    return analyse(
        study_instance_uid="2.25.7",
        revision=1,
        route=catalogue.route(route),
        selected=[instance],
        excluded=(),
        engine=engine,
        catalogue=catalogue,
        site="our-site",
        analysed_at=AT,
        maximum_frame_megapixels=400,
    )


def explained(engine: Engine, catalogue: Catalogue, instance: SelectedInstance, route: str, which: Explain) -> Illustrated:
    return explain(
        analysed(engine, catalogue, instance, route),
        selected=[instance],
        route=catalogue.route(route),
        scorer=engine,
        catalogue=catalogue,
        which=which,
        maximum_frame_megapixels=400,
    )


def calibrated() -> Catalogue:
    """The catalogue with a calibration that finds the polyp present."""
    manifest, asked = SHIPPED.manifest(MODEL), SHIPPED.prompt_set("demonstration-colonoscopy")
    always = LabelCalibration(slope=1, intercept=5, threshold=0.5, undetermined_from=0.5, source="test")
    calibration = Calibration(
        id="ours",
        site="our-site",
        model=manifest.name,
        model_digest=model_digest(manifest),
        prompt_set=asked.name,
        prompt_set_digest=prompt_set_digest(asked),
        labels={"colon-polyp": always},
    )
    return replace(SHIPPED, calibrations=(calibration,))


def test_a_present_finding_gets_a_region_on_its_image_a_picture_and_a_word_on_how(engine: Engine) -> None:
    instance = demo_instance(POLYP)
    made = explained(engine, calibrated(), instance, "colonoscopy", Explain.PRESENT)
    (finding,) = made.analysis.findings
    assert finding.presence is Presence.PRESENT
    (region,) = finding.regions
    assert region.image == finding.image == replace(instance.image, frame_number=1)
    assert all(0 <= column <= instance.header.Columns and 0 <= row <= instance.header.Rows for column, row in region.points)
    (picture,) = made.pictures
    assert picture.caption.startswith("Polyp of colon: probability")
    assert picture.caption.endswith(HEAT_WARNING)
    assert made.analysis.provenance is not None
    assert made.analysis.provenance.parameters[-1].startswith("regions=occlusion with 1")
    assert decode_analysis(encode_analysis(made.analysis)) == made.analysis


def test_the_same_image_gives_the_same_regions_and_pictures_bit_for_bit(engine: Engine) -> None:
    instance = demo_instance(POLYP)
    again = Engine(SHIPPED, device="cpu", batch_size=32, cache_folder=None)
    one, other = (explained(used, calibrated(), instance, "colonoscopy", Explain.PRESENT) for used in (engine, again))
    assert encode_analysis(one.analysis) == encode_analysis(other.analysis)
    assert [picture.png() for picture in one.pictures] == [picture.png() for picture in other.pictures]


def test_in_shadow_a_node_explains_nothing_and_a_researcher_sees_the_strongest_score(engine: Engine) -> None:
    instance = demo_instance(PNEUMONIA)
    analysis = analysed(engine, SHIPPED, instance, "chest-radiograph")
    silent = explained(engine, SHIPPED, instance, "chest-radiograph", Explain.PRESENT)
    assert (silent.analysis, silent.pictures) == (analysis, ())
    shown = explained(engine, SHIPPED, instance, "chest-radiograph", Explain.SHOWN)
    assert shown.pictures[0].caption.startswith(f"Pneumonia: score {analysis.findings[0].score:.3f} by gatekeeper, not calibrated.")
    assert shown.pictures[0].caption.endswith((HEAT_WARNING, NO_PLACE))
    assert shown.analysis.flag == analysis.flag


def test_text_in_the_pixels_is_outlined_where_it_stands(engine: Engine, tmp_path: Path) -> None:
    instance = demo_instance(TEXT)
    route = next(route for route in SHIPPED.routes if route.name.endswith("ultrasound"))
    made = explained(engine, SHIPPED, instance, route.name, Explain.SHOWN)
    (verdict,) = (one for one in made.analysis.quality if one.check == "burnt-in-text")
    assert verdict.grade is QualityGrade.LIMITED
    (region,) = verdict.regions
    columns, rows = zip(*region.points, strict=True)
    assert max(rows) - min(rows) < 0.6 * instance.header.Rows or max(columns) - min(columns) < 0.6 * instance.header.Columns
    assert any(picture.caption == f"{verdict.sentence} (burnt-in-text)" for picture in made.pictures)
