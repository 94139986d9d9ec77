"""The vertical-bar encoding of HL7 v2.5.1 (chapter 2): text becomes a field only through `text`, so that none can end a field."""

from collections.abc import Sequence
from typing import NewType

Er7 = NewType("Er7", str)
"""Text in which every delimiter of the message is escaped, or fields that were composed of such text."""

EMPTY = Er7("")
_DELIMITERS = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"})


def text(value: str, longest: int | None = None) -> Er7:
    r"""Return `value` escaped (2.7.4): delimiters by letter, control characters as \Xhh\, halves of letters as question marks.

    `longest` counts letters before they are escaped; nobody may give it for an identity, which is never cut.
    """
    cut = value if longest is None else value[:longest]
    whole = cut.encode("utf-8", "replace").decode("utf-8")
    return Er7(
        "".join(letter if letter.isprintable() or ord(letter) > _LAST_CONTROL else _hex(letter) for letter in whole.translate(_DELIMITERS))
    )


_LAST_CONTROL = 0x9F


def _hex(letter: str) -> str:
    return f"\\X{letter.encode().hex().upper()}\\"


def components(*parts: Er7) -> Er7:
    """Return a field of components."""
    return Er7("^".join(parts).rstrip("^"))


def subcomponents(*parts: Er7) -> Er7:
    """Return a component of subcomponents."""
    return Er7("&".join(parts).rstrip("&"))


def repetitions(parts: Sequence[Er7]) -> Er7:
    """Return a field that is repeated."""
    return Er7("~".join(parts))


def segment(name: str, *fields: tuple[int, Er7]) -> str:
    """Return a segment with its fields by number, as the Standard counts them."""
    filled = dict(fields)
    return "|".join([name, *(filled.get(number, "") for number in range(1, max(filled, default=0) + 1))]).rstrip("|")


def header(*fields: tuple[int, Er7]) -> str:
    """Return MSH. Its first two fields are the delimiters themselves (2.15.9)."""
    filled = dict(fields)
    return "|".join(["MSH", "^~\\&", *(filled.get(number, "") for number in range(3, max(filled) + 1))])
