"""A picture resized by matrix products has the bits that PIL gives it, whatever its size, its shape and the filter."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from config.preprocessing import GreySquare, LongestSide, PaddedSquare, ShortestSide, Squash
from inference.axes import Axis
from inference.device.preparation import DevicePreparation
from inference.fixed_point import resampled
from inference.preprocessing import preprocessor
from tests.phantoms import as_frame

PIL_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
LENGTH = st.integers(1, 300)
FILTER = st.sampled_from(sorted(PIL_FILTERS))
WAY = st.sampled_from([ShortestSide, LongestSide, Squash, PaddedSquare, GreySquare])
CONTENT = st.sampled_from(["noise", "two levels", "white"])


def picture(rows, columns, colour, content, seed):
    shape = (rows, columns, 3) if colour else (rows, columns)
    levels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return {"noise": levels, "two levels": (levels // 128) * np.uint8(255), "white": levels | 255}[content]


def whole(size, resized):
    return Axis(size=size, canvas=size, offset=0, resized=resized, start=0, side=resized)


@settings(max_examples=100, deadline=None)
@given(shape=st.tuples(LENGTH, LENGTH), size=st.tuples(LENGTH, LENGTH), colour=st.booleans(), content=CONTENT, filter_=FILTER)
def test_resampling_is_pils_bit_for_bit(shape, size, colour, content, filter_):
    levels = picture(*shape, colour, content, seed=sum(shape))
    channels = torch.from_numpy(np.atleast_3d(levels).transpose(2, 0, 1).copy())
    found = resampled(channels, whole(shape[0], size[0]), whole(shape[1], size[1]), filter_)
    expected = Image.fromarray(levels).resize((size[1], size[0]), PIL_FILTERS[filter_])
    assert np.array_equal(found.numpy(), np.atleast_3d(np.asarray(expected)).transpose(2, 0, 1))


@st.composite
def ways(draw):
    facts = {"image_size": draw(st.integers(16, 70)), "mean": (0.48, 0.45, 0.4), "std": (0.26, 0.27, 0.28), "interpolation": draw(FILTER)}
    way = draw(WAY)
    return way(**facts, crop_offset=draw(st.sampled_from(["round", "floor"]))) if way is ShortestSide else way(**facts)


@settings(max_examples=60, deadline=None)
@given(steps=ways(), sizes=st.lists(st.tuples(LENGTH, LENGTH), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_frames_are_prepared_together_in_the_bits_of_one_at_a_time(steps, sizes, seed):
    pictures = [picture(*size, colour, "noise", seed) for size in sizes for colour in (False, True, True)]
    frames = [as_frame(levels / np.float32(255)) for levels in pictures]
    preparation, alone = DevicePreparation(steps, "cpu"), preprocessor(steps)
    found = preparation.rows((preparation.levels(frame) for frame in frames), together=2)
    assert all(torch.equal(row, alone(frame)) for row, frame in zip(found, frames, strict=True))
