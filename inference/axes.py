"""Sizes and places on the way to a square input: what each published way makes of the rows and of the columns of a picture."""

from dataclasses import dataclass

from config.preprocessing import GreySquare, LongestSide, PaddedSquare, ShortestSide, Squash

PilSteps = ShortestSide | LongestSide | Squash | PaddedSquare | GreySquare  # which resize 8 bits and nothing else


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What becomes of the rows, or of the columns, of a picture.

    `size` of them lie at `offset` on a black canvas of `canvas`, which is resized to `resized`. Of that, `side` are taken from `start`;
    what lies outside is black.
    """

    size: int
    canvas: int
    offset: int
    resized: int
    start: int
    side: int


def axes(width: int, height: int, steps: PilSteps) -> tuple[Axis, Axis]:
    """Return what the steps make of the rows and of the columns."""
    side = steps.image_size
    match steps:
        case ShortestSide():
            across, down = shortest_size(width, height, steps)
            return _resized(height, down, crop_start(down, steps), side), _resized(width, across, crop_start(across, steps), side)
        case LongestSide():
            across, down = longest_size(width, height, steps)
            return _resized(height, down, -((side - down) // 2), side), _resized(width, across, -((side - across) // 2), side)
        case Squash():
            return _resized(height, side, 0, side), _resized(width, side, 0, side)
        case PaddedSquare() | GreySquare():
            canvas = canvas_side(width, height, steps)
            return _padded(height, canvas, side), _padded(width, canvas, side)


def shortest_size(width: int, height: int, steps: ShortestSide) -> tuple[int, int]:
    """Return width and height before the crop."""
    short, long = sorted((width, height))
    resized = int(steps.image_size * long / short)
    return (steps.image_size, resized) if width <= height else (resized, steps.image_size)


def crop_start(length: int, steps: ShortestSide) -> int:
    """Return where the crop of `image_size` out of `length` begins."""
    over = length - steps.image_size
    return round(over / 2) if steps.crop_offset == "round" else over // 2


def longest_size(width: int, height: int, steps: LongestSide) -> tuple[int, int]:
    """Return width and height before the padding."""
    ratio = max(width / steps.image_size, height / steps.image_size)
    return max(1, round(width / ratio)), max(1, round(height / ratio))


def canvas_side(width: int, height: int, steps: PaddedSquare | GreySquare) -> int:
    """Return the side of the black square that the picture is put on."""
    return max(width, height, steps.image_size) if isinstance(steps, GreySquare) else max(width, height)


def _resized(size: int, resized: int, start: int, side: int) -> Axis:
    return Axis(size=size, canvas=size, offset=0, resized=resized, start=start, side=side)


def _padded(size: int, canvas: int, side: int) -> Axis:
    return Axis(size=size, canvas=canvas, offset=(canvas - size) // 2, resized=side, start=0, side=side)
