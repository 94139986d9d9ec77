"""What a view is: a function from a frame as it was decoded, and its header, to the frame that the model is shown."""

from dataclasses import dataclass
from typing import Protocol

from pydicom import Dataset

from config.views import ViewsSection
from inference.frames import Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRange:
    """The values between two percentiles of a sample of `images` frames that belong together; `low` < `high`."""

    low: float
    high: float
    lowest_percent: float
    highest_percent: float
    images: int


class SeriesRanges(Protocol):
    """Where a view asks for the range of the frames that a frame belongs to."""

    def __call__(self, frame: Frame, header: Dataset, lowest_percent: float, highest_percent: float, /) -> SeriesRange | None:
        """The range between the two percentiles; None if it cannot be told, or all values are the same."""


class View(Protocol):
    """How one kind of image is shown. Each is one file here and an entry in `VIEWS`."""

    def __call__(self, frame: Frame, header: Dataset, wanted: ViewsSection, ranges: SeriesRanges, /) -> Frame:
        """The frame that the model is shown: what was done is added to `steps`, what was cut off to `crop`. It never raises."""


def frame_index(frame: Frame) -> int:
    """The frame's place among the functional groups, 0-based."""
    return (frame.ref.frame_number or 1) - 1
