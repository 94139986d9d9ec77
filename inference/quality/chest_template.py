"""The mean frontal chest radiograph, upright and as PS3.3 displays it: what a chest turned or inverted by mistake is compared with."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.quality.luminance import Floats

_SIDE = 16

# Mean brightness, less its mean, of 32 frontal radiographs on 16 x 16 fields, inside the collimation and made symmetrical: the left half.
# From images of ChestX-ray14 (NIH Clinical Center), of the Hannover Medical School and of Kermany et al.; see NOTICE.
_LEFT_HALF = (
    (-99, -82, -75, -72, -56, -19, 12, 31),
    (-55, -32, -22, -19, -11, 0, 7, 22),
    (-35, -7, 2, 6, 4, -13, -10, 23),
    (-26, 0, 9, 5, -14, -35, -21, 29),
    (-30, -4, 14, 1, -31, -49, -21, 39),
    (-37, -4, 21, -3, -37, -45, -18, 45),
    (-40, 1, 25, -9, -38, -35, -5, 50),
    (-47, 5, 26, -13, -35, -22, 13, 57),
    (-51, 8, 21, -18, -27, -7, 21, 60),
    (-57, 8, 18, -13, -12, 7, 27, 62),
    (-63, 6, 12, -9, -3, 11, 28, 62),
    (-69, 3, 7, 3, 15, 21, 31, 61),
    (-75, -5, 9, 21, 31, 34, 40, 59),
    (-81, -9, 20, 35, 42, 45, 48, 61),
    (-85, -12, 24, 38, 45, 45, 48, 56),
    (-82, -11, 26, 41, 47, 49, 51, 57),
)


def likeness_by_turn(thumbnail: Floats) -> tuple[float, float, float, float]:
    """Correlation, in [-1, 1], of a radiograph with the mean chest: as it is, and turned by 90, 180, 270 degrees counter-clockwise."""
    size = (_SIDE, _SIDE)
    fields = np.asarray(Image.fromarray(np.ascontiguousarray(thumbnail)).resize(size, Image.Resampling.BOX), dtype=np.float64)
    half = np.array(_LEFT_HALF, dtype=np.float64)
    chest = _normalised(np.concatenate([half, half[:, ::-1]], axis=1))
    normal = _normalised(fields)
    as_it_is, once, twice, thrice = (float((np.rot90(normal, turns) * chest).sum()) for turns in range(4))
    return as_it_is, once, twice, thrice


def _normalised(fields: NDArray[np.float64]) -> NDArray[np.float64]:
    centred: NDArray[np.float64] = fields - fields.mean()
    length = float(np.linalg.norm(centred))
    return centred / length if length > 0 else centred
