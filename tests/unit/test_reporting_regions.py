"""The region report: where Present findings are, under the same tracking UIDs as in the findings report, and nothing else."""

import io
from dataclasses import replace

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from inference.findings import Presence, Region
from reporting import ENCODERS
from tests.conformance.sr_documents import (
    FRONTAL,
    KINDS,
    LATERAL,
    LOCALISED,
    MULTI_FRAME_IMAGE,
    MULTI_FRAME_POSITIVE,
    POSITIVE,
    PREVIOUS,
    PRODUCER,
    WITHDRAWN,
    encode,
    headers_of,
)
from tests.conformance.sr_readback import concept, groups, walk


def encoded(made, previous=None):
    return ENCODERS["sr-regions"](made, headers_of(made), producer=PRODUCER, previous=previous)


def read(made, previous=None) -> Dataset:
    result = encoded(made, previous)
    assert result is not None
    return dcmread(io.BytesIO(result.data))


def at(made, *regions: Region):
    return replace(made, findings=(replace(made.findings[0], regions=regions), *made.findings[1:]))


def tracking(group: Dataset) -> str:
    return next(item.UID for item in group.ContentSequence if concept(item) == "112040")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"localised", "withdrawn"}])
def test_without_a_known_place_there_is_no_region_report(kind):
    assert encoded(KINDS[kind]) is None


def test_every_region_of_a_present_finding_is_a_group_with_the_tracking_uid_of_the_finding():
    finding = groups(dcmread(io.BytesIO(encode(LOCALISED).data)))[1]
    drawn = groups(read(LOCALISED))
    assert [tracking(group) for group in drawn] == [tracking(finding)] * 2


def test_a_finding_that_is_not_present_is_not_outlined_wherever_it_may_be():
    elsewhere = replace(LOCALISED.findings[1], presence=Presence.ABSENT)
    assert encoded(replace(LOCALISED, findings=(elsewhere,))) is None


def test_an_outline_is_closed_and_on_its_image():
    first = next(item for item in walk(read(LOCALISED)) if concept(item) == "111030")
    assert (first.GraphicType, list(first.GraphicData)) == ("POLYLINE", [300, 80, 420.5, 80, 420.5, 200, 300, 200, 300, 80])
    (image,) = first.ContentSequence
    assert image.RelationshipType == "SELECTED FROM"
    assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == FRONTAL.sop_instance_uid


def test_a_region_on_a_frame_names_the_frame():
    made = at(MULTI_FRAME_POSITIVE, Region.box(MULTI_FRAME_IMAGE, left=1, top=1, right=5, bottom=5))
    region = next(item for item in walk(read(made)) if concept(item) == "111030")
    assert region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedFrameNumber == MULTI_FRAME_IMAGE.frame_number


def test_regions_lie_in_a_series_of_their_own():
    findings = dcmread(io.BytesIO(encode(LOCALISED).data))
    document = read(LOCALISED)
    assert document.SeriesInstanceUID != findings.SeriesInstanceUID
    assert document.SeriesDescription == "AI TRIAGE REGIONS - UNVERIFIED - RESEARCH"
    assert document.VerificationFlag == "UNVERIFIED"


def test_regions_that_do_not_stand_any_more_are_superseded_by_a_report_without_any():
    document = read(POSITIVE, PREVIOUS)
    assert groups(document) == []
    assert (document.SeriesInstanceUID, document.InstanceNumber) == (PREVIOUS.series_instance_uid, 2)
    assert "PredecessorDocumentsSequence" in document
    assert any("No region is reported any more" in item.get("TextValue", "") for item in walk(document))


def test_a_withdrawal_has_no_region():
    document = read(WITHDRAWN, PREVIOUS)
    assert groups(document) == []
    assert any("WITHDRAWN" in item.get("TextValue", "") for item in walk(document))


def test_a_region_that_leads_out_of_its_image_is_refused():
    with pytest.raises(ValueError, match="leads out of"):
        encoded(at(LOCALISED, Region.box(FRONTAL, left=0, top=0, right=449, bottom=10)))


def test_a_region_on_another_image_than_its_finding_is_refused():
    with pytest.raises(ValueError, match="no image of this finding"):
        encoded(at(LOCALISED, Region.box(LATERAL, left=0, top=0, right=9, bottom=10)))


@pytest.mark.parametrize(
    "points", [((1, 1), (2, 2)), ((1, 1), (2, 2), (1, 1)), ((0, -1), (2, 2), (3, 1)), ((0, float("nan")), (2, 2), (3, 1))]
)
def test_a_region_needs_three_points_inside_the_plane(points):
    with pytest.raises(ValueError, match="a region needs"):
        Region(image=FRONTAL, points=points)
