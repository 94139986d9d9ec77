"""A Grayscale Softcopy Presentation State (PS3.3 A.33.1) that draws the outlines of findings over the images, with their names.

The state says also how the grey values are shown, so it repeats the transformation of the images' own headers. It covers the grey
images that share one; colour images, and those with tables instead of numbers, are left as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage

from inference.findings import Analysis, Finding, Presence, Region
from reporting import narrative
from reporting.algorithm import algorithms_of
from reporting.attributes import SourceHeader, printable
from reporting.companions.instance import Series, companion, finished, local_time, source_header
from reporting.evidence import Evidence, SourceInstance, evidence_of, reference
from reporting.result import EncodedResult, PreviousReport, Producer
from reporting.uids import tracking_uid

KIND = "gsps-outline"
_SERIES = Series(kind=KIND, modality="PR", number=9904, description="AI OUTLINE - UNVERIFIED")
_LAYER = "AI"
_ORANGE = (51000, 44000, 41500)  # PCS-values of CIELab, PS3.3 C.10.7.1.1
_LABEL_SHARE = 0.06  # of the image height, for one line of text
_CLOSED = 1  # the first point stands again at the end


@dataclass(frozen=True, slots=True, kw_only=True)
class _Greys:
    """How stored values become grey values: Modality LUT as numbers, and the photometric interpretation."""

    photometric: str
    slope: float
    intercept: float
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """One outline of one finding, or a line of text if `region` is None."""

    finding: Finding | None
    region: Region | None
    source: SourceInstance
    frame_number: int | None
    words: str


def encode_outline(
    analysis: Analysis,
    headers: Sequence[Dataset],
    *,
    producer: Producer,
    previous: PreviousReport | None,
    companions: Sequence[EncodedResult] = (),
) -> EncodedResult | None:
    """Return the outlines of Present findings; None if there are none on a grey image.

    With `previous` and nothing to outline, the state says on the first grey image that the earlier outline does not stand.

    Raises:
        ValueError: as `evidence_of`.
    """
    evidence = evidence_of(analysis, headers)
    marks = _marks(analysis, evidence)
    if not marks and previous is not None:
        marks = _withdrawn(analysis, evidence)
    if not marks:
        return None
    greys = _greys(marks[0].source.header)
    shown = [mark for mark in marks if _greys(mark.source.header) == greys]
    algorithms = algorithms_of(analysis, producer)
    state = companion(_SERIES, analysis, evidence, algorithms=algorithms, producer=producer, previous=previous)
    state.Laterality = ""  # Type 2C: unknown, and required of a part that may be paired
    _relationship(state, shown)
    _grey_transformation(state, greys, shown)
    _graphics(state, shown, analysis)
    at = local_time(analysis, source_header(evidence))
    state.PresentationCreationDate, state.PresentationCreationTime = at.strftime("%Y%m%d"), at.strftime("%H%M%S")
    return finished(
        state,
        _SERIES,
        GrayscaleSoftcopyPresentationStateStorage,
        analysis=analysis,
        algorithms=algorithms,
        at=at,
        previous=previous,
    )


def _marks(analysis: Analysis, evidence: Evidence) -> list[_Mark]:
    made = []
    for finding in sorted(analysis.findings, key=lambda one: -one.score):
        if finding.presence is not Presence.PRESENT:
            continue
        number = f"{narrative.percent(finding.score):g} %" if finding.calibrated else f"score {finding.score:.4f}"
        for region in finding.regions:
            source = evidence.of(region.image)
            if _greys(source.header) is not None:
                words = printable(f"AI, unverified: {finding.concept.meaning} {number}")
                frame = source.frame_number(region.image)
                made.append(_Mark(finding=finding, region=region, source=source, frame_number=frame, words=words))
    return made


def _withdrawn(analysis: Analysis, evidence: Evidence) -> list[_Mark]:
    why = f"withdrawn: {analysis.withdrawn}" if analysis.withdrawn else "nothing is outlined any more"
    first = next((source for source in evidence.images if _greys(source.header) is not None), None)
    if first is None:
        return []
    frame = 1 if first.frames > 1 else None
    words = printable(f"AI: the earlier outline does not stand, {why}")
    return [_Mark(finding=None, region=None, source=first, frame_number=frame, words=words)]


def _greys(header: SourceHeader) -> _Greys | None:
    """Return the grey transformation of an image, or None where it is no grey image or has a table that would have to be copied."""
    photometric = header.text("PhotometricInterpretation")
    plain = not header.items("ModalityLUTSequence") and header.count("Rows") and header.count("Columns")
    if photometric not in {"MONOCHROME1", "MONOCHROME2"} or not plain:
        return None
    slope = next(iter(header.numbers("RescaleSlope")), 1.0)
    intercept = next(iter(header.numbers("RescaleIntercept")), 0.0)
    return _Greys(photometric=photometric, slope=slope, intercept=intercept, kind=header.text("RescaleType") or "US")


def _relationship(state: Dataset, marks: Sequence[_Mark]) -> None:
    """Presentation State Relationship module (PS3.3 C.11.11)."""
    series: dict[str, dict[str, Dataset]] = {}
    for mark in marks:
        series.setdefault(mark.source.series_instance_uid, {})[mark.source.sop_instance_uid] = _image(mark.source, ())
    referenced = []
    for uid, images in series.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedImageSequence = list(images.values())
        referenced.append(item)
    state.ReferencedSeriesSequence = referenced


def _grey_transformation(state: Dataset, greys: _Greys | None, marks: Sequence[_Mark]) -> None:
    """Modality LUT, Softcopy VOI LUT and Softcopy Presentation LUT modules, as the images have them."""
    if greys is None:
        raise ValueError("a presentation state is of grey images")
    state.RescaleSlope, state.RescaleIntercept, state.RescaleType = greys.slope, greys.intercept, greys.kind
    windows = []
    for mark in _by_image(marks):
        center, width = mark.source.header.numbers("WindowCenter"), mark.source.header.numbers("WindowWidth")
        if center and width and width[0] >= 1:
            window = Dataset()
            window.WindowCenter, window.WindowWidth = center[0], width[0]
            window.ReferencedImageSequence = [_image(mark.source, ())]
            windows.append(window)
    if windows:
        state.SoftcopyVOILUTSequence = windows
    state.PresentationLUTShape = "INVERSE" if greys.photometric == "MONOCHROME1" else "IDENTITY"


def _graphics(state: Dataset, marks: Sequence[_Mark], analysis: Analysis) -> None:
    """Presentation State Identification, Displayed Area, Graphic Annotation and Graphic Layer modules."""
    state.ContentLabel = "AI_UNVERIFIED"
    state.ContentDescription = "AI outline, unverified"
    state.ContentCreatorName = ""
    state.DisplayedAreaSelectionSequence = [_displayed_area(mark.source) for mark in _by_image(marks)]
    state.GraphicAnnotationSequence = [_annotation(mark, analysis) for mark in marks]
    layer = Dataset()
    layer.GraphicLayer = _LAYER
    layer.GraphicLayerOrder = 1
    layer.GraphicLayerRecommendedDisplayCIELabValue = list(_ORANGE)
    layer.GraphicLayerDescription = "AI outline, unverified"
    state.GraphicLayerSequence = [layer]


def _annotation(mark: _Mark, analysis: Analysis) -> Dataset:
    annotation = Dataset()
    annotation.ReferencedImageSequence = [_image(mark.source, (mark.frame_number,) if mark.frame_number else ())]
    annotation.GraphicLayer = _LAYER
    annotation.TextObjectSequence = [_label(mark)]
    if mark.region is not None and mark.finding is not None:
        points = [*mark.region.points, mark.region.points[0]]
        outline = Dataset()
        outline.TrackingID = f"AI-{mark.finding.label}"
        outline.TrackingUID = tracking_uid(analysis.study_instance_uid, mark.source.sop_instance_uid, mark.frame_number, mark.finding.label)
        outline.GraphicAnnotationUnits = "PIXEL"
        outline.GraphicDimensions = 2
        outline.NumberOfGraphicPoints = len(mark.region.points) + _CLOSED
        outline.GraphicData = [value for point in points for value in point]
        outline.GraphicType = "POLYLINE"
        outline.GraphicFilled = "N"
        annotation.GraphicObjectSequence = [outline]
    return annotation


def _label(mark: _Mark) -> Dataset:
    """One line of text above the outline, or below it where there is no room above; kept inside the image."""
    rows, columns = mark.source.header.count("Rows"), mark.source.header.count("Columns")
    height = max(1.0, rows * _LABEL_SHARE)
    points = mark.region.points if mark.region else ((0.0, height), (0.0, height))
    top, bottom = min(row for _, row in points), max(row for _, row in points)
    upper = top - height if top >= height else min(bottom, rows - height)
    text = Dataset()
    text.BoundingBoxAnnotationUnits = "PIXEL"
    text.UnformattedTextValue = mark.words
    text.BoundingBoxTopLeftHandCorner = [0.0, upper]
    text.BoundingBoxBottomRightHandCorner = [float(columns), upper + height]
    text.BoundingBoxTextHorizontalJustification = "LEFT"
    return text


def _displayed_area(source: SourceInstance) -> Dataset:
    """The whole image. Its pixels keep their shape: by their spacing, or by their aspect ratio (PS3.3 C.10.4)."""
    area = Dataset()
    area.ReferencedImageSequence = [_image(source, ())]
    area.DisplayedAreaTopLeftHandCorner = [1, 1]
    area.DisplayedAreaBottomRightHandCorner = [source.header.count("Columns"), source.header.count("Rows")]
    area.PresentationSizeMode = "SCALE TO FIT"
    spacing = source.header.numbers("PixelSpacing") or source.header.numbers("ImagerPixelSpacing")
    ratio = source.header.numbers("PixelAspectRatio")
    if len(spacing) == len(("rows", "columns")) and min(spacing) > 0:
        area.PresentationPixelSpacing = list(spacing)
    elif len(ratio) == len(("vertical", "horizontal")) and min(ratio) >= 1:
        area.PresentationPixelAspectRatio = [int(value) for value in ratio]
    else:
        area.PresentationPixelAspectRatio = [1, 1]
    return area


def _by_image(marks: Sequence[_Mark]) -> list[_Mark]:
    """One mark for each image."""
    return list({mark.source.sop_instance_uid: mark for mark in marks}.values())


def _image(source: SourceInstance, frames: Sequence[int]) -> Dataset:
    item = reference(source.sop_class_uid, source.sop_instance_uid)
    if frames:
        item.ReferencedFrameNumber = list(frames)
    return item
