"""A heat map: how far the score of one label falls on one frame where a part of it is hidden."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.explanation.occlusion import GRID, blurred, hidden, log_odds, relevance, windows
from inference.findings import HALF_THE_ODDS, HeatGrid, ImageRef
from inference.frames import Frame

Answer = Callable[[Iterable[Frame]], NDArray[np.float64]]
"""The scores `(n, k)` in [0, 1] of k labels on n frames, taken one at a time, as the recipe of the prompt set gives them."""

_HUNDREDTHS = 100


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeatMap:
    """Where the score of a label on a frame comes from.

    `heat`: float32 (GRID, GRID) over the frame, by how much the log odds of `score` fall on average when a window hides the place; below 0
    where the score rises instead. `rows` and `columns` are the frame's, `crop` where it begins in the image.
    """

    label: str
    score: float
    image: ImageRef
    heat: NDArray[np.float32]
    rows: int
    columns: int
    crop: tuple[int, int]

    @property
    def peak(self) -> tuple[float, float]:
        """Column and row of the hottest place, in the coordinates of the image (PS3.3 C.18.6.1.2)."""
        row, column = np.unravel_index(int(np.argmax(self.heat)), self.heat.shape)
        return (float(column) + 0.5) / GRID * self.columns + self.crop[1], (float(row) + 0.5) / GRID * self.rows + self.crop[0]

    @property
    def hottest(self) -> float:
        """The greatest fall."""
        return float(self.heat.max())

    @property
    def has_a_place(self) -> bool:
        """True if there is a place without which at most half of the odds are left."""
        return self.hottest >= HALF_THE_ODDS

    def kept(self) -> HeatGrid:
        """Return it in hundredths of log odds, as an analysis keeps it."""
        return HeatGrid(
            label=self.label,
            image=self.image,
            score=self.score,
            rows=self.rows,
            columns=self.columns,
            crop=self.crop,
            falls=tuple(int(fall) for fall in np.rint(self.heat * _HUNDREDTHS).flat),
        )


def heat_maps(frame: Frame, labels: tuple[str, ...], answer: Answer, *, longest_side: int) -> tuple[HeatMap, ...]:
    """Return the heat map of each label on a frame, from one pass over all windows: `len(windows()) + 1` frames are asked about.

    A frame with a side over `longest_side` pixels is shrunk first, because each of those is preprocessed anew.

    Raises:
        ModelOutputError, DeviceMemoryError: as the engine does that answers.
    """
    small = shrunk(frame, longest_side=longest_side)
    scores = answer(_asked(small))
    falls = log_odds(scores[:1]) - log_odds(scores[1:])
    rows, columns = frame.pixels.shape[:2]
    return tuple(
        HeatMap(
            label=label,
            score=float(scores[0, number]),
            image=frame.ref,
            heat=relevance(falls[:, number]),
            rows=rows,
            columns=columns,
            crop=frame.crop,
        )
        for number, label in enumerate(labels)
    )


def shrunk(frame: Frame, *, longest_side: int) -> Frame:
    """Return the frame with no side over `longest_side` pixels, on 256 levels as preprocessing takes it, without `values`."""
    image = Image.fromarray(np.rint(frame.pixels * 255).astype(np.uint8))
    image.thumbnail((longest_side, longest_side), Image.Resampling.BOX, reducing_gap=None)
    return replace(frame, pixels=np.asarray(image, dtype=np.float32) / np.float32(255), values=None)


def _asked(frame: Frame) -> Iterator[Frame]:
    """The frame as it is, then with each window hidden."""
    yield frame
    filling = blurred(frame.pixels)
    for window in windows():
        yield replace(frame, pixels=hidden(frame.pixels, filling, window))
