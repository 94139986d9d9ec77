"""Which frames of a study are shown to the model: in order, evenly spread, grouped as a reader looks at them."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from pydicom import Dataset

from inference.attributes import number, text
from inference.findings import ImageRef
from inference.frames import frame_count

# Modalities whose images are slices of one thing: a series is judged as a whole, not image by image (PS3.3 C.7.3.1.1.1).
SLICED = frozenset({"CT", "MR", "PT", "NM"})


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
    def group(self) -> str:
        """UID of what is judged together: the series for slices, else the instance (with all its frames)."""
        sliced = text(self.header, "Modality") in SLICED
        return text(self.header, "SeriesInstanceUID") if sliced else self.image.sop_instance_uid


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenFrames:
    """The frames of one instance that are to be read: 1-based, ascending, none if the instance is left out."""

    instance: SelectedInstance
    frame_numbers: tuple[int, ...]


def choose_frames(selected: Sequence[SelectedInstance], *, maximum_frames: int) -> tuple[ChosenFrames, ...]:
    """Return all instances, ordered by series, Instance Number and position, with at most `maximum_frames` frames in all.

    Where there are more, the middle of each of `maximum_frames` equal parts is taken. Only headers are looked at.
    """
    ordered = sorted(selected, key=_place)
    counts = [frame_count(instance.header) for instance in ordered]
    ends = list(accumulate(counts))
    numbers: list[list[int]] = [[] for _ in ordered]
    for index in _spread(sum(counts), maximum_frames):
        position = bisect_right(ends, index)
        numbers[position].append(index - (ends[position] - counts[position]) + 1)
    return tuple(ChosenFrames(instance=one, frame_numbers=tuple(chosen)) for one, chosen in zip(ordered, numbers, strict=True))


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
