"""What stored values mean: unused bits, high bits, LUTs with odd descriptors, palettes, colour spaces, ICC profiles."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from inference.frames import UndecodableError, read_frames
from tests import encodings
from tests.builders import ct_slice, radiograph, write_file
from tests.encodings import colour, eight_bits, twelve_bits, waves

pytestmark = pytest.mark.filterwarnings("ignore")

PLAIN = {"RescaleSlope": 1, "RescaleIntercept": 0}


def only_frame(path):
    (frame,) = read_frames(path, [1], maximum_megapixels=10)
    return frame


def written(folder, header):
    return only_frame(write_file(folder / "x.dcm", header))


OVERLAY = 0x8000  # a graphic in bit 15, as old modalities put it there (PS3.5 8.1.2)


@pytest.mark.parametrize("transfer_syntax", [None, RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_an_overlay_in_the_unused_bits_is_left_out(tmp_path, transfer_syntax):
    pixels = waves().copy()
    with_overlay = pixels.copy()
    with_overlay[10:20, 10:20] |= OVERLAY
    header = ct_slice(pixels=with_overlay, **PLAIN)
    path = write_file(tmp_path / "x.dcm", header)
    if transfer_syntax is not None:
        path = encodings.by_pydicom(tmp_path, header, transfer_syntax)  # with all 16 bits, as an archive that compresses would
    data = encodings.rewritten(path, BitsStored=12, HighBit=11)
    assert np.array_equal(only_frame(data).values, pixels)


@pytest.mark.parametrize("representation", [0, 1])
def test_stored_bits_may_lie_above_the_lowest(tmp_path, representation):
    pixels = waves().astype(np.int16) - (2048 if representation else 0)
    header = ct_slice(pixels=(pixels << 4).view(np.uint16) | 5, BitsStored=12, HighBit=15, PixelRepresentation=representation, **PLAIN)
    assert np.array_equal(written(tmp_path, header).values, pixels)


def test_a_high_bit_that_cannot_be_is_passed_over(tmp_path):
    assert np.array_equal(written(tmp_path, twelve_bits(HighBit=3, **PLAIN)).values, waves())


@pytest.mark.parametrize(("slope", "intercept"), [("1", "-1024"), ("0.5", "10"), ("-2", "0"), ("1e-3", "0")])
def test_rescaling_is_a_straight_line(tmp_path, slope, intercept):
    header = twelve_bits(RescaleSlope=slope, RescaleIntercept=intercept)
    assert written(tmp_path, header).values == pytest.approx(waves() * float(slope) + float(intercept), rel=1e-6)


def lut(data, first, bits=16, *, vr="US", data_vr="US"):
    item = Dataset()
    item.add_new("LUTDescriptor", vr, [len(data) % 65536, first, bits])
    item.add_new("LUTData", data_vr, data if data_vr == "US" else np.asarray(data, "<u2").tobytes())
    return Sequence([item])


@pytest.mark.parametrize("vr", ["US", "SS"])
def test_the_first_value_of_a_table_may_be_negative(tmp_path, vr):
    pixels = np.array([[-3, -2, -1, 0, 5]], dtype=np.int16)
    header = ct_slice(pixels=pixels.view(np.uint16), PixelRepresentation=1, RescaleSlope=None, RescaleIntercept=None, RescaleType=None)
    header.ModalityLUTSequence = lut([10, 20, 30], 65534 if vr == "US" else -2, vr=vr)
    assert written(tmp_path, header).values[0].tolist() == [10, 10, 20, 30, 30]


def test_a_table_of_65536_entries_says_that_it_has_none(tmp_path):
    header = radiograph(pixels=np.array([[0, 65535]], np.uint16), RescaleSlope=None, RescaleIntercept=None, RescaleType=None)
    header.ModalityLUTSequence = lut(list(range(65535, -1, -1)), 0, data_vr="OW")
    assert written(tmp_path, header).values[0].tolist() == [65535, 0]


def test_of_several_windows_the_first_is_used(tmp_path):
    header = ct_slice(WindowCenter=[40, -600], WindowWidth=[400, 1500])
    assert "window 40/400 (header)" in written(tmp_path, header).steps


def with_palette(header, red, green, blue, *, bits=16, first=0, segmented=False):
    for name, entries in (("Red", red), ("Green", green), ("Blue", blue)):
        header.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [256 if segmented else len(entries), first, bits])
        data = np.asarray(entries, "u1" if bits == 8 else "<u2").tobytes()
        header.add_new(f"{'Segmented' if segmented else ''}{name}PaletteColorLookupTableData", "OW", data + b"\0" * (len(data) % 2))
    header.PhotometricInterpretation = "PALETTE COLOR"
    return header


def test_values_outside_a_palette_take_its_ends(tmp_path):
    header = with_palette(eight_bits(np.array([[0, 9, 10, 11, 255]])), [0, 65535], [65535, 0], [0, 0], first=10)
    assert written(tmp_path, header).pixels[0, :, :2].tolist() == [[0, 1], [0, 1], [0, 1], [1, 0], [1, 0]]


def test_a_palette_of_bytes(tmp_path):
    frame = written(tmp_path, with_palette(eight_bits(np.array([[0, 1]])), [0, 255], [51, 0], [0, 0], bits=8))
    assert frame.pixels[0].tolist() == [[0, pytest.approx(0.2), 0], [1, 0, 0]]
    assert frame.steps == ("palette applied",)


def test_a_palette_whose_words_hold_bytes(tmp_path):
    frame = written(tmp_path, with_palette(eight_bits(np.array([[0, 1]])), [0, 255], [51, 0], [0, 0]))
    assert frame.pixels[0].tolist() == [[0, pytest.approx(0.2), 0], [1, 0, 0]]
    assert frame.steps == ("palette applied (8-bit entries in 16 bits)",)


def test_a_palette_in_segments(tmp_path):
    ramp, flat = [0, 1, 0, 1, 255, 65535], [0, 2, 7, 9, 1, 254, 9]
    frame = written(tmp_path, with_palette(eight_bits(np.array([[0, 51, 255]])), ramp, flat, flat, segmented=True))
    assert frame.pixels[0, :, 0].tolist() == pytest.approx([0, 0.2, 1])
    assert frame.pixels[0, :, 1] * 65535 == pytest.approx([7, 9, 9])


@pytest.mark.parametrize(
    "segments",
    [[1, 5, 100], [0, 9, 1], [2, 1, 0, 0], [7, 1, 1], [0, 1, 0, 1, 0, 5]],
    ids=["no start", "cut", "indirect", "odd", "no length"],
)
def test_segments_that_stand_for_nothing(tmp_path, segments):
    with pytest.raises(UndecodableError, match="palette"):
        written(tmp_path, with_palette(eight_bits(np.array([[0, 1]])), segments, segments, segments, segmented=True))


def test_segments_that_would_fill_memory_are_cut_at_the_longest_table(tmp_path):
    endless = [0, 1, 0, *([1, 65535, 9] * 5000)]
    frame = written(tmp_path, with_palette(eight_bits(np.array([[0, 255]])), endless, endless, endless, segmented=True))
    assert frame.pixels.shape == (1, 2, 3)


def test_a_palette_that_is_too_short(tmp_path):
    header = with_palette(eight_bits(np.array([[0, 1]])), [0, 65535], [0, 0], [0, 0])
    header.GreenPaletteColorLookupTableDescriptor = [500, 0, 16]
    with pytest.raises(UndecodableError, match="palette is shorter"):
        written(tmp_path, header)


def test_colour_of_sixteen_bits(tmp_path):
    pixels = np.array([[[0, 32768, 65535]]], dtype=np.uint16)
    header = colour(np.zeros((1, 1, 3)), BitsAllocated=16, BitsStored=16, HighBit=15)
    header.PixelData = pixels.tobytes()
    assert written(tmp_path, header).pixels[0, 0] == pytest.approx([0, 0.5, 1], abs=1e-4)


def test_ybr_of_more_than_eight_bits_is_refused(tmp_path):
    header = colour(np.zeros((1, 1, 3)), BitsAllocated=16, BitsStored=16, HighBit=15, PhotometricInterpretation="YBR_FULL")
    header.PixelData = bytes(6)
    with pytest.raises(UndecodableError, match="more than 8 bits"):
        written(tmp_path, header)


def test_ybr_with_half_the_colour(tmp_path):
    """Two pixels share their colour: Y1 Y2 Cb Cr (PS3.3 C.7.6.3.1.2)."""
    header = colour(np.zeros((1, 4, 3)), PhotometricInterpretation="YBR_FULL_422")
    header.PixelData = bytes([76, 76, 85, 255, 51, 204, 128, 128])
    expected = [[255, 0, 0], [255, 0, 0], [51, 51, 51], [204, 204, 204]]
    assert written(tmp_path, header).pixels[0] * 255 == pytest.approx(np.array(expected), abs=2)


def profile(name):
    """The bytes of a profile that PIL can make."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


def exchanged():
    """sRGB under another name, with what red and green stand for exchanged: a profile whose effect cannot be overlooked."""
    data = bytearray(profile("sRGB"))
    tags = {bytes(data[at : at + 4]): at for at in range(132, 132 + 12 * int.from_bytes(data[128:132], "big"), 12)}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data).replace("sRGB".encode("utf-16-be"), "odd ".encode("utf-16-be")).replace(b"sRGB", b"odd ")


def test_the_profile_of_a_camera_is_applied(tmp_path):
    header = colour(np.full((2, 2, 3), (255, 0, 0)), ICCProfile=exchanged())
    frame = written(tmp_path, header)
    assert frame.steps == ("converted to sRGB by the ICC profile",)
    assert frame.pixels[0, 0].tolist() == [pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.02), pytest.approx(0, abs=0.02)]


def test_srgb_stays_as_it_is_to_the_bit(tmp_path):
    plain = written(tmp_path, colour())
    frame = written(tmp_path, colour(ICCProfile=profile("sRGB")))
    assert frame.steps == ()
    assert np.array_equal(frame.pixels, plain.pixels)


@pytest.mark.parametrize("data", [b"no profile at all.", profile("LAB")], ids=["none", "not of RGB"])
def test_a_profile_that_cannot_be_used_is_left_out_and_said_so(tmp_path, data):
    frame = written(tmp_path, colour(ICCProfile=data + b"\0" * (len(data) % 2)))
    assert frame.steps == ("ICC profile left out (it cannot be used)",)


def test_a_profile_inside_a_compressed_frame_changes_nothing(tmp_path):
    """What counts is the header's; the codestream of a photograph may have one too."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), (200, 90, 30), np.uint8)).save(buffer, "JPEG", quality=95, icc_profile=exchanged(), subsampling=0)
    header = colour(np.zeros((16, 16, 3)), PhotometricInterpretation="YBR_FULL")
    path = encodings.encapsulated(tmp_path, header, [buffer.getvalue()], "1.2.840.10008.1.2.4.50")
    assert only_frame(path).pixels[8, 8] * 255 == pytest.approx([200, 90, 30], abs=3)
