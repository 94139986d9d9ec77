"""A frame is shown as a reader would see it: LUTs, windows, polarity, colour, padding, spacing."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from inference.frames import frame_count, read_frames
from tests.builders import ct_slice, radiograph, write_file

STORED = np.array([[0, 500, 1000, 1064], [1100, 1264, 2000, 4000]], dtype=np.uint16)


def only_frame(path):
    (frame,) = read_frames(path, [1], maximum_megapixels=10)
    return frame


def lut(data, first=0, bits=16):
    item = Dataset()
    item.LUTDescriptor = [len(data), first, bits]
    item.LUTData = list(data)
    for name in ("LUTDescriptor", "LUTData"):
        item[name].VR = "US"
    return Sequence([item])


def test_ct_values_are_hounsfield_units_and_the_header_window_decides_what_is_seen(tmp_path):
    frame = only_frame(write_file(tmp_path / "ct.dcm", ct_slice(pixels=STORED)))
    assert frame.values.tolist() == (STORED.astype(float) - 1024).tolist()
    assert frame.steps == ("rescaled to HU", "window 40/400 (header)")
    expected = np.clip((STORED - 1024.0 - 39.5) / 399 + 0.5, 0, 1)  # PS3.3 C.11.2.1.2.1
    assert frame.pixels == pytest.approx(expected, abs=1e-5)
    assert frame.pixels.dtype == frame.values.dtype == np.float32


@pytest.mark.parametrize(("part", "step"), [("CHEST", "window -600/1500 (default for CT)"), ("PELVIS", "window 40/400 (default for CT)")])
def test_ct_without_a_window_gets_that_of_the_body_part(tmp_path, part, step):
    header = ct_slice(pixels=STORED, WindowCenter=None, WindowWidth=None, BodyPartExamined=part)
    assert only_frame(write_file(tmp_path / "ct.dcm", header)).steps[-1] == step


@pytest.mark.parametrize(
    ("function", "expected"),
    [("LINEAR_EXACT", [0.0, 0.25, 0.75, 1.0]), ("SIGMOID", [1 / (1 + np.e**2), 1 / (1 + np.e), np.e / (1 + np.e), 1])],
)
def test_voi_lut_functions(tmp_path, function, expected):
    pixels = np.array([[0, 25, 75, 1000]], dtype=np.uint16)
    header = radiograph(pixels=pixels, WindowCenter=50, WindowWidth=100, VOILUTFunction=function)
    assert only_frame(write_file(tmp_path / "dx.dcm", header)).pixels[0] == pytest.approx(expected, abs=1e-3)


def test_a_voi_lut_is_applied_where_there_is_no_window(tmp_path):
    header = radiograph(pixels=np.array([[0, 10, 11, 12, 99]], dtype=np.uint16), WindowCenter=None, WindowWidth=None)
    header.VOILUTSequence = lut([0, 32768, 65535], first=10)
    frame = only_frame(write_file(tmp_path / "dx.dcm", header))
    assert frame.pixels[0] == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-4)
    assert frame.steps == ("VOI LUT (header)",)


def test_a_modality_lut_gives_the_values(tmp_path):
    header = radiograph(pixels=np.array([[0, 1, 2, 3]], dtype=np.uint16), RescaleSlope=None, RescaleIntercept=None, RescaleType=None)
    header.ModalityLUTSequence = lut([0, 100, 200, 4000])
    frame = only_frame(write_file(tmp_path / "dx.dcm", header))
    assert frame.values[0].tolist() == [0, 100, 200, 4000]
    assert frame.steps[0] == "Modality LUT applied"


@pytest.mark.parametrize(
    "attributes",
    [{"WindowCenter": None, "WindowWidth": None}, {"WindowWidth": 0}, {"WindowCenter": 60000, "WindowWidth": 10}],
    ids=["absent", "no width", "beside the pixels"],
)
def test_without_a_usable_window_the_percentiles_decide(tmp_path, attributes):
    pixels = np.linspace(1000, 2000, 10_000).reshape(100, 100).astype(np.uint16)
    frame = only_frame(write_file(tmp_path / "dx.dcm", radiograph(pixels=pixels, **attributes)))
    assert frame.steps == ("window from percentiles 0.5 and 99.5 (no usable window)",)
    assert (frame.pixels.min(), frame.pixels.max()) == (0, 1)
    assert frame.pixels[50, 50] == pytest.approx(0.505, abs=0.01)


def test_padding_counts_for_no_percentile_and_is_black(tmp_path):
    pixels = np.linspace(1000, 2000, 10_000).reshape(100, 100).astype(np.uint16)
    pixels[:, :40] = 65535
    header = radiograph(pixels=pixels, WindowCenter=None, WindowWidth=None, PhotometricInterpretation="MONOCHROME1")
    header.add_new("PixelPaddingValue", "US", 65535)
    frame = only_frame(write_file(tmp_path / "dx.dcm", header))
    assert (frame.pixels[:, :40] == 0).all()
    assert frame.pixels[0, 41] > 0.95
    assert frame.pixels[99, 99] < 0.05
    assert frame.steps[-1] == "pixel padding shown black"


def test_signed_padding_below_the_range_is_left_out_up_to_its_limit(tmp_path):
    pixels = np.array([[-2000, -1900, 0, 1000]], dtype=np.int16)
    header = ct_slice(pixels=pixels.view(np.uint16), PixelRepresentation=1, WindowCenter=None, WindowWidth=None, Modality="MR")
    header.add_new("PixelPaddingValue", "SS", -2000)
    header.add_new("PixelPaddingRangeLimit", "SS", -1900)
    frame = only_frame(write_file(tmp_path / "mr.dcm", header))
    assert frame.values[0].tolist() == [-3024, -2924, -1024, -24]
    assert frame.pixels[0].tolist()[:2] == [0, 0]
    assert frame.pixels[0, 3] == 1


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME1", "IDENTITY", True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME2", "INVERSE", True),
    ],
)
def test_polarity_is_applied_once(tmp_path, photometric, shape, inverted):
    plain = only_frame(write_file(tmp_path / "a.dcm", radiograph()))
    frame = only_frame(write_file(tmp_path / "b.dcm", radiograph(PhotometricInterpretation=photometric, PresentationLUTShape=shape)))
    assert frame.pixels == pytest.approx(1 - plain.pixels if inverted else plain.pixels)
    assert frame.photometric_interpretation == photometric


def test_eight_bit_values_without_a_window_stay_as_they_are(tmp_path):
    header = radiograph(pixels=np.array([[0, 51, 102, 204]], dtype=np.uint8), WindowCenter=None, WindowWidth=None)
    assert only_frame(write_file(tmp_path / "dx.dcm", header)).pixels[0] == pytest.approx([0, 0.2, 0.4, 0.8])


def test_bits_beyond_bits_stored_are_ignored(tmp_path):
    header = radiograph(pixels=np.array([[0x1001, 0xF002]], dtype=np.uint16), BitsStored=12, HighBit=11)
    assert only_frame(write_file(tmp_path / "dx.dcm", header)).values[0].tolist() == [1, 2]


def test_wide_integers_and_floats_are_read(tmp_path):
    wide = ct_slice(RescaleSlope=0.5, RescaleIntercept=0, Rows=1, Columns=2, BitsAllocated=32, BitsStored=32, HighBit=31)
    wide.PixelData = np.array([1 << 30, 3], dtype=np.uint32).tobytes()
    assert only_frame(write_file(tmp_path / "wide.dcm", wide)).values[0].tolist() == [2**29, 1.5]
    real = ct_slice(RescaleSlope=None, RescaleIntercept=None, RescaleType=None, Rows=1, Columns=2, PixelData=None, BitsAllocated=32)
    real.add_new("FloatPixelData", "OF", np.array([-1.5, 2.25], dtype=np.float32).tobytes())
    assert only_frame(write_file(tmp_path / "real.dcm", real)).values[0].tolist() == [-1.5, 2.25]


def rgb(header, pixels, **attributes):
    header.SamplesPerPixel, header.PhotometricInterpretation, header.PlanarConfiguration = 3, "RGB", 0
    header.Rows, header.Columns = pixels.shape[:2]
    header.PixelData = pixels.tobytes()
    for keyword, value in attributes.items():
        setattr(header, keyword, value)
    return header


def test_colour_is_scaled_and_ybr_becomes_rgb(tmp_path):
    eight = radiograph(pixels=np.zeros((1, 2), np.uint8))
    red_and_grey = np.array([[[255, 0, 0], [51, 51, 51]]], dtype=np.uint8)
    frame = only_frame(write_file(tmp_path / "rgb.dcm", rgb(eight, red_and_grey)))
    assert frame.pixels[0].tolist() == [[1, 0, 0], pytest.approx([0.2] * 3)]
    assert frame.values is None
    ybr_red = np.array([[[76, 85, 255], [51, 128, 128]]], dtype=np.uint8)
    frame = only_frame(write_file(tmp_path / "ybr.dcm", rgb(eight, ybr_red, PhotometricInterpretation="YBR_FULL")))
    assert frame.pixels[0] == pytest.approx(np.array([[1, 0, 0], [0.2] * 3]), abs=0.01)
    assert frame.steps == ("YBR_FULL converted to RGB",)


def test_a_palette_is_applied(tmp_path):
    header = radiograph(pixels=np.array([[0, 1]], dtype=np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for name, data in (("Red", [0, 65535]), ("Green", [0, 0]), ("Blue", [65535, 0])):
        header.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [2, 0, 16])
        header.add_new(f"{name}PaletteColorLookupTableData", "OW", np.array(data, dtype="<u2").tobytes())
    frame = only_frame(write_file(tmp_path / "palette.dcm", header))
    assert frame.pixels[0].tolist() == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("transfer_syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_transfer_syntax_changes_nothing(tmp_path, transfer_syntax):
    plain = only_frame(write_file(tmp_path / "a.dcm", ct_slice()))
    header = ct_slice()
    if transfer_syntax.is_encapsulated:
        header.file_meta = write_and_meta(tmp_path)
        header.compress(transfer_syntax, generate_instance_uid=False)
    if transfer_syntax == ExplicitVRBigEndian:
        header.PixelData = np.frombuffer(header.PixelData, "<u2").astype(">u2").tobytes()
    path = tmp_path / "b.dcm"
    if transfer_syntax == ExplicitVRBigEndian:
        meta = write_and_meta(tmp_path)
        meta.TransferSyntaxUID = transfer_syntax
        header.file_meta = meta
        header.save_as(path, enforce_file_format=True, implicit_vr=False, little_endian=False)
    else:
        write_file(path, header, transfer_syntax=transfer_syntax)
    assert np.array_equal(only_frame(path).values, plain.values)


def write_and_meta(tmp_path):
    header = ct_slice()
    write_file(tmp_path / "meta.dcm", header)
    return header.file_meta


def multi_frame(frames, **attributes):
    header = ct_slice(pixels=frames[0], **attributes)
    header.NumberOfFrames = len(frames)
    header.PixelData = np.stack(frames).tobytes()
    return header


def test_each_frame_has_its_number_and_its_own_functional_groups(tmp_path):
    frames = [np.full((2, 2), value, dtype=np.uint16) for value in (10, 20, 30)]
    header = multi_frame(frames, RescaleSlope=None, RescaleIntercept=None, RescaleType=None, PixelSpacing=None)
    groups = []
    for slope in (1, 2, 3):
        transformation, window, measures, group = Dataset(), Dataset(), Dataset(), Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept, transformation.RescaleType = slope, 0, "HU"
        window.WindowCenter, window.WindowWidth = 10 * slope, 100
        measures.PixelSpacing = [slope / 2, slope]
        group.PixelValueTransformationSequence, group.FrameVOILUTSequence = [transformation], [window]
        group.PixelMeasuresSequence = [measures]
        groups.append(group)
    header.PerFrameFunctionalGroupsSequence = groups
    third, first = read_frames(write_file(tmp_path / "ct.dcm", header), [3, 1], maximum_megapixels=1)
    assert (third.values[0, 0], third.ref.frame_number, third.spacing_mm) == (90, 3, (1.5, 3))
    assert third.steps == ("rescaled to HU", "window 30/100 (header)")
    assert (first.values[0, 0], first.ref.frame_number, first.spacing_mm) == (10, 1, (0.5, 1))
    assert first.ref.sop_instance_uid == header.SOPInstanceUID


def test_frames_are_decoded_only_when_asked_for(tmp_path):
    path = write_file(tmp_path / "ct.dcm", multi_frame([np.full((2, 2), 7, dtype=np.uint16)] * 2))
    frames = read_frames(path, [2, 99], maximum_megapixels=1)
    assert next(frames).ref.frame_number == 2  # the impossible frame 99 has not been looked for yet


@pytest.mark.parametrize(("claimed", "count"), [(None, 1), ("", 1), ("0", 1), ("7", 7)])
def test_frame_count(claimed, count):
    header = Dataset()
    if claimed is not None:
        header.NumberOfFrames = claimed
    assert frame_count(header) == count


def test_spacing_falls_back_to_the_detector(tmp_path):
    assert only_frame(write_file(tmp_path / "a.dcm", radiograph())).spacing_mm == (0.2, 0.2)
    assert only_frame(write_file(tmp_path / "b.dcm", radiograph(ImagerPixelSpacing=None))).spacing_mm is None
    assert only_frame(write_file(tmp_path / "c.dcm", radiograph(ImagerPixelSpacing=[0, 0.2]))).spacing_mm is None
