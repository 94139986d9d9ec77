"""Copies, reformats and unprocessed images are left out beside what they were made from, and only then."""

import random

import pytest
from pydantic import ValidationError

from config import load
from config.routes import Exclude
from dicom_node.routing.explanation import Outcome, explain
from dicom_node.routing.rules import RoutableInstance, route_study
from tests.builders import ct_slice, radiograph

ROUTES = load(None)[1].routes


def routable(*headers):
    return [RoutableInstance(header=header, calling_ae_title="PACS", carried=header.SOPInstanceUID) for header in headers]


def left_out(*headers):
    """Reasons by SOP Instance UID; every instance is in one route."""
    routed = route_study(routable(*headers), ROUTES)
    found = {out.instance.carried: out.reason for one in routed for out in one.left_out}
    assert {one.carried for part in routed for one in part.selected} | set(found) == {header.SOPInstanceUID for header in headers}
    return found


def processed(intent, *, number, event="2.25.5", **attributes):
    return radiograph(study_uid="2.25.1", number=number, PresentationIntentType=intent, IrradiationEventUID=event, **attributes)


def test_the_unprocessed_image_is_left_out_beside_the_processed_one_and_read_if_it_is_alone():
    raw, shown = processed("FOR PROCESSING", number=1), processed("FOR PRESENTATION", number=2)
    assert left_out(raw, shown) == {raw.SOPInstanceUID: "unprocessed image of an exposure that is here for presentation"}
    assert left_out(raw) == {}


def test_another_exposure_is_no_copy():
    assert left_out(processed("FOR PROCESSING", number=1), processed("FOR PRESENTATION", number=2, event="2.25.6")) == {}


def test_of_several_images_of_one_exposure_the_original_stays_whatever_order_they_came_in():
    original = processed("FOR PRESENTATION", number=3)
    smoothed = [processed("FOR PRESENTATION", number=n, ImageType=["DERIVED", "PRIMARY", ""]) for n in (1, 2)]
    for seed in range(4):
        assert set(left_out(*random.Random(seed).sample([original, *smoothed], 3))) == {one.SOPInstanceUID for one in smoothed}


def test_of_equal_images_of_one_exposure_the_first_by_number_stays():
    images = [processed("FOR PRESENTATION", number=number) for number in (2, 1, 3)]
    found = left_out(*images)
    assert set(found) == {images[0].SOPInstanceUID, images[2].SOPInstanceUID}
    assert set(found.values()) == {"second image of the same exposure"}


def test_a_reformat_is_left_out_beside_its_originals_and_read_without_them():
    reformat = ct_slice(study_uid="2.25.1", series_uid="2.25.9", ImageType=["DERIVED", "PRIMARY", "MPR"])
    axial = [ct_slice(study_uid="2.25.1", series_uid="2.25.8", number=number) for number in (1, 2)]
    assert left_out(reformat, *axial) == {reformat.SOPInstanceUID: "reformat or projection of images that are here"}
    assert left_out(reformat) == {}


def test_a_compressed_original_is_no_reformat():
    squeezed = ct_slice(study_uid="2.25.1", series_uid="2.25.8", ImageType=["DERIVED", "PRIMARY", "AXIAL"])
    axial = ct_slice(study_uid="2.25.1", series_uid="2.25.8", number=2)
    assert left_out(squeezed, axial) == {}


def test_slices_that_time_the_contrast_medium_are_left_out():
    timing = ct_slice(study_uid="2.25.1", series_uid="2.25.7", SeriesDescription="Monitoring 10.0")
    axial = ct_slice(study_uid="2.25.1", series_uid="2.25.8")
    assert left_out(timing, axial) == {timing.SOPInstanceUID: "slices that time the contrast medium"}


def test_the_explanation_gives_the_reason():
    raw, shown = processed("FOR PROCESSING", number=1), processed("FOR PRESENTATION", number=2)
    chest = next(rule for rule in explain(routable(raw, shown), ROUTES) if rule.route.name == "chest-radiograph")
    assert [(one.outcome, bool(one.reason)) for one in chest.instances] == [(Outcome.LEFT_OUT, True), (Outcome.SELECTED, False)]


def test_same_without_something_to_compare_with_is_a_mistake():
    with pytest.raises(ValidationError, match="same needs beside"):
        Exclude.model_validate({"reason": "copy", "when": [{"attribute": "Modality", "equals": "DX"}], "same": ["ViewPosition"]})
