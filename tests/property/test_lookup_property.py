"""Lookup tables and segments do what PS3.3 says, entry by entry, for whatever a descriptor holds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from inference.pixels.lookup import lookup
from inference.pixels.segmented_lookup import expanded

ENTRIES = st.lists(st.integers(0, 65535), min_size=1, max_size=40)
VALUES = st.lists(st.integers(-32768, 65535), min_size=1, max_size=30)


def item(entries, first, bits, data_vr):
    found = Dataset()
    found.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    found.add_new("LUTData", data_vr, entries if data_vr == "US" else np.asarray(entries, "<u2").tobytes())
    return found


@given(entries=ENTRIES, first=st.integers(-32768, 32767), values=VALUES, data_vr=st.sampled_from(["US", "OW"]))
def test_a_value_takes_its_entry_and_those_outside_take_the_ends(entries, first, values, data_vr):
    mapped, bits = lookup(item(entries, first, 16, data_vr), np.asarray(values, np.float32), little_endian=True)
    assert bits == 16
    assert mapped.tolist() == [entries[min(max(value - first, 0), len(entries) - 1)] for value in values]


@given(entries=ENTRIES, first=st.integers(-32768, -1), values=st.lists(st.integers(-32768, 32767), min_size=1))
def test_a_negative_first_value_written_without_a_sign_means_the_same(entries, first, values):
    stored = np.asarray(values, np.int16)
    signed, _ = lookup(item(entries, first, 16, "US"), stored, little_endian=True)
    unsigned, _ = lookup(item(entries, first + 65536, 16, "US"), stored, little_endian=True)
    assert np.array_equal(signed, unsigned)


@given(entries=st.lists(st.integers(0, 255), min_size=2, max_size=40).filter(lambda found: len(found) % 2 == 0), values=VALUES)
def test_entries_of_bytes_may_be_packed(entries, values):
    packed = item(entries, 0, 8, "OW")
    packed["LUTData"].value = bytes(entries)
    mapped, bits = lookup(packed, np.asarray(values, np.float32), little_endian=True)
    assert bits == 8
    assert mapped.tolist() == [entries[min(max(value, 0), len(entries) - 1)] for value in values]


@given(entries=ENTRIES, claimed=st.integers(0, 65535), bits=st.integers(0, 40))
def test_a_table_shorter_than_its_descriptor_is_refused(entries, claimed, bits):
    found = item(entries, 0, bits, "US")
    found.LUTDescriptor = [claimed, 0, bits]
    if 0 < bits <= 16 and 0 < claimed <= len(entries):
        assert lookup(found, np.zeros(1), little_endian=True)[0].tolist() == [entries[0]]
    else:
        with pytest.raises(ValueError, match="table"):
            lookup(found, np.zeros(1), little_endian=True)


@given(entries=st.lists(st.integers(0, 65535), min_size=1, max_size=60))
def test_discrete_segments_are_their_entries(entries):
    middle = len(entries) // 2
    segments = [0, middle, *entries[:middle], 0, len(entries) - middle, *entries[middle:]]
    assert expanded(np.asarray(segments)).tolist() == entries


@given(start=st.integers(0, 65535), end=st.integers(0, 65535), length=st.integers(1, 300))
def test_a_linear_segment_goes_straight_from_the_entry_before_to_its_end(start, end, length):
    found = expanded(np.asarray([0, 1, start, 1, length, end])).astype(int)
    assert (len(found), found[0], found[-1]) == (length + 1, start, end)
    assert np.abs(np.diff(found, 2)).max(initial=0) <= 1


@given(segments=st.lists(st.integers(0, 3) | st.integers(0, 65535), max_size=60))
def test_any_numbers_are_a_table_or_refused(segments):
    try:
        found = expanded(np.asarray(segments, dtype=np.uint16))
    except ValueError:
        return
    assert len(found) <= 65536
