"""Reads attributes of a header for routing. A value that cannot be read counts as absent: headers come from peers."""

import math
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from config.attributes import attribute_tags
from config.routes import Match

LONGEST_VALUE = 1024
MOST_VALUES = 256
MOST_FRAMES = 1_000_000

_FILE_META_GROUP = 0x0002
_PADDING = " \0\t\r\n"


class Header:
    """The attributes of one instance as text, each read once. Never raises for what a peer wrote."""

    __slots__ = ("_dataset", "_read")

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._read: dict[str, tuple[str, ...]] = {}

    def values(self, path: str) -> tuple[str, ...]:
        """Return the values of an attribute without padding and without empty ones, at most MOST_VALUES of LONGEST_VALUE characters.

        An item of a sequence that is itself the end of the path is the text "item".
        """
        if path not in self._read:
            self._read[path] = tuple(_values(self._dataset, _tags(path)))
        return self._read[path]

    def text(self, path: str) -> str:
        """Return the first value; empty if there is none."""
        return next(iter(self.values(path)), "")

    def frame_count(self) -> int:
        """Return Number of Frames (0028,0008) as the header claims it, between 1 and MOST_FRAMES; 1 if it says nothing usable."""
        number = _number(self.text("NumberOfFrames"))
        return 1 if number is None else int(min(max(number, 1), MOST_FRAMES))


def holds(match: Match, header: Header) -> bool:
    """True if the condition is true of the header; `config.routes.Match` says when."""
    values = tuple(value for path in match.attribute for value in header.values(path))
    if match.present is not None:
        return bool(values) == match.present
    return any(_passes(match, value) for value in values)


def _passes(match: Match, value: str) -> bool:
    if match.equals is not None:
        return value == match.equals
    if match.one_of is not None:
        return value in match.one_of
    if match.matches is not None:
        return re.search(match.matches, value) is not None
    number = _number(value)
    return match.range is not None and number is not None and match.range[0] <= number <= match.range[1]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


@lru_cache(maxsize=4096)
def _tags(path: str) -> tuple[BaseTag, ...]:
    return attribute_tags(path)


def _values(dataset: Dataset, tags: Sequence[BaseTag]) -> Iterator[str]:
    elements = list(_elements(dataset, tags))[:MOST_VALUES]
    texts = (text for element in elements for text in _texts(element))
    for number, text in enumerate(texts):
        if number >= MOST_VALUES:
            return
        yield text


def _elements(dataset: Dataset, tags: Sequence[BaseTag]) -> Iterator[DataElement]:
    """The elements at the end of a path, one for each item that has one."""
    element = _element(dataset, tags[0])
    if element is None:
        return
    if len(tags) == 1:
        yield element
        return
    for item in _items(element):
        yield from _elements(item, tags[1:])


def _element(dataset: Dataset, tag: BaseTag) -> DataElement | None:
    source = getattr(dataset, "file_meta", None) if tag.group == _FILE_META_GROUP else dataset
    try:
        return source[tag] if source is not None and tag in source else None
    except Exception:  # noqa: BLE001 - bytes that break the rules of their VR, character set or nesting raise anything in pydicom
        return None


def _items(element: DataElement) -> tuple[Dataset, ...]:
    if element.VR != "SQ":
        return ()
    try:
        return tuple(element.value[:MOST_VALUES])
    except Exception:  # noqa: BLE001 - bytes that break the rules of their VR, character set or nesting raise anything in pydicom
        return ()


def _texts(element: DataElement) -> Iterator[str]:
    if element.VR == "SQ":
        yield from ("item" for _ in _items(element))
        return
    try:
        value = element.value
        values = list(value[:MOST_VALUES]) if element.VM > 1 else [value]
        texts = [_text(one) for one in values]
    except Exception:  # noqa: BLE001 - bytes that break the rules of their VR, character set or nesting raise anything in pydicom
        return
    yield from (text for text in texts if text)


def _text(value: object) -> str:
    """The value as text; bytes, which is how unknown attributes come, as far as they are ASCII."""
    if value is None:
        return ""
    text = value[:LONGEST_VALUE].decode("ascii", "ignore") if isinstance(value, bytes) else str(value)[:LONGEST_VALUE]
    return text.strip(_PADDING)
