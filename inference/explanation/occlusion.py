"""What a score depends on: parts of a frame are hidden, one after the other, and the score is asked again. Pure numpy and Pillow.

It needs nothing of a model but its answers, so it is the same for every tower, head, recipe, ensemble and preprocessing. Source: Zeiler
and Fergus, ECCV 2014, section 4.2; hidden with a blur as Fong and Vedaldi, ICCV 2017, section 4.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Floats = NDArray[np.float32]

GRID = 32
"""Cells across and down, of equal shares of rows and columns, in which windows and heat are counted."""

SIZES = ((0.4, 5), (0.2, 10))
"""Side of a window as a share of the image's, and how many lie across (and down): each place is hidden by several of both sizes."""

_EDGE = 0.4  # of half a window: how soft its edge is, so that the edge itself is no evidence
_BLUR = 0.1  # radius as a share of the longer side: nothing of the size of a window is left


@cache
def windows() -> Floats:
    """Return how much of each cell each window hides: `(n, GRID, GRID)` in [0, 1]. Every cell is hidden by some."""
    made = np.concatenate([_of_size(side, across) for side, across in SIZES])
    made.setflags(write=False)
    return made


def hidden(pixels: Floats, filling: Floats, window: Floats) -> Floats:
    """Return display values in [0, 1] with what the window hides replaced by `filling`, of the same shape."""
    rows, columns = pixels.shape[:2]
    share = np.asarray(Image.fromarray(window).resize((columns, rows), Image.Resampling.BILINEAR))
    share = np.clip(share if pixels.ndim == window.ndim else share[..., np.newaxis], 0, 1)
    return np.asarray(np.clip(pixels + (filling - pixels) * share, 0, 1), dtype=np.float32)


def blurred(pixels: Floats) -> Floats:
    """Return pixels without detail, which keep the brightness and the colour of each part: what hides something."""
    image = Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(_BLUR * max(pixels.shape[:2])))
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def relevance(drops: NDArray[np.float64]) -> Floats:
    """Return how far the score falls where a cell is hidden, `(GRID, GRID)`: the mean of `drops` over the windows that hide it.

    `drops`: one for each of `windows()`, on the scale of log odds.
    """
    hides = windows().astype(np.float64)
    return np.asarray(np.tensordot(drops, hides, axes=1) / hides.sum(axis=0), dtype=np.float32)


def log_odds(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log(p / (1 - p)) of scores in [0, 1], in which evidence adds up; of 0 and 1 that of the nearest number in between."""
    inside = np.clip(scores, np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg)
    return np.log(inside) - np.log1p(-inside)


def _of_size(side: float, across: int) -> Floats:
    """Windows of one size, evenly spread; the outermost are centred a quarter of a window inside the edge."""
    centres = np.linspace(side / 4, 1 - side / 4, across)
    cells = (np.arange(GRID) + 0.5) / GRID
    distance = np.abs(cells - centres[:, np.newaxis]) / (side / 2)
    profile = np.clip((1 - distance) / _EDGE, 0, 1)
    return np.asarray(np.einsum("ay,bx->abyx", profile, profile).reshape(-1, GRID, GRID), dtype=np.float32)
