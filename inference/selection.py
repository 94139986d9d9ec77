"""Which frames of a study are shown to the model: in order, evenly spread, grouped as a reader looks at them."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path

from pydicom import Dataset

from inference.attributes import number, text
from inference.findings import ImageRef
from inference.frames import frame_count
from inference.series.geometry import SeriesGeometry, geometry
from inference.series.mask_frames import without_masks

# Modalities whose images are slices of one thing: a series is judged as a whole, not image by image (PS3.3 C.7.3.1.1.1).
SLICED = frozenset({"CT", "MR", "PT", "NM"})

# A stack is judged by itself if it has as many slices as are pooled; smaller ones, such as single planes in three directions, together.
_SMALLEST_STACK = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedInstance:
    """One instance that a route selected: its file and its header without the pixel data.

    `received_as` names it where the header may be unreadable (an empty Dataset): what the receiver knows of it.
    """

    path: Path
    header: Dataset
    received_as: ImageRef | None = None

    @property
    def image(self) -> ImageRef:
        """The whole instance."""
        if self.received_as is not None:
            return self.received_as
        return ImageRef(sop_class_uid=text(self.header, "SOPClassUID"), sop_instance_uid=text(self.header, "SOPInstanceUID"))

    @property
    def sliced(self) -> bool:
        """True if it is a slice, or slices, of a series that is judged as a whole."""
        return text(self.header, "Modality") in SLICED

    @property
    def series(self) -> str:
        """Its Series Instance UID."""
        return text(self.header, "SeriesInstanceUID")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenFrames:
    """The frames of one instance that are to be read, 1-based, in the order of their places; none if the instance is left out.

    `group` names what is judged together: the stack of a series, or the instance.
    """

    instance: SelectedInstance
    frame_numbers: tuple[int, ...]
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The slices of a study that are one series: their instances, sorted by UID, and how they lie."""

    uid: str
    instances: tuple[SelectedInstance, ...]
    geometry: SeriesGeometry


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Frames of one instance that follow each other."""

    instance: SelectedInstance
    frames: Sequence[int]
    group: str


def sliced_series(selected: Sequence[SelectedInstance]) -> tuple[Series, ...]:
    """Return the series of slices among `selected`, by UID, with their geometry. Only headers are looked at."""
    slices = sorted((one for one in selected if one.sliced), key=lambda one: (one.series, one.image.sop_instance_uid, one.path))
    by_series = ((uid, tuple(members)) for uid, members in groupby(slices, key=lambda one: one.series))
    return tuple(Series(uid=uid, instances=members, geometry=geometry([one.header for one in members])) for uid, members in by_series)


def choose_frames(
    selected: Sequence[SelectedInstance], *, maximum_frames: int, series: Sequence[Series] | None = None
) -> tuple[ChosenFrames, ...]:
    """Return all instances with at most `maximum_frames` frames in all; those of which none is taken come last.

    Series follow each other by UID, slices by their geometry, other images by Instance Number. Where there are more frames, the middle
    of each of `maximum_frames` equal parts is taken. Stacks of a series are judged apart. `series`: of `selected`, if
    the caller has them.
    """
    runs = sorted(_runs(selected, sliced_series(selected) if series is None else series), key=lambda run: run.instance.series)
    ends = list(accumulate(len(run.frames) for run in runs))
    chosen: dict[tuple[str, int], list[int]] = {}
    for index in _spread(ends[-1] if ends else 0, maximum_frames):
        position = bisect_right(ends, index)
        run = runs[position]
        chosen.setdefault((run.group, id(run.instance)), []).append(run.frames[index - ends[position]])
    instances = {id(run.instance): run.instance for run in runs}
    taken = {key for _, key in chosen}
    left = {id(run.instance): run.group for run in runs if id(run.instance) not in taken}
    return (
        *(ChosenFrames(instance=instances[key], frame_numbers=tuple(frames), group=group) for (group, key), frames in chosen.items()),
        *(ChosenFrames(instance=instances[key], frame_numbers=(), group=group) for key, group in left.items()),
    )


def _runs(selected: Sequence[SelectedInstance], series: Sequence[Series]) -> Iterator[_Run]:
    for one in sorted((one for one in selected if not one.sliced), key=_place):
        yield _Run(instance=one, frames=without_masks(one.header, frame_count(one.header)), group=one.image.sop_instance_uid)
    for found in series:
        yield from _runs_of_series(found)


def _runs_of_series(series: Series) -> Iterator[_Run]:
    """The largest stack first, with all that is too small to be judged by itself; then every other stack as a group of its own."""
    stacks = series.geometry.stacks
    apart = [index > 0 and stack.orientation is not None and len(stack.slices) >= _SMALLEST_STACK for index, stack in enumerate(stacks)]
    together = [stack for stack, alone in zip(stacks, apart, strict=True) if not alone]
    alone = [stack for stack, alone in zip(stacks, apart, strict=True) if alone]
    groups = [(series.uid, together), *((f"{series.uid}#{number}", [stack]) for number, stack in enumerate(alone, start=2))]
    for group, members in groups:
        for one in (one for stack in members for one in stack.slices):
            yield _Run(instance=series.instances[one.header], frames=one.frames, group=group)


def _spread(total: int, maximum: int) -> Sequence[int]:
    if total <= maximum:
        return range(total)
    return [(2 * part + 1) * total // (2 * maximum) for part in range(maximum)]


def _place(instance: SelectedInstance) -> tuple[str, float, float, str]:
    header = instance.header
    instance_number, location = number(header, "InstanceNumber"), number(header, "SliceLocation")
    return (
        text(header, "SeriesInstanceUID"),
        float("inf") if instance_number is None else instance_number,
        float("inf") if location is None else location,
        text(header, "SOPInstanceUID"),
    )
