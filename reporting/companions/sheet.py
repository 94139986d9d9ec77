"""A sheet as a list of marks: what the painter of pixels and the writer of PDF both draw. Units: 1/1024 of the sheet's width."""

import enum
from dataclasses import dataclass

from reporting.companions.picture import Colour, Picture

WIDTH = 1024


class Ink(enum.Enum):
    """What a colour is for; each medium has its own palette."""

    PAPER = enum.auto()
    PANEL = enum.auto()
    RULE = enum.auto()
    TEXT = enum.auto()
    DIM = enum.auto()
    WARNING = enum.auto()
    ON_WARNING = enum.auto()
    ALARM = enum.auto()
    ON_ALARM = enum.auto()
    BAR = enum.auto()
    OUTLINE = enum.auto()
    OUTLINE_ON_HEAT = enum.auto()
    SHADOW_ON_HEAT = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One line of text. `x` is its left edge, `y` its base line, `size` the height of the letters' em."""

    x: float
    y: float
    text: str
    size: float
    ink: Ink = Ink.TEXT
    bold: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    ink: Ink


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """A picture, stretched into its rectangle."""

    x: float
    y: float
    width: float
    height: float
    picture: Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A closed line through points of the sheet, without filling."""

    points: tuple[tuple[float, float], ...]
    ink: Ink
    width: float = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Colours side by side, the first on the left, as equal parts of a rectangle."""

    x: float
    y: float
    width: float
    height: float
    colours: tuple[Colour, ...]


Mark = Words | Box | Photo | Loop | Scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Marks in the order in which they are drawn, on paper of `height`."""

    height: int
    marks: tuple[Mark, ...]
