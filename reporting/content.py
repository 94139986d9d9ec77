"""The content tree of a findings report: TID 1500 Measurement Report (PS3.16), built from low-level content items.

An absent or undetermined finding is never asserted: Finding (121071) stands at the level of a group only if the finding
is Present, because viewers list it as "the finding" whatever the evaluation beside it says.
"""

from collections.abc import Iterable, Sequence

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    CompositeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
    TextContentItem,
    UIDRefContentItem,
)

from config import Code
from inference.findings import Analysis, Finding, ImageRef, Outcome, Presence, QualityGrade, QualityVerdict
from reporting import codes, narrative
from reporting.algorithm import Algorithm, Algorithms
from reporting.evidence import Evidence, SourceInstance
from reporting.result import Producer
from reporting.uids import derived_uid, tracking_uid

_CONTAINS = RelationshipTypeValues.CONTAINS
_MODIFIED_BY = RelationshipTypeValues.HAS_CONCEPT_MOD
_OBSERVED_BY = RelationshipTypeValues.HAS_OBS_CONTEXT
_ACQUIRED_BY = RelationshipTypeValues.HAS_ACQ_CONTEXT
_INFERRED_FROM = RelationshipTypeValues.INFERRED_FROM
_SCORE_DECIMALS = 4


def report_content(analysis: Analysis, evidence: Evidence, algorithms: Algorithms, producer: Producer) -> ContentItem:
    """Return the root container of the report, with its whole tree."""
    groups = [
        _status_group(analysis, evidence, algorithms.main),
        *(_finding_group(finding, evidence, algorithms.main) for finding in analysis.findings),
        *(_quality_group(verdicts, evidence, algorithms) for verdicts in _by_image(analysis.quality, evidence)),
    ]
    root = ContainerContentItem(name=_concept(codes.IMAGING_MEASUREMENT_REPORT), template_id="1500")
    return _with(
        root,
        [
            _code(codes.LANGUAGE, codes.ENGLISH, _MODIFIED_BY),
            *_observer(algorithms.node, producer),
            _code(codes.PROCEDURE_REPORTED, codes.IMAGING_PROCEDURE, _MODIFIED_BY),
            *_image_library(evidence.images),
            _container(codes.IMAGING_MEASUREMENTS, groups),
            _container(codes.QUALITATIVE_EVALUATIONS, _evaluations(analysis)),
        ],
    )


def _observer(node: Algorithm, producer: Producer) -> Iterable[ContentItem]:
    """TID 1002 and 1004: the observer is the node, never a person."""
    yield _code(codes.OBSERVER_TYPE, codes.DEVICE, _OBSERVED_BY)
    yield _uid(codes.DEVICE_OBSERVER_UID, node.device_uid, _OBSERVED_BY)
    yield _text(codes.DEVICE_OBSERVER_NAME, producer.ae_title, _OBSERVED_BY)
    yield _text(codes.DEVICE_OBSERVER_MANUFACTURER, node.manufacturer, _OBSERVED_BY)
    yield _text(codes.DEVICE_OBSERVER_MODEL_NAME, node.name, _OBSERVED_BY)
    yield _text(codes.DEVICE_OBSERVER_SERIAL_NUMBER, producer.serial_number, _OBSERVED_BY)


def _image_library(images: Sequence[SourceInstance]) -> Iterable[ContentItem]:
    """TID 1600. Left out if there is no image, because a library without one is invalid."""
    if images:
        entries = [_library_entry(image) for image in images]
        yield _container(codes.IMAGE_LIBRARY, [_container(codes.IMAGE_LIBRARY_GROUP, entries)])


def _library_entry(image: SourceInstance) -> ContentItem:
    """TID 1601 and 1602 with what the header of the image can say; nothing is required of it."""
    header = image.header
    described: list[ContentItem] = []
    if modality := codes.MODALITIES.get(header.text("Modality")):
        described.append(_code(codes.MODALITY, modality, _ACQUIRED_BY))
    if view := codes.VIEW.get(header.text("ViewPosition")):
        described.append(_code(codes.IMAGE_VIEW, view, _ACQUIRED_BY))
    orientation = header.texts("PatientOrientation")
    if len(orientation) == len(("row", "column")) and all(orientation):
        described.append(_text(codes.PATIENT_ORIENTATION_ROW, orientation[0], _ACQUIRED_BY))
        described.append(_text(codes.PATIENT_ORIENTATION_COLUMN, orientation[1], _ACQUIRED_BY))
    spacing = header.numbers("PixelSpacing") or header.numbers("ImagerPixelSpacing")
    if len(spacing) == len(("between rows", "between columns")) and min(spacing) > 0:
        described.append(_number(codes.HORIZONTAL_PIXEL_SPACING, spacing[1], codes.MILLIMETRE, _ACQUIRED_BY))
        described.append(_number(codes.VERTICAL_PIXEL_SPACING, spacing[0], codes.MILLIMETRE, _ACQUIRED_BY))
    for concept, keyword in ((codes.PIXEL_DATA_ROWS, "Rows"), (codes.PIXEL_DATA_COLUMNS, "Columns")):
        if count := header.count(keyword):
            described.append(_number(concept, float(count), codes.PIXELS, _ACQUIRED_BY))
    return _with(_image(codes.SOURCE, image, None, _CONTAINS), described)


def _status_group(analysis: Analysis, evidence: Evidence, algorithm: Algorithm) -> ContentItem:
    """The group that is always there, so that "failed" and "not attempted" are statements and not silence."""
    uid = derived_uid("tracking", analysis.study_instance_uid, analysis.route, "analysis-status")
    return _group(
        "AI-analysis-status",
        uid,
        [
            *_identification(algorithm),
            _code(codes.SUMMARY_OF_ANALYSES, codes.OUTCOME[analysis.outcome], _CONTAINS),
            *(_image(codes.SOURCE_OF_MEASUREMENT, image, None, _CONTAINS) for image in evidence.images),
        ],
    )


def _finding_group(finding: Finding, evidence: Evidence, algorithm: Algorithm) -> ContentItem:
    """TID 1501 for one finding on one image, or on the patient from several: then every one of them is a source.

    The concept modifier makes the number unambiguous where nothing is asserted.
    """
    sources = [_source(image, evidence) for image in finding.images]
    first, frame_number = sources[0]
    uid = tracking_uid(evidence.study_instance_uid, first.sop_instance_uid, frame_number, finding.label)
    number = _certainty(finding) if finding.calibrated else _score(finding)
    measured = _with(
        number,
        [
            _code(codes.FINDING, finding.concept, _MODIFIED_BY),
            *(_image(codes.SOURCE_OF_MEASUREMENT, source, frame, _INFERRED_FROM) for source, frame in sources),
        ],
    )
    return _group(
        _tracking_identifier(finding.label, uid),
        uid,
        [
            *([_code(codes.FINDING, finding.concept, _CONTAINS)] if finding.presence is Presence.PRESENT else []),
            *([_code(codes.FINDING_SITE, finding.site, _MODIFIED_BY)] if finding.site else []),
            *_identification(algorithm),
            measured,
            *_threshold(finding),
            _code(finding.concept, codes.PRESENCE[finding.presence], _CONTAINS),
            *(_image(codes.SOURCE_OF_MEASUREMENT, source, frame, _CONTAINS) for source, frame in sources),
        ],
    )


def _certainty(finding: Finding) -> ContentItem:
    return _number(codes.CERTAINTY_OF_FINDING, narrative.percent(finding.score), codes.PERCENT, _CONTAINS)


def _score(finding: Finding) -> ContentItem:
    return _number(codes.SCORE, round(finding.score, _SCORE_DECIMALS), codes.NO_UNITS, _CONTAINS)


def _threshold(finding: Finding) -> Iterable[ContentItem]:
    if finding.threshold is None:
        return
    if finding.calibrated:
        yield _number(codes.THRESHOLD_VALUE, narrative.percent(finding.threshold), codes.PERCENT, _CONTAINS)
    else:
        yield _number(codes.THRESHOLD_VALUE, round(finding.threshold, _SCORE_DECIMALS), codes.NO_UNITS, _CONTAINS)


def _quality_group(verdicts: Sequence[QualityVerdict], evidence: Evidence, algorithms: Algorithms) -> ContentItem:
    """TID 1501 for the quality of one image as one algorithm sees it: the worst grade that it gave, and the defects that it found."""
    source, frame_number = _source(verdicts[0].image, evidence)
    label, algorithm = ("quality-prompts", algorithms.prompted) if verdicts[0].by_model else ("quality", algorithms.quality)
    uid = tracking_uid(evidence.study_instance_uid, source.sop_instance_uid, frame_number, label)
    defects = {verdict.code.value: verdict.code for verdict in verdicts if verdict.grade is not QualityGrade.DIAGNOSTIC}
    return _group(
        _tracking_identifier(label, uid),
        uid,
        [
            _code(codes.FINDING, codes.IMAGE_QUALITY, _CONTAINS),
            *_identification(algorithm),
            _code(codes.QUALITY_ASSESSMENT, codes.GRADE[max(verdict.grade for verdict in verdicts)], _CONTAINS),
            _code(codes.QUALITY_CONTROL_STANDARD, codes.INSTITUTIONAL_STANDARD, _CONTAINS),
            *(_code(codes.QUALITY_FINDING, defect, _CONTAINS) for defect in defects.values()),
            _image(codes.SOURCE_OF_MEASUREMENT, source, frame_number, _CONTAINS),
        ],
    )


def _by_image(verdicts: Iterable[QualityVerdict], evidence: Evidence) -> Iterable[list[QualityVerdict]]:
    """The verdicts on each image, those of the pixel checks and those of the model apart."""
    images: dict[tuple[bool, str, int | None], list[QualityVerdict]] = {}
    for verdict in verdicts:
        source, frame_number = _source(verdict.image, evidence)
        images.setdefault((verdict.by_model, source.sop_instance_uid, frame_number), []).append(verdict)
    return images.values()


def _evaluations(analysis: Analysis) -> Iterable[ContentItem]:
    """TID 1500 row 12: what holds for the whole study."""
    yield _code(codes.PROCESSING_AND_FINDINGS_SUMMARY, processing_summary(analysis), _CONTAINS)
    if priority := codes.FLAG.get(analysis.flag):
        yield _code(codes.PRIORITY, priority, _CONTAINS)
    if analysis.grade is not None:
        yield _code(codes.IMAGE_QUALITY, codes.GRADE[analysis.grade], _CONTAINS)
    yield _text(codes.SUMMARY, narrative.summary(analysis), _CONTAINS)
    for comment in narrative.comments(analysis):
        yield _text(codes.COMMENT, comment, _CONTAINS)


def processing_summary(analysis: Analysis) -> Code:
    """Return the code of CID 6047 for the whole analysis.

    "All algorithms succeeded; without findings" is what a machine reads as negative, so it is kept for the case that
    findings were looked for and every one is Absent. In shadow, with anything undetermined, or if only the image quality
    was checked, detection did not come to an end: "Not all algorithms succeeded; without findings".
    """
    if analysis.outcome in {Outcome.FAILED, Outcome.NOT_ATTEMPTED}:
        return codes.NONE_SUCCEEDED_WITHOUT_FINDINGS
    whole = analysis.outcome is Outcome.SUCCEEDED
    presences = {finding.presence for finding in analysis.findings}
    if Presence.PRESENT in presences:
        return codes.ALL_SUCCEEDED_WITH_FINDINGS if whole else codes.NOT_ALL_SUCCEEDED_WITH_FINDINGS
    if whole and presences == {Presence.ABSENT}:
        return codes.ALL_SUCCEEDED_WITHOUT_FINDINGS
    return codes.NOT_ALL_SUCCEEDED_WITHOUT_FINDINGS


def _identification(algorithm: Algorithm) -> Iterable[ContentItem]:
    """TID 4019 Algorithm Identification."""
    yield _text(codes.ALGORITHM_NAME, algorithm.name, _MODIFIED_BY)
    yield _text(codes.ALGORITHM_VERSION, algorithm.version, _MODIFIED_BY)
    for parameter in algorithm.parameters:
        yield _text(codes.ALGORITHM_PARAMETERS, parameter, _MODIFIED_BY)
    if algorithm.family is not None:
        yield _code(codes.ALGORITHM_FAMILY, algorithm.family, _MODIFIED_BY)


def _source(image: ImageRef, evidence: Evidence) -> tuple[SourceInstance, int | None]:
    source = evidence.of(image)
    return source, source.frame_number(image)


def _tracking_identifier(label: str, uid: str) -> str:
    """Return a name for people that tells the same label on two images apart; the UID is the identity."""
    return f"AI-{label}-{int(uid.rsplit('.', 1)[1]) % 0x10000:04x}"


def _group(identifier: str, uid: str, items: Iterable[ContentItem]) -> ContentItem:
    tracking = [
        _text(codes.TRACKING_IDENTIFIER, identifier, _OBSERVED_BY),
        _uid(codes.TRACKING_UNIQUE_IDENTIFIER, uid, _OBSERVED_BY),
    ]
    return _container(codes.MEASUREMENT_GROUP, [*tracking, *items])


def _concept(code: Code) -> CodedConcept:
    return CodedConcept(code.value, code.scheme, code.meaning)


def _container(name: Code, items: Iterable[ContentItem]) -> ContentItem:
    return _with(ContainerContentItem(name=_concept(name), relationship_type=_CONTAINS), items)


def _code(name: Code, value: Code, relationship: RelationshipTypeValues) -> ContentItem:
    return CodeContentItem(name=_concept(name), value=_concept(value), relationship_type=relationship)


def _text(name: Code, value: str, relationship: RelationshipTypeValues) -> ContentItem:
    return TextContentItem(name=_concept(name), value=value, relationship_type=relationship)


def _uid(name: Code, value: str, relationship: RelationshipTypeValues) -> ContentItem:
    return UIDRefContentItem(name=_concept(name), value=value, relationship_type=relationship)


def _number(name: Code, value: float, unit: Code, relationship: RelationshipTypeValues) -> ContentItem:
    return NumContentItem(name=_concept(name), value=value, unit=_concept(unit), relationship_type=relationship)


def _image(name: Code, source: SourceInstance, frame_number: int | None, relationship: RelationshipTypeValues) -> ContentItem:
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


def _with(parent: ContentItem, children: Iterable[ContentItem]) -> ContentItem:
    items = list(children)
    if items:
        parent.ContentSequence = ContentSequence(items)
    return parent
