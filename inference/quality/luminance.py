"""The brightness of a frame, made smaller, and where the patient is in it."""

import numpy as np
import numpy.typing as npt

from inference.frames import Frame

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_REC_601 = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_BLACK = 0.02
_WHITE = 0.95
_WHITE_FRACTION = 0.9
_SMALLEST_FIELD = 16


def grey(pixels: Floats) -> Floats:
    """Brightness in [0, 1]: of grey pixels themselves, of colour as in ITU-R BT.601."""
    return pixels if pixels.ndim == 2 else pixels @ _REC_601  # noqa: PLR2004 - grey or colour


def luminance(frame: Frame, *, longest_side: int) -> Floats:
    """The brightness of a frame, shape (rows, columns), neither side longer than `longest_side` pixels: means of square blocks.

    Rows and columns that do not fill a block are left out.
    """
    return grey(means_of_blocks(frame.pixels, longest_side))


def means_of_blocks(pixels: Floats, longest_side: int) -> Floats:
    """Means of square blocks, so that neither side is longer than `longest_side`; blocks are flatter in a frame too narrow for one."""
    block = -(-max(pixels.shape[:2]) // longest_side)
    if block <= 1:
        return pixels
    down, across = min(block, pixels.shape[0]), min(block, pixels.shape[1])
    rows, columns = pixels.shape[0] // down * down, pixels.shape[1] // across * across
    narrow = pixels[0:rows:down, :columns].copy()
    for row in range(1, down):  # adding whole rows first is several times faster than a mean over two axes
        narrow += pixels[row:rows:down, :columns]
    small = narrow[:, 0::across].copy()
    for column in range(1, across):
        small += narrow[:, column::across]
    small /= np.float32(down * across)
    return small


def inside_collimation(brightness: Floats) -> Floats:
    """The part inside the collimation.

    What the collimator kept from exposure is white where no shutter hides it: outer rows and columns that are all white are left out.
    """
    white = brightness >= _WHITE
    rows, columns = _span(white.mean(1) < _WHITE_FRACTION), _span(white.mean(0) < _WHITE_FRACTION)
    inside = brightness[rows, columns]
    return inside if inside.size >= brightness.size // _SMALLEST_FIELD else brightness


def outside_of_anatomy(brightness: Floats) -> Mask:
    """Where there is no patient: the black that hangs together with the border (collimation, air beside the patient)."""
    return _reaching_the_border(brightness <= _BLACK)


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
