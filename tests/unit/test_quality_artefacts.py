"""The checks on artefacts of known strength, on hostile frames, and what they share."""

import numpy as np
import pytest
from PIL import Image, ImageFilter
from pydicom import Dataset

from inference.damage.artefacts import ARTEFACTS, spoil
from inference.damage.degradations import degrade
from inference.findings import QualityGrade
from inference.quality import CHECKS, Sample, check_frame
from inference.quality.medians import median_down
from tests.phantoms import as_frame, chest_radiograph
from tests.phantoms import sharp_chest_radiograph as chest
from tests.phantoms import sharp_head_ct as slice_of_a_head

PROJECTION = {"BodyPartExamined": "CHEST", "ViewPosition": "PA"}


def header(**attributes):
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def grade(check, pixels, *, modality="DX", **attributes):
    verdict = CHECKS[check](Sample(as_frame(pixels, modality=modality)), header(**(attributes or PROJECTION)))
    return None if verdict is None else verdict.grade


FAULTS = [
    ("document", "text-page"),
    ("document", "screen"),
    ("colour", "coloured"),
    ("collimation", "wide-field"),
    ("annotation", "annotated"),
    ("compressed", "compressed"),
    ("grid-lines", "grid-lines"),
    ("dead-lines", "dead-line"),
    ("double-exposure", "double-exposure"),
]


@pytest.mark.parametrize(("check", "artefact"), FAULTS, ids=str)
def test_an_artefact_of_medium_strength_is_found_and_a_clean_radiograph_passes(check, artefact):
    spoilt = spoil(chest(), artefact, 0.5, np.random.default_rng(5))
    assert grade(check, spoilt) is not QualityGrade.DIAGNOSTIC
    assert grade(check, chest()) is QualityGrade.DIAGNOSTIC


@pytest.mark.parametrize(("check", "kind"), [("noise", "noisy"), ("blurred", "blurred"), ("motion", "motion-blurred")], ids=str)
@pytest.mark.parametrize(("pixels", "modality"), [(chest(), "DX"), (slice_of_a_head(), "CT")], ids=["DX", "CT"])
def test_noise_blur_and_motion_of_medium_strength_are_found(check, kind, pixels, modality):
    spoilt = degrade(pixels, kind, 0.5, np.random.default_rng(6), modality=modality)
    assert grade(check, spoilt, modality=modality) is QualityGrade.LIMITED
    assert grade(check, pixels, modality=modality) is QualityGrade.DIAGNOSTIC


def texture():
    """Detail of every size down to that of the noise, and as strong: hair, folds, bone."""
    rng, size = np.random.default_rng(3), (512, 512)
    grains = (Image.fromarray(rng.normal(0, 0.03, (side, side)).astype(np.float32)) for side in (16, 32, 64, 128, 256))
    return np.clip(0.5 + sum(np.asarray(grain.resize(size, Image.Resampling.BICUBIC)) for grain in grains), 0, 1)


def test_fine_texture_is_not_taken_for_noise():
    noisy = np.clip(texture() + np.random.default_rng(4).normal(0, 0.15, (512, 512)), 0, 1)
    assert grade("noise", texture(), modality="ES") is QualityGrade.DIAGNOSTIC
    assert grade("noise", noisy, modality="ES") is QualityGrade.LIMITED


@pytest.mark.parametrize(("check", "kind"), [("under-exposed", "under-exposed"), ("over-exposed", "over-exposed")], ids=str)
def test_a_frontal_chest_of_medium_wrong_exposure_is_found(check, kind):
    upright = chest()
    spoilt = degrade(upright, kind, 0.5, np.random.default_rng(7), modality="DX")
    assert grade(check, spoilt) is QualityGrade.LIMITED
    assert grade(check, upright) is QualityGrade.DIAGNOSTIC


def test_an_inverted_chest_is_not_called_rotated_as_well():
    assert grade("inverted", 1 - chest()) is QualityGrade.LIMITED
    assert grade("rotated", 1 - chest()) is QualityGrade.DIAGNOSTIC


def test_a_mosaic_of_slices_is_no_double_exposure():
    mosaic = np.tile(slice_of_a_head()[::4, ::4], (4, 4))
    assert grade("double-exposure", mosaic, modality="MR", ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]) is None
    assert grade("double-exposure", mosaic, modality="MR", ImageType=["ORIGINAL", "PRIMARY"]) is QualityGrade.LIMITED


def test_a_crop_of_a_few_pixels_is_not_judged_by_its_brightness_but_by_its_header():
    verdicts = {verdict.check for verdict in check_frame(as_frame(chest()[200:216, 200:216], modality="MR"), header())}
    assert verdicts <= {"blank", "burnt-in-text"}
    assert grade("compression-ratio", chest()[:16, :16], modality="MR", LossyImageCompressionRatio=80) is QualityGrade.LIMITED


def overlit(pixels):
    return np.clip(pixels * 1.9, 0, 1)


@pytest.mark.parametrize("modality", ["XC", "OP", "ES"])
def test_a_photograph_with_too_much_light_is_found(modality):
    photograph = np.repeat((0.25 + 0.4 * chest())[..., None], 3, axis=-1).astype(np.float32)
    assert grade("over-exposed", overlit(photograph), modality=modality) is QualityGrade.LIMITED
    assert grade("over-exposed", photograph * 0.8, modality=modality) is QualityGrade.DIAGNOSTIC


@pytest.mark.parametrize("lines", [1, 2, 63, 64])
def test_medians_of_many_lines_are_those_of_numpy(lines):
    values = np.random.default_rng(lines).normal(size=(lines, 300)).astype(np.float32)
    assert np.array_equal(median_down(values), np.median(values, axis=0))


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_chest_that_is_not_upright_is_found(turns):
    assert grade("rotated", np.rot90(chest(), turns)) is QualityGrade.LIMITED
    assert grade("rotated", chest()) is QualityGrade.DIAGNOSTIC


@pytest.mark.parametrize(
    "attributes", [{"BodyPartExamined": "CHEST"}, {"BodyPartExamined": "CHEST", "ViewPosition": "LL"}, {"ViewPosition": "PA"}]
)
def test_only_frontal_chests_are_compared_with_the_mean_chest(attributes):
    assert grade("rotated", np.rot90(chest()), **attributes) is None


def test_a_frontal_chest_is_inverted_even_with_white_beside_it():
    collimated = np.ones((640, 640), dtype=np.float32)
    collimated[64:576, 64:576] = chest()
    assert grade("inverted", collimated) is QualityGrade.DIAGNOSTIC
    assert grade("inverted", 1 - chest()) is QualityGrade.LIMITED


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_slice_with_bright_air_is_inverted(modality):
    assert grade("inverted", 1 - slice_of_a_head(), modality=modality) is QualityGrade.LIMITED
    assert grade("inverted", slice_of_a_head(), modality=modality) is QualityGrade.DIAGNOSTIC


def test_blur_is_judged_alike_whatever_the_size_of_the_frame():
    """A sharp radiograph is sharp with 2048 pixels and with 256; blurred by the same share of its side it is blurred with both."""
    for side in (256, 2048):
        sharp = Image.fromarray((chest(side) * 255).astype(np.uint8))
        blurred = np.asarray(sharp.filter(ImageFilter.GaussianBlur(0.02 * side))).astype(np.float32) / 255
        assert grade("blurred", np.asarray(sharp).astype(np.float32) / 255) is QualityGrade.DIAGNOSTIC
        assert grade("blurred", blurred) is QualityGrade.LIMITED


def test_an_edge_of_the_collimator_is_no_dead_line():
    collimated = chest()
    collimated[:, :100] = 0
    collimated[:60] = 1
    assert grade("dead-lines", collimated) is QualityGrade.DIAGNOSTIC


def test_half_a_dead_column_is_found():
    spoilt = chest()
    spoilt[256:, 300] = 0
    assert grade("dead-lines", spoilt) is QualityGrade.LIMITED


def test_three_equal_channels_are_no_colour():
    assert grade("colour", np.repeat(chest()[..., None], 3, axis=2)) is QualityGrade.DIAGNOSTIC


@pytest.mark.parametrize("modality", ["US", "ES", "XC", "OP", "SM"])
def test_colour_is_no_fault_where_the_modality_makes_it(modality):
    assert grade("colour", np.repeat(chest()[..., None], 3, axis=2) * [1, 0.4, 0.2], modality=modality) is None


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"DeviationIndex": 3.2, "ExposureIndex": 836, "TargetExposureIndex": 400}, "over"),
        ({"DeviationIndex": 3.2, "ExposureIndex": 400, "TargetExposureIndex": 400}, "pixels"),
        ({"DeviationIndex": 250}, "pixels"),
    ],
)
def test_a_deviation_index_that_cannot_be_true_is_not_believed(attributes, expected):
    verdict = CHECKS["over-exposed"](Sample(as_frame(chest())), header(**attributes))
    assert (verdict.grade, "62494" in verdict.threshold_source) == (
        (QualityGrade.LIMITED, True) if expected == "over" else (QualityGrade.DIAGNOSTIC, False)
    )


@pytest.mark.parametrize(
    ("modality", "ratio", "expected"),
    [("CT", 20, QualityGrade.LIMITED), ("CR", 20, QualityGrade.DIAGNOSTIC), ("CT", [4, 18], QualityGrade.LIMITED), ("ES", 90, None)],
)
def test_the_ratio_that_the_header_admits_is_compared_with_what_radiologists_accept(modality, ratio, expected):
    assert grade("compression-ratio", chest(), modality=modality, LossyImageCompressionRatio=ratio) is expected
    assert grade("compression-ratio", chest(), modality=modality) is None


HOSTILE = {
    "one pixel": np.zeros((1, 1)),
    "black": np.zeros((300, 300)),
    "white": np.ones((300, 300)),
    "half": np.full((300, 300), 0.5),
    "very wide": np.tile(np.linspace(0, 1, 20000, dtype=np.float32), (2, 1)),
    "very high": np.tile(np.linspace(0, 1, 20000, dtype=np.float32)[:, None], (1, 3)),
    "one row": np.linspace(0, 1, 5000)[None],
    "chequered": np.indices((257, 255)).sum(0) % 2,
    "white dot": np.pad(np.ones((1, 1)), 200),
    "noise": np.random.default_rng(0).random((130, 1300)),
    "colour": np.random.default_rng(1).random((70, 90, 3)),
    "one coloured pixel": np.array([[[1.0, 0.0, 0.0]]]),
    "100 x 100 stripes": np.tile([0.0, 1.0], (100, 50)),
}


@pytest.mark.parametrize("modality", ["DX", "CT", "MR", "US", "XC", "ES", "SM", "NM", "MG", "XA", "OT", ""])
@pytest.mark.parametrize("name", HOSTILE)
def test_no_frame_makes_a_check_fail(name, modality):
    frame = as_frame(HOSTILE[name], modality=modality)
    with np.errstate(divide="raise", invalid="raise", over="raise"):
        for check in CHECKS.values():
            verdict = check(Sample(frame), header(**PROJECTION))
            assert verdict is None or np.isfinite(verdict.measured)
    assert check_frame(frame, header(**PROJECTION))


def test_the_checks_leave_the_pixels_as_they_are_and_say_the_same_twice():
    frame = as_frame(chest())
    before = frame.pixels.copy()
    assert check_frame(frame, header(**PROJECTION)) == check_frame(frame, header(**PROJECTION))
    assert np.array_equal(frame.pixels, before)


@pytest.mark.parametrize("artefact", ARTEFACTS)
@pytest.mark.parametrize("shape", [(1, 1), (40, 300), (64, 64, 3)], ids=str)
def test_artefacts_are_made_of_any_image_and_are_the_same_for_the_same_seed(artefact, shape):
    if len(shape) == 3 and artefact in {"grid-lines", "dead-line", "double-exposure", "wide-field", "annotated"}:
        pytest.skip("of grey images")
    pixels = np.random.default_rng(0).random(shape, dtype=np.float32)
    made = [spoil(pixels, artefact, 0.7, np.random.default_rng(2)) for _ in range(2)]
    assert np.array_equal(*made)
    assert made[0].dtype == np.float32
    assert made[0].min() >= 0
    assert made[0].max() <= 1


@pytest.mark.parametrize("strength", [0, -0.1, 1.1])
def test_a_strength_outside_its_range_is_refused(strength):
    with pytest.raises(ValueError, match="strength"):
        spoil(chest_radiograph(), "flat", strength, np.random.default_rng(0))
