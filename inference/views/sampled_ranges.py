"""The range of values of a series, from a few of its frames that are read before the first is shown."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from pydicom import Dataset

from inference.attributes import functional_group, text, texts
from inference.frames import Frame, UndecodableError, read_frames
from inference.pixels.lookup import Floats
from inference.pixels.windows import sampled
from inference.selection import ChosenFrames
from inference.views.view import SeriesRange, frame_index

_FRAMES = 9  # of a kind: 35 slices of a head and 32 of a phantom get a window whose ends lie 0.8 % of its width from that of all
_PIXELS_OF_EACH = 1 << 16
_FRAME_TYPES = ("MRImageFrameTypeSequence", "PETFrameTypeSequence")
_FLAVOUR = slice(2, None)  # what is beyond ORIGINAL and PRIMARY: magnitude or phase, water or fat (PS3.3 C.8.3.1.1.1, C.8.13.3.1)

_Kind = tuple[str, ...]


class SampledRanges:
    """The ranges of the series among `chosen`, each read when it is first asked for, then kept. It is a `SeriesRanges`.

    Frames belong together if they are of one series, one flavour of image type and one echo, because phases, echoes and maps in a series
    have scales of their own.
    """

    def __init__(self, chosen: Sequence[ChosenFrames], *, maximum_megapixels: float) -> None:
        self._chosen = chosen
        self._maximum_megapixels = maximum_megapixels
        self._kept: dict[_Kind, tuple[Floats, int]] = {}

    def __call__(self, frame: Frame, header: Dataset, lowest_percent: float, highest_percent: float) -> SeriesRange | None:
        """The range between two percentiles of the frames that belong with this one; None if all their values are the same."""
        kind = _kind(header, frame_index(frame))
        if kind not in self._kept:
            read = tuple(self._sample(kind))
            self._kept[kind] = _above_the_floor(np.concatenate(read) if read else np.empty(0, dtype=np.float32)), len(read)
        values, images = self._kept[kind]
        if not values.size:
            return None
        low, high = (float(value) for value in np.percentile(values, (lowest_percent, highest_percent)))
        if low >= high:
            return None
        return SeriesRange(low=low, high=high, lowest_percent=lowest_percent, highest_percent=highest_percent, images=images)

    def _sample(self, kind: _Kind) -> Iterator[Floats]:
        """Some values of each of a few frames, from one end to the other. Frames that cannot be read are told elsewhere."""
        members = [
            (choice, number)
            for choice in self._chosen
            for number in choice.frame_numbers
            if _kind(choice.instance.header, number - 1) == kind
        ]
        few = [members[(2 * part + 1) * len(members) // (2 * _FRAMES)] for part in range(_FRAMES)] if len(members) > _FRAMES else members
        for _, of_file in groupby(few, key=lambda member: member[0].instance.path):
            wanted = list(of_file)
            try:
                numbers = [number for _, number in wanted]
                for frame in read_frames(wanted[0][0].instance.path, numbers, maximum_megapixels=self._maximum_megapixels):
                    if frame.values is not None:
                        yield sampled(frame.values, frame.padding, _PIXELS_OF_EACH)
            except UndecodableError:
                continue


def _above_the_floor(values: Floats) -> Floats:
    """The values without the lowest one: air that was masked to it, or padding that the header does not call so, has no say."""
    above: Floats = values[values > values.min(initial=np.inf)]
    return above


def _kind(header: Dataset, index: int) -> _Kind:
    """What the frame (0-based index) shares with those that it is comparable to."""
    groups = (functional_group(header, index, macro) for macro in _FRAME_TYPES)
    frame_type = next((texts(group, "FrameType") for group in groups if group is not None), ())
    echo = functional_group(header, index, "MREchoSequence")
    return (
        text(header, "SeriesInstanceUID"),
        text(header, "EchoNumbers") if echo is None else text(echo, "EffectiveEchoTime"),
        *(frame_type or texts(header, "ImageType"))[_FLAVOUR],
    )
