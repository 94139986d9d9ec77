"""Content items of a document tree (PS3.3 C.17.3), each made in one call. Names and values are codes of ours, never free ones."""

from collections.abc import Iterable

import numpy as np
from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    CompositeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    GraphicTypeValues,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
    ScoordContentItem,
    TextContentItem,
    UIDRefContentItem,
)

from config import Code
from inference.findings import Region
from reporting.evidence import SourceInstance

CONTAINS = RelationshipTypeValues.CONTAINS
MODIFIED_BY = RelationshipTypeValues.HAS_CONCEPT_MOD
OBSERVED_BY = RelationshipTypeValues.HAS_OBS_CONTEXT
ACQUIRED_BY = RelationshipTypeValues.HAS_ACQ_CONTEXT
INFERRED_FROM = RelationshipTypeValues.INFERRED_FROM
SELECTED_FROM = RelationshipTypeValues.SELECTED_FROM


def root(title: Code, template: str, items: Iterable[ContentItem]) -> ContentItem:
    """Return the root container of a document after a template of DCMR (PS3.16)."""
    return with_children(ContainerContentItem(name=_concept(title), is_content_continuous=False, template_id=template), items)


def container(name: Code, items: Iterable[ContentItem]) -> ContentItem:
    """Return a container of separate items: viewers run continuous ones together and leave out what each is about."""
    return with_children(ContainerContentItem(name=_concept(name), is_content_continuous=False, relationship_type=CONTAINS), items)


def code(name: Code, value: Code, relationship: RelationshipTypeValues) -> ContentItem:
    return CodeContentItem(name=_concept(name), value=_concept(value), relationship_type=relationship)


def text(name: Code, value: str, relationship: RelationshipTypeValues) -> ContentItem:
    return TextContentItem(name=_concept(name), value=value, relationship_type=relationship)


def uid(name: Code, value: str, relationship: RelationshipTypeValues) -> ContentItem:
    return UIDRefContentItem(name=_concept(name), value=value, relationship_type=relationship)


def number(name: Code, value: float, unit: Code, relationship: RelationshipTypeValues) -> ContentItem:
    if not float(value).is_integer():
        return NumContentItem(name=_concept(name), value=value, unit=_concept(unit), relationship_type=relationship)
    made = NumContentItem(name=_concept(name), value=int(value), unit=_concept(unit), relationship_type=relationship)
    made.MeasuredValueSequence[0].NumericValue = str(int(value))  # 512 rows, not 512.0
    return made


def image(name: Code, source: SourceInstance, frame_number: int | None, relationship: RelationshipTypeValues) -> ContentItem:
    """Return an IMAGE item, or a COMPOSITE item for a class that is not known as an image."""
    if not source.is_image:
        return CompositeContentItem(
            name=_concept(name),
            referenced_sop_class_uid=source.sop_class_uid,
            referenced_sop_instance_uid=source.sop_instance_uid,
            relationship_type=relationship,
        )
    return ImageContentItem(
        name=_concept(name),
        referenced_sop_class_uid=source.sop_class_uid,
        referenced_sop_instance_uid=source.sop_instance_uid,
        referenced_frame_numbers=frame_number,
        relationship_type=relationship,
    )


def outline(name: Code, region: Region) -> ContentItem:
    """Return a closed polyline: its last point is the first again (PS3.3 C.18.6.1.2)."""
    points = np.asarray((*region.points, region.points[0]), dtype=np.float64)
    return ScoordContentItem(name=_concept(name), graphic_type=GraphicTypeValues.POLYLINE, graphic_data=points, relationship_type=CONTAINS)


def with_children(parent: ContentItem, children: Iterable[ContentItem]) -> ContentItem:
    items = list(children)
    if items:
        parent.ContentSequence = ContentSequence(items)
    return parent


def _concept(code: Code) -> CodedConcept:
    return CodedConcept(code.value, code.scheme, code.meaning)
