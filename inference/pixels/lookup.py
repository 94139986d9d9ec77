"""Lookup tables in a header (Modality LUT, VOI LUT, palettes), applied to values."""

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from inference.attributes import UNUSABLE
from inference.pixels.segmented_lookup import expanded

Floats = npt.NDArray[np.float32]
Table = npt.NDArray[np.generic]

_SIGNED_FROM = 1 << 15
_MAXIMUM_BITS = 16
_BYTE_BITS = 8


def lookup(item: Dataset, values: npt.NDArray[np.generic], *, little_endian: bool) -> tuple[Floats, int]:
    """Values mapped by the LUT in a sequence item, and how many bits its entries have.

    Input below or above the table takes the first or the last entry (PS3.3 C.11.1.1, C.11.2.1.1).

    Raises:
        ValueError: the descriptor or the data are absent or contradict each other.
    """
    entries, first, bits = _descriptor(item, "LUTDescriptor")
    table = _table(_value(item, "LUTData"), entries, little_endian=little_endian)
    if not 0 < bits <= _MAXIMUM_BITS or not 0 < entries <= table.size:
        raise ValueError("the lookup table is shorter than its descriptor says")
    return table[:entries].astype(np.float32)[_index(values, first, entries)], bits


def palette_entries(header: Dataset, colour: str, stored: npt.NDArray[np.generic], *, little_endian: bool) -> tuple[Table, int, int]:
    """The entries of one palette for stored values, uint16 of the shape of `stored`; how many bits they have, 8 or 16; and the highest.

    `colour` is Red, Green or Blue. The table may be in segments (PS3.3 C.7.6.3.1.5, C.7.9.2).

    Raises:
        ValueError: a palette is absent, or too short for its descriptor.
    """
    entries, first, bits = _descriptor(header, f"{colour}PaletteColorLookupTableDescriptor")
    if f"Segmented{colour}PaletteColorLookupTableData" in header:
        table = expanded(_segments(_value(header, f"Segmented{colour}PaletteColorLookupTableData"), bits, little_endian=little_endian))
    else:
        table = _table(_value(header, f"{colour}PaletteColorLookupTableData"), entries, little_endian=little_endian)
    if bits not in {_BYTE_BITS, _MAXIMUM_BITS} or entries > table.size:
        raise ValueError("the palette is shorter than its descriptor says, or its entries have neither 8 nor 16 bits")
    table = table[:entries].astype(np.uint16)
    return table[_index(stored, first, entries)], bits, int(table.max())


def _descriptor(item: Dataset, keyword: str) -> tuple[int, int, int]:
    """How many entries, the first value that is mapped, bits of an entry; written as US or SS (PS3.3 C.11.1.1.1)."""
    try:
        entries, first, bits = (int(value) for value in item[keyword].value)
    except UNUSABLE as exc:
        raise ValueError("the lookup table is incomplete") from exc
    return entries % (1 << 16) or 1 << 16, first, bits


def _value(item: Dataset, keyword: str) -> object:
    """The data: bytes, or numbers where pydicom made them."""
    try:
        return item[keyword].value
    except UNUSABLE as exc:
        raise ValueError("the lookup table is incomplete") from exc


def _index(values: npt.NDArray[np.generic], first: int, entries: int) -> npt.NDArray[np.int64]:
    if first >= _SIGNED_FROM and values.size and (values.dtype.kind == "i" or values.min() < 0 or values.max() < first):
        first -= 1 << 16  # SS, written or read as US
    index: npt.NDArray[np.int64] = np.clip(np.rint(values).astype(np.int64) - first, 0, entries - 1)
    return index


def _segments(data: object, bits: int, *, little_endian: bool) -> Table:
    length = len(data) if isinstance(data, bytes) else 0
    return _table(data, length // (1 if bits <= _BYTE_BITS else 2), little_endian=little_endian)


def _table(data: object, entries: int, *, little_endian: bool) -> Table:
    if isinstance(data, bytes | bytearray):
        if len(data) < 2 * entries:  # 8-bit entries, packed
            return np.frombuffer(data, "u1")
        return np.frombuffer(data[: 2 * entries], "<u2" if little_endian else ">u2")
    try:
        return np.atleast_1d(np.asarray(data, dtype=np.int64))
    except UNUSABLE as exc:
        raise ValueError("the lookup table has no usable data") from exc
