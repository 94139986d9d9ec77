"""DCMTK renders one synthetic object of each kind as we do, to the last of 8 bits, or as close as its lossy decoder lets it."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from inference.frames import read_frames
from tests import encodings
from tests.builders import radiograph, write_file
from tests.dcmtk_rendering import difference
from tests.encodings import BY_DCMTK, colour, eight_bits, several, twelve_bits, waves

pytestmark = [
    pytest.mark.skipif(not encodings.has("dcm2pnm"), reason="DCMTK is not installed"),
    pytest.mark.filterwarnings("ignore"),
]


def compared(path, transfer_syntax=ExplicitVRLittleEndian, frame_number=1):
    (frame,) = read_frames(path, [frame_number], maximum_megapixels=10)
    return difference(path, frame, str(transfer_syntax))


def lut(entries, first, bits):
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", list(entries))
    return Sequence([item])


def with_table(keyword, entries, first=0, bits=12, **attributes):
    header = radiograph(pixels=waves(), BitsStored=12, HighBit=11, **attributes)
    setattr(header, keyword, lut(entries, first, bits))
    return header


def with_palette():
    header = eight_bits(PhotometricInterpretation="PALETTE COLOR")
    for name, tint in (("Red", 1), ("Green", 3), ("Blue", 7)):
        header.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        data = (np.arange(256) * 257 // tint).astype("<u2").tobytes()
        header.add_new(f"{name}PaletteColorLookupTableData", "OW", data)
    return header


NO_WINDOW = {"WindowCenter": None, "WindowWidth": None}
SQUARES = [round((value / 4095) ** 2 * 4095) for value in range(4096)]
KINDS = {
    "CT, window of the header": twelve_bits,
    "CT, two windows": lambda: twelve_bits(WindowCenter=[50, -600], WindowWidth=[350, 1500]),
    "CT, default window": lambda: twelve_bits(**NO_WINDOW),
    "signed": lambda: twelve_bits((waves().astype(np.int16) - 2048).view(np.uint16), PixelRepresentation=1),
    "SIGMOID": lambda: radiograph(pixels=waves(), VOILUTFunction="SIGMOID"),
    "narrow window": lambda: twelve_bits(WindowCenter=40, WindowWidth=2),
    "window of width 1": lambda: twelve_bits(WindowCenter=40, WindowWidth=1),
    "MONOCHROME1": lambda: radiograph(pixels=waves(), PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE"),
    "presentation LUT shape": lambda: radiograph(pixels=waves(), PresentationLUTShape="INVERSE"),
    "percentiles": lambda: radiograph(pixels=waves(), **NO_WINDOW),
    "8 bits as they are": eight_bits,
    "VOI LUT": lambda: with_table("VOILUTSequence", SQUARES, **NO_WINDOW),
    "Modality LUT": lambda: with_table("ModalityLUTSequence", SQUARES, RescaleSlope=None, RescaleIntercept=None, RescaleType=None),
    "stored bits on top": lambda: twelve_bits(waves() << 4, HighBit=15),
    "overlay in unused bits": lambda: twelve_bits(waves() | 0x8000),
    "RGB": colour,
    "palette": with_palette,
}


@pytest.mark.parametrize("build", KINDS.values(), ids=KINDS)
def test_the_same_eight_bits(tmp_path, build):
    assert compared(write_file(tmp_path / "x.dcm", build())).is_exact


def test_colour_by_plane(tmp_path):
    header = colour()
    header.PlanarConfiguration, header.PixelData = 1, encodings.rainbow().transpose(2, 0, 1).tobytes()
    assert compared(write_file(tmp_path / "x.dcm", header)).is_exact


def test_a_fractional_rescale_to_one_value(tmp_path):
    """DCMTK makes integers of values: 1 HU in a window of 400 is 0.64 of a level."""
    found = compared(write_file(tmp_path / "x.dcm", twelve_bits(RescaleSlope="0.37", RescaleIntercept="-12.5")))
    assert found.maximum <= 0.65
    assert found.mean <= 0.1


@pytest.mark.parametrize("interpretation", ["YBR_FULL", "YBR_FULL_422"])
def test_ybr_to_two_levels(tmp_path, interpretation):
    """No colour is 128 in PS3.3 C.7.6.3.1.2 and 127.5 in DCMTK, which is up to 0.9 of a level, and it cuts off where we round."""
    header = colour(np.stack([waves(60, 66, highest=255)] * 3, axis=-1), PhotometricInterpretation=interpretation)
    if interpretation == "YBR_FULL_422":
        header.PixelData = header.PixelData[: len(header.PixelData) * 2 // 3]
    assert compared(write_file(tmp_path / "x.dcm", header)).maximum <= 2.01


@pytest.mark.parametrize("transfer_syntax", [UID(one) for one in BY_DCMTK], ids=lambda uid: uid.keyword)
def test_the_same_eight_bits_after_compression(tmp_path, transfer_syntax):
    build = eight_bits if transfer_syntax == JPEGBaseline8Bit else twelve_bits
    found = compared(encodings.by_dcmtk(tmp_path, build(), transfer_syntax), transfer_syntax)
    assert found.maximum <= 1.01 if transfer_syntax == JPEGBaseline8Bit else found.is_exact


def test_jpeg_2000_by_way_of_gdcm(tmp_path):
    assert compared(encodings.by_pydicom(tmp_path, twelve_bits(), JPEG2000Lossless), JPEG2000Lossless).is_exact


@pytest.mark.parametrize("transfer_syntax", [RLELossless, JPEGLSLossless], ids=lambda uid: uid.keyword)
def test_each_frame_of_several(tmp_path, transfer_syntax):
    path = encodings.by_pydicom(tmp_path, several([waves() // 2 + shift for shift in (0, 200, 400)]), transfer_syntax)
    assert all(compared(path, transfer_syntax, number).is_exact for number in (1, 2, 3))
