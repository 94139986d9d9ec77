"""Single attributes out of headers that may be wrong: a value, or None if it is absent, empty or not what its VR promises."""

import math
import re
import struct
from collections.abc import Sequence

from pydicom import Dataset
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue

_UID = re.compile(r"[0-9.]{1,64}")

# What pydicom raises when a value is converted on first access; the messages quote the value, so they are never passed on.
UNUSABLE = (
    ValueError,
    TypeError,
    ArithmeticError,
    AttributeError,
    LookupError,
    NotImplementedError,
    OSError,
    EOFError,
    struct.error,
    BytesLengthException,
)


def _values(dataset: Dataset, keyword: str) -> Sequence[object]:
    try:
        value = dataset.get(keyword)
    except UNUSABLE:
        return ()
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple | MultiValue) else (value,)


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Every value of a numeric attribute, in order; empty if it is absent or any value is not a finite number."""
    try:
        found = tuple(float(value) for value in _values(dataset, keyword))  # type: ignore[arg-type]  # a wrong type is caught
    except UNUSABLE:
        return ()
    return found if all(math.isfinite(value) for value in found) else ()


def number(dataset: Dataset, keyword: str) -> float | None:
    """The first value of a numeric attribute (several windows: the first is the default, PS3.3 C.11.2.1.2)."""
    found = numbers(dataset, keyword)
    return found[0] if found else None


def text(dataset: Dataset, keyword: str) -> str:
    """The first value as text without padding, in capitals; empty if there is none. For code strings (VR CS)."""
    found = _values(dataset, keyword)
    return str(found[0]).strip().upper() if found else ""


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Every value as text without padding, in capitals, in order; empty if there is none."""
    return tuple(str(value).strip().upper() for value in _values(dataset, keyword))


def uid(dataset: Dataset, keyword: str) -> str:
    """The first value if it is digits and dots as a UID must be (PS3.5 9.1), so that no other text gets where UIDs go; else empty."""
    found = _values(dataset, keyword)
    value = str(found[0]).strip(" \0") if found else ""
    return value if _UID.fullmatch(value) else ""


def items(dataset: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """The items of a sequence; empty if it is absent or not a sequence."""
    try:
        value = dataset.get(keyword)
        return tuple(value) if value is not None and all(isinstance(item, Dataset) for item in value) else ()
    except UNUSABLE:
        return ()


def _item(dataset: Dataset, keyword: str, index: int) -> Dataset | None:
    """One item of a sequence that may have thousands; None if it has not as many."""
    try:
        item = dataset.get(keyword, ())[index]
    except UNUSABLE:
        return None
    return item if isinstance(item, Dataset) else None


def functional_group(header: Dataset, frame_index: int, macro: str) -> Dataset | None:
    """The functional group `macro` of one frame (0-based): per frame, else shared (PS3.3 C.7.6.16); None in a classic object."""
    per_frame, shared = _item(header, "PerFrameFunctionalGroupsSequence", frame_index), _item(header, "SharedFunctionalGroupsSequence", 0)
    groups = [group for group in (per_frame, shared) if group is not None]
    return next((found[0] for group in groups if (found := items(group, macro))), None)
