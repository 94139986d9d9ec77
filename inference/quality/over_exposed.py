"""Did the detector or the camera get too much exposure, or an echo too much gain?"""

from dataclasses import replace

import numpy as np
from pydicom import Dataset

from config import Code
from inference.findings import QualityVerdict
from inference.quality.check import MeasuringCheck, held_out, limits
from inference.quality.deviation_index import HIGHEST, index_verdict
from inference.quality.sample import Sample

_CODE = Code(value="111212", scheme="DCM", meaning="Over exposed")
_GOOD = "No sign of too much exposure."
_BAD = "Too much exposure: the image is dark, or the patient got more dose than needed."
_BRIGHT_END, _DARK_END = 0.95, 0.1

_RADIOGRAPH_LIMITS = limits(
    "1",
    (
        "CR DX RG",
        0.42,
        "Held-out: 2100 clean radiographs, false alarms 7 (0.3 %); with brightness reduced to 40 % or 30 % all found, lowered by "
        "half the range 80 %",
    ),
)
_ENDOSCOPE_LIMITS = limits(
    "1",
    ("ES", 0.65, held_out("0 of 25", "21 of 24")),
)
_ECHO_LIMITS = limits(
    "1",
    ("US", 0.27, held_out("0 of 8", "8 of 8")),
)


def bright_end(sample: Sample, _header: Dataset) -> float:
    """The 95th percentile of brightness in the anatomy: more exposure is blacker in a radiograph, so nothing is bright."""
    return float(np.quantile(sample.anatomy, _BRIGHT_END))


def middle(sample: Sample, _header: Dataset) -> float:
    """The median brightness of what is not black up to the border. Glare alone is usual in endoscopy."""
    return float(np.median(sample.anatomy))


def dark_end(sample: Sample, _header: Dataset) -> float:
    """The 10th percentile of brightness: around the sector, and in vessels, an echo is black unless the gain is too high."""
    return float(np.quantile(sample.brightness(128), _DARK_END))


_RADIOGRAPH = MeasuringCheck(
    name="over-exposed", measure=bright_end, limits=_RADIOGRAPH_LIMITS, bad="below", code=_CODE, good_sentence=_GOOD, bad_sentence=_BAD
)
_ENDOSCOPE = MeasuringCheck(
    name="over-exposed",
    measure=middle,
    limits=_ENDOSCOPE_LIMITS,
    bad="above",
    code=_CODE,
    good_sentence=_GOOD,
    bad_sentence="Too much light: the image is pale.",
)
_ECHO = replace(_ENDOSCOPE, measure=dark_end, limits=_ECHO_LIMITS, bad_sentence="Too much gain: what should be black is grey.")


class OverExposed:
    """By the Deviation Index where the header has one, else by the brightness, as it shows in each modality.

    Skin under a lamp and glass under a microscope are rightly white: photographs and tiles are not judged.
    """

    name = "over-exposed"

    def __call__(self, sample: Sample, header: Dataset) -> QualityVerdict | None:
        stated = index_verdict(self.name, sample, header, limit=HIGHEST, code=_CODE, good_sentence=_GOOD, bad_sentence=_BAD)
        if stated is not None:
            return stated
        return next((found for check in (_RADIOGRAPH, _ENDOSCOPE, _ECHO) if (found := check(sample, header))), None)
