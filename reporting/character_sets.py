"""Text of a data set, decoded by its Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 6.1.2.4 and 6.1.2.5).

Our own, because identity depends on it: pydicom 3.0.2 reads a name whose kanji hold the byte of "=" (0x3D) as two groups, keeps the
escape sequences of ISO 2022 IR 58, and knows no ISO_IR 203. Escape sequences mean what ISO 2022 says also where the header
does not announce them; what has no meaning becomes U+FFFD, and nothing is ever raised.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

UNDECODABLE = "\ufffd"
DEFAULT = "ISO_IR 6"

_ESC = 0x1B
_DEL = 0x7F
_HIGH = 0x80
_RESETTING_CONTROLS = b"\t\n\f\r"
_DELIMITERS = b"\\"
_NAME_DELIMITERS = b"\\^="
_WHOLE: Mapping[str, str] = {"ISO_IR 192": "utf-8", "GB18030": "gb18030", "GBK": "gbk"}  # no code extensions: PS3.3 table C.12-5
_ROMAJI: Mapping[int, str] = {0x7E: "\u203e"}  # 0x5C shows as a yen sign and delimits all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class _Graphic:
    """One set of graphic characters: a Python codec, the bytes of a character, and what Python wants around them."""

    codec: str
    width: int = 1
    before: bytes = b""
    replaced: Mapping[int, str] | None = None

    def decoded(self, value: bytes) -> str:
        if self.replaced is not None and value[0] in self.replaced:
            return self.replaced[value[0]]
        return (self.before + value).decode(self.codec, errors="replace")


_ASCII = _Graphic(codec="ascii")
_JIS_ROMAJI = _Graphic(codec="ascii", replaced=_ROMAJI)
_KATAKANA = _Graphic(codec="shift_jis")
_RIGHT: Mapping[str, _Graphic] = {  # what 0xA0 to 0xFF mean at first, by the number of the set (PS3.3 tables C.12-2 and C.12-3)
    "6": _Graphic(codec="latin-1"),  # ASCII only, but whoever names no character set and writes umlauts writes these
    "13": _KATAKANA,
    "58": _Graphic(codec="gb2312", width=2),
    "100": _Graphic(codec="latin-1"),
    "101": _Graphic(codec="iso8859_2"),
    "109": _Graphic(codec="iso8859_3"),
    "110": _Graphic(codec="iso8859_4"),
    "126": _Graphic(codec="iso8859_7"),
    "127": _Graphic(codec="iso8859_6"),
    "138": _Graphic(codec="iso8859_8"),
    "144": _Graphic(codec="iso8859_5"),
    "148": _Graphic(codec="iso8859_9"),
    "149": _Graphic(codec="euc_kr", width=2),
    "166": _Graphic(codec="tis_620"),
    "203": _Graphic(codec="iso8859_15"),
}
_ESCAPED_ONLY = frozenset({"87", "159"})  # kanji, which never stand at the beginning
_LEFT_ESCAPES: Mapping[bytes, _Graphic] = {
    b"(B": _ASCII,
    b"(J": _JIS_ROMAJI,
    b"$B": _Graphic(codec="iso2022_jp", width=2, before=b"\x1b$B"),
    b"$(D": _Graphic(codec="iso2022_jp_2", width=2, before=b"\x1b$(D"),
}
_RIGHT_ESCAPES: Mapping[bytes, _Graphic] = {
    b"-A": _RIGHT["100"],
    b"-B": _RIGHT["101"],
    b"-C": _RIGHT["109"],
    b"-D": _RIGHT["110"],
    b"-F": _RIGHT["126"],
    b"-G": _RIGHT["127"],
    b"-H": _RIGHT["138"],
    b"-L": _RIGHT["144"],
    b"-M": _RIGHT["148"],
    b"-T": _RIGHT["166"],
    b"-b": _RIGHT["203"],
    b")I": _KATAKANA,
    b"$)A": _RIGHT["58"],
    b"$)C": _RIGHT["149"],
}
_TERM = re.compile(r"ISO[ _-](?:2022[ _-])?IR[ _-](\d+)")


def is_known(term: str) -> bool:
    """Say whether text in this character set can be read; the empty term is the default."""
    return not term or term in _WHOLE or _number(term) in {*_RIGHT, *_ESCAPED_ONLY}


def decode(value: bytes, terms: Sequence[str], *, name: bool) -> str:
    """Return `value` decoded by the terms of Specific Character Set; `name`: it is of VR PN, with more delimiters.

    An unknown or missing first term counts as the default.
    """
    first = terms[0] if terms else ""
    if codec := _WHOLE.get(first):
        return value.decode(codec, errors="replace")
    return "".join(_Reader(value, _number(first), _NAME_DELIMITERS if name else _DELIMITERS).characters())


def _number(term: str) -> str:
    """Return the registration number of a set, empty if the term has none."""
    found = _TERM.fullmatch(term)
    return found.group(1) if found else ""


class _Reader:
    """A value with code extensions: which sets the left and the right half of the code table stand for changes on the way."""

    def __init__(self, value: bytes, first: str, delimiters: bytes) -> None:
        self._value = value
        self._position = 0
        self._delimiters = delimiters
        self._initial = (_JIS_ROMAJI if first == "13" else _ASCII, _RIGHT.get(first, _RIGHT["6"]))
        self._left, self._right = self._initial

    def characters(self) -> Iterator[str]:
        while self._position < len(self._value):
            byte = self._value[self._position]
            if byte == _ESC:
                yield self._escape()
            elif byte <= ord(" ") or byte == _DEL:
                self._position += 1
                if byte in _RESETTING_CONTROLS:
                    self._left, self._right = self._initial
                yield chr(byte)
            elif byte < _HIGH:
                yield self._take(self._left)
                if self._left.width == 1 and byte in self._delimiters:
                    self._left, self._right = self._initial
            else:
                yield self._take(self._right)

    def _take(self, graphic: _Graphic) -> str:
        taken = self._value[self._position : self._position + graphic.width]
        self._position += len(taken)
        return graphic.decoded(taken) if len(taken) == graphic.width else UNDECODABLE

    def _escape(self) -> str:
        for length in (3, 2):
            code = self._value[self._position + 1 : self._position + 1 + length]
            if code in _LEFT_ESCAPES:
                self._left = _LEFT_ESCAPES[code]
            elif code in _RIGHT_ESCAPES:
                self._right = _RIGHT_ESCAPES[code]
            else:
                continue
            self._position += 1 + length
            return ""
        self._position += 1
        return UNDECODABLE
