"""The content trees of our reports: TID 1500 Measurement Report (PS3.16), built from low-level content items.

An absent or undetermined finding is never asserted: Finding (121071) stands at the level of a group only if the finding
is Present, because viewers list it as "the finding" whatever the evaluation beside it says.
"""

from collections.abc import Iterable, Sequence

from highdicom.sr import ContentItem

from config import Code
from inference.findings import Analysis, Finding, ImageRef, Outcome, Presence, QualityGrade, QualityVerdict, Region
from reporting import codes, items, narrative
from reporting.algorithm import Algorithm, Algorithms, algorithms_of
from reporting.evidence import Evidence, SourceInstance
from reporting.result import Producer
from reporting.uids import derived_uid, tracking_uid

_SCORE_DECIMALS = 4


def findings_content(analysis: Analysis, evidence: Evidence, producer: Producer) -> ContentItem:
    """Return the root container of the findings report, with its whole tree."""
    algorithms = algorithms_of(analysis, producer)
    groups = [
        _status_group(analysis, evidence, algorithms),
        *(_finding_group(finding, evidence, algorithms.main) for finding in analysis.findings),
        *(_quality_group(verdicts, evidence, algorithms) for verdicts in _by_image(analysis.quality, evidence)),
    ]
    return _measurement_report(evidence, algorithms.node, producer, groups, _evaluations(analysis))


def regions_content(analysis: Analysis, evidence: Evidence, producer: Producer) -> ContentItem:
    """Return the root container of the region report: TID 1410 for each region of a Present finding, and nothing else beside it.

    Viewers that draw regions fail on groups without one, which is why the regions have a document of their own. Without any
    region it only says so.
    """
    algorithms = algorithms_of(analysis, producer)
    groups = [
        _region_group(finding, region, number, evidence, algorithms.main)
        for finding in localised(analysis)
        for number, region in enumerate(finding.regions, start=1)
    ]
    words = [
        items.code(codes.PROCESSING_AND_FINDINGS_SUMMARY, processing_summary(analysis), items.CONTAINS),
        *_status(analysis),
        items.text(codes.SUMMARY, narrative.regions_summary(analysis, len(groups)), items.CONTAINS),
        *(items.text(codes.COMMENT, comment, items.CONTAINS) for comment in narrative.regions_comments(analysis)),
    ]
    return _measurement_report(evidence, algorithms.node, producer, groups, words)


def localised(analysis: Analysis) -> tuple[Finding, ...]:
    """Return the findings that are Present and whose place on an image is known."""
    return tuple(finding for finding in analysis.findings if finding.presence is Presence.PRESENT and finding.regions)


def _measurement_report(
    evidence: Evidence, node: Algorithm, producer: Producer, groups: Sequence[ContentItem], evaluations: Iterable[ContentItem]
) -> ContentItem:
    """TID 1500. Imaging Measurements is left out without groups, because such a container without one is invalid."""
    return items.root(
        codes.IMAGING_MEASUREMENT_REPORT,
        "1500",
        [
            items.code(codes.LANGUAGE, codes.ENGLISH, items.MODIFIED_BY),
            *_observer(node, producer),
            items.code(codes.PROCEDURE_REPORTED, codes.IMAGING_PROCEDURE, items.MODIFIED_BY),
            *_image_library(evidence.images),
            *([items.container(codes.IMAGING_MEASUREMENTS, groups)] if groups else []),
            items.container(codes.QUALITATIVE_EVALUATIONS, evaluations),
        ],
    )


def _observer(node: Algorithm, producer: Producer) -> Iterable[ContentItem]:
    """TID 1002 and 1004: the observer is the node, never a person."""
    yield items.code(codes.OBSERVER_TYPE, codes.DEVICE, items.OBSERVED_BY)
    yield items.uid(codes.DEVICE_OBSERVER_UID, node.device_uid, items.OBSERVED_BY)
    yield items.text(codes.DEVICE_OBSERVER_NAME, producer.ae_title, items.OBSERVED_BY)
    yield items.text(codes.DEVICE_OBSERVER_MANUFACTURER, node.manufacturer, items.OBSERVED_BY)
    yield items.text(codes.DEVICE_OBSERVER_MODEL_NAME, node.name, items.OBSERVED_BY)
    yield items.text(codes.DEVICE_OBSERVER_SERIAL_NUMBER, producer.serial_number, items.OBSERVED_BY)


def _image_library(images: Sequence[SourceInstance]) -> Iterable[ContentItem]:
    """TID 1600. Left out if there is no image, because a library without one is invalid."""
    if images:
        entries = [_library_entry(image) for image in images]
        yield items.container(codes.IMAGE_LIBRARY, [items.container(codes.IMAGE_LIBRARY_GROUP, entries)])


def _library_entry(image: SourceInstance) -> ContentItem:
    """TID 1601 and 1602 with what the header of the image can say; nothing is required of it."""
    header = image.header
    described: list[ContentItem] = []
    if modality := codes.MODALITIES.get(header.text("Modality")):
        described.append(items.code(codes.MODALITY, modality, items.ACQUIRED_BY))
    if view := codes.VIEW.get(header.text("ViewPosition")):
        described.append(items.code(codes.IMAGE_VIEW, view, items.ACQUIRED_BY))
    orientation = header.texts("PatientOrientation")
    if len(orientation) == len(("row", "column")) and all(orientation):
        described.append(items.text(codes.PATIENT_ORIENTATION_ROW, orientation[0], items.ACQUIRED_BY))
        described.append(items.text(codes.PATIENT_ORIENTATION_COLUMN, orientation[1], items.ACQUIRED_BY))
    spacing = header.numbers("PixelSpacing") or header.numbers("ImagerPixelSpacing")
    if len(spacing) == len(("between rows", "between columns")) and min(spacing) > 0:
        described.append(items.number(codes.HORIZONTAL_PIXEL_SPACING, spacing[1], codes.MILLIMETRE, items.ACQUIRED_BY))
        described.append(items.number(codes.VERTICAL_PIXEL_SPACING, spacing[0], codes.MILLIMETRE, items.ACQUIRED_BY))
    for concept, keyword in ((codes.PIXEL_DATA_ROWS, "Rows"), (codes.PIXEL_DATA_COLUMNS, "Columns")):
        if count := header.count(keyword):
            described.append(items.number(concept, float(count), codes.PIXELS, items.ACQUIRED_BY))
    return items.with_children(items.image(codes.SOURCE, image, None, items.CONTAINS), described)


def _status_group(analysis: Analysis, evidence: Evidence, algorithms: Algorithms) -> ContentItem:
    """The group that is always there, so that "failed" and "not attempted" are statements and not silence.

    It names the algorithm that was used; the node itself where a result is withdrawn.
    """
    algorithm = algorithms.main if analysis.withdrawn is None else algorithms.node
    uid = derived_uid("tracking", analysis.study_instance_uid, analysis.route, "analysis-status")
    return _group(
        "AI-analysis-status",
        uid,
        [
            *_identification(algorithm),
            items.code(codes.SUMMARY_OF_ANALYSES, codes.OUTCOME[analysis.outcome], items.CONTAINS),
            *(items.image(codes.SOURCE_OF_MEASUREMENT, image, None, items.CONTAINS) for image in evidence.images),
        ],
    )


def _finding_group(finding: Finding, evidence: Evidence, algorithm: Algorithm) -> ContentItem:
    """TID 1501 for one finding on one image, or on the patient from several: then every one of them is a source."""
    identifier, uid = _tracking(finding, evidence)
    sources = [_source(image, evidence) for image in finding.images]
    return _group(
        identifier,
        uid,
        [
            *_judgement(finding, evidence, algorithm),
            *(items.image(codes.SOURCE_OF_MEASUREMENT, source, frame, items.CONTAINS) for source, frame in sources),
        ],
    )


def _region_group(finding: Finding, region: Region, number: int, evidence: Evidence, algorithm: Algorithm) -> ContentItem:
    """TID 1410 for one region of a finding, under the finding's own Tracking UID.

    Raises:
        ValueError: the region is on no image of the finding, or leads out of it.
    """
    identifier, uid = _tracking(finding, evidence)
    source, frame_number = _source(region.image, evidence)
    if (source, frame_number) not in [_source(image, evidence) for image in finding.images]:
        raise ValueError(f"a region of {finding.label} is on {source.sop_instance_uid}, which is no image of this finding")
    _require_inside(region, source)
    place = items.with_children(
        items.outline(codes.IMAGE_REGION, region), [items.image(codes.SOURCE, source, frame_number, items.SELECTED_FROM)]
    )
    return _group(
        identifier if len(finding.regions) == 1 else f"{identifier} region {number}",
        uid,
        [
            *_judgement(finding, evidence, algorithm),
            items.code(codes.GEOMETRIC_PURPOSE, codes.BOUNDED_BY, items.CONTAINS),
            place,
        ],
    )


def _require_inside(region: Region, source: SourceInstance) -> None:
    columns, rows = (source.header.count(keyword) for keyword in ("Columns", "Rows"))
    if columns and rows and not all(column <= columns and row <= rows for column, row in region.points):
        raise ValueError(f"a region leads out of {source.sop_instance_uid}, which has {columns} columns and {rows} rows")


def _tracking(finding: Finding, evidence: Evidence) -> tuple[str, str]:
    """Return Tracking Identifier and Tracking UID of a finding, the same in every document and revision."""
    source, frame_number = _source(finding.image, evidence)
    uid = tracking_uid(evidence.study_instance_uid, source.sop_instance_uid, frame_number, finding.label)
    return _tracking_identifier(finding.label, uid), uid


def _judgement(finding: Finding, evidence: Evidence, algorithm: Algorithm) -> Iterable[ContentItem]:
    """What is said of a finding, wherever it is. The concept modifier makes the number unambiguous where nothing is asserted."""
    if finding.presence is Presence.PRESENT:
        yield items.code(codes.FINDING, finding.concept, items.CONTAINS)
    if finding.site:
        yield items.code(codes.FINDING_SITE, finding.site, items.MODIFIED_BY)
    yield from _identification(algorithm)
    sources = [_source(image, evidence) for image in finding.images]
    yield items.with_children(
        _certainty(finding) if finding.calibrated else _score(finding),
        [
            items.code(codes.FINDING, finding.concept, items.MODIFIED_BY),
            *(items.image(codes.SOURCE_OF_MEASUREMENT, source, frame, items.INFERRED_FROM) for source, frame in sources),
        ],
    )
    yield from _threshold(finding)
    yield items.code(finding.concept, codes.PRESENCE[finding.presence], items.CONTAINS)


def _certainty(finding: Finding) -> ContentItem:
    return items.number(codes.CERTAINTY_OF_FINDING, narrative.percent(finding.score), codes.PERCENT, items.CONTAINS)


def _score(finding: Finding) -> ContentItem:
    return items.number(codes.SCORE, round(finding.score, _SCORE_DECIMALS), codes.NO_UNITS, items.CONTAINS)


def _threshold(finding: Finding) -> Iterable[ContentItem]:
    if finding.threshold is None:
        return
    if finding.calibrated:
        yield items.number(codes.THRESHOLD_VALUE, narrative.percent(finding.threshold), codes.PERCENT, items.CONTAINS)
    else:
        yield items.number(codes.THRESHOLD_VALUE, round(finding.threshold, _SCORE_DECIMALS), codes.NO_UNITS, items.CONTAINS)


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
            items.code(codes.FINDING, codes.IMAGE_QUALITY, items.CONTAINS),
            *_identification(algorithm),
            items.code(codes.QUALITY_ASSESSMENT, codes.GRADE[max(verdict.grade for verdict in verdicts)], items.CONTAINS),
            items.code(codes.QUALITY_CONTROL_STANDARD, codes.INSTITUTIONAL_STANDARD, items.CONTAINS),
            *(items.code(codes.QUALITY_FINDING, defect, items.CONTAINS) for defect in defects.values()),
            items.image(codes.SOURCE_OF_MEASUREMENT, source, frame_number, items.CONTAINS),
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
    yield items.code(codes.PROCESSING_AND_FINDINGS_SUMMARY, processing_summary(analysis), items.CONTAINS)
    yield from _status(analysis)
    if priority := analysis.priority.sr if analysis.priority else codes.FLAG.get(analysis.flag):
        yield items.code(codes.PRIORITY, priority, items.CONTAINS)
    if analysis.grade is not None:
        yield items.code(codes.IMAGE_QUALITY, codes.GRADE[analysis.grade], items.CONTAINS)
    yield items.text(codes.SUMMARY, narrative.summary(analysis), items.CONTAINS)
    for comment in narrative.comments(analysis):
        yield items.text(codes.COMMENT, comment, items.CONTAINS)


def _status(analysis: Analysis) -> Iterable[ContentItem]:
    """No public code says that a result is withdrawn, so this one is ours; the words say it too."""
    if analysis.withdrawn is not None:
        yield items.code(codes.RESULT_STATUS, codes.WITHDRAWN, items.CONTAINS)


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
    yield items.text(codes.ALGORITHM_NAME, algorithm.name, items.MODIFIED_BY)
    yield items.text(codes.ALGORITHM_VERSION, algorithm.version, items.MODIFIED_BY)
    for parameter in algorithm.parameters:
        yield items.text(codes.ALGORITHM_PARAMETERS, parameter, items.MODIFIED_BY)
    if algorithm.family is not None:
        yield items.code(codes.ALGORITHM_FAMILY, algorithm.family, items.MODIFIED_BY)


def _source(image: ImageRef, evidence: Evidence) -> tuple[SourceInstance, int | None]:
    source = evidence.of(image)
    return source, source.frame_number(image)


def _tracking_identifier(label: str, uid: str) -> str:
    """Return a name for people that tells the same label on two images apart; the UID is the identity."""
    return f"AI-{label}-{int(uid.rsplit('.', 1)[1]) % 0x10000:04x}"


def _group(identifier: str, uid: str, content: Iterable[ContentItem]) -> ContentItem:
    tracking = [
        items.text(codes.TRACKING_IDENTIFIER, identifier, items.OBSERVED_BY),
        items.uid(codes.TRACKING_UNIQUE_IDENTIFIER, uid, items.OBSERVED_BY),
    ]
    return items.container(codes.MEASUREMENT_GROUP, [*tracking, *content])
