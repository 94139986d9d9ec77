"""The quality checks: what each finds, what it leaves alone, and when it says nothing."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pydicom import Dataset

from inference.findings import QualityGrade
from inference.quality import CHECKS, Sample, check_frame
from tests.phantoms import as_frame
from tests.phantoms import sharp_chest_radiograph as chest

# CID 6135; Poor FOV selection and Poor SNR of CID 6315; Double exposure of CID 7011
CODES = {"111208", "111209", "111210", "111211", "111212", "111213", "111214", "111215", "111219", "111220", "130577", "130578", "113026"}
FRONTAL = {"BodyPartExamined": "CHEST", "ViewPosition": "PA", "LossyImageCompressionRatio": 2}


def chest_radiograph():
    """The drawn chest with the air beside it, which is black as the beam leaves it."""
    pixels = np.zeros((640, 640), dtype=np.float32)
    pixels[96:608, 64:576] = chest()
    return pixels


def header(**attributes):
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def grade(check, pixels, *, modality="DX", **attributes):
    verdict = CHECKS[check](Sample(as_frame(pixels, modality=modality)), header(**attributes))
    return None if verdict is None else verdict.grade


def with_text(pixels, height, *, words="DOE JANE 12-03-1961"):
    picture = Image.fromarray((pixels * 255).astype(np.uint8))
    ImageDraw.Draw(picture).text((6, 6), words, fill=255, font_size=height)
    return np.asarray(picture).astype(np.float32) / 255


def noise(level):
    return np.clip(0.5 + np.random.default_rng(1).normal(0, level, (256, 256)), 0, 1)


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_is_a_quality_check(name):
    check = CHECKS[name]
    verdict = check(Sample(as_frame(chest_radiograph())), header(**FRONTAL))
    assert check.name == name
    assert verdict.check == name
    assert verdict.image.sop_instance_uid == "2.25.1"
    assert (verdict.code.scheme, verdict.code.value in CODES) == ("DCM", True)
    assert any(character.isdigit() for character in verdict.threshold_source)
    assert verdict.sentence.endswith(".")
    assert verdict.grade is QualityGrade.DIAGNOSTIC


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_takes_colour_and_tiny_frames(name):
    for pixels in (np.zeros((1, 1)), np.ones((3, 200, 3))[0:1], np.random.default_rng(0).random((90, 70, 3))):
        CHECKS[name](Sample(as_frame(pixels, modality="DX")), Dataset())


@pytest.mark.parametrize(
    ("check", "pixels"),
    [
        ("blank", np.zeros((256, 256))),
        ("blank", noise(0.05)),
        ("clipped", np.clip(chest_radiograph() * 2, 0, 1)),
        ("over-exposed", chest_radiograph() * 0.35),
        ("under-exposed", 1 - (1 - chest_radiograph()) * 0.35),
        ("low-contrast", 0.5 + (chest_radiograph() - 0.5) * 0.2),
        ("inverted", 1 - chest_radiograph()),
        ("burnt-in-text", with_text(chest_radiograph(), 14)),
        ("burnt-in-text", with_text(chest_radiograph(), 18)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_defect_is_found(check, pixels):
    assert grade(check, pixels) is not QualityGrade.DIAGNOSTIC


def test_a_blank_frame_is_not_diagnostic_and_nothing_else_is_measured_on_it():
    (verdict,) = check_frame(as_frame(np.zeros((64, 64))), Dataset())
    assert (verdict.check, verdict.grade, verdict.code.value) == ("blank", QualityGrade.NON_DIAGNOSTIC, "111213")


def test_a_good_radiograph_passes_every_check():
    verdicts = check_frame(as_frame(chest_radiograph()), header(**FRONTAL))
    assert {verdict.check for verdict in verdicts} == set(CHECKS)
    assert {verdict.grade for verdict in verdicts} == {QualityGrade.DIAGNOSTIC}


def test_a_side_marker_alone_is_no_image():
    pixels = np.zeros((512, 512))
    pixels[20:50, 20:40] = 1
    assert grade("blank", pixels) is QualityGrade.NON_DIAGNOSTIC


def test_a_side_marker_is_no_line_of_text():
    assert grade("burnt-in-text", with_text(chest_radiograph(), 24, words="L")) is QualityGrade.DIAGNOSTIC


@pytest.mark.parametrize(
    ("modality", "unjudged"),
    [
        ("CT", {"clipped", "under-exposed", "over-exposed", "rotated", "collimation", "grid-lines"}),
        ("US", {"clipped", "under-exposed", "noise", "colour", "annotation", "dead-lines", "double-exposure", "rotated"}),
        ("XC", {"clipped", "low-contrast", "inverted", "colour", "grid-lines"}),
        ("SM", {"over-exposed", "noise", "inverted", "rotated"}),
        ("NM", set(CHECKS) - {"blank", "burnt-in-text", "compression-ratio"}),
    ],
)
def test_a_check_says_nothing_of_a_modality_that_its_limits_were_not_measured_on(modality, unjudged):
    verdicts = check_frame(as_frame(chest_radiograph(), modality=modality), header(**FRONTAL))
    assert not {verdict.check for verdict in verdicts} & unjudged


@pytest.mark.parametrize(
    ("attributes", "under", "over"),
    [
        ({"DeviationIndex": -3.5}, QualityGrade.LIMITED, QualityGrade.DIAGNOSTIC),
        ({"DeviationIndex": 3.5}, QualityGrade.DIAGNOSTIC, QualityGrade.LIMITED),
        ({"DeviationIndex": 0.4}, QualityGrade.DIAGNOSTIC, QualityGrade.DIAGNOSTIC),
        ({"ExposureIndex": 1000, "TargetExposureIndex": 400}, QualityGrade.DIAGNOSTIC, QualityGrade.LIMITED),
        ({"ExposureIndex": 100, "TargetExposureIndex": 400}, QualityGrade.LIMITED, QualityGrade.DIAGNOSTIC),
        ({"ExposureIndex": 0, "TargetExposureIndex": 400}, QualityGrade.DIAGNOSTIC, QualityGrade.DIAGNOSTIC),
    ],
)
def test_the_exposure_that_the_modality_measured_comes_first(attributes, under, over):
    assert grade("under-exposed", chest_radiograph(), **attributes) is under
    assert grade("over-exposed", chest_radiograph(), **attributes) is over


def test_a_mammogram_is_judged_by_its_deviation_index_only():
    assert grade("over-exposed", chest_radiograph() * 0.2, modality="MG") is None
    assert grade("over-exposed", chest_radiograph(), modality="MG", DeviationIndex=4) is QualityGrade.LIMITED


@pytest.mark.parametrize(
    ("modality", "annotation", "expected"),
    [
        ("DX", None, QualityGrade.LIMITED),
        ("DX", "NO", QualityGrade.LIMITED),
        ("DX", "YES", QualityGrade.DIAGNOSTIC),
        ("US", None, QualityGrade.DIAGNOSTIC),
        ("US", "NO", QualityGrade.LIMITED),
    ],
)
def test_text_is_a_fault_only_where_the_header_does_not_admit_it(modality, annotation, expected):
    attributes = {} if annotation is None else {"BurnedInAnnotation": annotation}
    assert grade("burnt-in-text", with_text(chest_radiograph(), 16), modality=modality, **attributes) is expected


def test_white_borders_that_the_collimator_left_are_not_clipped_anatomy():
    pixels = chest_radiograph()
    pixels[:, :48] = pixels[:, -48:] = pixels[:40] = 1
    assert grade("clipped", pixels) is QualityGrade.DIAGNOSTIC
