"""Where on a low-power picture of a slide there is tissue: by its colour, because glass has none. Pure numpy."""

import numpy as np
from numpy.typing import NDArray

Picture8 = NDArray[np.uint8]  # RGB (rows, columns, 3)
Mask = NDArray[np.bool_]

# Saturation (HSV) from which a pixel is stained. Otsu's threshold (IEEE Trans SMC 1979) parts glass from tissue where there are both, and
# halves either where there is only one, so it is held between two limits. Lowest: 0.5 % of the glass of a real slide at 29 um per
# pixel (CAMELYON16, H&E) lies above it. Highest: of 42 tiles of lung (LC25000, H&E, 15 normal with alveoli) half or more of each does.
_LOWEST, _HIGHEST = 15 / 255, 0.10
# Hues of felt pens, green to light blue: no cell (1/14 of a side) of those 42 tiles and no stained pixel of that slide has one. Blue,
# red and brown pens have hues of stains, and stay; black ones are not saturated.
_PEN_HUES = (60.0, 210.0)
# Brightest channel of a pixel, of 255, below which its saturation is noise of the compression, as in dust and black ink: of the stained
# pixels of that slide 99.99 % have 95 or more, all cells of the tiles 138.
_DARKEST = 64

_BINS = 256


def tissue(picture: Picture8) -> Mask:
    """Return True where there is stained tissue, bool (rows, columns). The picture shows a whole slide at low power."""
    highest, lowest = picture.max(axis=2), picture.min(axis=2)
    spread = (highest - lowest).astype(np.float32)
    saturation = spread / np.maximum(highest, 1)
    stained: Mask = (highest >= _DARKEST) & ~_penned(picture, highest, spread)
    saturation[~stained] = 0
    found: Mask = saturation >= saturation_limit(saturation)
    return found


def saturation_limit(saturation: NDArray[np.float32]) -> float:
    """Return the saturation, in [0, 1], from which a pixel of this picture counts as stained."""
    return min(max(_otsu(saturation), _LOWEST), _HIGHEST)


def share_of(
    mask: Mask, tops: NDArray[np.int64], lefts: NDArray[np.int64], size: tuple[int, int], scale: tuple[float, float]
) -> NDArray[np.float64]:
    """Return for each window the share of its area that `mask` holds, in [0, 1].

    Windows begin at `tops` and `lefts` (n,) and have `size` (rows, columns), in pixels of a matrix `scale` (down, across) times as large.
    """
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), dtype=np.int64)
    sums[1:, 1:] = mask.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    first_row, last_row = _span(tops, size[0], scale[0], mask.shape[0])
    first_column, last_column = _span(lefts, size[1], scale[1], mask.shape[1])
    held = sums[last_row, last_column] - sums[first_row, last_column] - sums[last_row, first_column] + sums[first_row, first_column]
    return held / ((last_row - first_row) * (last_column - first_column))


def _span(starts: NDArray[np.int64], length: int, scale: float, limit: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last (exclusive) pixel of the mask under each window, at least one."""
    first = np.minimum((starts / scale).round().astype(np.int64), limit - 1)
    last = np.minimum(((starts + length) / scale).round().astype(np.int64), limit)
    return first, np.maximum(last, first + 1)


def _penned(picture: Picture8, highest: NDArray[np.uint8], spread: NDArray[np.float32]) -> Mask:
    """Hue in the range of pens. In it green or blue is the highest channel and red the lowest, or green the highest."""
    red, green, blue = (picture[..., channel].astype(np.float32) for channel in range(3))
    spread = np.maximum(spread, 1)
    hue = np.where(highest == picture[..., 1], 120 + 60 * (blue - red) / spread, 240 + 60 * (red - green) / spread)
    of_red = highest == picture[..., 0]
    inside: Mask = ~of_red & (hue > _PEN_HUES[0]) & (hue < _PEN_HUES[1])
    return inside


def _otsu(values: NDArray[np.float32]) -> float:
    """The threshold in [0, 1] that parts the values into two classes with the largest variance between them."""
    counts, edges = np.histogram(values, bins=_BINS, range=(0, 1))
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1 + int(np.nanargmax(np.where(np.isfinite(between), between, 0)))])
