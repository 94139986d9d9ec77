"""One frame as the checks measure it: every reduction is made once, however many checks ask for it."""

from functools import cached_property

import numpy as np
from PIL import Image

from inference.frames import Frame
from inference.quality.luminance import Floats, Mask, grey, inside_collimation, luminance, means_of_blocks, outside_of_anatomy

LEVELS = (1024, 512, 256, 128, 16)
WORKING_PIXELS = 256
_WORKING_LONGEST = 1024
_LINES = 256
_FEWEST_PIXELS = 16


class Sample:
    """What the checks share of one frame: its brightness on a few scales, some lines at full resolution, where the anatomy is.

    Brightness is in [0, 1], 0 = black; colour is weighted as in ITU-R BT.601. Arrays are shared and must not be written to.
    """

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self._levels: dict[int, Floats] = {}

    @property
    def modality(self) -> str:
        return self.frame.modality

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the frame."""
        return self.frame.pixels.shape[0], self.frame.pixels.shape[1]

    def brightness(self, longest_side: int) -> Floats:
        """Brightness by square blocks, neither side longer than `longest_side`, which is one of LEVELS. Blocks not filled are left out."""
        if longest_side not in self._levels:
            larger = next((level for level in reversed(LEVELS) if level > longest_side), None)
            source = luminance(self.frame, longest_side=longest_side) if larger is None else self.brightness(larger)
            self._levels[longest_side] = means_of_blocks(source, longest_side)
        return self._levels[longest_side]

    @cached_property
    def thumbnail(self) -> Floats:
        """The brightness on at most 128 x 128 pixels, inside the collimation (`inside_collimation`)."""
        return inside_collimation(self.brightness(128))

    @cached_property
    def outside(self) -> Mask:
        """Where `thumbnail` shows no patient: black that hangs together with the border (collimation, air beside the patient)."""
        return outside_of_anatomy(self.thumbnail)

    @cached_property
    def anatomy(self) -> Floats:
        """The values of `thumbnail` that are not outside; all of them if next to nothing is left."""
        inside = self.thumbnail[~self.outside]
        return inside if inside.size >= _FEWEST_PIXELS else self.thumbnail.ravel()

    @cached_property
    def working(self) -> Floats:
        """The brightness with a shorter side of 256 pixels (less if the frame has less, or is longer than four times its width).

        On this scale noise and sharpness are measured: it is what a reader sees of the whole image on a screen.
        """
        pixels = self.brightness(1024)
        rows, columns = pixels.shape
        factor = max(min(rows, columns) / WORKING_PIXELS, max(rows, columns) / _WORKING_LONGEST)
        if factor <= 1:
            return pixels
        size = max(1, round(columns / factor)), max(1, round(rows / factor))
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))

    @cached_property
    def rows(self) -> Floats:
        """At most 256 rows at full resolution, evenly spread: shape (lines, columns)."""
        step = -(-self.shape[0] // _LINES)
        return grey(self.frame.pixels[step // 2 :: step])

    @cached_property
    def columns(self) -> Floats:
        """At most 256 columns at full resolution, evenly spread: shape (lines, rows)."""
        step = -(-self.shape[1] // _LINES)
        lines: Floats = np.ascontiguousarray(grey(self.frame.pixels[:, step // 2 :: step]).T)
        return lines

    @cached_property
    def chroma(self) -> Floats | None:
        """The largest minus the smallest of red, green and blue, on at most about 512 pixels a side; None for a grey frame."""
        if self.frame.pixels.ndim == 2:  # noqa: PLR2004 - rows and columns
            return None
        step = -(-max(self.shape) // 512)
        few = self.frame.pixels[::step, ::step]
        spread: Floats = few.max(axis=-1) - few.min(axis=-1)
        return spread
