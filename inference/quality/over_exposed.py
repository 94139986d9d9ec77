"""Did the detector or the camera get too much exposure, or an echo too much gain?"""

from dataclasses import replace

import numpy as np
from pydicom import Dataset

from config import Code
from inference.findings import QualityVerdict
from inference.quality.brightness_ends import middle_of_range
from inference.quality.check import MeasuringCheck, held_out, limits
from inference.quality.deviation_index import HIGHEST, index_verdict
from inference.quality.frontal_chest import is_frontal_chest
from inference.quality.sample import Sample

_CODE = Code(value="111212", scheme="DCM", meaning="Over exposed")
_GOOD = "No sign of too much exposure."
_BAD = "Too much exposure: the image is dark, or the patient got more dose than needed."
_BRIGHT_END, _DARK_END = 0.95, 0.1
_WHITE = 0.99

_CHEST_LIMITS = limits(
    "1",
    ("CR DX RG", 0.298, held_out("0 of 141", "137 of 141")),
)
_RADIOGRAPH_LIMITS = limits(
    "1",
    ("CR DX RG", 0.53, held_out("3 of 121", "96 of 121")),
)
_ENDOSCOPE_LIMITS = limits(
    "1",
    ("ES", 0.58, held_out("0 of 85", "81 of 85")),
)
_SKIN_LIMITS = limits(
    "1",
    ("XC", 0.028, held_out("1 of 91", "83 of 91")),
)
_FUNDUS_LIMITS = limits(
    "1",
    ("OP", 0.57, held_out("0 of 27", "24 of 27")),
)
_ECHO_LIMITS = limits(
    "1",
    ("US", 0.27, held_out("0 of 48", "48 of 48")),
)


def bright_end(sample: Sample, _header: Dataset) -> float:
    """The 95th percentile of brightness in the anatomy: more exposure is blacker in a radiograph, so nothing is bright."""
    return float(np.quantile(sample.anatomy, _BRIGHT_END))


def middle(sample: Sample, _header: Dataset) -> float:
    """The median brightness of what is not black up to the border. Glare alone is usual in endoscopy."""
    return float(np.median(sample.anatomy))


def middle_and_bright_end(sample: Sample, _header: Dataset) -> float:
    """The mean of the 50th and the 98th percentile of brightness: a fundus is of one shade, with a bright disc and black around it."""
    return float(np.quantile(sample.thumbnail, (0.5, 0.98)).mean())


def white_skin(sample: Sample, _header: Dataset) -> float:
    """The share at 0.99 of full brightness or above: glare of the lamp is small."""
    return float(np.mean(sample.anatomy >= _WHITE))


def dark_end(sample: Sample, _header: Dataset) -> float:
    """The 10th percentile of brightness: around the sector, and in vessels, an echo is black unless the gain is too high."""
    return float(np.quantile(sample.brightness(128), _DARK_END))


_RADIOGRAPH = MeasuringCheck(
    name="over-exposed", measure=bright_end, limits=_RADIOGRAPH_LIMITS, bad="below", code=_CODE, good_sentence=_GOOD, bad_sentence=_BAD
)
_CHEST = replace(_RADIOGRAPH, measure=middle_of_range, limits=_CHEST_LIMITS)
_ENDOSCOPE = MeasuringCheck(
    name="over-exposed",
    measure=middle,
    limits=_ENDOSCOPE_LIMITS,
    bad="above",
    code=_CODE,
    good_sentence=_GOOD,
    bad_sentence="Too much light: the image is pale.",
)
_SKIN = replace(_ENDOSCOPE, measure=white_skin, limits=_SKIN_LIMITS)
_FUNDUS = replace(_ENDOSCOPE, measure=middle_and_bright_end, limits=_FUNDUS_LIMITS)
_ECHO = replace(_ENDOSCOPE, measure=dark_end, limits=_ECHO_LIMITS, bad_sentence="Too much gain: what should be black is grey.")


class OverExposed:
    """By the Deviation Index where the header has one, else by the brightness, as it shows in each modality.

    Glass under a microscope is rightly white: tiles are not judged.
    """

    name = "over-exposed"

    def __call__(self, sample: Sample, header: Dataset) -> QualityVerdict | None:
        stated = index_verdict(self.name, sample, header, limit=HIGHEST, code=_CODE, good_sentence=_GOOD, bad_sentence=_BAD)
        if stated is not None:
            return stated
        if is_frontal_chest(sample, header):
            return _CHEST(sample, header)
        return next((found for check in (_RADIOGRAPH, _ENDOSCOPE, _SKIN, _FUNDUS, _ECHO) if (found := check(sample, header))), None)
