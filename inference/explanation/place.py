"""The place of a heat map as a region on the image: the hot part that belongs together."""

import numpy as np
from numpy.typing import NDArray

from inference.explanation.heat_map import HeatMap
from inference.explanation.occlusion import GRID
from inference.findings import ImageRef, Region

Cells = NDArray[np.bool_]

SHARE_OF_HOTTEST = 0.5


def region_of(heat_map: HeatMap) -> Region | None:
    """Return the box around the hottest part, in coordinates of the image; None if no place carries the score (HALF_THE_ODDS).

    Hot is what reaches SHARE_OF_HOTTEST of the greatest heat; of several parts the one with the most heat counts.
    """
    if not heat_map.has_a_place:
        return None
    cells = hottest_part(heat_map.heat, heat_map.heat >= SHARE_OF_HOTTEST * heat_map.hottest)
    return box_around(cells, heat_map.image, rows=heat_map.rows, columns=heat_map.columns, crop=heat_map.crop)


def box_around(cells: Cells, image: ImageRef, *, rows: int, columns: int, crop: tuple[int, int]) -> Region:
    """Return the box around cells `(GRID, GRID)` of a frame of so many rows and columns that begins at `crop` in the image."""
    down, across = np.flatnonzero(cells.any(axis=1)), np.flatnonzero(cells.any(axis=0))
    return Region.box(
        image,
        left=crop[1] + float(across[0]) / GRID * columns,
        top=crop[0] + float(down[0]) / GRID * rows,
        right=crop[1] + float(across[-1] + 1) / GRID * columns,
        bottom=crop[0] + float(down[-1] + 1) / GRID * rows,
    )


def hottest_part(heat: NDArray[np.float32], hot: Cells) -> Cells:
    """Return the connected part (over edges) of `hot`, which is not empty, with the greatest sum of heat."""
    parts: list[Cells] = []
    left = hot.copy()
    while left.any():
        part = _connected(left)
        parts.append(part)
        left &= ~part
    return max(parts, key=lambda part: float(heat[part].sum(dtype=np.float64)))


def _connected(cells: Cells) -> Cells:
    """The part that the first cell belongs to."""
    part = np.zeros_like(cells)
    part.flat[int(np.argmax(cells))] = True
    while True:
        grown = part.copy()
        grown[1:] |= part[:-1]
        grown[:-1] |= part[1:]
        grown[:, 1:] |= part[:, :-1]
        grown[:, :-1] |= part[:, 1:]
        grown &= cells
        if np.array_equal(grown, part):
            return part
        part = grown
