"""A heat map as a picture: the image, beside it the image under the heat with the region, a scale in scores, and what it says."""

import textwrap

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from inference.explanation.colour_scale import colour_scale
from inference.explanation.heat_map import HeatMap
from inference.explanation.picture import Picture
from inference.findings import HEAT_WARNING, NO_PLACE, HeatGrid, Region
from inference.frames import Frame

Pixels = NDArray[np.uint8]

_SIDE = 512  # pixels of the longer side of the image
_COVERED = (3, 5)  # by colour at the hottest place, as a fraction: the image stays visible there
_FULL = 255
_GAP = 14
_SCALE_WIDTH = 18
_LETTERS = 84  # pixels for the numbers beside the scale
_TEXT, _SMALL = 15, 13
_LINE = 20
_LETTER = 8  # pixels, on average
_TOP = _GAP + _LINE
_PAPER, _INK, _SOFT = (255, 255, 255), (22, 32, 43), (86, 101, 117)
_TICKS = (0.0, 0.5, 1.0)


def draw(frame: Frame, heat_map: HeatMap, region: Region | None, *, caption: str) -> Picture:
    """Return the picture of a heat map on its frame; `caption` says of what it is, and the picture adds what it is not."""
    image, grid = _sized(frame.pixels), heat_map.kept()
    height, width = image.shape[:2]
    words = f"{caption} {HEAT_WARNING if heat_map.has_a_place else NO_PLACE}"
    sheet = _Sheet(width=3 * _GAP + 2 * width + _SCALE_WIDTH + _LETTERS, height=height, words=words)
    sheet.show(image, left=_GAP, title="As the model saw it")
    right = 2 * _GAP + width
    sheet.show(under_heat(image, grid), left=right, title="Where hiding a place lowers the score")
    if region is not None:
        sheet.outline(region, frame, left=right, size=(width, height))
    sheet.scale(grid, left=right + width + _GAP, height=height)
    return Picture(caption=words, image=heat_map.image, pixels=sheet.pixels)


def outline(frame: Frame, region: Region, *, caption: str) -> Picture:
    """Return the picture of a frame with the outline of a region."""
    image = _sized(frame.pixels)
    height, width = image.shape[:2]
    sheet = _Sheet(width=_GAP + max(width, _SIDE), height=height, words=caption)
    sheet.show(image, left=_GAP, title="As it was decoded")
    sheet.outline(region, frame, left=_GAP, size=(width, height))
    return Picture(caption=caption, image=region.image, pixels=sheet.pixels)


def _sized(pixels: NDArray[np.float32]) -> Pixels:
    """RGB with a longer side of `_SIDE` pixels."""
    image = Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).convert("RGB")
    scale = _SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return np.asarray(image.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC))


def under_heat(image: Pixels, grid: HeatGrid) -> Pixels:
    """Return RGB `(rows, columns, 3)` with the colours of the heat over it, the more the hotter; elsewhere it stays as it is.

    `image` shows the frame of the map, at any size. Whole numbers throughout: the same picture on every machine.
    """
    rows, columns = image.shape[:2]
    share = np.asarray(Image.fromarray(_shares(grid)).resize((columns, rows), Image.Resampling.BICUBIC)).astype(np.int32)
    colours, share = colour_scale()[share].astype(np.int32), share[..., np.newaxis]
    grey = image.sum(axis=2, keepdims=True, dtype=np.int32) // image.shape[2]
    greyed = (grey * share + image * (_FULL - share) + _FULL // 2) // _FULL
    most, of = _COVERED
    whole = of * _FULL
    mixed = (greyed * (whole - most * share) + colours * (most * share) + whole // 2) // whole
    return np.asarray(mixed, dtype=np.uint8)


def _shares(grid: HeatGrid) -> Pixels:
    """The heat as shares of the top of the scale, 255 for all of it, `(side, side)`."""
    shares = np.rint(_FULL * np.clip(np.array(grid.falls) / (100 * grid.top_of_scale), 0, 1))
    return shares.astype(np.uint8).reshape(grid.side, grid.side)


class _Sheet:
    """White paper with room for a row of images, a title above each and words below."""

    def __init__(self, *, width: int, height: int, words: str) -> None:
        lines = textwrap.wrap(words, width=width // _LETTER)
        self._paper = Image.new("RGB", (width + _GAP, 3 * _GAP + _LINE * (1 + len(lines)) + height), _PAPER)
        self._pen = ImageDraw.Draw(self._paper)
        for number, line in enumerate(lines):
            self._say((_GAP, _TOP + height + _GAP + _LINE * number), line, size=_TEXT, colour=_INK)

    @property
    def pixels(self) -> Pixels:
        return np.asarray(self._paper)

    def show(self, image: Pixels, *, left: int, title: str) -> None:
        self._say((left, _TOP - _LINE - 2), title, size=_SMALL, colour=_SOFT)
        self._paper.paste(Image.fromarray(image), (left, _TOP))

    def outline(self, region: Region, frame: Frame, *, left: int, size: tuple[int, int]) -> None:
        """White between black lines: visible on any tissue. `size`: width and height at which the frame is shown."""
        (rows, columns), (top, first) = frame.pixels.shape[:2], frame.crop
        points = [(left + (column - first) / columns * size[0], _TOP + (row - top) / rows * size[1]) for column, row in region.points]
        for width, colour in ((4, (0, 0, 0)), (2, _PAPER)):
            self._pen.line([*points, points[0]], fill=colour, width=width, joint="curve")

    def scale(self, grid: HeatGrid, *, left: int, height: int) -> None:
        """From the score as it is, at the bottom, to what is left of it where hiding costs most."""
        bar = Image.fromarray(np.repeat(colour_scale()[::-1, np.newaxis], _SCALE_WIDTH, axis=1))
        self._paper.paste(bar.resize((_SCALE_WIDTH, height), Image.Resampling.NEAREST), (left, _TOP))
        self._say((left, _TOP - _LINE - 2), "score if hidden", size=_SMALL, colour=_SOFT)
        for share in _TICKS:
            row = _TOP + round((1 - share) * (height - 1))
            self._pen.line([(left + _SCALE_WIDTH, row), (left + _SCALE_WIDTH + 4, row)], fill=_INK)
            beside = (left + _SCALE_WIDTH + 8, min(max(row - 9, _TOP), _TOP + height - _LINE))
            self._say(beside, f"{grid.left_at(share):.3f}", size=_TEXT, colour=_INK)

    def _say(self, corner: tuple[int, int], words: str, *, size: int, colour: tuple[int, int, int]) -> None:
        self._pen.text(corner, words, fill=colour, font=ImageFont.load_default(size))
