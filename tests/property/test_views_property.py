"""Whatever a header draws, a view stays on the image, keeps brightness in [0, 1] and says where it begins; windows only ever rise."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.sequence import Sequence

from config.views import CT_WINDOWS, CtSection, ViewsSection
from inference.frames import Frame
from inference.pixels.windows import Window, ct_window
from inference.views import VIEWS, SampledRanges, viewed
from tests.phantoms import as_frame

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom warns of each odd value

NO_SERIES = SampledRanges([], maximum_megapixels=1)
ANY_NUMBER = st.integers(-(2**31), 2**31 - 1)
NEAR = st.integers(-5, 60)
EDGE = NEAR | ANY_NUMBER
SIDE = st.integers(1, 48)


@st.composite
def devices(draw, device):
    """A shutter or collimator as a header may describe it, rightly or not."""
    header = Dataset()
    setattr(header, f"{device}Shape", draw(st.lists(st.sampled_from(["RECTANGULAR", "CIRCULAR", "POLYGONAL", "?"]), max_size=3)))
    for edge in ("LeftVertical", "RightVertical", "UpperHorizontal", "LowerHorizontal"):
        if draw(st.booleans()):
            setattr(header, f"{device}{edge}Edge", draw(EDGE))
    setattr(header, f"CenterOfCircular{device}", draw(st.lists(EDGE, max_size=3)))
    setattr(header, f"RadiusOfCircular{device}", draw(EDGE))
    setattr(header, f"VerticesOfThePolygonal{device}", draw(st.lists(EDGE, max_size=9)))
    return header


@st.composite
def headers(draw):
    header = Dataset()
    header.update(draw(devices("Shutter")))
    header.update(draw(devices("Collimator")))
    header.BitsStored = draw(st.sampled_from([0, 1, 8, 12, 16]))
    header.PhotometricInterpretation = draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2", "RGB", ""]))
    header.RescaleSlope, header.RescaleIntercept = 1, draw(st.integers(-2000, 10))
    regions = []
    for _ in range(draw(st.integers(0, 3))):
        region = Dataset()
        region.RegionSpatialFormat, region.RegionDataType = draw(st.integers(0, 2)), draw(st.integers(0, 3))
        for end in ("MinX0", "MinY0", "MaxX1", "MaxY1"):
            setattr(region, f"RegionLocation{end}", draw(st.integers(0, 60) | st.integers(0, 2**32 - 1)))
        regions.append(region)
    header.SequenceOfUltrasoundRegions = Sequence(regions)
    return header


@st.composite
def frames(draw):
    rows, columns = draw(SIDE), draw(SIDE)
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    background = draw(st.sampled_from([0.0, 0.5, 1.0]))
    pixels = np.full((rows, columns), background, dtype=np.float32)
    top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))
    pixels[top : draw(st.integers(top + 1, rows)), left : draw(st.integers(left + 1, columns))] = generator.random(dtype=np.float32)
    if draw(st.booleans()):
        pixels = generator.random((rows, columns), dtype=np.float32)
    if draw(st.booleans()):
        return as_frame(np.repeat(pixels[..., np.newaxis], 3, axis=2), modality=draw(st.sampled_from(sorted(VIEWS))))
    padding = generator.random((rows, columns)) < 0.2 if draw(st.booleans()) else None
    frame = as_frame(pixels, modality=draw(st.sampled_from(sorted(VIEWS))))
    return replace(frame, values=(pixels * 3000 - 1000).astype(np.float32), padding=padding)


def looks_right(view: Frame, whole: Frame) -> bool:
    """True if the view lies on the image, and its values are the image's at the place that `crop` names."""
    (top, left), (rows, columns) = view.crop, view.pixels.shape[:2]
    inside = (
        top >= 0 and left >= 0 and rows > 0 < columns and top + rows <= whole.pixels.shape[0] and left + columns <= whole.pixels.shape[1]
    )
    bright = view.pixels.dtype == np.float32 and 0 <= view.pixels.min() <= view.pixels.max() <= 1
    same = whole.values is None or np.array_equal(view.values, whole.values[top : top + rows, left : left + columns])
    return bool(inside and bright and same)


@settings(max_examples=150, deadline=None)
@given(frames(), headers(), st.sampled_from([("header",), ("body-part",), ("lung", "brain", "bone")]))
def test_a_view_never_leaves_the_image(frame, header, windows):
    untouched = frame.pixels.copy()
    view = viewed(frame, header, ViewsSection(ct=CtSection(windows=windows)), NO_SERIES)
    assert looks_right(view, frame)
    assert view.steps[: len(frame.steps)] == frame.steps
    assert np.array_equal(frame.pixels, untouched)


NAMED = st.sampled_from(sorted(CT_WINDOWS)).map(ct_window)
OWN = st.builds(
    Window,
    centre=st.floats(-1e4, 1e4),
    width=st.floats(1, 1e4),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)


@settings(max_examples=100, deadline=None)
@given(NAMED | OWN, st.lists(st.floats(-3000, 3000, width=32), min_size=2, max_size=50))
def test_a_brighter_value_is_never_shown_darker(window, values):
    shown = window.apply(np.sort(np.array(values, dtype=np.float32)))
    assert (np.diff(shown) >= 0).all()
    assert 0 <= shown.min() <= shown.max() <= 1
