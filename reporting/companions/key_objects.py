"""Key Object Selection documents (PS3.3 A.35.4, TID 2010): "Of Interest" and "Quality Issue", and no other title.

Titles such as Rejected for Quality Reasons hide the images that they name (IHE RAD IOCM). A node that must not lower anything
must not be able to say them: a title is a `KeyObjectTitle`, and there are two.
"""

import enum
import io
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from config import Code
from inference.findings import Analysis, ImageRef, Presence, QualityGrade
from reporting import codes
from reporting.algorithm import Algorithm, algorithms_of
from reporting.attributes import printable
from reporting.companions.instance import Series, companion, finished, local_time, source_header
from reporting.evidence import Evidence, SourceInstance, evidence_of, hierarchy, reference
from reporting.result import EncodedResult, PreviousReport, Producer

OF_INTEREST = "key-objects-of-interest"
QUALITY = "key-objects-quality"

_TITLE_MODIFIER = Code(value="113011", scheme="DCM", meaning="Document Title Modifier")
_DESCRIPTION = Code(value="113012", scheme="DCM", meaning="Key Object Description")
_OTHER_FAILURE = Code(value="111220", scheme="DCM", meaning="Other failure")
_QUALITY_REASONS = frozenset(  # CID 7011, as far as a quality check can find them
    {"111207", "111208", "111209", "111210", "111211", "111212", "111213", "111214", "111215", "111219", "111220", "113026"}
)
_SERIES_NUMBER = 9902


class KeyObjectTitle(enum.Enum):
    """The document titles (CID 7010) that this software can say. Both point at images; neither hides one."""

    OF_INTEREST = Code(value="113000", scheme="DCM", meaning="Of Interest")
    QUALITY_ISSUE = Code(value="113010", scheme="DCM", meaning="Quality Issue")


def encode_key_objects_of_interest(
    analysis: Analysis,
    headers: Sequence[Dataset],
    *,
    producer: Producer,
    previous: PreviousReport | None,
    companions: Sequence[EncodedResult] = (),
) -> EncodedResult | None:
    """Return a selection of the images with a Present finding; None if there is none.

    With `previous` and nothing to select, the selection is of the findings report alone and says so.

    Raises:
        ValueError: as `evidence_of`.
    """
    present = [finding for finding in analysis.findings if finding.presence is Presence.PRESENT]
    images = tuple(image for finding in present for image in finding.images)
    names = ", ".join(dict.fromkeys(finding.concept.meaning for finding in present))
    selection = _Selection(
        analysis=analysis, evidence=evidence_of(analysis, headers), producer=producer, previous=previous, companions=companions
    )
    return selection.encoded(OF_INTEREST, KeyObjectTitle.OF_INTEREST, images, None, f"AI, unverified: {names} present")


def encode_key_objects_of_quality(
    analysis: Analysis,
    headers: Sequence[Dataset],
    *,
    producer: Producer,
    previous: PreviousReport | None,
    companions: Sequence[EncodedResult] = (),
) -> EncodedResult | None:
    """Return a selection of the images with a quality defect; None if there is none. The title modifier is the worst defect's.

    With `previous` and nothing to select, the selection is of the findings report alone and says so.

    Raises:
        ValueError: as `evidence_of`.
    """
    defects = [verdict for verdict in analysis.quality if verdict.grade is not QualityGrade.DIAGNOSTIC]
    ranked = sorted(defects, key=lambda verdict: (-verdict.grade, verdict.code.value not in _QUALITY_REASONS))
    reason = ranked[0].code if ranked and ranked[0].code.value in _QUALITY_REASONS else _OTHER_FAILURE
    names = ", ".join(dict.fromkeys(verdict.code.meaning for verdict in ranked))
    selection = _Selection(
        analysis=analysis, evidence=evidence_of(analysis, headers), producer=producer, previous=previous, companions=companions
    )
    images = tuple(verdict.image for verdict in defects)
    return selection.encoded(QUALITY, KeyObjectTitle.QUALITY_ISSUE, images, reason, f"AI, unverified: {names}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Selection:
    """What both kinds of selection are made from."""

    analysis: Analysis
    evidence: Evidence
    producer: Producer
    previous: PreviousReport | None
    companions: Sequence[EncodedResult]

    def encoded(
        self, kind: str, title: KeyObjectTitle, images: Sequence[ImageRef], reason: Code | None, description: str
    ) -> EncodedResult | None:
        selected = _by_instance(images, self.evidence)
        if not selected:
            return None if self.previous is None else self._nothing_any_more(kind, title)
        items = [_image_item(*one) for one in selected]
        return self._document(kind, title, items=items, reason=reason, description=description, listed=_listed(selected, self.evidence))

    def _nothing_any_more(self, kind: str, title: KeyObjectTitle) -> EncodedResult | None:
        """A selection must name something: the report that says what holds now, and no image."""
        report = next((one for one in self.companions if one.sop_class_uid), None)
        if report is None:
            return None
        series_uid = dcmread(io.BytesIO(report.data), specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID
        named = reference(report.sop_class_uid, report.sop_instance_uid)
        item = Dataset()
        item.RelationshipType, item.ValueType = "CONTAINS", "COMPOSITE"
        item.ReferencedSOPSequence = [named]
        why = f"withdrawn: {self.analysis.withdrawn}" if self.analysis.withdrawn else "no image is selected any more"
        reason = _OTHER_FAILURE if title is KeyObjectTitle.QUALITY_ISSUE else None
        listed = [hierarchy(self.analysis.study_instance_uid, {series_uid: [named]})]
        description = f"AI, unverified. The earlier selection does not stand: {why}"
        return self._document(kind, title, items=[item], reason=reason, description=description, listed=listed)

    def _document(
        self,
        kind: str,
        title: KeyObjectTitle,
        *,
        items: Sequence[Dataset],
        reason: Code | None,
        description: str,
        listed: Sequence[Dataset],
    ) -> EncodedResult:
        algorithms = algorithms_of(self.analysis, self.producer)
        series = Series(kind=kind, modality="KO", number=_SERIES_NUMBER, description=f"AI {title.value.meaning.upper()} - UNVERIFIED")
        document = companion(series, self.analysis, self.evidence, algorithms=algorithms, producer=self.producer, previous=self.previous)
        document.ReferencedPerformedProcedureStepSequence = []
        document.CurrentRequestedProcedureEvidenceSequence = list(listed)
        document.ValueType = "CONTAINER"
        document.ContinuityOfContent = "SEPARATE"
        document.ConceptNameCodeSequence = [_code_item(title.value)]
        template = Dataset()
        template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
        document.ContentTemplateSequence = [template]
        document.ContentSequence = [
            *([_coded("HAS CONCEPT MOD", _TITLE_MODIFIER, reason)] if reason else []),
            *_observer(algorithms.node, self.producer),
            _text("CONTAINS", _DESCRIPTION, printable(description)),
            *items,
        ]
        at = local_time(self.analysis, source_header(self.evidence))
        return finished(
            document,
            series,
            KeyObjectSelectionDocumentStorage,
            analysis=self.analysis,
            algorithms=algorithms,
            at=at,
            previous=self.previous,
        )


def _by_instance(images: Sequence[ImageRef], evidence: Evidence) -> list[tuple[SourceInstance, tuple[int, ...]]]:
    """Each instance once, with the frames that are meant; no frames means the whole instance."""
    frames: dict[str, set[int | None]] = {}
    for image in images:
        source = evidence.of(image)
        frames.setdefault(source.sop_instance_uid, set()).add(source.frame_number(image))
    return [
        (instance, () if None in frames[instance.sop_instance_uid] else tuple(sorted(n for n in frames[instance.sop_instance_uid] if n)))
        for instance in evidence.instances
        if instance.sop_instance_uid in frames
    ]


def _listed(selected: Sequence[tuple[SourceInstance, tuple[int, ...]]], evidence: Evidence) -> list[Dataset]:
    series: dict[str, list[Dataset]] = {}
    for instance, _ in selected:
        series.setdefault(instance.series_instance_uid, []).append(reference(instance.sop_class_uid, instance.sop_instance_uid))
    return [hierarchy(evidence.study_instance_uid, series)]


def _observer(node: Algorithm, producer: Producer) -> list[Dataset]:
    """TID 1002 and 1004: the observer is the node, never a person."""
    uid = _item("HAS OBS CONTEXT", "UIDREF", codes.DEVICE_OBSERVER_UID)
    uid.UID = node.device_uid
    return [
        _coded("HAS OBS CONTEXT", codes.OBSERVER_TYPE, codes.DEVICE),
        uid,
        _text("HAS OBS CONTEXT", codes.DEVICE_OBSERVER_NAME, producer.ae_title),
        _text("HAS OBS CONTEXT", codes.DEVICE_OBSERVER_MANUFACTURER, node.manufacturer),
        _text("HAS OBS CONTEXT", codes.DEVICE_OBSERVER_MODEL_NAME, node.name),
        _text("HAS OBS CONTEXT", codes.DEVICE_OBSERVER_SERIAL_NUMBER, producer.serial_number),
    ]


def _image_item(instance: SourceInstance, frames: tuple[int, ...]) -> Dataset:
    """TID 2010 gives the reference no concept name."""
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "IMAGE" if instance.is_image else "COMPOSITE"
    named = reference(instance.sop_class_uid, instance.sop_instance_uid)
    if frames:
        named.ReferencedFrameNumber = list(frames)
    item.ReferencedSOPSequence = [named]
    return item


def _item(relationship: str, value_type: str, name: Code) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = relationship, value_type
    item.ConceptNameCodeSequence = [_code_item(name)]
    return item


def _coded(relationship: str, name: Code, value: Code) -> Dataset:
    item = _item(relationship, "CODE", name)
    item.ConceptCodeSequence = [_code_item(value)]
    return item


def _text(relationship: str, name: Code, value: str) -> Dataset:
    item = _item(relationship, "TEXT", name)
    item.TextValue = value
    return item


def _code_item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme, code.meaning
    return item
