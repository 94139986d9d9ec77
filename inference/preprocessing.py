"""A frame as the image tower reads it: each published way of `config.preprocessing`, exactly.

All ways start from 8 bits, because that is what the references resized; resizing floats differs by up to one grey level.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from config.preprocessing import (
    Corner,
    GreyCanvas,
    GreySquare,
    LongestSide,
    PaddedSquare,
    PerChannel,
    Preprocessing,
    Resampling,
    ShortestSide,
    Squash,
)
from inference.axes import PilSteps, axes, canvas_side, crop_start, longest_size, shortest_size
from inference.fixed_point import resampled
from inference.frames import Frame

Preprocess = Callable[[Frame], torch.Tensor]

_FILTERS: dict[Resampling, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}

_MOST_MADE = 16  # times the pixels of the frame, or of the input
_PIECE = 1 << 15  # pixels: 128 KB of float32


def preprocessor(steps: Preprocessing) -> Preprocess:
    """Return what makes float32 `(3, image_size, image_size)` on the CPU from a frame.

    It raises ValueError if the frame's pixels are not float32 display values in [0, 1].
    """
    return lambda frame: _preprocessed(eight_bits(frame), steps)


def _preprocessed(image: Image.Image, steps: Preprocessing) -> torch.Tensor:
    if isinstance(steps, GreyCanvas):
        return _by_canvas(image, steps)
    if isinstance(steps, Corner):
        return _by_corner(image, steps)
    return _standardised(_floats(_square(image, steps)), steps.mean, steps.std)


def _square(image: Image.Image, steps: PilSteps) -> Image.Image:
    if _makes_much_of(image, steps):
        return _square_of_strip(image, steps)
    match steps:
        case ShortestSide():
            return _cropped(_shortest(image, steps), steps)
        case LongestSide():
            return _longest(image, steps)
        case Squash():
            return _squashed(image, steps.image_size, steps.interpolation)
        case PaddedSquare():
            return _squashed(_centred(image, _mode(image), canvas_side(*image.size, steps)), steps.image_size, steps.interpolation)
        case GreySquare():
            return _squashed(_centred(image, "L", canvas_side(*image.size, steps)), steps.image_size, steps.interpolation)


def _makes_much_of(image: Image.Image, steps: PilSteps) -> bool:
    """True of long strips: resizing the shorter side, or padding to a square, would make gigabytes of 65,535 x 1 pixels."""
    rows, columns = axes(*image.size, steps)
    most = max(rows.canvas * columns.canvas, rows.resized * columns.resized)
    return most > _MOST_MADE * max(image.width * image.height, steps.image_size**2)


def _square_of_strip(image: Image.Image, steps: PilSteps) -> Image.Image:
    """The same bits, made of nothing but what is not cropped away."""
    levels = levels_of(image.convert("L") if isinstance(steps, GreySquare) else image)
    squares = resampled(levels, *axes(*image.size, steps), steps.interpolation).to(torch.uint8).numpy()
    return Image.fromarray(squares[0] if len(squares) == 1 else np.ascontiguousarray(squares.transpose(1, 2, 0)))


def levels_of(image: Image.Image) -> torch.Tensor:
    """Return uint8 `(1, rows, columns)` of mode L, `(3, rows, columns)` of RGB."""
    levels = torch.from_numpy(np.array(image))
    return levels[None] if image.mode == "L" else levels.permute(2, 0, 1).contiguous()


def eight_bits(frame: Frame) -> Image.Image:
    """Return the frame in 256 levels, of PIL's mode L or RGB.

    Raises:
        ValueError: its pixels are not float32 display values in [0, 1].
    """
    pixels = frame.pixels
    if pixels.dtype != np.float32 or pixels.size == 0 or not (pixels.min() >= 0 and pixels.max() <= 1):
        raise ValueError(f"pixels of {frame.ref.sop_instance_uid} are not float32 display values in [0, 1]")
    return Image.fromarray(_levels(pixels))


def _levels(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """0 to 255, half to even; in pieces that stay in a core's cache, which is twice as fast on a large frame."""
    levels = np.empty(pixels.shape, dtype=np.uint8)
    flat, rounded = pixels.reshape(-1), levels.reshape(-1)
    piece = np.empty(min(_PIECE, flat.size), dtype=np.float32)
    for start in range(0, flat.size, _PIECE):
        part = piece[: flat.size - start]
        np.multiply(flat[start : start + _PIECE], np.float32(255), out=part)
        np.rint(part, out=part)
        rounded[start : start + _PIECE] = part
    return levels


def standardised_levels(steps: Preprocessing) -> torch.Tensor:
    """Return what each of the 256 levels becomes in each channel at last, float32 `(3, 256)`, by the same arithmetic as in a frame."""
    levels = Image.fromarray(np.arange(256, dtype=np.uint8)[np.newaxis])
    return _standardised(_floats(levels), steps.mean, steps.std)[:, 0]


def _shortest(image: Image.Image, steps: ShortestSide) -> Image.Image:
    size = shortest_size(image.width, image.height, steps)
    return _resized(image, size, steps.interpolation)


def _resized(image: Image.Image, size: tuple[int, int], interpolation: Resampling) -> Image.Image:
    return image if size == image.size else image.resize(size, _FILTERS[interpolation])


def _cropped(image: Image.Image, steps: ShortestSide) -> Image.Image:
    left, top = (crop_start(length, steps) for length in image.size)
    return image.crop((left, top, left + steps.image_size, top + steps.image_size))


def _longest(image: Image.Image, steps: LongestSide) -> Image.Image:
    return _centred(_resized(image, longest_size(image.width, image.height, steps), steps.interpolation), "RGB", steps.image_size)


def _squashed(image: Image.Image, side: int, interpolation: Resampling) -> Image.Image:
    return _resized(image, (side, side), interpolation)


def _mode(image: Image.Image) -> Literal["L", "RGB"]:
    """Grey stays grey as long as it can: the three channels that the references make of it would be resized to the same bytes."""
    return "L" if image.mode == "L" else "RGB"


def _centred(image: Image.Image, mode: Literal["L", "RGB"], side: int) -> Image.Image:
    """On a black square; pasting colour on grey converts it as PIL does (L = 0.299 R + 0.587 G + 0.114 B)."""
    canvas = Image.new(mode, (side, side))
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return canvas


def _by_canvas(image: Image.Image, steps: GreyCanvas) -> torch.Tensor:
    """Source: CheXzero, data_process.preprocess and zero_shot.CXRTestDataset."""
    side = steps.canvas_size
    ratio = side / max(image.size)
    size = (max(1, int(image.width * ratio)), max(1, int(image.height * ratio)))
    grey = _centred(_resized(image.convert(_mode(image)), size, steps.canvas_interpolation), "L", side)
    levels = torch.from_numpy(np.asarray(grey, dtype=np.float32)).expand(3, -1, -1)
    return _resampled(
        _standardised(levels, steps.mean, steps.std), (steps.image_size, steps.image_size), steps.interpolation, steps.antialias
    )


def _by_corner(image: Image.Image, steps: Corner) -> torch.Tensor:
    """Source: FLAIR, FLAIRModel.preprocess_image."""
    pixels = _floats(image)
    scale = max(image.size) / steps.image_size
    rows, columns = (max(1, int(side / scale)) for side in pixels.shape[1:])
    resized = _resampled(pixels, (rows, columns), steps.interpolation, steps.antialias)
    padded = torch.nn.functional.pad(resized, (0, steps.image_size - columns, 0, steps.image_size - rows))
    return _standardised(padded, steps.mean, steps.std)


def _resampled(pixels: torch.Tensor, size: tuple[int, int], interpolation: str, antialias: bool) -> torch.Tensor:
    """Half-pixel centres; torch's bicubic has a = -0.75."""
    return torch.nn.functional.interpolate(pixels[None], size=size, mode=interpolation, align_corners=False, antialias=antialias)[0]


def _floats(image: Image.Image) -> torch.Tensor:
    """8 bits as float32 in [0, 1], `(3, rows, columns)`."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous().to(torch.float32).div(255)


def _standardised(pixels: torch.Tensor, mean: PerChannel, std: PerChannel) -> torch.Tensor:
    """(x - mean) / std, channel by channel."""
    return pixels.sub(torch.tensor(mean).view(-1, 1, 1)).div(torch.tensor(std).view(-1, 1, 1))
