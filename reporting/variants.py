"""The same report in another SOP class, for archives that do not take Comprehensive 3D SR.

Comprehensive and Enhanced SR (PS3.3 A.35.3, A.35.2) hold the very same content tree. Basic Text SR (A.35.1) has neither numbers nor
coordinates: they become text, no template is claimed, and the words for people come first, because a viewer that shows
nothing else shows this from the top.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, BasicTextSRStorage, Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

from reporting import codes, region_report, structured_report
from reporting.result import EncodedResult
from reporting.uids import derived_uid

VARIANTS: tuple[str, ...] = tuple(map(str, (Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage, BasicTextSRStorage)))
"""SOP classes that a report can be had in, richest first. Reports are stored in the first."""

_KINDS = {kind.series_number: kind.name for kind in (structured_report.KIND, region_report.KIND)}
_WORDS_FIRST = (codes.QUALITATIVE_EVALUATIONS.value, codes.IMAGING_MEASUREMENTS.value, codes.IMAGE_LIBRARY.value)
_SUMMARY_FIRST = (codes.SUMMARY.value,)


def as_variant(part10: bytes, sop_class_uid: str) -> EncodedResult:
    """Return a report of ours in another SOP class: its own derived UID, evidence and all else the same.

    A predecessor is named by the UID that it has in this class, because whoever does not take the other class got it in this one.
    The same arguments give the same bytes.

    Raises:
        ValueError: the file is no report of ours, or there is no such variant.
    """
    document = dcmread(io.BytesIO(part10))
    kind = _KINDS.get(document.get("SeriesNumber"))
    if kind is None or document.SOPClassUID != Comprehensive3DSRStorage:
        raise ValueError(f"{document.SOPInstanceUID} is no report that this software stored")
    if sop_class_uid not in VARIANTS:
        raise ValueError(f"there is no variant of a report in SOP class {sop_class_uid}")
    if sop_class_uid == Comprehensive3DSRStorage:
        return _result(kind, document, part10)
    _rename(document, sop_class_uid)
    if sop_class_uid == BasicTextSRStorage:
        _as_text(document)
    buffer = io.BytesIO()
    dcmwrite(buffer, document, enforce_file_format=True)
    return _result(kind, document, buffer.getvalue())


def variant_uid(sop_instance_uid: str, sop_class_uid: str) -> str:
    """Return the SOP Instance UID of a stored report in another class."""
    return derived_uid("variant", sop_instance_uid, sop_class_uid)


def _result(kind: str, document: Dataset, data: bytes) -> EncodedResult:
    return EncodedResult(
        kind=kind,
        sop_class_uid=str(document.SOPClassUID),
        sop_instance_uid=str(document.SOPInstanceUID),
        data=data,
        digest=hashlib.sha256(data).hexdigest(),
    )


def _rename(document: FileDataset, sop_class_uid: str) -> None:
    document.SOPInstanceUID = variant_uid(document.SOPInstanceUID, sop_class_uid)
    document.SOPClassUID = UID(sop_class_uid)
    document.file_meta.MediaStorageSOPClassUID = document.SOPClassUID
    document.file_meta.MediaStorageSOPInstanceUID = document.SOPInstanceUID
    for study in document.get("PredecessorDocumentsSequence", []):
        for predecessor in (one for series in study.ReferencedSeriesSequence for one in series.ReferencedSOPSequence):
            if predecessor.ReferencedSOPClassUID == Comprehensive3DSRStorage:
                predecessor.ReferencedSOPInstanceUID = variant_uid(predecessor.ReferencedSOPInstanceUID, sop_class_uid)
                predecessor.ReferencedSOPClassUID = UID(sop_class_uid)


def _as_text(document: Dataset) -> None:
    del document.ContentTemplateSequence
    document.ContentSequence = _sorted([_textual(item) for item in document.ContentSequence], _WORDS_FIRST)


def _sorted(items: Sequence[Dataset], first: Sequence[str]) -> list[Dataset]:
    """Return `items` in their order, but for the contained ones named in `first`, which come before all other contained ones."""

    def rank(item: Dataset) -> int:
        name = item.ConceptNameCodeSequence[0].CodeValue
        if item.RelationshipType != "CONTAINS":
            return -1
        return first.index(name) if name in first else len(first)

    return sorted(items, key=rank)


def _textual(item: Dataset) -> Dataset:
    """Return a content item that Basic Text SR can hold: the item itself, with its children, if it can."""
    children = [_textual(child) for child in item.get("ContentSequence", [])]
    if item.ConceptNameCodeSequence[0].CodeValue == codes.QUALITATIVE_EVALUATIONS.value:
        children = _sorted(children, _SUMMARY_FIRST)
    words = _IN_WORDS.get(item.ValueType)
    made = item if words is None else _text_item(item, words(item))
    if children:
        made.ContentSequence = children
    return made


def _text_item(item: Dataset, words: str) -> Dataset:
    made = Dataset()
    made.RelationshipType = item.RelationshipType
    made.ValueType = "TEXT"
    made.ConceptNameCodeSequence = item.ConceptNameCodeSequence
    made.TextValue = words
    for child in item.get("ContentSequence", []):
        if child.RelationshipType == "SELECTED FROM":
            child.RelationshipType = "INFERRED FROM"
    return made


def _number_in_words(item: Dataset) -> str:
    measured = item.MeasuredValueSequence[0]
    unit = measured.MeasurementUnitsCodeSequence[0]
    if unit.CodeValue == codes.NO_UNITS.value:
        return str(measured.NumericValue)
    return f"{measured.NumericValue} {unit.CodeMeaning if unit.CodeValue.startswith('{') else unit.CodeValue}"


def _outline_in_words(item: Dataset) -> str:
    columns, rows = (_extent(item.GraphicData[first::2]) for first in (0, 1))
    return f"{item.GraphicType.lower()} of {len(item.GraphicData) // 2} points, columns {columns}, rows {rows}"


def _extent(values: Iterable[float]) -> str:
    known = list(values)
    return f"{min(known):g} to {max(known):g}"


_IN_WORDS: dict[str, Callable[[Dataset], str]] = {"NUM": _number_in_words, "SCOORD": _outline_in_words}
