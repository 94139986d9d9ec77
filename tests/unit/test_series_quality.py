"""What the checks of a series say: nothing of sound ones, one sentence of each damage."""

import random

import pytest
from pydicom import Dataset

from inference.findings import QualityGrade
from inference.quality.series import SERIES_CHECKS, check_series
from tests.builders import ct_slice
from tests.series_damage import DAMAGES, damaged, grown, oblique, sound, subject, twice

CID_6314 = {"130570", "130573", "130574"}


def slice_of(modality, orientation, position, spacing, **attributes):
    header = ct_slice(study_uid="2.25.1", series_uid="2.25.2", number=1, Modality=modality, **attributes)
    header.ImageOrientationPatient, header.ImagePositionPatient = orientation, position
    header.SpacingBetweenSlices = header.SliceThickness = spacing
    return header


CHEST_CT = slice_of("CT", [1, 0, 0, 0, 1, 0], ["-196.200", "-234.400", "-236.750"], "5.000000")
THIN_CT = slice_of("CT", [1, 0, 0, 0, 1, 0], ["-125.000000", "-128.100006", "-99.480003"], "0.625")
TILTED_CT = slice_of("CT", ["1.0000", "0.0000", "0.0000", "0.0000", "0.9272", "-0.3746"], [-110.2153, -98.1898, 72.1446], "5.00")
SAGITTAL_MR = slice_of("MR", [0, 1, 0, 0, 0, -1], [40, -120, 130], "3.3")
OBLIQUE_MR = oblique(SAGITTAL_MR, about_x=13, about_y=-8)
SLICES = (CHEST_CT, THIN_CT, TILTED_CT, SAGITTAL_MR, OBLIQUE_MR)


def alarms(headers, **facts):
    return {one.check: one for one in check_series(subject(headers, **facts)) if one.grade is not QualityGrade.DIAGNOSTIC}


def test_sound_series_of_every_kind_raise_no_alarm():
    for name, headers in sound(SLICES):
        assert not alarms(headers), name


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_damage_is_found_in_every_plane_by_the_check_that_is_made_for_it(damage):
    missed = [index for index, one in enumerate(SLICES) if damage.check not in alarms(damaged(grown(one), damage, seed=index))]
    if damage.check == "mixed-orientations":
        missed = [index for index in missed if SLICES[index].Modality == "CT"]
    assert not missed


def test_every_verdict_has_a_number_a_limit_with_its_source_a_code_and_one_sentence():
    for damage in DAMAGES:
        for verdict in check_series(subject(damaged(grown(CHEST_CT), damage, seed=1))):
            assert verdict.check in SERIES_CHECKS
            assert any(character.isdigit() for character in verdict.threshold_source), verdict.check
            assert (verdict.code.scheme, verdict.code.value in CID_6314) == ("DCM", True)
            assert verdict.sentence.endswith(".")
            assert "CANARY" not in verdict.sentence


def test_the_sentence_says_how_many_slices_are_missing_and_where_it_was_seen():
    left = [one for index, one in enumerate(grown(CHEST_CT)) if index not in {4, 5, 11}]
    verdict = alarms(left)["missing-slices"]
    assert (verdict.measured, verdict.sentence.split(",")[0]) == (3, "In the series 3 slices seem to be missing at 2 places")


def test_the_same_object_received_twice_is_no_repetition():
    series = grown(CHEST_CT)
    assert not alarms([*series, series[3]])


def test_echoes_and_phases_of_one_place_are_no_repetitions_and_a_lost_phase_is_missed():
    heart = grown(SAGITTAL_MR, 10, phases=4)
    assert not alarms(heart)
    assert "truncated" in alarms(heart[:17] + heart[18:])


def test_slices_that_the_route_left_out_are_not_missed():
    series = grown(CHEST_CT)
    for one in series:
        one.ImagesInAcquisition = len(series) + 2
    assert "truncated" in alarms(series)
    assert not alarms(series, left_out=2)


def test_planning_in_three_planes_and_a_fan_of_planes_are_no_mixture_in_mr():
    planes = [oblique(SAGITTAL_MR, about_x=angle, about_y=0) for angle in (0, 45, 90)]
    for number, one in enumerate(planes, start=1):
        one.SOPInstanceUID, one.InstanceNumber = f"2.25.9{number}", number
    assert not alarms(planes)


def frame_content(position, location):
    group = Dataset()
    content, plane = Dataset(), Dataset()
    content.StackID, content.InStackPositionNumber = "1", position
    plane.ImagePositionPatient = [0, 0, location]
    group.FrameContentSequence, group.PlanePositionSequence = [content], [plane]
    return group


def enhanced(positions):
    header = Dataset()
    header.Modality, header.SOPInstanceUID, header.NumberOfFrames = "MR", "2.25.77", len(positions)
    orientation, shared = Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PlaneOrientationSequence = [orientation]
    header.SharedFunctionalGroupsSequence = [shared]
    header.PerFrameFunctionalGroupsSequence = [frame_content(position, 4 * position) for position in positions]
    return header


def test_an_enhanced_object_is_judged_frame_by_frame():
    assert not alarms([enhanced(range(1, 11))])
    found = alarms([enhanced([1, 2, 3, 4, 7, 8, 9, 10])])
    assert found["missing-slices"].measured == 2
    assert found["truncated"].sentence == "2 images are missing from the series, judged by In-Stack Position Numbers (0020,9057)."


def test_an_enhanced_object_with_fewer_descriptions_than_frames_is_truncated():
    header = enhanced(range(1, 11))
    header.NumberOfFrames = 12
    assert alarms([header])["truncated"].measured == 2


def test_a_pet_series_knows_how_many_slices_it_has():
    header = slice_of("PT", [1, 0, 0, 0, 1, 0], [0, 0, 0], "3.27", SOPClassUID="1.2.840.10008.5.1.4.1.1.128")
    series = grown(header, 20)
    for one in series:
        one.NumberOfSlices = 20
    assert not alarms(series)
    assert alarms(series[:15])["truncated"].measured == 5


@pytest.mark.parametrize(
    ("request_text", "description", "agent", "contradicted"),
    [
        ("CT Abdomen without contrast", "Abd portal venous 3.0", "", True),
        ("CT ABDOMEN W/O CONTRAST", "Abd 3.0", "OMNIPAQUE 350", True),
        ("CT Schädel ohne KM", "Kopf nativ", "", False),
        ("CT Abdomen with contrast", "Abd non-con 5.0", "OMNIPAQUE", True),
        ("CT Abdomen with contrast", "Abd portal venous", "OMNIPAQUE", False),
        ("CT ABDOMEN W AND W/O CONTRAST", "native", "", False),
        ("CT abdomen with and without contrast", "arterial", "OMNIPAQUE", False),
        ("CT Abdomen", "arterial", "OMNIPAQUE", None),
        ("CT Abdomen without contrast", "Abd 5.0", "", None),
        ("CT Abdomen without contrast", "Abd 5.0", "NONE", False),
        ("Biopsy native kidney", "Abd arterial", "", None),
    ],
)
def test_contrast_medium_is_compared_with_the_request(request_text, description, agent, contradicted):
    header = slice_of("CT", [1, 0, 0, 0, 1, 0], [0, 0, 0], 5, SeriesDescription=description, ContrastBolusAgent=agent)
    header.RequestedProcedureDescription = request_text
    verdict = SERIES_CHECKS["contrast-medium"](subject([header]))
    assert (None if verdict is None else verdict.grade is not QualityGrade.DIAGNOSTIC) == contradicted


def test_slices_sent_twice_are_counted():
    assert alarms(twice(5)(grown(CHEST_CT), random.Random(1)))["duplicate-positions"].measured == 5
