"""How sharp a frame is in each direction, whatever its size and contrast."""

import math

import numpy as np

from inference.quality.luminance import Floats
from inference.quality.sample import Sample

FEWEST_PIXELS = 96  # a shorter side below this says nothing about the sharpness of what was imaged
_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_FAR = 4
_STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))


def directional_sharpness(sample: Sample) -> tuple[float, ...] | None:
    """Sharpness along rows, columns and both diagonals, each in about [0.25, 1]; None for a frame too small or too flat.

    The root mean square difference between neighbours over that between pixels four apart, on the working scale, smoothed against single
    pixels of noise. A ramp has 0.25, noise 1. A ratio in one direction hardly depends on contrast, nor on how many edges there are.
    """
    pixels = sample.working
    if min(pixels.shape) < FEWEST_PIXELS:
        return None
    smooth = _smoothed(_smoothed(pixels).T).T
    found = tuple(_difference(smooth, step, 1) / far for step in _STEPS if (far := _difference(smooth, step, _FAR)) > 0)
    return found if len(found) == len(_STEPS) else None


def _smoothed(pixels: Floats) -> Floats:
    height = pixels.shape[0]
    padded = np.pad(pixels, ((2, 2), (0, 0)), mode="edge")
    smooth = np.zeros_like(pixels)
    for offset, weight in enumerate(_BINOMIAL):
        smooth += np.float32(weight) * padded[offset : offset + height]
    return smooth


def _difference(pixels: Floats, step: tuple[int, int], times: int) -> float:
    rows, columns = step[0] * times, step[1] * times
    height, width = pixels.shape
    here = pixels[max(0, rows) :, max(0, columns) : width + min(0, columns)]
    there = pixels[: height - rows, max(0, -columns) : width - max(0, columns)]
    apart = here - there
    return math.sqrt(float(np.mean(apart * apart, dtype=np.float64)))
