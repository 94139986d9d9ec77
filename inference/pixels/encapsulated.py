"""Which bytes of encapsulated pixel data belong to which frame (PS3.5 A.4), one frame at a time, whatever the offset tables say."""

import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import BinaryIO

_ITEM = b"\xfe\xff\x00\xe0"
_SEQUENCE_DELIMITER = b"\xfe\xff\xdd\xe0"
_ITEM_HEADER_BYTES = 8
_UNDEFINED_LENGTH = 0xFFFFFFFF
_END_OF_CODESTREAM = b"\xff\xd9"
_END_SEARCHED_BYTES = 10  # padding may follow the end marker
_STARTS_OF_CODESTREAM = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")


class EncapsulationError(ValueError):
    """The fragments cannot be told apart, or a frame is not there. The message holds numbers only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetTable:
    """Where frames begin, counted from the end of the Basic Offset Table; `lengths` only in an Extended Offset Table (PS3.3 C.7.6.3)."""

    offsets: Sequence[int]
    lengths: Sequence[int] | None = None

    def is_plausible(self, frames: int, held: int) -> bool:
        """True if it has one offset a frame, the first 0 and each above the last, all inside `held` bytes."""
        offsets = self.offsets
        if len(offsets) != frames or offsets[0] != 0 or offsets[-1] >= held:
            return False
        return all(before < after for before, after in pairwise(offsets))


def extended_offset_table(offsets: object, lengths: object) -> OffsetTable | None:
    """The table from the values of (7FE0,0001) and (7FE0,0002), 64-bit numbers; None if they are not what they should be."""
    if not isinstance(offsets, bytes) or not isinstance(lengths, bytes) or not offsets or len(offsets) != len(lengths) or len(offsets) % 8:
        return None
    return OffsetTable(offsets=_numbers("<Q", offsets), lengths=_numbers("<Q", lengths))


@dataclass(slots=True, kw_only=True)
class EncapsulatedFrames:
    """The frames in `file` between `start` (first fragment) and `end` (end of file). `tables`: the offset tables, the best first.

    A table is believed as far as fragments lie where it says; where they do not, all fragments are walked once and counted.
    """

    file: BinaryIO
    start: int
    end: int
    frames: int
    tables: tuple[OffsetTable, ...]
    _walked: "_Fragments | None" = field(default=None, init=False)

    def frame(self, index: int) -> bytes:
        """The bytes of one frame (0-based), its fragments joined.

        Raises:
            EncapsulationError: there are too few fragments, they are cut off, or nobody can tell to which frame they belong.
        """
        for table in self.tables:
            found = self._by_table(table, index)
            if found is not None:
                return found
        return self._by_fragments(index)

    def _by_table(self, table: OffsetTable, index: int) -> bytes | None:
        begin = self.start + table.offsets[index]
        if table.lengths is not None:
            data = self._of_length(begin, table.lengths[index])
        else:
            data = self._between(begin, self.start + table.offsets[index + 1] if index + 1 < len(table.offsets) else None)
        return data if data and (index == 0 or _same_kind(data, self._first_bytes())) else None

    def _between(self, at: int, stop: int | None) -> bytes | None:
        """The fragments from `at` up to `stop`, or to the end if that is None; None if fragments do not lie like that."""
        pieces: list[bytes] = []
        while stop is None or at < stop:
            header = self._header(at)
            if stop is None and (header == _SEQUENCE_DELIMITER or at >= self.end):
                stop = at
                break
            length = None if header is None else _length(header)
            piece = None if length is None else self._read(at + _ITEM_HEADER_BYTES, length)
            if piece is None or (pieces and piece.startswith(_STARTS_OF_CODESTREAM)):  # that is another frame
                return None
            pieces.append(piece)
            at += _ITEM_HEADER_BYTES + len(piece)
        return b"".join(pieces) if at == stop else None

    def _of_length(self, begin: int, length: int) -> bytes | None:
        header = self._header(begin)
        held = None if header is None else _length(header)
        return self._read(begin + _ITEM_HEADER_BYTES, length) if held is not None and 0 < length <= held else None

    def _by_fragments(self, index: int) -> bytes:
        if self._walked is None:
            self._walked = _Fragments.walk(self)
        fragments = self._walked
        count = len(fragments.offsets)
        if count < self.frames:
            raise EncapsulationError(f"the header claims {self.frames} frames, and there are {count} fragments")
        if self.frames == 1:
            first, last = 0, count
        elif count == self.frames:
            first, last = index, index + 1
        else:
            first, last = self._boundaries(fragments)[index : index + 2]
        return b"".join(self._fragment(fragments, number) for number in range(first, last))

    def _boundaries(self, fragments: "_Fragments") -> Sequence[int]:
        """The number of the first fragment of each frame, and of the one after the last, by the marks at ends of codestreams."""
        if fragments.boundaries:
            return fragments.boundaries
        count = len(fragments.offsets)
        starts = [number for number in range(count) if self._begins_codestream(fragments, number)]
        if len(starts) != self.frames or starts[0] != 0:
            ends = [number + 1 for number in range(count) if self._ends_codestream(fragments, number)]
            starts = [0, *ends[:-1]]
            if len(ends) != self.frames or ends[-1] != count:
                raise EncapsulationError(f"nobody can tell which of the {count} fragments belong to which of the {self.frames} frames")
        fragments.boundaries.extend([*starts, count])
        return fragments.boundaries

    def _begins_codestream(self, fragments: "_Fragments", number: int) -> bool:
        self.file.seek(fragments.offsets[number])
        return self.file.read(min(_ITEM_HEADER_BYTES, fragments.lengths[number])).startswith(_STARTS_OF_CODESTREAM)

    def _ends_codestream(self, fragments: "_Fragments", number: int) -> bool:
        searched = min(_END_SEARCHED_BYTES, fragments.lengths[number])
        self.file.seek(fragments.offsets[number] + fragments.lengths[number] - searched)
        return _END_OF_CODESTREAM in self.file.read(searched)

    def _fragment(self, fragments: "_Fragments", number: int) -> bytes:
        piece = self._read(fragments.offsets[number], fragments.lengths[number])
        if piece is None:
            raise EncapsulationError("the last fragment is cut off")
        return piece

    def _first_bytes(self) -> bytes:
        self.file.seek(self.start + _ITEM_HEADER_BYTES)
        return self.file.read(_ITEM_HEADER_BYTES)

    def _header(self, at: int) -> bytes | None:
        """The 8 bytes of an item header, the 4 of the delimiter, or None if there is neither."""
        self.file.seek(at)
        header = self.file.read(_ITEM_HEADER_BYTES)
        if header.startswith(_SEQUENCE_DELIMITER):
            return _SEQUENCE_DELIMITER
        return header if len(header) == _ITEM_HEADER_BYTES and header.startswith(_ITEM) else None

    def _read(self, at: int, length: int) -> bytes | None:
        """That many bytes; None if the file ends before, without reading any of them."""
        if at + length > self.end:
            return None
        self.file.seek(at)
        return self.file.read(length)

    def items(self) -> Iterator[tuple[int, int]]:
        """Yield offset and length of the value of each item up to the delimiter or the end; a length that is odd may have been padded."""
        at = self.start
        while True:
            header = self._header(at)
            if header is None and at > self.start and (at - self.start) % 2:  # an odd length that the writer padded and did not count
                at += 1
                header = self._header(at)
            length = None if header is None else _length(header)
            if length is None:
                return
            yield at + _ITEM_HEADER_BYTES, length
            at += _ITEM_HEADER_BYTES + length


@dataclass(slots=True, kw_only=True)
class _Fragments:
    """Offset and length of each fragment that is not empty, in 64-bit arrays: twice the size of the emptiest fragments at most."""

    offsets: "array[int]"
    lengths: "array[int]"
    boundaries: list[int] = field(default_factory=list)

    @classmethod
    def walk(cls, frames: EncapsulatedFrames) -> "_Fragments":
        offsets, lengths = array("Q"), array("Q")
        for offset, length in frames.items():
            if length:
                offsets.append(offset)
                lengths.append(length)
        return cls(offsets=offsets, lengths=lengths)


def open_encapsulated(file: BinaryIO, *, end: int, frames: int, extended: OffsetTable | None) -> EncapsulatedFrames:
    """The frames of the pixel data whose value begins where `file` stands, with the Basic Offset Table (PS3.5 Table A.4-1).

    Raises:
        EncapsulationError: it begins with no Basic Offset Table, not even an empty one.
    """
    header = file.read(_ITEM_HEADER_BYTES)
    length = _length(header) if header.startswith(_ITEM) and len(header) == _ITEM_HEADER_BYTES else None
    if length is None or file.tell() + length > end:
        raise EncapsulationError("there is no Basic Offset Table, not even an empty one")
    table = file.read(length)
    start = file.tell()
    basic = OffsetTable(offsets=_numbers("<L", table)) if table and not len(table) % 4 else None
    tables = tuple(one for one in (extended, basic) if one is not None and one.is_plausible(frames, end - start))
    return EncapsulatedFrames(file=file, start=start, end=end, frames=frames, tables=tables)


def _length(header: bytes) -> int | None:
    if len(header) != _ITEM_HEADER_BYTES:
        return None
    (length,) = struct.unpack_from("<L", header, 4)
    return None if length == _UNDEFINED_LENGTH else int(length)


def _same_kind(data: bytes, first: bytes) -> bool:
    """False if the first frame begins as a codestream does and this one does not: the table points into the middle of frames."""
    return data.startswith(_STARTS_OF_CODESTREAM) or not first.startswith(_STARTS_OF_CODESTREAM)


def _numbers(form: str, data: bytes) -> "array[int]":
    found = array("Q" if form == "<Q" else "L")
    found.extend(number for (number,) in struct.iter_unpack(form, data))
    return found
