"""Attributes of a source header, read so that no value can break a report: what cannot be read counts as absent.

A header comes from a peer. Its values may be of the wrong VR, undecodable or hostile, so nothing here trusts them, and
no value is ever put in an exception, a warning or a log.
"""

import datetime
import math
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from pydicom.charset import default_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.valuerep import PersonName
from pydicom.values import convert_SQ

from reporting import character_sets

# What pydicom raises for values that do not fit their VR, by the fuzz tests.
_UNREADABLE = (
    *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError, NotImplementedError, EOFError, OSError, RecursionError),
    *(struct.error, BytesLengthException, InvalidDicomError),
)
_UID = re.compile(r"[0-9.]{1,64}")
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?")
_LINE_BREAKS = str.maketrans("\r\n\t\f", "    ")
_JOINERS = "\u200c\u200d"  # part of names in Persian and in Indian scripts
_OFFSET = re.compile(r"[+-](0\d|1[0-4])[0-5]\d")


def printable(value: str) -> str:
    """Return `value` as one line without control characters, lone surrogates and padding: what any VR of text can hold."""
    line = value.translate(_LINE_BREAKS)
    return "".join(char for char in line if char == " " or char.isprintable() or char in _JOINERS).strip(" ")


@dataclass(frozen=True, kw_only=True)
class SourceHeader:
    """A header, or an item of a sequence in it, with the character sets that apply there (terms of PS3.3 C.12.1.1.2)."""

    dataset: Dataset
    inherited: tuple[str, ...] = (character_sets.DEFAULT,)

    @cached_property
    def named_character_sets(self) -> tuple[str, ...]:
        """The terms of Specific Character Set (0008,0005) as they are named here, known or not."""
        raw = self._raw("SpecificCharacterSet")
        return () if raw is None else tuple(term.strip() for term in _as_text(raw, self.inherited, "CS").split("\\"))

    @cached_property
    def character_sets(self) -> tuple[str, ...]:
        """The terms that apply; those that are not known count as not named."""
        named = self.named_character_sets
        return named if any(named) and all(map(character_sets.is_known, named)) else self.inherited

    def text(self, keyword: str) -> str:
        """Return the first value as text, decoded and printable; empty if absent or unreadable."""
        return next(iter(self.texts(keyword)), "")

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Return all values as text, decoded and printable."""
        raw = self._raw(keyword)
        if raw is None:
            return ()
        try:
            decoded = _as_text(raw, self.character_sets, dictionary_VR(keyword))
        except _UNREADABLE:
            return ()
        return tuple(printable(value) for value in decoded.split("\\"))

    def whole(self, keyword: str) -> str:
        """Return a text in which a backslash is a backslash (VR ST, LT, UT)."""
        return "\\".join(self.texts(keyword))

    def decoded(self, keyword: str) -> str:
        """Return what the header says as it is, all values, only without trailing padding; empty if absent or unreadable."""
        raw = self._raw(keyword)
        if raw is None:
            return ""
        try:
            return _as_text(raw, self.character_sets, dictionary_VR(keyword)).rstrip("\0 ")
        except _UNREADABLE:
            return ""

    def identity(self, keyword: str) -> str:
        """Return a value by which an archive knows the patient or the study, as it was sent: also leading spaces, also several values.

        Only control characters go, which no VR of text can hold.
        """
        value = self.decoded(keyword)
        return " " * (len(value) - len(value.lstrip(" "))) + "\\".join(printable(part) for part in value.split("\\"))

    def has(self, keyword: str) -> bool:
        """Say whether there is a value that is not blank, readable or not."""
        raw = self._raw(keyword)
        return bool(raw.strip(b"\0 ") if isinstance(raw, bytes) else str(raw or "").strip())

    def uid(self, keyword: str) -> str:
        """Return a UID that may be referenced; empty if there is none. Odd ones (leading zeros) stay as the archive knows them."""
        value = self.text(keyword)
        return value if _UID.fullmatch(value) else ""

    def date(self, keyword: str) -> str:
        """Return a date as YYYYMMDD; empty if it is none. Reads the retired YYYY.MM.DD (PS3.5 6.2)."""
        value = self.text(keyword)
        if re.fullmatch(r"\d{4}\.\d\d\.\d\d", value):
            value = value.replace(".", "")
        try:
            datetime.date(int(value[:4]), int(value[4:6]), int(value[6:]))
        except ValueError:
            return ""
        return value if re.fullmatch(r"[0-9]{8}", value) else ""

    def time(self, keyword: str) -> str:
        """Return a time as HH[MM[SS[.FFFFFF]]]; empty if it is none. Reads the retired HH:MM:SS (PS3.5 6.2)."""
        value = self.text(keyword).replace(":", "")
        return value if _TIME.fullmatch(value) and value.isascii() else ""

    def utc_offset(self) -> datetime.timezone | None:
        """Return Timezone Offset From UTC (0008,0201), or None."""
        value = self.text("TimezoneOffsetFromUTC")
        if not (_OFFSET.fullmatch(value) and value.isascii()):
            return None
        minutes = int(value[1:3]) * 60 + int(value[3:])
        return datetime.timezone(datetime.timedelta(minutes=-minutes if value[0] == "-" else minutes))

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """Return all values as finite numbers; none at all if one of them is not."""
        try:
            values = tuple(float(value) for value in self.texts(keyword))
        except ValueError:
            return ()
        return values if all(math.isfinite(value) for value in values) else ()

    def count(self, keyword: str) -> int:
        """Return a whole number above zero; zero if it is none."""
        raw = self._raw(keyword)
        if isinstance(raw, bytes) and dictionary_VR(keyword) == "US":
            order = "<" if self._little_endian else ">"
            return int(struct.unpack(f"{order}H", raw)[0]) if len(raw) == struct.calcsize("H") else 0
        values = self.numbers(keyword)
        return int(values[0]) if values and values[0] >= 1 and values[0].is_integer() else 0

    def items(self, keyword: str) -> tuple["SourceHeader", ...]:
        """Return the items of a sequence; none if it is absent, empty or unreadable."""
        try:
            value = self._sequence(keyword)
        except _UNREADABLE:
            return ()
        return tuple(SourceHeader(dataset=item, inherited=self.character_sets) for item in value if isinstance(item, Dataset))

    def _sequence(self, keyword: str) -> Iterable[object]:
        """Return the items of a sequence, parsed here: pydicom's own conversion warns with the values that it cannot read."""
        element = self._element(keyword)
        if not isinstance(element, RawDataElement):
            return element.value or () if element is not None and element.VR == "SQ" else ()
        if element.value is None or (element.VR or "SQ") not in {"SQ", "UN"}:
            return ()
        implicit_vr = element.is_implicit_VR or element.VR == "UN"
        return convert_SQ(element.value, implicit_vr, element.is_little_endian, [default_encoding])

    @property
    def _little_endian(self) -> bool:
        return self.dataset.original_encoding[1] is not False

    def _element(self, keyword: str) -> DataElement | RawDataElement | None:
        tag = tag_for_keyword(keyword)
        return None if tag is None else self.dataset.get_item(tag)

    def _raw(self, keyword: str) -> object:
        """Return the value as it lies in the data set, unconverted where pydicom has not converted it yet; None if empty."""
        try:
            element = self._element(keyword)
            value = element.value if element is not None else None
        except _UNREADABLE:
            return None
        if isinstance(element, RawDataElement) or not isinstance(value, list | tuple) or isinstance(value, MultiValue):
            return value or None
        return None


def _as_text(value: object, terms: tuple[str, ...], vr: str) -> str:
    """Return a value as one text, several values with backslashes between them, as they are encoded."""
    if isinstance(value, PersonName) and value.original_string and isinstance(value.original_string, bytes):
        value = value.original_string
    if isinstance(value, bytes):
        return character_sets.decode(value.rstrip(b"\0 "), terms, name=vr == "PN")
    if isinstance(value, MultiValue):
        return "\\".join(str(part) for part in value)
    return "" if isinstance(value, Dataset) else str(value)
