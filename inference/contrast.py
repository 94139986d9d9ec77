"""Named steps on the contrast of a frame, in the order that a manifest asks for. Pure numpy."""

from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from config.looks import Clahe, ContrastStep, Equalise, Gamma, Stretch

Floats = NDArray[np.float32]
Levels = NDArray[np.uint8]

_LEVELS = 256
_WHITE = _LEVELS - 1
_GREY_DIMENSIONS = 2
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def contrasted(pixels: Floats, steps: Sequence[ContrastStep]) -> Floats:
    """Return display values, float32 in [0, 1], of the same shape: (rows, columns) or (rows, columns, 3).

    In colour the luminance (BT.601) is changed and its change added to each channel; what leaves [0, 1] is cut off there.
    """
    if not steps:
        return pixels
    if pixels.ndim == _GREY_DIMENSIONS:
        return reduce(_step, steps, pixels)
    luminance = np.asarray(np.clip(pixels @ _LUMINANCE, 0, 1), dtype=np.float32)
    change = reduce(_step, steps, luminance) - luminance
    return np.clip(pixels + change[..., np.newaxis], 0, 1)


def _step(pixels: Floats, step: ContrastStep) -> Floats:
    match step:
        case Clahe():
            return _displayed(_clahe(_levels(pixels), step.clip_limit, step.tiles))
        case Equalise():
            return _displayed(_equalised(_levels(pixels)))
        case Stretch():
            low, high = np.percentile(pixels, [step.lowest_percent, step.highest_percent])
            return pixels if low == high else np.clip((pixels - low) / (high - low), 0, 1).astype(np.float32)
        case Gamma():
            return np.power(pixels, np.float32(step.exponent))


def _levels(pixels: Floats) -> Levels:
    return np.asarray(np.rint(pixels * np.float32(_WHITE)), dtype=np.uint8)


def _displayed(levels: Levels) -> Floats:
    return np.asarray(levels.astype(np.float32) / np.float32(_WHITE), dtype=np.float32)


def _equalised(levels: Levels) -> Levels:
    """Each level becomes the share of pixels above the darkest that are not brighter than it; a frame of one level stays."""
    below = np.cumsum(np.bincount(levels.ravel(), minlength=_LEVELS))
    darkest = below[below > 0][0]
    if darkest == levels.size:
        return levels
    table = np.rint((below - darkest) * (_WHITE / (levels.size - darkest)))
    return np.asarray(np.clip(table, 0, _WHITE)[levels], dtype=np.uint8)


def _clahe(levels: Levels, clip_limit: float, tiles: int) -> Levels:
    """Source: OpenCV 4, modules/imgproc/src/clahe.cpp: padding by reflection, clipping, redistribution, bilinear between tiles."""
    rows, columns = levels.shape
    padded = _padded(levels, tiles)
    height, width = (side // tiles for side in padded.shape)
    limit = max(int(clip_limit * height * width / _LEVELS), 1)
    tables = np.stack(
        [
            np.stack([_table(padded[y : y + height, x : x + width], limit) for x in range(0, tiles * width, width)])
            for y in range(0, tiles * height, height)
        ]
    )
    top, bottom, down = _neighbours(rows, height, tiles)
    left, right, across = _neighbours(columns, width, tiles)
    upper = _between(tables[top[:, None], left, levels], tables[top[:, None], right, levels], across)
    lower = _between(tables[bottom[:, None], left, levels], tables[bottom[:, None], right, levels], across)
    return np.rint(_between(upper, lower, down[:, None])).astype(np.uint8)


def _padded(levels: Levels, tiles: int) -> Levels:
    """To whole tiles, mirrored at the lower and right edge; if one side does not fit, both grow, as OpenCV's do."""
    over = [side % tiles for side in levels.shape]
    if not any(over):
        return levels
    return np.pad(levels, [(0, tiles - side) for side in over], mode="reflect" if min(levels.shape) > 1 else "edge")


def _table(tile: Levels, limit: int) -> Floats:
    """What each level of a tile becomes: the equalised histogram, no bin of which is above the limit."""
    histogram = np.bincount(tile.ravel(), minlength=_LEVELS)
    excess = int(np.maximum(histogram - limit, 0).sum())
    histogram = np.minimum(histogram, limit) + excess // _LEVELS
    if residue := excess % _LEVELS:
        step = max(_LEVELS // residue, 1)
        histogram[: step * residue : step] += 1
    scale = np.float32(_WHITE / tile.size)
    return np.asarray(np.clip(np.rint(np.cumsum(histogram).astype(np.float32) * scale), 0, _WHITE), dtype=np.float32)


def _neighbours(side: int, tile: int, tiles: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """For each pixel of a side: the tiles whose middles lie before and after it, and how far it is from the first to the second."""
    place = np.arange(side, dtype=np.float32) * np.float32(1 / tile) - np.float32(0.5)
    before = np.floor(place).astype(np.intp)
    return np.maximum(before, 0), np.minimum(before + 1, tiles - 1), (place - before).astype(np.float32)


def _between(first: Floats, second: Floats, share: Floats) -> Floats:
    return first * (1 - share) + second * share
