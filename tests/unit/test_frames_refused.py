"""What cannot be read is refused with a reason, before memory is spent on it, and without a word about the patient."""

import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
)

from inference.frames import UndecodableError, read_frames
from inference.pixels import jpeg_extended
from inference.pixels.codecs import DECODING_PLUGINS
from tests.builders import CANARIES, ct_slice, radiograph, write_file

GPL_PLUGIN, GPL_SYNTAXES = "pylibjpeg", range(50, 82)  # the last component of 1.2.840.10008.1.2.4.x for JPEG and JPEG-LS


def refusal(path, frame_numbers=(1,), maximum_megapixels=10):
    with pytest.raises(UndecodableError) as caught:
        list(read_frames(path, frame_numbers, maximum_megapixels=maximum_megapixels))
    message = str(caught.value)
    assert not any(canary in message for canary in CANARIES)
    return message


def test_a_header_that_claims_gigabytes_costs_no_memory(tmp_path):
    header = radiograph(pixels=np.zeros((2, 256), np.uint16))
    header.Rows, header.Columns = 46000, 46000
    path = write_file(tmp_path / "dx.dcm", header)
    tracemalloc.start()
    message = refusal(path, maximum_megapixels=10_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "the header claims 4232000000 bytes of pixel data, the file holds 1024" in message
    assert header.SOPInstanceUID in message
    assert "Explicit VR Little Endian" in message
    assert peak < 10_000_000


def test_more_frames_than_the_file_holds(tmp_path):
    header = ct_slice()
    header.NumberOfFrames = 2_000_000_000
    assert "the header claims" in refusal(write_file(tmp_path / "ct.dcm", header))


def test_a_frame_above_the_limit(tmp_path):
    header = radiograph(pixels=np.zeros((200, 100), np.uint16))
    assert "the limit is 0.01" in refusal(write_file(tmp_path / "dx.dcm", header), maximum_megapixels=0.01)


def compressed(path, codestream, transfer_syntax, **attributes):
    header = radiograph(pixels=np.zeros((8, 8), np.uint8), **attributes)
    header.PixelData = encapsulate([codestream])
    header["PixelData"].is_undefined_length = True
    return write_file(path, header, transfer_syntax=transfer_syntax)


@pytest.mark.parametrize(
    ("transfer_syntax", "codestream"),
    [
        (JPEG2000Lossless, b"\xff\x4f\xff\x51" + struct.pack(">2H8LH", 41, 0, 60000, 60000, 0, 0, 60000, 60000, 0, 0, 1) + b"\x07\x01\x01"),
        (JPEGBaseline8Bit, b"\xff\xd8\xff\xc0" + struct.pack(">HB2HB", 11, 8, 60000, 60000, 1) + b"\x01\x11\x00"),
        (JPEGLSLossless, b"\xff\xd8\xff\xf7" + struct.pack(">HB2HB", 11, 8, 60000, 60000, 1) + b"\x01\x11\x00"),
    ],
    ids=["JPEG 2000", "JPEG", "JPEG-LS"],
)
def test_a_compressed_frame_that_claims_more_than_its_header(tmp_path, transfer_syntax, codestream):
    assert "claims 3600000000 pixels" in refusal(compressed(tmp_path / "dx.dcm", codestream, transfer_syntax))


@pytest.mark.parametrize("transfer_syntax", list(DECODING_PLUGINS))
def test_garbage_in_every_compressed_transfer_syntax(tmp_path, transfer_syntax):
    assert refusal(compressed(tmp_path / "dx.dcm", b"\xff\xd8 no codestream at all", transfer_syntax))


def test_a_transfer_syntax_that_nobody_reads(tmp_path):
    assert "not supported" in refusal(compressed(tmp_path / "dx.dcm", b"video", MPEG2MPML))


def test_damaged_twelve_bit_jpeg_is_refused_rather_than_tried_with_a_gpl_library(tmp_path):
    codestream = b"\xff\xd8\xff\xc1" + struct.pack(">HB2HB", 11, 12, 8, 8, 1) + b"\x01\x11\x00"
    message = refusal(compressed(tmp_path / "dx.dcm", codestream, JPEGExtended12Bit))
    assert "JPEG Extended" in message


def test_no_gpl_plug_in_is_ever_chosen():
    for uid, plugins in DECODING_PLUGINS.items():
        known = {*get_decoder(uid).available_plugins, *get_decoder(uid).missing_dependencies, "pylibjpeg", jpeg_extended.NAME}
        assert set(plugins) <= known
        if uid.startswith("1.2.840.10008.1.2.4.") and int(uid.rsplit(".", 1)[1]) in GPL_SYNTAXES:
            assert GPL_PLUGIN not in plugins


def test_a_deflated_bomb_is_not_inflated(tmp_path):
    path = write_file(tmp_path / "bomb.dcm", ct_slice(), transfer_syntax=DeflatedExplicitVRLittleEndian)
    meta = path.read_bytes()[: 144 + dcmread(path).file_meta.FileMetaInformationGroupLength]
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    sixteen_megabytes = deflater.compress(bytes(1 << 24)) + deflater.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(meta + sixteen_megabytes * 65)
    assert "inflates beyond 1 GiB" in refusal(path)


def test_a_deflated_object_is_read(tmp_path):
    path = write_file(tmp_path / "ct.dcm", ct_slice(), transfer_syntax=DeflatedExplicitVRLittleEndian)
    (frame,) = read_frames(path, [1], maximum_megapixels=1)
    assert frame.pixels.shape == (64, 64)


def test_a_truncated_file(tmp_path):
    path = write_file(tmp_path / "dx.dcm", radiograph())
    path.write_bytes(path.read_bytes()[:-100])
    assert "the file holds 8092" in refusal(path)


def test_no_pixel_data(tmp_path):
    assert "no pixel data" in refusal(write_file(tmp_path / "dx.dcm", radiograph(PixelData=None)))


@pytest.mark.parametrize("content", [b"", b"CANARY^PHI is not a DICOM file", bytes(132), b"\0" * 128 + b"DICM"])
def test_bytes_that_are_no_dicom_file(tmp_path, content):
    (tmp_path / "x.dcm").write_bytes(content)
    assert refusal(tmp_path / "x.dcm")


@pytest.mark.filterwarnings("ignore")
def test_a_name_where_the_uid_belongs_is_not_repeated(tmp_path):
    header = radiograph(PixelData=None)
    path = write_file(tmp_path / "dx.dcm", header)
    name = b"CANARY^PHI".ljust(len(header.SOPInstanceUID), b"A")
    path.write_bytes(path.read_bytes().replace(header.SOPInstanceUID.encode(), name))
    assert "SOP Instance unknown" in refusal(path)


def test_a_file_that_is_not_there(tmp_path):
    assert "cannot be read (FileNotFoundError)" in refusal(tmp_path / "CANARY.dcm")


@pytest.mark.parametrize("number", [0, 2, -1])
def test_a_frame_that_the_object_does_not_have(tmp_path, number):
    assert f"there is no frame {number}" in refusal(write_file(tmp_path / "dx.dcm", radiograph()), [number])


@pytest.mark.parametrize(
    "missing", ["Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "PhotometricInterpretation", "PixelRepresentation"]
)
def test_a_header_without_what_the_pixels_need(tmp_path, missing):
    assert refusal(write_file(tmp_path / "dx.dcm", radiograph(**{missing: None})))


def test_values_that_nobody_can_interpret(tmp_path):
    assert "Rescale Slope is 0" in refusal(write_file(tmp_path / "ct.dcm", ct_slice(RescaleSlope=0)))


@pytest.mark.skipif("DICOM_NODE_SHARED" not in os.environ, reason="needs the shared development data")
@pytest.mark.filterwarnings("ignore")
def test_every_file_of_the_development_data_is_read_or_refused():
    folder = Path(os.environ["DICOM_NODE_SHARED"]) / "data" / "dicom"
    read = 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            (frame,) = read_frames(path, [1], maximum_megapixels=100)
        except UndecodableError:
            continue
        assert np.isfinite(frame.pixels).all()
        assert 0 <= frame.pixels.min() <= frame.pixels.max() <= 1
        read += 1
    assert read >= 200


def test_explicit_vr_that_was_written_implicitly_is_still_found(tmp_path):
    header = radiograph()
    implicit = tmp_path / "implicit.dcm"
    write_file(implicit, header, transfer_syntax="1.2.840.10008.1.2")
    data = implicit.read_bytes()[144 + dcmread(implicit).file_meta.FileMetaInformationGroupLength :]
    explicit = write_file(tmp_path / "explicit.dcm", header, transfer_syntax=ExplicitVRLittleEndian)
    meta = explicit.read_bytes()[: 144 + dcmread(explicit).file_meta.FileMetaInformationGroupLength]
    (tmp_path / "mixed.dcm").write_bytes(meta + data)
    with pytest.warns(UserWarning, match="implicit VR"):
        (frame,) = read_frames(tmp_path / "mixed.dcm", [1], maximum_megapixels=1)
    assert frame.pixels.shape == (64, 64)
