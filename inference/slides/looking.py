"""Whole slides in an analysis: each is looked at in tiles, and everything that was not looked at is said."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from config.manifests import ModelManifest, SeriesSection, SlidesSection
from inference.explanation.picture import Picture
from inference.findings import AbstentionReason, Exclusion, Finding, ImageRef, Presence, Score
from inference.frames import Frame, UndecodableError
from inference.questions import Questions, Scorer, ask
from inference.reading import AskedFrame, Reading
from inference.selection import SelectedInstance
from inference.slides.levels import Level
from inference.slides.plan import NotLookedAtError, Plan, TilesAsked, plan_tiles
from inference.slides.pyramid import Slide, slides_of
from inference.slides.scored_tiles import ScoredTiles
from inference.slides.tile_map import LookedAt, draw_tile_map
from inference.slides.tiles import Tile, frames_of, region_of

# Micrometres. Where no findings are looked for, kind and quality are told from tiles of the field that 224 pixels at 20x have: the common
# tile of published models (NCT-CRC-HE: Kather et al., PLoS Med 2019).
_FIELD_UM = 112.0

_MOST_MAPS = 3  # of one slide

_NO_SLIDES = "its manifest does not say how it reads whole slides (slides.microns_per_pixel): no findings were looked for"


Show = Callable[[Picture], object]


@dataclass(slots=True, kw_only=True)
class SlidesLookedAt:
    """What became known of the slides of one analysis beside what went to its `Reading`.

    `tiles`: how many were shown to a model. `remarks`: for each slide how much of it was looked at, and how.
    """

    tiles: int = 0

    findings: list[Finding] = field(default_factory=list)
    left_out: list[Exclusion] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def for_kind_only(manifest: ModelManifest) -> SlidesSection:
    """Return how a slide is shown to a model that is asked for its kind and quality only."""
    return SlidesSection(microns_per_pixel=_FIELD_UM / manifest.preprocessing.image_size, source="tiles of 224 pixels at 20x")


def look_at_slides(
    instances: Sequence[SelectedInstance],
    questions: Questions,
    *,
    scorer: Scorer,
    reading: Reading,
    maximum_megapixels: float,
    show: Show | None = None,
) -> SlidesLookedAt:
    """Return what the models say of whole-slide images, slide by slide; what the slides show and refusals go to `reading`.

    A slide is one thing: its kind is the mean of its tiles, a fault the median, a finding the mean of the highest (`slides.top_tiles`
    of the manifest), which are its key images and regions. Tiles are decoded as the model takes them; no level is ever held whole.
    `show` is given a map of the tiles for each of the strongest findings.

    Raises:
        ModelLoadError, ModelOutputError, DeviceMemoryError: as the engine does.
    """
    looked = SlidesLookedAt()
    for slide in slides_of(instances):
        looked.left_out += slide.left_out
        for broken in slide.broken:
            reading.abstain(AbstentionReason.UNSUPPORTED, f"level of a slide: {broken.reason}", *broken.images)
        if slide.levels:
            asking = _Asking(questions=questions, scorer=scorer, reading=reading, maximum_megapixels=maximum_megapixels, show=show)
            _look_at(slide, looked, asking)
            continue
        reading.used += slide.members
        if not slide.broken:
            images = [member.image for member in slide.members]
            reading.abstain(AbstentionReason.UNSUPPORTED, "slide without any level: only label or overview", *images)
    return looked


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asking:
    """What every slide needs: see `look_at_slides`."""

    questions: Questions
    scorer: Scorer
    reading: Reading
    maximum_megapixels: float
    show: Show | None


def _look_at(slide: Slide, looked: SlidesLookedAt, asking: _Asking) -> None:
    reading = asking.reading
    images = [instance.image for instance in slide.instances]
    section, questions = _section(asking.questions, reading, images)
    asked = TilesAsked(
        section=section,
        image_size=questions.finder.preprocessing.image_size,
        maximum_tiles=questions.route.maximum_tiles,
        maximum_megapixels=asking.maximum_megapixels,
    )
    if refusing := [model.name for model in questions.models if model.colour == "grey"]:
        reading.used += slide.instances
        reading.abstain(AbstentionReason.UNSUPPORTED, f"colour slide; model {refusing[0]} was made for grey images", *images)
        return
    damage: dict[ImageRef, str] = {}
    try:
        plan = plan_tiles(slide, asked, damaged=damage.setdefault)
    except NotLookedAtError as exc:
        reading.used += slide.instances if exc.reason is not AbstentionReason.UNREADABLE else ()
        reading.abstain(exc.reason, str(exc), *images)
        return
    used = [*plan.level.instances, *(plan.overview.level.instances if plan.overview.level is not plan.level else ())]
    reading.used += used
    looked.left_out += _other_levels(slide, used)
    _ask(plan, looked, replace(asking, questions=questions), damage)
    for image, reason in damage.items():
        reading.abstain(AbstentionReason.UNREADABLE, reason, image)


def _section(questions: Questions, reading: Reading, images: Sequence[ImageRef]) -> tuple[SlidesSection, Questions]:
    """How the slide is to be read, and what is asked: no findings of a model that was not made for slides."""
    if questions.prompt_set is None:
        return for_kind_only(questions.manifest), questions
    if questions.finder.slides is not None:
        return questions.finder.slides, questions
    reading.abstain(AbstentionReason.UNSUPPORTED, f"model {questions.finder.name}: {_NO_SLIDES}", *images)
    return for_kind_only(questions.manifest), replace(questions, prompt_set=None, finder=questions.manifest, calibration=None)


def _ask(plan: Plan, looked: SlidesLookedAt, asking: _Asking, damage: dict[ImageRef, str]) -> None:
    questions = asking.questions
    prompt_set = questions.prompt_set.name if questions.prompt_set else ""
    listening = ScoredTiles(asking.scorer, model=questions.finder.name, prompt_set=prompt_set)
    of_slide, tiles = Reading(), list[Tile]()
    shown = _shown(plan, questions, of_slide, tiles, damage)
    findings = ask(_pooling(questions, plan.asked.section), listening, shown, of_slide)
    _tell(of_slide, plan.level, asking.reading)
    looked.tiles += len(tiles)
    words = _in_words(plan, len(tiles), findings)
    looked.remarks.append(words)
    looked.findings += [_with_regions(finding, plan, tiles, listening.tiles) for finding in findings]
    if asking.show is not None:
        for picture in _pictures(plan, tiles, findings, listening.tiles, words):
            asking.show(picture)


def _in_words(plan: Plan, looked_at: int, findings: Sequence[Finding]) -> str:
    pooled = f"; a score is the mean of the {min(plan.asked.section.top_tiles, looked_at)} highest tiles" if findings else ""
    return plan.in_words(looked_at) + pooled


def _shown(
    plan: Plan, questions: Questions, reading: Reading, tiles: list[Tile], damage: dict[ImageRef, str]
) -> Iterator[tuple[Frame, ...]]:
    """Each tile, once for each model; `tiles`, `damage` and `reading` grow as they are taken."""
    instance, megapixels = plan.level.instances[0], plan.asked.maximum_megapixels
    try:
        for tile, frame in frames_of(plan.level, plan.size, plan.tiles, maximum_megapixels=megapixels, damaged=damage.setdefault):
            tiles.append(tile)
            reading.asked.append(AskedFrame(instance=instance, image=frame.ref, group=plan.level.image.sop_instance_uid))
            yield (frame,) * len(questions.models)
    except UndecodableError as exc:
        damage.setdefault(plan.level.image, str(exc))


def _pooling(questions: Questions, asked: SlidesSection) -> Questions:
    """The same questions of models that pool as slides are pooled."""
    series = SeriesSection(pool="mean-of-highest", highest=asked.top_tiles)

    def with_series(model: ModelManifest) -> ModelManifest:
        return model.model_copy(update={"series": series})

    manifest = with_series(questions.manifest)
    finder = manifest if questions.finder is questions.manifest else with_series(questions.finder)
    return replace(questions, manifest=manifest, finder=finder)


def _tell(of_slide: Reading, level: Level, reading: Reading) -> None:
    """Hand on what was read from the tiles as what it is: about the slide."""
    reading.quality += of_slide.quality
    reading.kinds += [replace(kind, images=(level.image,)) for kind in of_slide.kinds]
    for abstention in of_slide.abstentions:
        reading.abstain(abstention.reason, abstention.detail, level.image)


def _with_regions(finding: Finding, plan: Plan, tiles: Sequence[Tile], scores: Sequence[Sequence[Score]]) -> Finding:
    """The finding with the highest tiles as its regions, the highest first."""
    values = [_value(row, finding.label) for row in scores]
    highest = sorted(range(len(values)), key=lambda row: -values[row])[: plan.asked.section.top_tiles]
    regions = tuple(region_of(plan.level, plan.size, tiles[row]) for row in highest)
    return replace(finding, regions=regions)


def _value(scores: Sequence[Score], label: str) -> float:
    return next(score.value for score in scores if score.label == label)


def _other_levels(slide: Slide, used: Sequence[SelectedInstance]) -> Iterator[Exclusion]:
    looked_at = {instance.image for instance in used}
    for instance in slide.instances:
        if instance.image not in looked_at:
            yield Exclusion(image=instance.image, reason="another level of a slide that was looked at")


def _pictures(
    plan: Plan, tiles: Sequence[Tile], findings: Sequence[Finding], scores: Sequence[Sequence[Score]], words: str
) -> Iterator[Picture]:
    """A map of each of the strongest findings; without findings, one that shows which tiles were looked at."""
    if not tiles:
        return
    tops, lefts = tuple(tile.top for tile in tiles), tuple(tile.left for tile in tiles)
    places = LookedAt(tops=tops, lefts=lefts, rows=plan.size.rows, columns=plan.size.columns)
    if not findings:
        yield draw_tile_map(plan.overview, plan.level, places, None, words=words)
    ranked = sorted(findings, key=lambda finding: (-finding.flag, finding.presence is not Presence.PRESENT, -finding.score))
    for finding in ranked[:_MOST_MAPS]:
        values = np.array([_value(row, finding.label) for row in scores], dtype=np.float32)
        named = f"{finding.concept.meaning}, score {finding.score:.3f}. {words}. Colours span the scores on this slide only."
        yield draw_tile_map(plan.overview, plan.level, places, values, words=named)
