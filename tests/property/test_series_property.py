"""However the files of a series come, its geometry is the same; and no header breaks it."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from inference.series.geometry import geometry
from inference.series.slices import orientation_of

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom warns of each odd value

ANGLES = st.floats(-180, 180)


def rotation(about_x, about_y, about_z):
    """The matrix of three turns, in degrees."""
    matrix = np.eye(3)
    for axis, angle in enumerate((about_x, about_y, about_z)):
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        turn = np.eye(3)
        first, second = [index for index in range(3) if index != axis]
        turn[first, first] = turn[second, second] = cosine
        turn[first, second], turn[second, first] = -sine, sine
        matrix = matrix @ turn
    return matrix


def decimal(values):
    """Numbers as a modality writes them: Decimal Strings of at most 16 characters."""
    return [f"{value:.6f}" for value in values]


def slice_at(level, *, turn, spacing=2.5, number=None, uid=None):
    header = Dataset()
    header.Modality, header.SOPInstanceUID = "CT", f"2.25.{1000 + level}" if uid is None else uid
    header.InstanceNumber = level + 1 if number is None else number
    header.ImageOrientationPatient = decimal([*turn[:, 0], *turn[:, 1]])
    header.ImagePositionPatient = decimal(turn @ np.array([-100, -80, level * spacing]))
    return header


def order(found, headers):
    return [(str(headers[one.header].SOPInstanceUID), one.frames) for one in found.slices]


@settings(max_examples=60, deadline=None)
@given(angles=st.tuples(ANGLES, ANGLES, ANGLES), count=st.integers(2, 20), shuffle=st.randoms(use_true_random=False))
def test_files_in_any_order_of_any_plane_are_one_stack_in_one_order(angles, count, shuffle):
    turn = rotation(*angles)
    numbers = shuffle.sample(range(1, 100), count)  # Instance Numbers say nothing about places
    headers = [slice_at(level, turn=turn, number=number) for level, number in enumerate(numbers)]
    shuffled = shuffle.sample(headers, count)
    in_order, out_of_order = geometry(headers), geometry(shuffled)
    assert order(in_order, headers) == order(out_of_order, shuffled)
    (stack,) = out_of_order.stacks
    assert stack.spacing_mm == pytest.approx(2.5, abs=1e-3)
    assert np.allclose(stack.gaps_mm, 2.5, atol=1e-3)
    levels = [one.header for one in in_order.slices]
    assert levels in (sorted(levels), sorted(levels, reverse=True))


@settings(max_examples=40, deadline=None)
@given(angles=st.tuples(ANGLES, ANGLES, ANGLES))
def test_planes_seen_from_behind_are_in_the_same_order(angles):
    turn = rotation(*angles)
    behind = turn @ np.diag([1, -1, -1])
    here = geometry([slice_at(level, turn=turn) for level in range(5)])
    there = geometry([with_plane(slice_at(level, turn=turn), behind) for level in range(5)])
    normal = orientation_of(slice_at(0, turn=turn)).normal
    if min(abs(abs(a) - abs(b)) for a, b in combinations(normal, 2)) > 1e-3:  # no tie for the largest part
        assert [one.header for one in here.slices] == [one.header for one in there.slices]


def with_plane(header, turn):
    header.ImageOrientationPatient = decimal([*turn[:, 0], *turn[:, 1]])
    return header


@settings(max_examples=40, deadline=None)
@given(
    first=st.tuples(ANGLES, ANGLES, ANGLES),
    tilt=st.floats(3, 80),
    counts=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    shuffle=st.randoms(use_true_random=False),
)
def test_planes_that_are_not_parallel_are_stacks_of_their_own(first, tilt, counts, shuffle):
    one, other = rotation(*first), rotation(*first) @ rotation(tilt, 0, 0)
    headers = [
        slice_at(level, turn=turn, uid=f"2.25.{turn is other:d}{level}")
        for turn, n in zip((one, other), counts, strict=True)
        for level in range(n)
    ]
    shuffled = shuffle.sample(headers, len(headers))
    found = geometry(shuffled)
    assert sorted(len(stack.slices) for stack in found.stacks) == sorted(counts)
    assert order(found, shuffled) == order(geometry(headers), headers)


WORDS = st.sampled_from(["", "1", "-7.25", "1\\0\\0\\0\\1\\0", "0\\0\\5", "abc", "1e400", "nan", "0\\0", "1\\0\\0\\1\\0\\0", "9" * 400])
FOUND = ("ImageOrientationPatient", "ImagePositionPatient", "SliceLocation", "InstanceNumber", "NumberOfFrames", "SliceVector")


def as_received(keyword, value):
    """The bytes of an element as they stand in a file, not yet looked at."""
    return RawDataElement(Tag(keyword), dictionary_VR(keyword), len(value), value, 0, False, True)


@settings(max_examples=150, deadline=None)
@given(values=st.lists(st.dictionaries(st.sampled_from(FOUND), WORDS, max_size=6), max_size=6), shuffle=st.randoms(use_true_random=False))
def test_no_header_breaks_it_and_no_slice_is_lost(values, shuffle):
    headers = []
    for number, attributes in enumerate(values):
        header = Dataset()
        header.SOPInstanceUID = f"2.25.{number + 1}"
        for keyword, value in attributes.items():
            header[keyword] = as_received(keyword, value.encode())
        headers.append(header)
    shuffled = shuffle.sample(headers, len(headers))
    found = geometry(headers)
    assert sorted(one.header for one in found.slices) == list(range(len(headers)))
    assert order(found, headers) == order(geometry(shuffled), shuffled)
