"""Every transfer syntax that pydicom knows, and two that it does not, written by others and read by us: the same pixels come out."""

import numpy as np
import pytest
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from inference.frames import read_frames
from inference.pixels.codecs import ENCAPSULATED
from inference.pixels.pixel_data import NATIVE
from tests import encodings
from tests.builders import write_file
from tests.encodings import (
    BY_DCMTK,
    DEFLATED_IMAGE_FRAME,
    ENCAPSULATED_UNCOMPRESSED,
    HTJ2K,
    colour,
    eight_bits,
    several,
    twelve_bits,
    waves,
)

pytestmark = [
    pytest.mark.skipif(not encodings.has("dcmcjpeg"), reason="DCMTK is not installed"),
    pytest.mark.filterwarnings("ignore"),
]

LOSSLESS_BY_DCMTK = (JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless)
LOSSLESS_BY_PYDICOM = (RLELossless, JPEGLSLossless, JPEG2000Lossless)
STILL = {"RescaleSlope": 1, "RescaleIntercept": 0}


def read(path, *numbers):
    return list(read_frames(path, numbers or (1,), maximum_megapixels=10))


def values(path):
    (frame,) = read(path)
    return frame.values


@pytest.mark.parametrize("transfer_syntax", LOSSLESS_BY_DCMTK, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("build", [twelve_bits, eight_bits])
def test_what_dcmtk_compressed_without_loss_is_read_without_loss(tmp_path, transfer_syntax, build):
    path = encodings.by_dcmtk(tmp_path, build(**STILL), transfer_syntax)
    assert np.array_equal(values(path), values(tmp_path / "plain.dcm"))


@pytest.mark.parametrize("transfer_syntax", LOSSLESS_BY_PYDICOM, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("build", [twelve_bits, eight_bits])
def test_what_pydicom_compressed_without_loss_is_read_without_loss(tmp_path, transfer_syntax, build):
    header = build(**STILL)
    assert np.array_equal(values(encodings.by_pydicom(tmp_path, header, transfer_syntax)), header.pixel_array)


@pytest.mark.parametrize("transfer_syntax", LOSSLESS_BY_PYDICOM, ids=lambda uid: uid.keyword)
def test_negative_values_survive(tmp_path, transfer_syntax):
    pixels = waves().astype(np.int16) - 2048
    header = twelve_bits(pixels.view(np.uint16), PixelRepresentation=1, **STILL)
    assert np.array_equal(values(encodings.by_pydicom(tmp_path, header, transfer_syntax)), pixels)


@pytest.mark.parametrize(
    ("transfer_syntax", "build", "tolerance"),
    [
        (JPEGBaseline8Bit, eight_bits, 3),
        (JPEGExtended12Bit, eight_bits, 3),
        (JPEGExtended12Bit, twelve_bits, 8),
        (JPEGLSNearLossless, twelve_bits, 2),
    ],
    ids=["JPEG Baseline", "JPEG Extended, 8 bits", "JPEG Extended, 12 bits", "JPEG-LS near lossless"],
)
def test_what_dcmtk_compressed_with_loss_is_close(tmp_path, transfer_syntax, build, tolerance):
    path = encodings.by_dcmtk(tmp_path, build(**STILL), transfer_syntax)
    assert 0 < np.abs(values(path) - values(tmp_path / "plain.dcm")).max() <= tolerance


def test_jpeg_2000_with_loss_is_close(tmp_path):
    path = encodings.by_pydicom(tmp_path, twelve_bits(**STILL), JPEG2000, j2k_cr=[4])
    assert np.abs(values(path) - waves()).max() <= 20


@pytest.mark.parametrize(
    ("transfer_syntax", "name", "tolerance"), [(HTJ2K[0], "lossless", 0), (HTJ2K[1], "lossless", 0), (HTJ2K[2], "lossy", 2)]
)
def test_high_throughput_jpeg_2000(tmp_path, transfer_syntax, name, tolerance):
    codestream = (encodings.CODESTREAMS / f"htj2k-{name}.j2c").read_bytes()
    header = encodings.ct_slice(pixels=encodings.htj2k_picture(), **STILL)
    path = encodings.encapsulated(tmp_path, header, [codestream], transfer_syntax)
    assert np.abs(values(path) - encodings.htj2k_picture()).max() <= tolerance


@pytest.mark.parametrize(
    "transfer_syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian], ids=lambda uid: uid.keyword
)
@pytest.mark.parametrize("build", [twelve_bits, eight_bits])
def test_uncompressed_little_endian(tmp_path, transfer_syntax, build):
    header = build(**STILL)
    assert np.array_equal(values(write_file(tmp_path / "x.dcm", header, transfer_syntax=transfer_syntax)), header.pixel_array)


@pytest.mark.parametrize("vr", ["OW", "OB"])
def test_bytes_in_big_endian_words_whose_frames_have_an_odd_length(tmp_path, vr):
    frames = [waves(highest=255), 255 - waves(highest=255)]
    header = several(frames, eight_bits, **STILL)
    data = header.PixelData + b"\0" * (len(header.PixelData) % 2)
    header.PixelData = np.frombuffer(data, "u2").byteswap().tobytes() if vr == "OW" else data
    header["PixelData"].VR = vr
    path = tmp_path / "x.dcm"
    encodings.write_big_endian(path, header)
    assert [np.array_equal(frame.values, pixels) for frame, pixels in zip(read(path, 1, 2), frames, strict=True)] == [True, True]


@pytest.mark.parametrize("transfer_syntax", [ENCAPSULATED_UNCOMPRESSED, DEFLATED_IMAGE_FRAME], ids=["encapsulated", "deflated"])
def test_frames_in_native_encoding_that_lie_in_fragments(tmp_path, transfer_syntax):
    frames = [waves(), 4095 - waves()]
    header = several(frames, **STILL)
    pieces = encodings.native_frames(header)
    if transfer_syntax == DEFLATED_IMAGE_FRAME:
        pieces = [encodings.deflated(piece) for piece in pieces]
    path = encodings.encapsulated(tmp_path, header, pieces, transfer_syntax)
    assert [np.array_equal(frame.values, pixels) for frame, pixels in zip(read(path, 1, 2), frames, strict=True)] == [True, True]


@pytest.mark.parametrize("transfer_syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("planar", [0, 1])
def test_colour_by_pixel_and_by_plane(tmp_path, transfer_syntax, planar):
    header = colour()
    if planar:
        header.PlanarConfiguration, header.PixelData = 1, encodings.rainbow().transpose(2, 0, 1).tobytes()
    compress = encodings.by_dcmtk if transfer_syntax == RLELossless else encodings.by_pydicom
    (frame,) = read(compress(tmp_path, header, transfer_syntax))
    assert np.array_equal(np.rint(frame.pixels * 255), encodings.rainbow())


@pytest.mark.parametrize("options", [("+cy",), ("+cr",), ("+cy", "+s4")], ids=["YBR 4:2:2", "RGB", "YBR 4:4:4"])
def test_colour_in_jpeg_baseline(tmp_path, options):
    path = encodings.by_dcmtk(tmp_path, colour(np.full((61, 67, 3), (200, 90, 30))), JPEGBaseline8Bit, *options)
    (frame,) = read(path)
    assert np.abs(frame.pixels * 255 - (200, 90, 30)).max() <= 3


def test_single_bits_whose_frames_begin_inside_a_byte(tmp_path):
    frames = np.random.default_rng(5).integers(0, 2, (3, 5, 7)).astype(np.uint8)
    header = eight_bits(frames[0], BitsAllocated=1, BitsStored=1, HighBit=0)
    header.NumberOfFrames = 3
    header.PixelData = np.packbits(frames.ravel(), bitorder="little").tobytes()
    found = read(write_file(tmp_path / "x.dcm", header), 1, 2, 3)
    assert np.array_equal([frame.values for frame in found], frames)


def test_every_transfer_syntax_that_we_say_we_read_is_tried_here():
    tried = {*BY_DCMTK, *LOSSLESS_BY_PYDICOM, JPEG2000, *HTJ2K, ENCAPSULATED_UNCOMPRESSED, DEFLATED_IMAGE_FRAME}
    native = {ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian}
    assert {UID(one) for one in tried} | native == ENCAPSULATED | NATIVE
