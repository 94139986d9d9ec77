"""Frames prepared on the device that computes: the same numbers as on the processor, in order, or the processor does it."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from config.preprocessing import Corner, GreyCanvas, PaddedSquare, Preprocessing, ShortestSide, Squash
from inference.device.ahead import batches
from inference.device.preparation import DevicePreparation, agrees, on_device
from inference.engine import Engine
from inference.frames import Frame
from inference.preprocessing import preprocessor
from tests.embedded import MODEL, shipped
from tests.fake_model import FakeModel, catalogue_of
from tests.phantoms import as_frame, chest_radiograph, head_ct

SIDE = {"image_size": 32, "mean": (0.48, 0.45, 0.4), "std": (0.26, 0.27, 0.28)}
SHORTEST = ShortestSide(**SIDE, interpolation="bicubic", crop_offset="floor")
WAYS_OF_FLOATS: tuple[Preprocessing, ...] = (
    GreyCanvas(**SIDE, canvas_size=48, canvas_interpolation="lanczos", interpolation="bicubic", antialias=False),
    Corner(**SIDE, interpolation="bilinear", antialias=True),
)
_STRIPS = """
import numpy as np
from config.preprocessing import GreySquare, PaddedSquare, ShortestSide
from inference.preprocessing import preprocessor
from tests.peak_memory import peak_kb
from tests.phantoms import as_frame
facts = {"image_size": 224, "mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic"}
ways = [ShortestSide(**facts, crop_offset="round"), PaddedSquare(**facts), GreySquare(**facts)]
prepare = [preprocessor(way) for way in ways]
for one in prepare:
    one(as_frame(np.ones((40, 40))))
before = peak_kb()
for shape in ((1, 65535), (65535, 1)):
    for one in prepare:
        one(as_frame(np.ones(shape, dtype=np.float32)))
print(peak_kb() - before)
"""


def frames(number: int) -> Iterator[Frame]:
    rng = np.random.default_rng(7)
    for row in range(number):
        shape = ((60, 50), (60, 50), (33, 90, 3))[row % 3]
        yield as_frame(rng.random(shape, dtype=np.float32), frame_number=row + 1)


gatekeeper = cache(shipped)


def model(steps: Preprocessing) -> FakeModel:
    fake = FakeModel(manifest=gatekeeper().model_copy(update={"preprocessing": steps}))
    object.__setattr__(fake, "preprocess", preprocessor(steps))
    return fake


@pytest.mark.parametrize("batch", [1, 4, 32])
def test_batches_from_the_device_are_those_of_the_processor(batch: int) -> None:
    there, here = DevicePreparation(SHORTEST, "cpu"), preprocessor(SHORTEST)
    with ThreadPoolExecutor(2) as threads:
        cut = partial(batches, size=batch, threads=threads, ahead=3, pinned=False)
        found = list(cut(frames(10), there.levels, finish=partial(there.rows, together=batch)))
        expected = list(cut(frames(10), here))
    assert [len(one) for one in found] == [len(one) for one in expected]
    assert torch.equal(torch.cat(found), torch.cat(expected))


def test_frames_larger_than_what_is_resized_at_once_come_out_the_same() -> None:
    there, here = DevicePreparation(SHORTEST, "cpu"), preprocessor(SHORTEST)
    large = [as_frame(np.tile(chest_radiograph(), (28, 26)).astype(np.float32)) for _ in range(3)]
    assert large[0].pixels.size * 3 > 32 << 20  # levels, a byte each
    rows = list(there.rows((there.levels(frame) for frame in large), together=8))
    assert all(torch.equal(row, here(frame)) for row, frame in zip(rows, large, strict=True))


def test_a_model_on_the_processor_is_prepared_for_by_pil() -> None:
    assert on_device(model(SHORTEST), "cpu") is None


def test_a_device_prepares_where_it_gives_the_same_bits() -> None:
    for steps in (SHORTEST, Squash(**SIDE, interpolation="lanczos"), PaddedSquare(**SIDE, interpolation="bilinear")):
        assert agrees(DevicePreparation(steps, "cpu"), model(steps))
    assert not agrees(DevicePreparation(Squash(**SIDE, interpolation="bicubic"), "cpu"), model(SHORTEST))


@pytest.mark.parametrize("steps", WAYS_OF_FLOATS, ids=lambda steps: steps.resize_mode)
def test_ways_that_resize_floats_stay_on_the_processor(steps: Preprocessing) -> None:
    assert on_device(model(steps), "cuda") is None


def test_a_picture_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="display values"):
        DevicePreparation(SHORTEST, "cpu").levels(as_frame(np.full((4, 4), 1.5)))


def test_strips_of_one_row_or_column_make_no_gigabytes() -> None:
    """65,535 x 1 pixels: a shorter side of 224 would make the other 14 million, and padding a square of 4 gigapixels."""
    done = subprocess.run([sys.executable, "-c", _STRIPS], capture_output=True, check=True, cwd=Path(__file__).parents[2], text=True)
    assert int(done.stdout) < 1_000_000


def test_a_strip_is_prepared_in_pils_bits() -> None:
    levels = np.random.default_rng(2).integers(0, 256, (3, 700), dtype=np.uint8)
    resized = Image.fromarray(levels).resize((32 * 700 // 3, 32), Image.Resampling.BICUBIC)
    left = (resized.width - 32) // 2
    plain = SHORTEST.model_copy(update={"mean": (0.0,) * 3, "std": (1.0,) * 3})
    found = preprocessor(plain)(as_frame(levels / np.float32(255)))[0] * 255
    assert np.array_equal(found.round().numpy(), np.asarray(resized)[:, left : left + 32])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_cuda_prepares_the_frames_that_it_computes() -> None:
    steps = ShortestSide(**SIDE, interpolation="bicubic", crop_offset="round")
    preparation = on_device(model(steps), "cuda")
    assert preparation is not None
    (row,) = preparation.rows(iter([preparation.levels(as_frame(chest_radiograph()))]), together=1)
    assert torch.equal(row.cpu(), preprocessor(steps)(as_frame(chest_radiograph())))
    engines = [Engine(catalogue_of(MODEL), device=device, batch_size=2, cache_folder=None) for device in ("cpu", "cuda")]
    here, there = (engine.embed(MODEL, [as_frame(chest_radiograph()), as_frame(head_ct())]) for engine in engines)
    np.testing.assert_allclose(here, there, atol=0.006)
