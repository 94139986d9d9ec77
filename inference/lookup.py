"""Lookup tables in a header (Modality LUT, VOI LUT), applied to values."""

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from inference.attributes import UNUSABLE

Floats = npt.NDArray[np.float32]

_SIGNED_FROM = 1 << 15
_MAXIMUM_BITS = 16


def lookup(item: Dataset, values: npt.NDArray[np.generic], *, little_endian: bool) -> tuple[Floats, int]:
    """Values mapped by the LUT in a sequence item, and how many bits its entries have.

    Input below or above the table takes the first or the last entry (PS3.3 C.11.1.1, C.11.2.1.1).

    Raises:
        ValueError: the descriptor or the data are absent or contradict each other.
    """
    try:
        entries, first, bits = (int(value) for value in item.LUTDescriptor)
        data = item["LUTData"].value
    except UNUSABLE as exc:
        raise ValueError("the lookup table is incomplete") from exc
    entries = entries or 1 << 16
    table = _table(data, entries, little_endian=little_endian)
    if not 0 < bits <= _MAXIMUM_BITS or not 0 < entries <= table.size:
        raise ValueError("the lookup table is shorter than its descriptor says")
    if first >= _SIGNED_FROM and values.size and values.min() < 0:  # SS, read as US
        first -= 1 << 16
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, entries - 1)
    return table[:entries].astype(np.float32)[index], bits


def _table(data: object, entries: int, *, little_endian: bool) -> npt.NDArray[np.generic]:
    if isinstance(data, bytes | bytearray):
        if len(data) < 2 * entries:  # 8-bit entries, packed
            return np.frombuffer(data, "u1")
        return np.frombuffer(data[: 2 * entries], "<u2" if little_endian else ">u2")
    try:
        return np.atleast_1d(np.asarray(data, dtype=np.int64))
    except UNUSABLE as exc:
        raise ValueError("the lookup table has no usable data") from exc
