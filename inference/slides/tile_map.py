"""The tile map: a slide at low power with the tiles that were looked at, coloured by their scores, beside a scale."""

import textwrap
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from inference.explanation.colour_scale import colour_scale, coloured
from inference.explanation.picture import Picture
from inference.slides.levels import Level
from inference.slides.overview import Overview

_LONGEST_SIDE = 1024  # pixels of the picture of the slide
_COVERED = 0.6  # by colour; the tissue stays visible under it
_GAP, _BAR, _LETTERS, _LINE, _TEXT = 14, 18, 84, 20, 15
_PAPER, _INK = (255, 255, 255), (22, 32, 43)
_SEEN = (30, 90, 160)  # outline of tiles without a score
_TICKS = (0.0, 0.5, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedAt:
    """Where the tiles begin that were looked at, and their size, in pixels of the level."""

    tops: tuple[int, ...]
    lefts: tuple[int, ...]
    rows: int
    columns: int


def draw_tile_map(overview: Overview, level: Level, tiles: LookedAt, scores: NDArray[np.float32] | None, *, words: str) -> Picture:
    """Return the map of `scores` (one a tile, in [0, 1]; None: only which tiles were looked at). `words` say what it is of.

    The colours go from the lowest score to the highest, which the scale names, so that two slides cannot be compared by colour.
    """
    slide = _sized(overview.pixels)
    scale = level.rows / slide.shape[0], level.columns / slide.shape[1]
    painted = _painted(slide, tiles, scores, scale)
    height, width = painted.shape[:2]
    lines = textwrap.wrap(words, width=max(40, (width + _BAR + _LETTERS) // 8))
    sheet = Image.new("RGB", (3 * _GAP + width + _BAR + _LETTERS, 2 * _GAP + height + _LINE * (len(lines) + 1)), _PAPER)
    sheet.paste(Image.fromarray(painted), (_GAP, _GAP))
    pen = ImageDraw.Draw(sheet)
    if scores is not None:
        _scale(sheet, pen, scores, corner=(2 * _GAP + width, _GAP), height=height)
    for number, line in enumerate(lines):
        pen.text((_GAP, _GAP + height + _LINE // 2 + _LINE * number), line, fill=_INK, font=ImageFont.load_default(_TEXT))
    return Picture(caption=words, image=level.image, pixels=np.asarray(sheet))


def _sized(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels)
    factor = _LONGEST_SIDE / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return np.array(image.resize(size, Image.Resampling.BOX if factor < 1 else Image.Resampling.NEAREST))


def _painted(
    slide: NDArray[np.uint8], tiles: LookedAt, scores: NDArray[np.float32] | None, scale: tuple[float, float]
) -> NDArray[np.uint8]:
    colours = None if scores is None else coloured(_shares(scores))
    for number, (top, left) in enumerate(zip(tiles.tops, tiles.lefts, strict=True)):
        rows, columns = _pixels(top, tiles.rows, scale[0]), _pixels(left, tiles.columns, scale[1])
        part = slide[rows, columns]
        if colours is not None:
            part[...] = np.rint((1 - _COVERED) * part + _COVERED * colours[number])
        else:
            part[[0, -1]], part[:, [0, -1]] = _SEEN, _SEEN
    return slide


def _pixels(start: int, length: int, scale: float) -> slice:
    first = int(start / scale)
    return slice(first, max(first + 1, int((start + length) / scale)))


def _shares(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    lowest, spread = scores.min(), np.ptp(scores)
    return np.asarray((scores - lowest) / spread if spread > 0 else np.ones_like(scores), dtype=np.float32)


def _scale(sheet: Image.Image, pen: ImageDraw.ImageDraw, scores: NDArray[np.float32], *, corner: tuple[int, int], height: int) -> None:
    left, top = corner
    bar = np.repeat(colour_scale()[::-1, np.newaxis], _BAR, axis=1)
    sheet.paste(Image.fromarray(bar).resize((_BAR, height), Image.Resampling.NEAREST), (left, top))
    for share in _TICKS:
        row = top + round((1 - share) * (height - 1))
        pen.line([(left + _BAR, row), (left + _BAR + 4, row)], fill=_INK)
        said = f"{scores.min() + share * float(np.ptp(scores)):.3f}"
        pen.text((left + _BAR + 8, min(max(top, row - 9), top + height - 18)), said, fill=_INK, font=ImageFont.load_default(_TEXT))
