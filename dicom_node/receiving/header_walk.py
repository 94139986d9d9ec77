"""The few elements that reception needs, found by stepping over all others: a tenth of the time that parsing takes.

Only what is plain is walked: Explicit and Implicit VR Little Endian, tags in order, lengths that fit, VRs that exist. Of anything else it
says nothing, and pydicom has a look (`header_peek`). Where it says something, it says what pydicom says; a test compares them.
"""

import struct
from collections.abc import Callable, Mapping

Read = Callable[[int, int], bytes]
"""Offset and count -> so many bytes of the data set, fewer at its end."""

_EXPLICIT_HEAD = struct.Struct("<HH2sHL")
_SHORT_HEAD = struct.Struct("<HH2sH")
_SHORT_HEAD_BYTES = 8
_IMPLICIT_HEAD = struct.Struct("<HHL")
_LONGEST_HEAD = 12
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_BEFORE_ALL = 0x0007FFFF  # group 8 is the first of a data set
_WINDOW_BYTES = 8192
_LONGEST_VALUE = 1024
_DEEPEST = 8
_MOST_HEADS = 200_000  # a header of millions of empty items would hold up everybody's commits for minutes


class NotPlainError(Exception):
    """Let pydicom have a look."""


def elements(
    read: Read, size: int, *, whole: bool = True, explicit: bool, wanted: frozenset[int], sequence: int, in_items: int, last: int
) -> tuple[Mapping[int, bytes], tuple[bytes, ...]]:
    """Return the values (with padding) of `wanted` elements, and those of `in_items` in the items of `sequence`, up to the tag `last`.

    What is read may be the start of a data set only (`whole` False).

    Raises:
        NotPlainError: something is unusual, or not all has come yet; nothing can be said.
    """
    walker = _Walker(read, size, explicit=explicit, in_items=in_items)
    found: dict[int, bytes] = {}
    stops = wanted | {sequence}
    at, before = 0, _BEFORE_ALL
    while at < size:
        at, before = walker.step_over(at, before, stops, last)
        if at >= size:
            break
        tag, vr, length, value_at = walker.head(at)
        if tag <= before or value_at > size:
            raise NotPlainError
        if tag > last:
            return found, tuple(walker.found_in_items)
        before = tag
        if tag == sequence or length == _UNDEFINED:
            at = walker.items(value_at, length, vr, look_inside=tag == sequence)
        else:
            at = value_at + length
            if at > size:
                raise NotPlainError
            if tag in wanted:
                found[tag] = walker.value(value_at, length)
    if at > size or not whole:
        raise NotPlainError
    return found, tuple(walker.found_in_items)


class _Walker:
    """A window that slides over the data set."""

    def __init__(self, read: Read, size: int, *, explicit: bool, in_items: int) -> None:
        self._read = read
        self._size = size
        self._explicit = explicit
        self._in_items = in_items
        self._window = b""
        self._window_at = 0
        self._depth = 0
        self._heads = 0
        self.found_in_items: list[bytes] = []

    def head(self, at: int) -> tuple[int, bytes, int, int]:
        """Return tag, VR (empty if it is not written), length and where the value begins."""
        self._heads += 1
        start = at - self._window_at
        if start < 0 or start + _LONGEST_HEAD > len(self._window):
            start = self._slide(at)
        if self._explicit:
            group, element, vr, length, long = _EXPLICIT_HEAD.unpack_from(self._window, start)
            if group != 0xFFFE:  # noqa: PLR2004 - items and delimiters have no VR
                if vr in _SHORT_VRS:
                    return group << 16 | element, vr, length, at + 8
                if vr in _LONG_VRS:
                    return group << 16 | element, vr, long, at + 12
                raise NotPlainError
        group, element, length = _IMPLICIT_HEAD.unpack_from(self._window, start)
        return group << 16 | element, b"", length, at + 8

    def step_over(self, at: int, before: int, stops: frozenset[int], last: int) -> tuple[int, int]:
        """Return where the first element begins that may not be plain or is one of `stops`, and the tag before it.

        Nearly all elements of a header are stepped over here, so no step is made in a function of its own.
        """
        window, place = self._window, at - self._window_at
        end = len(window) - _LONGEST_HEAD
        if self._explicit:
            while 0 <= place <= end:
                group, element, vr, length = _SHORT_HEAD.unpack_from(window, place)
                tag = group << 16 | element
                if vr not in _SHORT_VRS or tag in stops or not before < tag <= last:
                    break
                before = tag
                place += _SHORT_HEAD_BYTES + length
        else:
            while 0 <= place <= end:
                group, element, length = _IMPLICIT_HEAD.unpack_from(window, place)
                tag = group << 16 | element
                if length == _UNDEFINED or tag in stops or not before < tag <= last:
                    break
                before = tag
                place += _SHORT_HEAD_BYTES + length
        self._heads += max(0, place + self._window_at - at) // _SHORT_HEAD_BYTES  # at most so many
        return place + self._window_at, before

    def value(self, at: int, length: int) -> bytes:
        """Return a value, which must be short."""
        if length > _LONGEST_VALUE:
            raise NotPlainError
        start = at - self._window_at
        if start + length > len(self._window):
            start = self._slide(at)
        if at + length > self._size:
            raise NotPlainError
        return self._window[start : start + length]

    def items(self, at: int, length: int, vr: bytes, *, look_inside: bool = False) -> int:
        """Return where a sequence ends, after a look for the wanted element in its items if asked for."""
        if self._depth > _DEEPEST or vr not in {b"", b"SQ"} or (length != _UNDEFINED and length > self._size - at):
            raise NotPlainError
        end = self._size if length == _UNDEFINED else at + length
        self._depth += 1
        while at < end:
            tag, _, item_length, at = self.head(at)
            if tag == _SEQUENCE_END and length == _UNDEFINED and item_length == 0:
                self._depth -= 1
                return at
            if tag != _ITEM or (item_length != _UNDEFINED and item_length > end - at):
                raise NotPlainError
            at = self._item(at, item_length, end, look_inside=look_inside)
        if length == _UNDEFINED or at != end:
            raise NotPlainError
        self._depth -= 1
        return at

    def _item(self, at: int, length: int, limit: int, *, look_inside: bool) -> int:
        if not look_inside and length != _UNDEFINED:
            return at + length
        end, before = limit if length == _UNDEFINED else at + length, -1
        while at < end:
            tag, vr, value_length, value_at = self.head(at)
            if tag == _ITEM_END and length == _UNDEFINED and value_length == 0:
                return value_at
            if tag <= before or tag >> 16 == 0xFFFE:  # noqa: PLR2004 - a delimiter out of place
                raise NotPlainError
            before = tag
            if value_length == _UNDEFINED:
                at = self.items(value_at, value_length, vr)
                continue
            at = value_at + value_length
            if at > end:
                raise NotPlainError
            if look_inside and tag == self._in_items:
                self.found_in_items.append(self.value(value_at, value_length))
        if length == _UNDEFINED or at != end:
            raise NotPlainError
        return at

    def _slide(self, at: int) -> int:
        if self._heads > _MOST_HEADS:
            raise NotPlainError
        self._window = self._read(at, _WINDOW_BYTES)
        self._window_at = at
        if len(self._window) < _WINDOW_BYTES:  # at the end: whoever steps beyond it is found out by the size
            self._window += bytes(_LONGEST_HEAD)
        return 0
