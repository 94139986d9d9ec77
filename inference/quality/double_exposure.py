"""Is the image superimposed on a shifted copy of itself?"""

import numpy as np
from pydicom import Dataset

from config import Code
from inference.attributes import texts
from inference.quality.check import MeasuringCheck, held_out, limits
from inference.quality.sample import Sample

_FEWEST_PIXELS = 96
_NEAREST, _FARTHEST = 0.035, 0.3  # of the shorter side
_NOTHING = 1e-4
_MOSAIC = "MOSAIC"  # Image Type (0008,0008) of Siemens: all slices of a volume in one image
_LEAST_SPREAD = 1e-6  # of rounding alone

_LIMITS = limits(
    "1",
    ("CR DX RG", 22.8, held_out("0 of 15", "15 of 15")),
    ("CT", 14.9, held_out("0 of 6", "6 of 6")),
    ("MR", 17.1, held_out("0 of 22", "22 of 22")),
)


def echo(sample: Sample, header: Dataset) -> float | None:
    """The highest peak of the cepstrum between 3.5 and 30 % of the shorter side, in standard deviations.

    None below 96 pixels, and of a mosaic, whose slices are alike.

    A shifted copy multiplies the spectrum with a wave, which the logarithm makes a sum and the second transform a peak (Bogert, Healy and
    Tukey 1963). Two exposures of different parts leave no such peak and are not found.
    """
    pixels = sample.working
    side = min(pixels.shape)
    if side < _FEWEST_PIXELS or _MOSAIC in texts(header, "ImageType"):
        return None
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    square = pixels[top : top + side, left : left + side]
    taper = np.hanning(side)
    power = np.abs(np.fft.fft2((square - square.mean()) * np.outer(taper, taper))) ** 2
    cepstrum = np.fft.ifft2(np.log(power + _NOTHING)).real
    away = np.fft.fftfreq(side)
    distance = np.hypot(away[:, None], away[None])
    around = cepstrum[(distance > _NEAREST) & (distance < _FARTHEST)]
    spread = float(around.std())
    return float(around.max()) / spread if spread > _LEAST_SPREAD else 0.0


DOUBLE_EXPOSURE = MeasuringCheck(
    name="double-exposure",
    measure=echo,
    limits=_LIMITS,
    bad="above",
    code=Code(value="113026", scheme="DCM", meaning="Double exposure"),  # CID 7011
    good_sentence="No second exposure of the same anatomy is seen.",
    bad_sentence="The anatomy is seen twice, shifted: a double exposure, or the ghost of a movement.",
)
