"""RLE frames are decoded without a process of their own where they are sound, to the same values; the others go to the plug-ins."""

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import RLELossless

from inference.pixels.codecs import EncodedFrame, decode
from inference.pixels.rle import unpacked
from tests import encodings
from tests.encodings import colour, eight_bits, twelve_bits, waves

pytestmark = pytest.mark.filterwarnings("ignore")

PICTURES = {
    "8 bits": eight_bits,
    "12 bits": twelve_bits,
    "signed": lambda: twelve_bits(waves().astype(np.int16) - 2000, PixelRepresentation=1, BitsStored=16, HighBit=15),
    "colour": colour,
    "YBR": lambda: colour(PhotometricInterpretation="YBR_FULL"),
}


def frame_of(header: Dataset, data: bytes) -> EncodedFrame:
    return EncodedFrame(
        data=data,
        transfer_syntax=RLELossless,
        rows=header.Rows,
        columns=header.Columns,
        samples_per_pixel=header.SamplesPerPixel,
        bits_allocated=header.BitsAllocated,
        bits_stored=header.BitsStored,
        high_bit=header.HighBit,
        pixel_representation=header.PixelRepresentation,
        planar_configuration=0,
        photometric_interpretation=header.PhotometricInterpretation,
        keyword="PixelData",
        vr="OB",
    )


def encoded(folder, header: Dataset) -> EncodedFrame:
    (codestream,) = encodings.codestreams(encodings.by_pydicom(folder, header, RLELossless))
    return frame_of(header, codestream)


@pytest.mark.parametrize("kind", PICTURES)
def test_a_sound_frame_has_the_values_that_the_plug_ins_read(tmp_path, kind):
    frame = encoded(tmp_path, PICTURES[kind]())
    native = unpacked(frame)
    assert native is not None
    (values, shown_as), (expected, expected_as) = decode(native), decode(frame)
    assert (values.dtype, shown_as) == (expected.dtype, expected_as)
    assert np.array_equal(values, expected)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:64],
        lambda data: data[:40],
        lambda data: data[:-40],
        lambda data: b"\x03" + data[1:],
        lambda data: data[:8] + b"\x40" + data[9:],
        lambda data: data[:8] + b"\xff\xff\xff\xff" + data[12:],
        lambda data: data[:64] + bytes(len(data) - 64),
    ],
    ids=["no segment", "half a header", "cut off", "a segment too many", "an empty segment", "a segment beyond the end", "other bytes"],
)
def test_a_damaged_frame_is_left_to_the_plug_ins(tmp_path, damage):
    frame = encoded(tmp_path, twelve_bits())
    assert unpacked(frame_of(twelve_bits(), damage(frame.data))) is None


def test_a_bomb_is_not_unpacked():
    """Two bytes stand for 128: 4 MB of them for 256 MB, of which a frame of 16 pixels needs none."""
    header = eight_bits(np.zeros((4, 4)))
    head = np.array([1, 64, *[0] * 14], dtype="<u4").tobytes()
    assert unpacked(frame_of(header, head + b"\x81\x00" * (2 << 20))) is None
