"""What a header says against itself, against the pixels, and against what the model sees."""

import numpy as np
import pytest
from pydicom import Dataset

from config import Code
from inference.findings import QualityGrade
from inference.frames import read_frames
from inference.gate import KindShare
from inference.quality import CHECKS
from inference.quality.header import HEADER_CHECKS, HeaderSubject, PixelFacts, check_header
from inference.quality.series import SERIES_CHECKS
from tests.builders import ct_slice, radiograph, write_file

KNEE = KindShare(label="knee-radiograph", words="KNEE RADIOGRAPH", share=0.97, foreign=False, made_by="RG")
CHEST = KindShare(label="chest-radiograph", words="CHEST RADIOGRAPH", share=0.99, foreign=False, made_by="RG")
HEAD_CT = KindShare(label="head-ct", words="HEAD CT", share=0.96, foreign=False, made_by="CT")


def judged(tmp_path, header, *, shown=None):
    path = write_file(tmp_path / f"{header.SOPInstanceUID}.dcm", header)
    (frame,) = read_frames(path, [1], maximum_megapixels=10)
    verdicts = check_header(HeaderSubject(pixels=PixelFacts.of(frame, header), shown=shown))
    return {verdict.check: verdict for verdict in verdicts}


def alarms(tmp_path, header, *, shown=None):
    return {name: one for name, one in judged(tmp_path, header, shown=shown).items() if one.grade is not QualityGrade.DIAGNOSTIC}


def wide(**attributes):
    """A radiograph whose pixels are 30 cm of chest."""
    return radiograph(ImagerPixelSpacing=[5, 5], **attributes)


def test_no_two_checks_have_one_name():
    names = [*CHECKS, *HEADER_CHECKS, *SERIES_CHECKS]
    assert len(set(names)) == len(names)


def test_good_headers_raise_no_alarm_and_every_verdict_is_whole(tmp_path):
    radiographs = judged(tmp_path, wide(), shown=CHEST)
    slices = judged(tmp_path, ct_slice(PatientPosition="HFS"))
    for verdicts in (radiographs, slices):
        for name, verdict in verdicts.items():
            assert (verdict.check, verdict.grade) == (name, QualityGrade.DIAGNOSTIC), verdict.sentence
            assert any(character.isdigit() for character in verdict.threshold_source), name
            assert isinstance(verdict.code, Code)
            assert verdict.sentence.endswith(".")
    assert set(radiographs) | set(slices) == set(HEADER_CHECKS) - {"laterality"}


def test_the_wrong_part_of_the_body_is_named_where_the_model_is_sure(tmp_path):
    found = alarms(tmp_path, wide(), shown=KNEE)
    assert found["body-part"].sentence == "The header names another part of the body than the pixels show: KNEE RADIOGRAPH (p = 0.97)."
    unsure = KindShare(label="knee-radiograph", words="KNEE RADIOGRAPH", share=0.6, foreign=False, made_by="RG")
    assert not alarms(tmp_path, wide(), shown=unsure)


def test_a_part_that_the_model_does_not_know_is_not_contradicted(tmp_path):
    assert not alarms(tmp_path, wide(BodyPartExamined="LSPINE"), shown=KNEE)


def test_another_modality_is_named(tmp_path):
    found = alarms(tmp_path, wide(BodyPartExamined="SKULL"), shown=HEAD_CT)
    assert set(found) == {"modality"}
    assert found["modality"].sentence == "The header says modality DX, the pixels show HEAD CT (p = 0.96)."


@pytest.mark.parametrize(
    ("attributes", "check"),
    [
        ({"ViewPosition": "PA", "PatientOrientation": ["A", "F"]}, "view-position"),
        ({"ViewPosition": "LL", "PatientOrientation": ["L", "F"]}, "view-position"),
        ({"ImageLaterality": "L", "Laterality": "R"}, "laterality"),
        ({"BodyPartExamined": "HAND", "ImageLaterality": "", "Laterality": ""}, "laterality"),
        ({"PresentationLUTShape": "INVERSE"}, "photometric"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "photometric"),
        ({"ImagerPixelSpacing": [0.002, 0.002]}, "pixel-spacing"),
        ({"ImagerPixelSpacing": [50, 50]}, "pixel-spacing"),
        ({"ImagerPixelSpacing": [5, 9]}, "pixel-spacing"),
        ({"WindowCenter": 60000, "WindowWidth": 100}, "window"),
        ({"WindowCenter": 2000, "WindowWidth": 0}, "window"),
        ({"WindowCenter": 40, "WindowWidth": 4000000}, "window"),
        ({"ImageLaterality": ""}, "position-missing"),
        ({"BurnedInAnnotation": None}, "annotation-unsaid"),
    ],
)
def test_a_radiograph_with_a_bad_header_is_found(tmp_path, attributes, check):
    assert check in alarms(
        tmp_path,
        wide(**{"BodyPartExamined": "CHEST", **attributes}) if "ImagerPixelSpacing" not in attributes else radiograph(**attributes),
    )


def test_a_slice_without_its_place_is_found_and_told_what_it_lacks(tmp_path):
    header = ct_slice(ImageOrientationPatient=None, ImagePositionPatient=None)
    sentence = alarms(tmp_path, header)["position-missing"].sentence
    assert sentence.endswith("it lacks Image Orientation (Patient), Image Position (Patient), Patient Position.")


def test_pixels_with_few_steps_of_grey_in_deep_pixels_are_found(tmp_path):
    flat = (np.arange(64 * 64).reshape(64, 64) % 20).astype(np.uint16)
    assert "bits-stored" in alarms(tmp_path, wide(pixels=flat, WindowCenter=10, WindowWidth=20))


@pytest.mark.filterwarnings("ignore")
def test_headers_of_anything_else_and_empty_ones_break_nothing():
    frame_facts = PixelFacts(
        image=subject_image(), header=Dataset(), rows=10, columns=10, spacing_mm=(0.0001, 1e9), lowest=0.0, highest=0.0
    )
    assert isinstance(check_header(HeaderSubject(pixels=frame_facts, shown=KNEE)), tuple)


def subject_image():
    from inference.findings import ImageRef  # noqa: PLC0415 - one use

    return ImageRef(sop_class_uid="1.2", sop_instance_uid="2.25.1")
