"""What the parts of a page are made of: blocks that stay together, lines of words, and the sizes that all of them keep to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reporting.companions import lettering
from reporting.companions.sheet import WIDTH, Box, Ink, Mark, Words

# All in 1/1024 of the width. 17 is the smallest letter: it is still read when a viewer shows the page at half size.
MARGIN = 36
SMALL, BODY, STRONG, TITLE = 17, 19, 21, 34
LEADING = 1.32
GAP = 14
FULL_ROOM = WIDTH - 2 * MARGIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Something that stays together: its height, and its marks when its top is at a given y."""

    height: float
    draw: Callable[[float], Sequence[Mark]]


def space(height: float) -> Block:
    """Return nothing, of a height."""
    return Block(height=height, draw=lambda _: ())


def section(title: str, room: float, ink: Ink = Ink.DIM) -> Block:
    """Return the heading of a section with the rule below it."""

    def draw(y: float) -> list[Mark]:
        return [
            Words(x=MARGIN, y=y + 18, text=title.upper(), size=SMALL, ink=ink, bold=True),
            Box(x=MARGIN, y=y + 26, width=room, height=1, ink=Ink.RULE),
        ]

    return Block(height=34, draw=draw)


def stacked(texts: Sequence[str], x: float, y: float, size: float, *, ink: Ink = Ink.TEXT, bold: bool = False) -> list[Mark]:
    """Return lines one below the other; `y` is the top of the first."""
    return [Words(x=x, y=y + size * (1 + number * LEADING), text=text, size=size, ink=ink, bold=bold) for number, text in enumerate(texts)]


def right_aligned(text: str, right: float, y: float, size: float, *, ink: Ink = Ink.TEXT) -> Words:
    """Return a line that ends at `right`; `y` is its base line."""
    return Words(x=right - lettering.width(text, size), y=y, text=text, size=size, ink=ink)
