"""Which frames are shown: slices by their place, stacks apart, copies once."""

from pathlib import Path

import pytest

from config import load
from config.catalogue import model_digest
from config.manifests import SeriesSection
from inference.scores import pool
from inference.selection import SelectedInstance, choose_frames
from tests.builders import ct_slice
from tests.embedded import MODEL
from tests.series_damage import oblique


def selected(header):
    return SelectedInstance(path=Path(f"{header.SOPInstanceUID}.dcm"), header=header)


def chest(number, location, **attributes):
    header = ct_slice(study_uid="2.25.1", series_uid="2.25.2", number=number, **attributes)
    header.ImagePositionPatient = [0, 0, location]
    return selected(header)


def uids(chosen):
    return [one.instance.image.sop_instance_uid for one in chosen]


def test_slices_are_shown_by_their_place_whatever_their_numbers_say():
    slices = [chest(number, location) for number, location in ((1, 30), (2, -5), (3, 10), (4, 0))]
    in_order = [slices[index].image.sop_instance_uid for index in (1, 3, 2, 0)]
    assert uids(choose_frames(slices, maximum_frames=10)) == in_order
    assert uids(choose_frames(slices[::-1], maximum_frames=10)) == in_order


def test_slices_are_taken_evenly_by_place():
    slices = [chest(100 - level, 2.5 * level) for level in range(9)]
    taken = [one for one in choose_frames(slices, maximum_frames=3) if one.frame_numbers]
    assert [float(one.instance.header.ImagePositionPatient[2]) for one in taken] == [2.5, 10.0, 17.5]


def test_two_stacks_of_a_series_are_judged_apart_and_single_planes_together():
    discs = [ct_slice(series_uid="2.25.2", number=number) for number in range(1, 9)]
    first, second, lone = discs[:4], [oblique(one, about_x=20, about_y=0) for one in discs[4:7]], oblique(discs[7], about_x=60, about_y=0)
    chosen = choose_frames([selected(one) for one in (*second, lone, *first)], maximum_frames=64)
    groups = [one.group for one in chosen]
    assert [groups.count(group) for group in dict.fromkeys(groups)] == [5, 3]
    assert len(set(groups[:5])) == 1


def test_a_series_that_says_nothing_about_places_goes_by_its_numbers():
    slices = [selected(ct_slice(series_uid="2.25.2", number=number, ImagePositionPatient=None)) for number in (3, 1, 2)]
    assert [int(one.instance.header.InstanceNumber) for one in choose_frames(slices, maximum_frames=9)] == [1, 2, 3]


@pytest.mark.parametrize(("rule", "value"), [("mean-of-highest", 0.8), ("highest", 0.9), ("mean", 0.4), ("median", 0.3)])
def test_a_manifest_says_how_slices_are_pooled(rule, value):
    assert pool([0.1, 0.9, 0.7, 0.0, 0.3], rule=rule, highest=2) == pytest.approx(value)


def test_a_calibration_holds_only_for_the_rule_that_it_was_made_with():
    manifest = load(None)[1].manifest(MODEL)
    other = manifest.model_copy(update={"series": SeriesSection(pool="highest")})
    assert model_digest(other) != model_digest(manifest)
    assert model_digest(manifest.model_copy(update={"series": SeriesSection()})) == model_digest(manifest)
