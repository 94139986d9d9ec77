"""A frame as the image tower reads it: the published ways, down to the pixel where they differ from each other."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms

from config.preprocessing import Corner, GreyCanvas, GreySquare, LongestSide, PaddedSquare, Preprocessing, ShortestSide, Squash
from inference.preprocessing import preprocessor
from tests.phantoms import as_frame

PLAIN = {"image_size": 32, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
WAYS: tuple[Preprocessing, ...] = (
    ShortestSide(**PLAIN, interpolation="bicubic", crop_offset="round"),
    LongestSide(**PLAIN, interpolation="bicubic"),
    Squash(**PLAIN, interpolation="bilinear"),
    PaddedSquare(**PLAIN, interpolation="bilinear"),
    GreySquare(**PLAIN, interpolation="bicubic"),
    GreyCanvas(**PLAIN, canvas_size=48, canvas_interpolation="lanczos", interpolation="bicubic", antialias=False),
    Corner(**PLAIN, interpolation="bilinear", antialias=True),
)


def white(rows: int, columns: int) -> NDArray[np.float32]:
    return np.ones((rows, columns), dtype=np.float32)


def picture(rows: int, columns: int) -> Image.Image:
    small = np.random.default_rng(3).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((columns, rows), Image.Resampling.BICUBIC)


def prepared(image: Image.Image, steps: Preprocessing) -> torch.Tensor:
    return preprocessor(steps)(as_frame((np.asarray(image) / 255).astype(np.float32)))


@pytest.mark.parametrize("steps", WAYS, ids=lambda steps: steps.resize_mode)
def test_every_way_gives_a_square_of_three_channels_from_any_shape(steps: Preprocessing) -> None:
    for shape in ((1, 1), (1, 90), (300, 7), (32, 32), (33, 31)):
        found = preprocessor(steps)(as_frame(white(*shape)))
        assert (found.shape, found.dtype) == ((3, 32, 32), torch.float32)
        assert torch.isfinite(found).all()


@pytest.mark.parametrize("steps", WAYS, ids=lambda steps: steps.resize_mode)
def test_an_8_bit_level_survives_the_way_to_floats_and_back(steps: Preprocessing) -> None:
    for level in (1, 77, 128, 254):
        pixels = np.full((32, 32), np.float32(level) / np.float32(255), dtype=np.float32)
        centre = preprocessor(steps)(as_frame(pixels))[:, 16, 16]
        assert centre.tolist() == pytest.approx([level if steps.resize_mode == "grey-canvas" else level / 255] * 3, abs=1e-4)


@pytest.mark.parametrize("shape", [(40, 63), (63, 40), (35, 32), (200, 31)])
def test_shortest_side_and_crop_are_torchvisions(shape: tuple[int, int]) -> None:
    image = picture(*shape)
    steps = [transforms.Resize(32, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(32), transforms.ToTensor()]
    assert torch.equal(prepared(image, WAYS[0]), transforms.Compose(steps)(image))


def test_the_crop_starts_half_a_pixel_apart_where_the_references_round_differently() -> None:
    image = picture(32, 35)  # three columns too many: torchvision starts at 2, Hugging Face at 1
    floor = ShortestSide(**PLAIN, interpolation="bicubic", crop_offset="floor")
    assert torch.equal(prepared(image, WAYS[0])[:, :, :-1], prepared(image, floor)[:, :, 1:])


def test_padding_lies_where_each_publisher_puts_it() -> None:
    wide = as_frame(white(16, 32))
    rows = {steps.resize_mode: preprocessor(steps)(wide)[0, :, 16] for steps in WAYS}
    assert [int((rows[mode] == 0).sum()) for mode in ("longest", "padded-square", "corner", "squash", "shortest")] == [16, 16, 16, 0, 0]
    assert rows["longest"][0] == rows["longest"][-1] == 0
    assert rows["corner"][0] == 1
    assert rows["corner"][-1] == 0


def test_a_small_image_is_padded_and_not_enlarged_on_the_grey_square() -> None:
    found = preprocessor(WAYS[4])(as_frame(white(10, 10)))
    assert int((found[0] == 1).sum()) == 100


def test_colour_becomes_grey_only_where_the_publisher_does_so() -> None:
    red = np.zeros((32, 32, 3), dtype=np.float32)
    red[..., 0] = 1
    for steps in WAYS:
        channels = preprocessor(steps)(as_frame(red))[:, 16, 16]
        assert (len(set(channels.tolist())) == 1) == (steps.resize_mode in {"grey-square", "grey-canvas"})


def test_antialiasing_is_as_the_manifest_says() -> None:
    image = picture(300, 200)
    with_it = GreyCanvas(**PLAIN, canvas_size=48, canvas_interpolation="lanczos", interpolation="bicubic", antialias=True)
    assert (prepared(image, with_it) - prepared(image, WAYS[5])).abs().max() > 1


def test_pixels_that_are_no_display_values_are_refused() -> None:
    for pixels in (white(3, 3) * 2, white(3, 3) - 2, white(3, 3) * np.nan, white(0, 3)):
        with pytest.raises(ValueError, match="display values"):
            preprocessor(WAYS[0])(as_frame(pixels))


@pytest.mark.parametrize("shape", [(1, 1), (181, 181), (182, 182), (256, 256), (300, 257, 3)])
def test_levels_are_rounded_half_to_even_in_frames_of_any_size(shape: tuple[int, ...]) -> None:
    drawn = np.random.default_rng(5).random(shape, dtype=np.float32)
    halves = ((np.arange(drawn.size) % 255 + 0.5) / 255).astype(np.float32).reshape(shape)
    for pixels in (drawn, halves, drawn[::-1, ::-1]):
        expected = np.rint(pixels * np.float32(255)).astype(np.uint8)
        plain = Squash(image_size=16, mean=(0.0,) * 3, std=(1.0,) * 3, interpolation="bicubic")
        image = Image.fromarray(expected).resize((16, 16), Image.Resampling.BICUBIC).convert("RGB")
        assert torch.equal(preprocessor(plain)(as_frame(pixels)), transforms.ToTensor()(image))


@pytest.mark.parametrize("steps", [way for way in WAYS if way.resize_mode != "corner"], ids=lambda steps: steps.resize_mode)
def test_grey_is_prepared_as_the_same_grey_in_three_channels(steps: Preprocessing) -> None:
    grey = np.random.default_rng(6).random((97, 61), dtype=np.float32)
    one, three = (preprocessor(steps)(as_frame(pixels)) for pixels in (grey, np.repeat(grey[..., np.newaxis], 3, axis=2)))
    assert torch.equal(one, three)
