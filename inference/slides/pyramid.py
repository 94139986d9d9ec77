"""Which instances are levels of one slide, and which of them the model is shown."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from config.manifests import SlidesSection
from inference.attributes import uid
from inference.findings import Exclusion, ImageRef
from inference.selection import SelectedInstance
from inference.slides.levels import SLIDE_STORAGE, Level, LevelError, flavours, read_level

_LABEL = "label of a slide: it carries the identity of the patient, and is never looked at"
_OVERVIEW = "overview of a slide: it shows the whole glass, label included"
_ANOTHER_FIELD = "shows another field than the finest level of this slide"
_SAME_FIELD = 0.05  # levels are rounded to whole pixels; a thumbnail of 100 pixels may be off by one on either side


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenLevel:
    """An instance (or concatenation) that is no usable level, and why."""

    images: tuple[ImageRef, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slide:
    """The pyramid of one slide: `levels`, the finest first; `left_out`: labels, overviews and what shows another field.

    `members`: all instances, whatever they are.
    """

    members: tuple[SelectedInstance, ...]
    levels: tuple[Level, ...]
    broken: tuple[BrokenLevel, ...]
    left_out: tuple[Exclusion, ...]

    @property
    def instances(self) -> tuple[SelectedInstance, ...]:
        """Those of all levels."""
        return tuple(instance for level in self.levels for instance in level.instances)


def is_slide(instance: SelectedInstance) -> bool:
    """True if it is a whole-slide image."""
    return instance.image.sop_class_uid == SLIDE_STORAGE


def slides_of(instances: Sequence[SelectedInstance]) -> tuple[Slide, ...]:
    """Return the slides that these whole-slide images are of: one for each series, or pyramid of a series (PS3.3 C.8.12.14).

    Ordered by series and pyramid UID, whatever the order of the instances.
    """
    ordered = sorted(instances, key=_order)
    return tuple(_slide(tuple(members)) for _, members in groupby(ordered, key=_pyramid_of))


def level_for(slide: Slide, asked: SlidesSection) -> Level | None:
    """Return the level within the tolerance that is nearest to the microns per pixel asked for, else the nearest finer one, else None."""
    levels = [level for level in slide.levels if not level.thumbnail]
    wanted = asked.microns_per_pixel

    def away(level: Level) -> float:
        return abs(math.log(level.microns_per_pixel / wanted))

    fitting = [level for level in levels if away(level) <= math.log1p(asked.tolerance)]
    finer = [level for level in levels if level.microns_per_pixel < wanted]
    return min(fitting or finer, key=away, default=None)


def _pyramid_of(instance: SelectedInstance) -> tuple[str, str]:
    return uid(instance.header, "SeriesInstanceUID"), uid(instance.header, "PyramidUID")


def _order(instance: SelectedInstance) -> tuple[tuple[str, str], str]:
    return _pyramid_of(instance), instance.image.sop_instance_uid


def _slide(instances: Sequence[SelectedInstance]) -> Slide:
    left_out = [_exclusion(instance, reason) for instance in instances if (reason := _no_level(instance))]
    levels: list[Level] = []
    broken: list[BrokenLevel] = []
    for parts in _concatenations([instance for instance in instances if not _no_level(instance)]):
        try:
            levels.append(read_level(parts))
        except LevelError as exc:
            broken.append(BrokenLevel(images=tuple(part.image for part in parts), reason=str(exc)))
    levels.sort(key=lambda level: (level.microns_per_pixel, level.image.sop_instance_uid))
    kept, strangers = _of_one_field(levels)
    left_out += [_exclusion(one, _ANOTHER_FIELD) for level in strangers for one in level.instances]
    return Slide(members=tuple(instances), levels=kept, broken=tuple(broken), left_out=tuple(left_out))


def _no_level(instance: SelectedInstance) -> str:
    """Why an instance is not looked at; empty if it is a level."""
    kinds = flavours(instance.header)
    if "LABEL" in kinds:
        return _LABEL
    return _OVERVIEW if "OVERVIEW" in kinds else ""


def _exclusion(instance: SelectedInstance, reason: str) -> Exclusion:
    return Exclusion(image=instance.image, reason=reason)


def _concatenations(instances: Sequence[SelectedInstance]) -> Iterator[tuple[SelectedInstance, ...]]:
    """The parts of each concatenation together (PS3.3 C.7.6.16.2.2.4); every other instance alone."""
    parts: dict[str, list[SelectedInstance]] = {}
    for instance in instances:
        parts.setdefault(uid(instance.header, "ConcatenationUID") or instance.image.sop_instance_uid, []).append(instance)
    yield from map(tuple, parts.values())


def _of_one_field(levels: Sequence[Level]) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
    """The levels that show what the finest shows, and those that do not."""
    if not levels:
        return (), ()
    height, width = _field_um(levels[0])

    def same(level: Level) -> bool:
        down, across = _field_um(level)
        slack_down, slack_across = level.spacing_um[0] / height + _SAME_FIELD, level.spacing_um[1] / width + _SAME_FIELD
        return abs(down / height - 1) <= slack_down and abs(across / width - 1) <= slack_across

    return tuple(level for level in levels if same(level)), tuple(level for level in levels if not same(level))


def _field_um(level: Level) -> tuple[float, float]:
    return level.rows * level.spacing_um[0], level.columns * level.spacing_um[1]
