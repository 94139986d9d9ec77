"""Pillow's resampling of 8 bits as matrix products: the same bits, on any device.

Pillow computes in fixed point (src/libImaging/Resample.c): weights are rounded to 22 bits, the columns are summed and rounded to 8 bits,
then the rows; Pillow 13 the other way round where the height shrinks much more than the width (python-pillow/Pillow#9549). Those are
sums of integers below 2^53, which float64 holds exactly in whatever order a device adds them up. On the CPU Pillow is faster, but it
makes all of what is cropped away afterwards.
"""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
import PIL
import torch
from numpy.typing import NDArray

from config.preprocessing import Resampling
from inference.axes import Axis

Doubles = NDArray[np.float64]

_ONE = 1 << 22  # PRECISION_BITS
_ROWS_MAY_BE_FIRST = int(PIL.__version__.partition(".")[0]) >= 13  # noqa: PLR2004 - Pillow 13
_FLOATS_AT_ONCE = 8 << 20  # 64 MB
_KEPT = 8  # matrices; one for 3,000 pixels to 224 has 5 MB


def resampled(pixels: torch.Tensor, rows: Axis, columns: Axis, filter_: Resampling) -> torch.Tensor:
    """Return `(n, side, side)` levels for `(n, rows, columns)` of uint8, as integers in float64, on the device of `pixels`."""
    if _rows_first(rows, columns):
        return _passes(pixels.transpose(1, 2), columns, rows, filter_).transpose(1, 2)
    return _passes(pixels, rows, columns, filter_)


def _rows_first(rows: Axis, columns: Axis) -> bool:
    """As found by trying Pillow 13 on many sizes; property tests and the proof at the start of a device hold it against Pillow."""
    fewer_rows, fewer_columns = rows.canvas - rows.resized, columns.canvas - columns.resized
    return _ROWS_MAY_BE_FIRST and fewer_rows > 0 and fewer_rows > 2 * fewer_columns


def _passes(pixels: torch.Tensor, rows: Axis, columns: Axis, filter_: Resampling) -> torch.Tensor:
    device = str(pixels.device)
    across, down = _matrix(columns, filter_, device), _matrix(rows, filter_, device)
    lines = pixels.reshape(-1, columns.size)
    step = max(1, _FLOATS_AT_ONCE // columns.size)
    parts = (lines[start : start + step] for start in range(0, len(lines), step))
    narrow = torch.cat([_rounded(part.to(torch.float64) @ across.T) for part in parts])
    return _rounded(down @ narrow.view(-1, rows.size, columns.side))


def _rounded(sums: torch.Tensor) -> torch.Tensor:
    """As clip8 does: half is added, the fraction cut off."""
    return sums.add_(_ONE // 2).div_(_ONE).floor_().clamp_(0, 255)


@lru_cache(maxsize=_KEPT)
def _matrix(axis: Axis, filter_: Resampling, device: str) -> torch.Tensor:
    """`(side, size)`, integers in float64: weights in units of 2^-22."""
    matrix = np.zeros((axis.side, axis.size))
    first, last = max(0, -axis.start), min(axis.side, axis.resized - axis.start)
    places, weights = _weights(axis.canvas, axis.resized, np.arange(first, last) + axis.start, filter_)
    columns = places - axis.offset
    kept = (columns >= 0) & (columns < axis.size) & (weights != 0)
    rows = np.broadcast_to(np.arange(first, last)[:, np.newaxis], kept.shape)
    matrix[rows[kept], columns[kept]] = weights[kept]
    return torch.from_numpy(matrix).to(device)


def _weights(size: int, resized: int, wanted: NDArray[np.int64], filter_: Resampling) -> tuple[NDArray[np.int64], Doubles]:
    """For each of `wanted` out of `resized` the places in `size` and their weights, `(wanted, taps)`; 0 where a row has fewer.

    precompute_coeffs and normalize_coeffs_8bpc, in their order of operations.
    """
    if size == resized:  # Pillow leaves the pass out
        return wanted[:, np.newaxis], np.full((len(wanted), 1), float(_ONE))
    scale = size / resized
    stretch = max(scale, 1.0)
    reach = _REACH[filter_] * stretch
    centres = ((wanted + 0.5) * scale)[:, np.newaxis]
    begin = np.maximum(np.trunc(centres - reach + 0.5), 0).astype(np.int64)
    end = np.minimum(np.trunc(centres + reach + 0.5), size)
    places = begin + np.arange(math.ceil(reach) * 2 + 1)
    weights = np.where(places < end, _KERNELS[filter_]((places - centres + 0.5) * (1.0 / stretch)), 0)
    totals = np.cumsum(weights, axis=1)[:, -1:]  # in order, as a sum in pairs would end in other bits
    shares = np.divide(weights, totals, out=weights, where=totals != 0)
    return places, np.trunc(np.where(shares < 0, -0.5, 0.5) + shares * _ONE)


def _bilinear(x: Doubles) -> Doubles:
    weights: Doubles = np.maximum(1 - np.abs(x), 0)
    return weights


def _bicubic(x: Doubles) -> Doubles:
    x, a = np.abs(x), -0.5
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, (((x - 5) * x + 8) * x - 4) * a
    weights: Doubles = np.where(x < 1, near, np.where(x < _REACH["bicubic"], far, 0))
    return weights


def _lanczos(x: Doubles) -> Doubles:
    reach = _REACH["lanczos"]
    return np.where((x >= -reach) & (x < reach), _sinc(x) * _sinc(x / reach), 0)


def _sinc(x: Doubles) -> Doubles:
    """With the sine of the C library, as Pillow's; numpy's own may differ in the last bit."""
    angles = x * math.pi
    return np.array([math.sin(angle) / angle if angle else 1.0 for angle in angles.ravel().tolist()]).reshape(x.shape)


_KERNELS: Mapping[Resampling, Callable[[Doubles], Doubles]] = {"bilinear": _bilinear, "bicubic": _bicubic, "lanczos": _lanczos}
_REACH: Mapping[Resampling, float] = {"bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}
