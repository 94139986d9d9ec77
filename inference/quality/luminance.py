"""What the checks measure on: the brightness of a frame, made smaller, and where the patient is in it."""

import numpy as np
import numpy.typing as npt

from inference.frames import Frame

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_REC_601 = np.array([0.299, 0.587, 0.114], dtype=np.float32)
THUMBNAIL_PIXELS = 128
_BLACK = 0.02
_WHITE = 0.95
_WHITE_FRACTION = 0.9
_SMALLEST_FIELD = 16
_FEWEST_PIXELS = 16


def luminance(frame: Frame, *, longest_side: int) -> Floats:
    """Brightness in [0, 1], shape (rows, columns), neither side longer than `longest_side` pixels: means of square blocks.

    Colour is weighted as in ITU-R BT.601. Rows and columns that do not fill a block are left out.
    """
    pixels: Floats = frame.pixels if frame.pixels.ndim == 2 else frame.pixels @ _REC_601  # noqa: PLR2004  # grey or colour
    block = max(1, -(-max(pixels.shape) // longest_side))
    if block == 1 or min(pixels.shape) < block:
        return pixels
    rows, columns = pixels.shape[0] // block, pixels.shape[1] // block
    means: Floats = pixels[: rows * block, : columns * block].reshape(rows, block, columns, block).mean((1, 3), dtype=np.float32)
    return means


def thumbnail(frame: Frame) -> Floats:
    """The brightness of a radiograph on at most 128 x 128 pixels, the scale on which the thresholds were measured, inside the collimation.

    What the collimator kept from exposure is white where no shutter hides it: outer rows and columns that are all white are left out.
    """
    brightness = luminance(frame, longest_side=THUMBNAIL_PIXELS)
    white = brightness >= _WHITE
    rows, columns = _span(white.mean(1) < _WHITE_FRACTION), _span(white.mean(0) < _WHITE_FRACTION)
    inside = brightness[rows, columns]
    return inside if inside.size >= brightness.size // _SMALLEST_FIELD else brightness


def anatomy(brightness: Floats) -> Floats:
    """The values that are not background: without the black that hangs together with the border (collimation, air beside the patient)."""
    inside = brightness[~_reaching_the_border(brightness <= _BLACK)]
    return inside if inside.size >= _FEWEST_PIXELS else brightness.ravel()


def _span(kept: Mask) -> slice:
    where = np.flatnonzero(kept)
    return slice(int(where[0]), int(where[-1]) + 1) if where.size else slice(0)


def _reaching_the_border(mask: Mask) -> Mask:
    reached = np.zeros_like(mask)
    reached[[0, -1], :] = mask[[0, -1], :]
    reached[:, [0, -1]] |= mask[:, [0, -1]]
    while True:
        grown = reached.copy()
        grown[1:] |= reached[:-1]
        grown[:-1] |= reached[1:]
        grown[:, 1:] |= reached[:, :-1]
        grown[:, :-1] |= reached[:, 1:]
        grown &= mask
        if np.array_equal(grown, reached):
            return reached
        reached = grown
