"""Which findings of an analysis are explained, and how: the frame as the model saw it, hidden part by part, asked again."""

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pydicom import Dataset

from config.catalogue import Catalogue
from config.heads import ANY_IMAGE, heads_of, views_of
from config.manifests import ModelManifest
from config.prompt_sets import PromptSet
from config.routes import RouteRule
from inference.adapters import ModelOutputError
from inference.explanation.answer import Subject, answer_of
from inference.explanation.drawing import draw, outline
from inference.explanation.fault_place import LOCAL, place_of_fault
from inference.explanation.heat_map import HeatMap, heat_maps
from inference.explanation.occlusion import SIZES, windows
from inference.explanation.picture import Picture
from inference.explanation.place import SHARE_OF_HOTTEST, region_of
from inference.findings import Analysis, Finding, FlagLevel, HeatGrid, ImageRef, Presence, QualityVerdict, Region
from inference.frames import Frame, UndecodableError, read_frames
from inference.questions import Scorer
from inference.selection import SelectedInstance, choose_frames
from inference.slides.pyramid import is_slide
from inference.views import SampledRanges, viewed

MOST = 3
"""Findings that are explained in one analysis at most."""

_PIXELS_OF_INPUT = 4  # of the longest side, for each pixel of the model's input: hiding and shrinking then commute, nearly


class Explain(enum.StrEnum):
    """Which findings are explained."""

    OFF = "off"
    FLAGGED = "flagged"
    PRESENT = "present"
    SHOWN = "shown"
    """Those that are present; of a model in shadow, where none is, the strongest of each label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Illustrated:
    """An analysis, whose findings say where they are as far as that was looked for, and the pictures beside it."""

    analysis: Analysis
    pictures: tuple[Picture, ...] = ()


def explain(
    analysis: Analysis,
    *,
    selected: Sequence[SelectedInstance],
    route: RouteRule,
    scorer: Scorer,
    catalogue: Catalogue,
    which: Explain,
    maximum_frame_megapixels: float,
) -> Illustrated:
    """Return the analysis with heat maps and regions of the findings that are worth it, and a picture of each.

    `selected`, `route` and `catalogue` are those that the analysis was made with. A finding whose regions are known keeps them. Of a
    finding from many frames the one that shows it best is explained. Where nothing can be told (a file that has gone, a score that
    nothing lowers) a finding stays as it is.

    Raises:
        ModelLoadError, DeviceMemoryError: as the engine does.
    """
    others = [instance for instance in selected if not is_slide(instance)]
    seen = _Seen(others, maximum_frames=route.most_frames, maximum_megapixels=maximum_frame_megapixels)
    if which is Explain.SHOWN:
        analysis, outlines = _faults_located(analysis, seen)
    else:
        outlines = ()
    wanted = worth_explaining(analysis.findings, which)
    if not wanted or route.prompt_set is None or route.model is None:
        return Illustrated(analysis=analysis, pictures=outlines)
    model, prompt_set = catalogue.manifest(route.searched_by or route.model), catalogue.prompt_set(route.prompt_set)
    regions: dict[tuple[str, ImageRef], list[Region]] = {}
    maps: list[Picture] = []
    kept: list[HeatGrid] = []
    for finding, frame, heat_map in _explained(wanted, model, prompt_set, scorer, seen):
        region = region_of(heat_map)
        if region is not None:
            regions.setdefault((finding.label, finding.image), []).append(region)
        maps.append(draw(frame, heat_map, region, caption=_caption(finding, heat_map, model)))
        kept.append(heat_map.kept())
    return Illustrated(analysis=replace(_located(analysis, regions), heat_maps=tuple(kept)), pictures=(*maps, *outlines))


class _Seen:
    """The frames of an analysis, read again: as they were decoded, and as a model was shown them."""

    def __init__(self, selected: Sequence[SelectedInstance], *, maximum_frames: int, maximum_megapixels: float) -> None:
        chosen = choose_frames(selected, maximum_frames=maximum_frames)
        self._instances = {choice.instance.image.sop_instance_uid: choice.instance for choice in chosen}
        self._ranges = SampledRanges(chosen, maximum_megapixels=maximum_megapixels)
        self._maximum_megapixels = maximum_megapixels

    def header(self, image: ImageRef) -> Dataset:
        return self._instances[image.sop_instance_uid].header

    def decoded(self, image: ImageRef) -> Frame | None:
        """The frame; None if it is of no instance here, or cannot be read any more: then the report stands without a region."""
        instance = self._instances.get(image.sop_instance_uid)
        if instance is None:
            return None
        try:
            return next(read_frames(instance.path, (image.frame_number or 1,), maximum_megapixels=self._maximum_megapixels), None)
        except UndecodableError:
            return None

    def by(self, model: ModelManifest, image: ImageRef) -> Frame | None:
        """The view that the model was shown."""
        frame = self.decoded(image)
        return None if frame is None else viewed(frame, self.header(image), model.views, self._ranges)


def _faults_located(analysis: Analysis, seen: _Seen) -> tuple[Analysis, tuple[Picture, ...]]:
    """The analysis with the places of its worst faults that have one, at most MOST, and a picture of each."""
    faults = sorted((verdict for verdict in analysis.quality if verdict.check in LOCAL and verdict.grade), key=lambda one: -one.grade)
    first = {verdict.check: verdict for verdict in reversed(faults)}
    placed: dict[QualityVerdict, Region] = {}
    pictures: list[Picture] = []
    for verdict in list(reversed(first.values()))[:MOST]:
        frame = seen.decoded(verdict.image)
        region = None if frame is None else place_of_fault(frame, seen.header(verdict.image), verdict)
        if frame is not None and region is not None:
            placed[verdict] = region
            pictures.append(outline(frame, region, caption=f"{verdict.sentence} ({verdict.check})"))
    quality = tuple(replace(verdict, regions=(placed[verdict],)) if verdict in placed else verdict for verdict in analysis.quality)
    return replace(analysis, quality=quality), tuple(pictures)


def worth_explaining(findings: Sequence[Finding], which: Explain) -> tuple[Finding, ...]:
    """Return at most MOST findings whose places are not known yet: flagged before others, then the highest scores."""
    unplaced = [finding for finding in findings if not finding.regions]
    ranked = sorted(unplaced, key=lambda finding: (-finding.flag, finding.presence is not Presence.PRESENT, -finding.score))
    strongest = {finding.label: finding for finding in reversed(ranked)}
    in_shadow = bool(findings) and not any(finding.calibrated for finding in findings)

    def counts(finding: Finding) -> bool:
        match which:
            case Explain.OFF:
                return False
            case Explain.FLAGGED:
                return finding.flag is not FlagLevel.NONE
            case Explain.PRESENT:
                return finding.presence is Presence.PRESENT
            case Explain.SHOWN:
                return finding.presence is Presence.PRESENT or (in_shadow and strongest[finding.label] is finding)

    return tuple(filter(counts, ranked))[:MOST]


def _explained(
    wanted: Sequence[Finding],
    model: ModelManifest,
    prompt_set: PromptSet,
    scorer: Scorer,
    seen: _Seen,
) -> Iterator[tuple[Finding, Frame, HeatMap]]:
    """The heat map of each finding on each of its images; what is made from the same frames is asked in one pass."""
    together: dict[Subject, list[Finding]] = {}
    for finding in wanted:
        subject = Subject(images=(finding.image, *finding.others), views=_views(finding.label, model, prompt_set))
        together.setdefault(subject, []).append(finding)
    for subject, findings in together.items():
        frames = [frame for image in subject.images if (frame := seen.by(model, image)) is not None]
        if len(frames) < len(subject.images):
            continue
        labels = tuple(finding.label for finding in findings)
        for place, frame in enumerate(frames):
            answer = answer_of(subject, labels, model=model, prompt_set=prompt_set, scorer=scorer, frames=frames, place=place)
            try:
                maps = heat_maps(frame, labels, answer, longest_side=_PIXELS_OF_INPUT * model.preprocessing.image_size)
            except ModelOutputError:  # of a frame with something hidden: the finding itself is sound
                continue
            yield from ((finding, frame, heat_map) for finding, heat_map in zip(findings, maps, strict=True))


def _views(label: str, model: ModelManifest, prompt_set: PromptSet) -> tuple[str, ...]:
    """The views from which the model answers a label."""
    if not heads_of(model.architecture):
        return ANY_IMAGE
    section = next(section for section in prompt_set.labels if section.name == label)
    return views_of(model.architecture, prompt_set.head_of(section))


def _caption(finding: Finding, heat_map: HeatMap, model: ModelManifest) -> str:
    """What the finding says; where that is another number than the score of this frame, both."""
    if not finding.calibrated and not finding.key_images:
        return f"{finding.concept.meaning}: score {finding.score:.3f} by {model.name}, not calibrated."
    kind = (
        f"probability {finding.score:.2f}, {finding.presence.value}" if finding.calibrated else f"score {finding.score:.3f}, not calibrated"
    )
    frame = f" frame {heat_map.image.frame_number}" if finding.key_images else " this image"
    return f"{finding.concept.meaning}: {kind}. {model.name} gives{frame} the score {heat_map.score:.3f}."


def _located(analysis: Analysis, regions: dict[tuple[str, ImageRef], list[Region]]) -> Analysis:
    """The analysis with the regions in its findings; its provenance says how they were found."""
    if not regions:
        return analysis
    findings = tuple(
        replace(finding, regions=(*finding.regions, *regions.get((finding.label, finding.image), ()))) for finding in analysis.findings
    )
    provenance = analysis.provenance and replace(analysis.provenance, parameters=(*analysis.provenance.parameters, _METHOD))
    return replace(analysis, findings=findings, provenance=provenance)


_METHOD = (
    f"regions=occlusion with {len(windows())} blurred windows of {' and '.join(str(side) for side, _ in SIZES)} of the sides, from"
    f" {SHARE_OF_HOTTEST} of the greatest fall of the log odds"
)
