"""Sheets painted as pixels: light on dark, for a reading room."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from reporting.companions import lettering
from reporting.companions.sheet import WIDTH, Box, Ink, Loop, Photo, Scale, Sheet, Words

_PALETTE = {
    Ink.PAPER: (12, 15, 19),
    Ink.PANEL: (38, 45, 54),
    Ink.RULE: (62, 71, 82),
    Ink.TEXT: (232, 236, 240),
    Ink.DIM: (165, 174, 184),
    Ink.WARNING: (240, 190, 40),
    Ink.ON_WARNING: (24, 18, 0),
    Ink.ALARM: (206, 52, 44),
    Ink.ON_ALARM: (255, 255, 255),
    Ink.BAR: (122, 138, 156),
    Ink.OUTLINE: (255, 176, 59),
    Ink.OUTLINE_ON_HEAT: (255, 255, 255),
    Ink.SHADOW_ON_HEAT: (0, 0, 0),
}


def painted(sheet: Sheet) -> NDArray[np.uint8]:
    """Return the sheet as RGB, `(height, 1024, 3)`."""
    image = Image.new("RGB", (WIDTH, sheet.height), _PALETTE[Ink.PAPER])
    pen = ImageDraw.Draw(image)
    for mark in sheet.marks:
        match mark:
            case Words():
                _write(pen, mark)
            case Box():
                corner = (round(mark.x + mark.width) - 1, round(mark.y + mark.height) - 1)
                if corner[0] >= round(mark.x):
                    pen.rectangle([(round(mark.x), round(mark.y)), corner], fill=_PALETTE[mark.ink])
            case Loop():
                pen.line([*mark.points, mark.points[0]], fill=_PALETTE[mark.ink], width=round(mark.width))
            case Photo():
                picture = Image.open(BytesIO(mark.picture.png)).convert("RGB")
                size = (max(1, round(mark.width)), max(1, round(mark.height)))
                image.paste(picture.resize(size, Image.Resampling.LANCZOS), (round(mark.x), round(mark.y)))
            case Scale():
                colours = Image.fromarray(np.array([mark.colours], dtype=np.uint8))
                size = (max(1, round(mark.width)), max(1, round(mark.height)))
                image.paste(colours.resize(size, Image.Resampling.NEAREST), (round(mark.x), round(mark.y)))
    return np.asarray(image)


def _write(pen: ImageDraw.ImageDraw, words: Words) -> None:
    x = words.x
    for face, run in lettering.runs(words.text, bold=words.bold):
        letters = lettering.font(face, round(words.size))
        pen.text((x, words.y), run, font=letters, fill=_PALETTE[words.ink], anchor="ls")
        x += letters.getlength(run)
