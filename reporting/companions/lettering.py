"""Letters: the fonts that ship with the node, which text they can draw, and the order in which the letters stand on paper.

Fonts of the machine are never used and Pillow's basic layout always is, so that a page looks the same everywhere.
"""

import enum
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.resources import files
from io import BytesIO

from PIL import ImageFont

_MISSING = "\U0010fffe"  # a noncharacter: every font draws its sign for "no such letter"
_MEASURED_AT = 100  # pixels; widths are scaled from here, so that they are the same at any size
_RIGHT_TO_LEFT = frozenset({"R", "AL"})
_LAM = "\u0644"


class Face(enum.Enum):
    """The faces: two for the alphabets, one for ideographs, kana and Hangul."""

    PLAIN = "DejaVuSans.ttf"
    BOLD = "DejaVuSans-Bold.ttf"
    IDEOGRAPHS = "DroidSansFallback.ttf"

    @property
    def data(self) -> bytes:
        """The font file."""
        return files(__package__).joinpath("fonts", self.value).read_bytes()


@cache
def font(face: Face, size: int) -> ImageFont.FreeTypeFont:
    """Return a face at a size in pixels."""
    return ImageFont.truetype(BytesIO(face.data), size, layout_engine=ImageFont.Layout.BASIC)


def drawable(text: str) -> bool:
    """Say whether every letter of `text` has a picture in some face."""
    return all(_face_of(letter, bold=False) is not None for letter in _on_paper(text))


def runs(text: str, *, bold: bool = False) -> tuple[tuple[Face, str], ...]:
    """Return `text` as it stands on paper from left to right, cut into runs of one face.

    A letter that no face has is drawn as the face's sign for a missing letter: it is seen that something stands there.
    """
    cut: list[tuple[Face, str]] = []
    for letter in _on_paper(text):
        face = _face_of(letter, bold=bold) or Face.PLAIN
        if cut and (cut[-1][0] is face or letter == " "):
            cut[-1] = (cut[-1][0], cut[-1][1] + letter)
        else:
            cut.append((face, letter))
    return tuple(cut)


def width(text: str, size: float, *, bold: bool = False) -> float:
    """Return the width of `text` in the unit of `size`."""
    return sum(font(face, _MEASURED_AT).getlength(run) for face, run in runs(text, bold=bold)) * size / _MEASURED_AT


def wrapped(text: str, size: float, room: float, *, bold: bool = False) -> tuple[str, ...]:
    """Return `text` as lines no wider than `room`; a word that is wider than that is cut."""
    lines = [""]
    for word in text.split():
        for part in _parts(word, size, room, bold=bold):
            longer = f"{lines[-1]} {part}".strip()
            if width(longer, size, bold=bold) <= room:
                lines[-1] = longer
            else:
                lines.append(part)
    return tuple(line for line in lines if line)


def _parts(word: str, size: float, room: float, *, bold: bool) -> Iterator[str]:
    part = ""
    for letter in word:
        if part and width(part + letter, size, bold=bold) > room:
            yield part
            part = ""
        part += letter
    yield part


@lru_cache(maxsize=4096)
def _face_of(letter: str, *, bold: bool) -> Face | None:
    for face in (Face.BOLD if bold else Face.PLAIN, Face.IDEOGRAPHS):
        if letter == " " or _has(face, letter):
            return face
    return None


def _has(face: Face, letter: str) -> bool:
    """Pillow does not tell a font's letters, so the picture is compared with that of a letter which no font has."""
    return _picture(face, letter) != _picture(face, _MISSING)


@lru_cache(maxsize=4096)
def _picture(face: Face, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font(face, _MEASURED_AT).getmask(letter)
    return mask.size, bytes(mask)


@lru_cache(maxsize=1024)
def _on_paper(text: str) -> str:
    """Return the letters from left to right: Hebrew and Arabic reversed, with numbers and Latin words in them kept, Arabic joined.

    Enough for names and the lines of a page; not the whole algorithm of Unicode Annex 9.
    """
    text = unicodedata.normalize("NFC", text)
    if not any(unicodedata.bidirectional(letter) in _RIGHT_TO_LEFT for letter in text):
        return text
    turned = "".join(reversed(_joined(text)))
    words = turned.split(" ")
    return " ".join(word if any(unicodedata.bidirectional(one) in _RIGHT_TO_LEFT for one in word) else word[::-1] for word in words)


def _joined(text: str) -> str:
    """Return Arabic letters in the form that their neighbours give them (Unicode Arabic Presentation Forms)."""
    forms, made = _arabic_forms(), ""
    letters = list(text)
    at = 0
    while at < len(letters):
        letter = letters[at]
        pair = letter + letters[at + 1] if letter == _LAM and at + 1 < len(letters) else ""
        unit = pair if pair in forms else letter
        before = at > 0 and "<initial>" in forms.get(letters[at - 1], {}) and bool(forms.get(unit))
        after_at = at + len(unit)
        after = after_at < len(letters) and "<final>" in forms.get(letters[after_at], {})
        known = forms.get(unit, {})
        wanted = {(True, True): "<medial>", (True, False): "<final>", (False, True): "<initial>", (False, False): "<isolated>"}
        joins_on = "<initial>" in known
        made += known.get(wanted[(before, after and joins_on)], unit)
        at = after_at
    return made


@cache
def _arabic_forms() -> dict[str, dict[str, str]]:
    """Letters (and lam with alef) by form, read from Unicode's own decompositions."""
    found: dict[str, dict[str, str]] = {}
    for number in (*range(0xFB50, 0xFC00), *range(0xFE80, 0xFEFD)):
        form, *base = unicodedata.decomposition(chr(number)).split() or [""]
        if form in {"<isolated>", "<final>", "<initial>", "<medial>"}:
            found.setdefault("".join(chr(int(one, 16)) for one in base), {})[form] = chr(number)
    return found
