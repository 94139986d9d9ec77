"""Pictures on a page: each with its words and outlines, in a column beside the answer or side by side below it."""

from collections.abc import Sequence

from inference.findings import Region
from reporting.companions import lettering
from reporting.companions.blocks import FULL_ROOM, GAP, LEADING, MARGIN, SMALL, Block, right_aligned, section, stacked
from reporting.companions.page import Heat, Page, Shown
from reporting.companions.picture import Picture
from reporting.companions.sheet import WIDTH, Ink, Loop, Mark, Photo, Scale, Words

PICTURE_ROOM = 280  # width of the column
_ACROSS = 3  # heat maps side by side
_BESIDE = 2  # pictures that leave room for a heat map below them
_SCALE = 10  # height of the colours
_SCALE_TITLE = "score if the place is hidden"


def stands_alone(page: Page) -> bool:
    """Say whether the heat maps need the whole width: more than one of them, or one beside many pictures."""
    return len(page.heat) > 1 or (len(page.heat) == 1 and len(page.pictures) > _BESIDE)


def picture_column(page: Page) -> Block:
    """Return the pictures one below the other at the right margin, and below them a heat map that needs no more room than that."""
    heat = () if stands_alone(page) else page.heat
    shown: tuple[Shown | Heat, ...] = (*page.pictures, *heat)
    tallest = 300 if len(shown) == 1 else 230

    def panels(y: float) -> tuple[list[Mark], float]:
        marks: list[Mark] = []
        top = y
        for one in shown:
            placed, tall = _panel(one, WIDTH - MARGIN - PICTURE_ROOM, top, width=PICTURE_ROOM, tallest=tallest)
            marks += placed
            top += tall
        return marks, top - y

    return Block(height=panels(0)[1], draw=lambda y: panels(y)[0])


def heat_band(page: Page) -> Block:
    """Return the heat maps side by side over the whole width."""
    title = section("Where the scores come from", FULL_ROOM)
    width = (FULL_ROOM - (_ACROSS - 1) * GAP) / _ACROSS

    above = max(len(_title(one, width)) for one in page.heat)

    def panels(y: float) -> list[tuple[list[Mark], float]]:
        lefts = (MARGIN + number * (width + GAP) for number in range(len(page.heat)))
        return [_heat(one, left, y, width=width, tallest=230, above=above) for one, left in zip(page.heat, lefts, strict=True)]

    def draw(y: float) -> list[Mark]:
        return [*title.draw(y), *(mark for marks, _ in panels(y + title.height) for mark in marks)]

    return Block(height=title.height + max(tall for _, tall in panels(0)), draw=draw)


def _panel(shown: Shown | Heat, x: float, y: float, *, width: float, tallest: float) -> tuple[list[Mark], float]:
    """The marks of a picture with its words, and how tall they are together."""
    if isinstance(shown, Heat):
        return _heat(shown, x, y, width=width, tallest=tallest, above=len(_title(shown, width)))
    photo = _photo(shown.picture, x, y, width=width, tallest=tallest)
    caption = lettering.wrapped(shown.caption, SMALL, width)
    marks = [photo, *_outlines(shown.regions, photo, Ink.OUTLINE, 2), *stacked(caption, x, y + photo.height + 4, SMALL, ink=Ink.DIM)]
    return marks, photo.height + 4 + len(caption) * SMALL * LEADING + GAP


def _title(heat: Heat, width: float) -> tuple[str, ...]:
    return lettering.wrapped(heat.title, SMALL, width, bold=True)


def _heat(heat: Heat, x: float, y: float, *, width: float, tallest: float, above: int) -> tuple[list[Mark], float]:
    """The title in room for `above` lines, the picture, the scale below it, then what it says and what it does not."""
    line = SMALL * LEADING
    title, caption = _title(heat, width), lettering.wrapped(heat.caption, SMALL, width)
    photo = _photo(heat.picture, x, y + above * line + 6, width=width, tallest=tallest)
    scale = photo.y + photo.height + 8
    below = scale + _SCALE + 2
    marks: list[Mark] = [
        *stacked(title, x, y + (above - len(title)) * line, SMALL, bold=True),
        photo,
        *_outlines(heat.regions, photo, Ink.SHADOW_ON_HEAT, 4),
        *_outlines(heat.regions, photo, Ink.OUTLINE_ON_HEAT, 2),
        Scale(x=x, y=scale, width=width, height=_SCALE, colours=heat.scale),
        *_ticks(heat.ticks, x, below + SMALL, width),
        *stacked((_SCALE_TITLE,), x, below + line, SMALL, ink=Ink.DIM),
        *stacked(caption, x, below + 2 * line + 4, SMALL, ink=Ink.DIM),
    ]
    return marks, below + (2 + len(caption)) * line + 4 + GAP - y


def _ticks(texts: Sequence[str], x: float, y: float, width: float) -> list[Mark]:
    """The first at the left end, the last at the right end, the others where they belong between."""
    first, *between, last = texts
    spread = [x + width * number / (len(texts) - 1) for number in range(1, len(texts) - 1)]
    centred = [Words(x=at - lettering.width(text, SMALL) / 2, y=y, text=text, size=SMALL) for text, at in zip(between, spread, strict=True)]
    return [Words(x=x, y=y, text=first, size=SMALL), *centred, right_aligned(last, x + width, y, SMALL)]


def _photo(picture: Picture, x: float, y: float, *, width: float, tallest: float) -> Photo:
    """The picture as large as it may be, in the middle of its room."""
    scale = min(width / picture.columns, tallest / picture.rows)
    wide = picture.columns * scale
    return Photo(x=x + (width - wide) / 2, y=y, width=wide, height=picture.rows * scale, picture=picture)


def _outlines(regions: Sequence[Region], photo: Photo, ink: Ink, width: float) -> list[Mark]:
    across, down = photo.width / photo.picture.columns, photo.height / photo.picture.rows
    return [
        Loop(points=tuple((photo.x + column * across, photo.y + row * down) for column, row in region.points), ink=ink, width=width)
        for region in regions
    ]
