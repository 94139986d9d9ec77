"""Whatever a header says, a frame is either good numbers or an UndecodableError; and windows behave as PS3.3 says."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from inference.frames import UndecodableError, frame_count, read_frames
from inference.pixels.windows import Window, display, robust_range
from tests.builders import CANARIES, ct_slice, radiograph, write_file

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom warns of each odd value

US = st.integers(0, 65535)
DS = st.floats(allow_nan=False, allow_infinity=False, width=16).map(lambda value: f"{value:.6g}")
ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "Rows": US,
        "Columns": US,
        "SamplesPerPixel": st.integers(0, 5),
        "BitsAllocated": st.sampled_from([0, 1, 7, 8, 12, 16, 24, 32, 64, 65535]),
        "BitsStored": US | st.integers(0, 17),
        "HighBit": st.integers(0, 40),
        "PixelRepresentation": st.integers(0, 3),
        "PlanarConfiguration": st.integers(0, 3),
        "PhotometricInterpretation": st.sampled_from(
            ["MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "PALETTE COLOR", "X", ""]
        ),
        "NumberOfFrames": st.integers(-1, 2**31 - 1).map(str),
        "RescaleSlope": DS,
        "RescaleIntercept": DS,
        "WindowCenter": st.lists(DS, max_size=3),
        "WindowWidth": st.lists(DS, max_size=3),
        "VOILUTFunction": st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID", "sigmoid", "CUBIC"]),
        "ImagerPixelSpacing": st.lists(DS, max_size=3),
        "PresentationLUTShape": st.sampled_from(["IDENTITY", "INVERSE", "?"]),
    },
)


def read_or_refused(path, frame_number=1):
    """Read a frame and check its numbers, or check the words of the refusal."""
    try:
        (frame,) = read_frames(path, [frame_number], maximum_megapixels=1)
    except UndecodableError as exc:
        leaked = [canary for canary in CANARIES if canary in str(exc)]
        if leaked:
            pytest.fail(f"the refusal names {leaked}")
        return
    assert frame.pixels.dtype == np.float32
    assert 0 <= frame.pixels.min() <= frame.pixels.max() <= 1
    assert frame.spacing_mm is None or min(frame.spacing_mm) > 0


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(attributes=ATTRIBUTES, build=st.sampled_from([radiograph, ct_slice]), frame_number=st.integers(-1, 4))
def test_a_contradictory_header_never_crashes(attributes, build, frame_number):
    header = build(**attributes)
    assert frame_count(header) >= 1
    with tempfile.TemporaryDirectory() as folder:
        read_or_refused(write_file(Path(folder) / "x.dcm", header), frame_number)


def encoded(transfer_syntax):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.dcm"
        header = ct_slice()
        write_file(path, header)
        if transfer_syntax.is_encapsulated:
            header.compress(transfer_syntax, generate_instance_uid=False)
        return write_file(path, header, transfer_syntax=transfer_syntax).read_bytes()


FILES = [encoded(uid) for uid in (ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless)]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_damaged_bytes_never_crash(data):
    content = bytearray(FILES[data.draw(st.integers(0, len(FILES) - 1))])
    for position in data.draw(st.lists(st.integers(132, len(content) - 1), max_size=6)):
        content[position] = data.draw(st.integers(0, 255))
    length = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.dcm"
        path.write_bytes(content[:length])
        read_or_refused(path)


WIDTHS = st.floats(1.5, 60_000)
CENTRES = st.floats(-30_000, 30_000)
FUNCTIONS = st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"])


@given(centre=CENTRES, width=WIDTHS, function=FUNCTIONS, values=st.lists(st.integers(-32768, 65535), min_size=2))
def test_a_window_keeps_the_order_of_values_and_stays_in_range(centre, width, function, values):
    values = np.sort(np.array(values, dtype=np.float32))
    shown = Window(centre=centre, width=width, function=function).apply(values)
    assert (np.diff(shown) >= 0).all()
    assert shown.min() >= 0
    assert shown.max() <= 1


@given(centre=CENTRES, width=WIDTHS)
def test_a_window_is_black_below_white_above_and_grey_in_the_middle(centre, width):
    window = Window(centre=centre, width=width, function="LINEAR_EXACT")
    low, middle, high = window.apply(np.array([centre - width, centre, centre + width], dtype=np.float32))
    assert (low, high) == (0, 1)
    assert middle == pytest.approx(0.5, abs=1e-2)


@given(width=st.floats(max_value=0.99, allow_nan=False), function=FUNCTIONS)
def test_a_window_without_width_is_refused(width, function):
    if function == "LINEAR" or width <= 0:
        with pytest.raises(ValueError, match="Window Width"):
            Window(centre=0, width=width, function=function)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    side=st.integers(1, 40),
    outliers=st.integers(0, 12),
    centre=st.integers(-300, 1300),
    width=st.sampled_from([1, 2, 40, 400, 2000]),
)
def test_a_header_window_is_taken_if_it_shows_something_of_what_lies_between_the_percentiles(seed, side, outliers, centre, width):
    rng = np.random.default_rng(seed)
    values = rng.integers(400, 600, side * side).astype(np.float32)
    values[:outliers] = rng.choice([0, 1000], min(outliers, values.size))
    window, header = Window(centre=centre, width=width), Dataset()
    header.Modality, header.WindowCenter, header.WindowWidth, header.BitsStored = "MR", centre, width, 12
    _, words = display(values.reshape(side, side), header, 0, None, little_endian=True)
    assert (words == f"{window} (header)") == window.meets(*robust_range(values, None))
