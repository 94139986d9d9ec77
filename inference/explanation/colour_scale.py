"""A colour scale whose steps look equally large: lightness rises evenly in Oklab, hue runs from violet over red to yellow."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

_STEPS = 256
_LIGHTNESS = (0.35, 0.93)
_HUE_DEGREES = (300.0, 460.0)  # 460 is 100, reached over red
_CHROMA = 0.19
_FINE = 64

# Björn Ottosson, A perceptual color space for image processing (2020): Oklab to the cube roots of the cones, cones to linear sRGB.
_TO_CONES = np.array([[1.0, 0.3963377774, 0.2158037573], [1.0, -0.1055613458, -0.0638541728], [1.0, -0.0894841775, -1.2914855480]])
_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@cache
def colour_scale() -> NDArray[np.uint8]:
    """Return 256 colours, sRGB `(256, 3)`, from little to much."""
    at = np.linspace(0, 1, _STEPS)
    lightness = _LIGHTNESS[0] + (_LIGHTNESS[1] - _LIGHTNESS[0]) * at
    hue = np.radians(_HUE_DEGREES[0] + (_HUE_DEGREES[1] - _HUE_DEGREES[0]) * at)
    chroma = _within_srgb(lightness, hue)
    colours = _encoded(_linear(lightness, chroma, hue))
    colours.setflags(write=False)
    return colours


def coloured(shares: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return RGB of shares in [0, 1]: one more axis, of 3. What lies outside takes the colour of the nearest end."""
    return colour_scale()[np.rint(np.clip(shares, 0, 1) * (_STEPS - 1)).astype(np.intp)]


def _within_srgb(lightness: NDArray[np.float64], hue: NDArray[np.float64]) -> NDArray[np.float64]:
    """The greatest chroma up to a common one that a screen can show."""
    chroma = np.zeros_like(lightness)
    for tried in np.linspace(0, _CHROMA, _FINE):
        rgb = _linear(lightness, np.full_like(lightness, tried), hue)
        chroma = np.where(np.all((rgb >= 0) & (rgb <= 1), axis=1), tried, chroma)
    return chroma


def _linear(lightness: NDArray[np.float64], chroma: NDArray[np.float64], hue: NDArray[np.float64]) -> NDArray[np.float64]:
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
    return np.asarray((lab @ _TO_CONES.T) ** 3 @ _TO_RGB.T)


def _encoded(linear: NDArray[np.float64]) -> NDArray[np.uint8]:
    """IEC 61966-2-1."""
    inside = np.clip(linear, 0, 1)
    values = np.where(inside <= 0.0031308, 12.92 * inside, 1.055 * inside ** (1 / 2.4) - 0.055)  # noqa: PLR2004 - the standard's
    return np.asarray(np.rint(values * 255), dtype=np.uint8)
