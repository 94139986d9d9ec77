"""A slide at low power, made frame by frame from its coarsest level that shows enough: for the tissue mask and the tile map."""

import math
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.slides.frame_stream import Damaged, FrameStream
from inference.slides.levels import Level, PlacedFrame
from inference.slides.pyramid import Slide

_LONGEST_SIDE = 2048  # pixels of the picture: 12 um each on a section of 25 mm
_ENOUGH = 1024  # pixels of the longer side of a level that the picture may be made from
_MOST_FRAMES = 4096  # that are decoded for it; of a level with more, every second, third ... in both directions
_GLASS = 255  # of what no frame shows (PS3.3 C.8.12.4: absent tiles; scanners leave out what is empty)
_RGB = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overview:
    """The picture, uint8 RGB (rows, columns, 3), of `level`; every `every`-th frame in both directions stands for its neighbours."""

    level: Level
    pixels: NDArray[np.uint8]
    every: int

    def scale(self, level: Level) -> tuple[float, float]:
        """Return how many rows and columns of `level` one pixel of the picture shows."""
        return level.rows / self.pixels.shape[0], level.columns / self.pixels.shape[1]


def overview_of(slide: Slide, *, maximum_megapixels: float, damaged: Damaged) -> Overview:
    """Return the slide at low power. `damaged` is told of frames that cannot be decoded, which are shown as glass.

    Raises:
        UndecodableError: no frame of the level can be decoded.
    """
    level = _level(slide)
    every = max(1, math.ceil(math.sqrt(_frames(level) / _MOST_FRAMES)))
    block = (level.frame_rows * every, level.frame_columns * every)
    wanted = _first_of_blocks(level, block)
    shrink = max(1, -(-max(level.rows, level.columns) // _LONGEST_SIDE))
    pixels = np.full((-(-level.rows // shrink), -(-level.columns // shrink), _RGB), _GLASS, dtype=np.uint8)
    with closing(FrameStream(level, wanted, maximum_megapixels=maximum_megapixels, damaged=damaged)) as stream:
        for placed in wanted:
            frame = stream.frame(placed)
            if frame is not None:
                area = _area(placed, level, block)
                _paint(pixels, frame.pixels[: level.rows - placed.top, : level.columns - placed.left], area, shrink)
    return Overview(level=level, pixels=pixels, every=every)


def _level(slide: Slide) -> Level:
    """The coarsest whose longer side has enough pixels, else the largest. Thumbnails show what the levels show (PS3.3 C.8.12.4.1.1)."""
    enough = [level for level in slide.levels if max(level.rows, level.columns) >= _ENOUGH]
    if enough:
        return min(enough, key=lambda level: (level.rows * level.columns, level.image.sop_instance_uid))
    return max(slide.levels, key=lambda level: (level.rows * level.columns, level.image.sop_instance_uid))


def _frames(level: Level) -> int:
    return -(-level.rows // level.frame_rows) * -(-level.columns // level.frame_columns)


def _first_of_blocks(level: Level, block: tuple[int, int]) -> list[PlacedFrame]:
    """The frames that the picture is made of, row by row: each, or the one in the middle of each block of several."""
    if block == (level.frame_rows, level.frame_columns):
        return sorted(level.within(0, 0, level.rows, level.columns), key=lambda placed: (placed.part, placed.frame_number))
    found: list[PlacedFrame] = []
    for top in range(0, level.rows, block[0]):
        for left in range(0, level.columns, block[1]):
            row, column = min(top + block[0] // 2, level.rows - 1), min(left + block[1] // 2, level.columns - 1)
            found += level.within(row, column, row + 1, column + 1)[:1]
    return found


def _area(placed: PlacedFrame, level: Level, block: tuple[int, int]) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of what a frame stands for in the matrix: itself, or its block."""
    whole = block == (level.frame_rows, level.frame_columns)
    top, left = (placed.top, placed.left) if whole else (placed.top // block[0] * block[0], placed.left // block[1] * block[1])
    return top, left, min(top + block[0], level.rows), min(left + block[1], level.columns)


def _paint(pixels: NDArray[np.uint8], shown: NDArray[np.float32], area: tuple[int, int, int, int], shrink: int) -> None:
    """Put what a frame shows, shrunk, where it belongs in the picture. Beyond the matrix it shows padding, which was cut off."""
    top, left, bottom, right = (edge // shrink for edge in area)
    target = pixels[top : max(bottom, top + 1), left : max(right, left + 1)]
    image = Image.fromarray(np.rint(shown * 255).astype(np.uint8)).convert("RGB")
    target[...] = np.asarray(image.resize((target.shape[1], target.shape[0]), Image.Resampling.BOX))
