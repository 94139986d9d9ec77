"""A contact sheet: small pictures with words below them, in rows, on as many pages as it takes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from reporting.companions.lettering import Face, font, wrapped

SIDE = 220  # pixels; no picture of a sheet is larger
_COLUMNS, _ROWS = 6, 6
_GAP = 10
_LETTERS, _LINE = 11, 14
_MOST_LINES = 10
_PAPER, _INK, _FAINT, _PLACE = (250, 250, 250), (30, 30, 30), (150, 40, 40), (228, 228, 228)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tile:
    """One picture, uint8 grey or RGB and neither side longer than `SIDE`, and the words below it; without a picture the words say why."""

    pixels: NDArray[np.uint8] | None
    title: str
    words: str


def pages(tiles: Sequence[Tile]) -> Iterator[NDArray[np.uint8]]:
    """Yield the pages of the sheet, uint8 RGB, 36 tiles on each; every row is as high as its words need."""
    of_page = _COLUMNS * _ROWS
    for start in range(0, len(tiles), of_page):
        yield _page(tiles[start : start + of_page])


def small(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return display values in [0, 1] as 8 bits, made smaller to fit a tile, or each pixel larger to fill it."""
    picture = Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    larger = SIDE // max(picture.size)
    if larger > 1:
        picture = picture.resize((picture.width * larger, picture.height * larger), Image.Resampling.NEAREST)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(picture)


def _page(tiles: Sequence[Tile]) -> NDArray[np.uint8]:
    worded = [(tile, _lines(tile)) for tile in tiles]
    rows = [worded[start : start + _COLUMNS] for start in range(0, len(worded), _COLUMNS)]
    heights = [SIDE + 2 * _GAP + _LINE * (1 + max(len(lines) for _, lines in row)) for row in rows]
    sheet = Image.new("RGB", (min(_COLUMNS, len(tiles)) * (SIDE + _GAP) + _GAP, sum(heights) + _GAP), _PAPER)
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        for column, (tile, lines) in enumerate(row):
            _draw(sheet, tile, lines, left=_GAP + column * (SIDE + _GAP), top=top)
        top += height
    return np.asarray(sheet)


def _draw(sheet: Image.Image, tile: Tile, lines: Sequence[str], *, left: int, top: int) -> None:
    drawing, ink = ImageDraw.Draw(sheet), _INK if tile.pixels is not None else _FAINT
    if tile.pixels is None:
        drawing.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), fill=_PLACE)
    else:
        picture = Image.fromarray(tile.pixels)
        sheet.paste(picture.convert("RGB"), (left + (SIDE - picture.width) // 2, top + (SIDE - picture.height) // 2))
    baseline = top + SIDE + _GAP // 2
    drawing.text((left, baseline), tile.title, fill=_INK, font=font(Face.BOLD, _LETTERS))
    for number, line in enumerate(lines, start=1):
        drawing.text((left, baseline + number * _LINE), line, fill=ink, font=font(Face.PLAIN, _LETTERS))


def _lines(tile: Tile) -> tuple[str, ...]:
    lines = wrapped(tile.words, _LETTERS, SIDE - _GAP)
    return lines if len(lines) <= _MOST_LINES else (*lines[: _MOST_LINES - 1], "…")
