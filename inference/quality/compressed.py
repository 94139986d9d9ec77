"""Has lossy compression left its marks?"""

import math

import numpy as np
from pydicom import Dataset

from config import Code
from inference.quality.check import MeasuringCheck, held_out, limits
from inference.quality.luminance import Floats
from inference.quality.sample import Sample

_BLOCK = 8
_FEWEST_PIXELS = 64
_SMALLEST_STEP = 1e-4

_LIMITS = limits(
    "1",
    ("CR DX RG", 7.1, held_out("0 of 15", "15 of 15")),
    ("CT", 1.72, held_out("0 of 6", "6 of 6")),
    ("MR", 5.0, held_out("0 of 22", "22 of 22")),
    ("US", 3.5, held_out("0 of 6", "3 of 6")),
    ("XC", 8.2, held_out("0 of 31", "31 of 31")),
    ("ES", 4.3, held_out("0 of 25", "24 of 25")),
    ("SM", 4.1, held_out("0 of 26", "26 of 26")),
)


def blocking(sample: Sample, _header: Dataset) -> float | None:
    """How much steeper brightness steps at every eighth pixel than elsewhere, at full resolution: mean of rows and columns (geometric).

    JPEG codes squares of 8 x 8 pixels (ITU-T T.81). A step is measured against the slopes on its two sides, so that an edge of the
    anatomy counts little. 1: no blocks. JPEG 2000 and HTJ2K make none.
    """
    found = [_steepest_phase(lines) for lines in (sample.rows, sample.columns) if lines.shape[1] >= _FEWEST_PIXELS]
    return math.sqrt(found[0] * found[1]) if len(found) == 2 else None  # noqa: PLR2004 - rows and columns


def _steepest_phase(lines: Floats) -> float:
    slopes = lines[:, 1:] - lines[:, :-1]
    steps = np.abs(slopes[:, 1:-1] - (slopes[:, :-2] + slopes[:, 2:]) / 2).mean(axis=0)
    phases = np.median(steps[: steps.size // _BLOCK * _BLOCK].reshape(-1, _BLOCK), axis=0)
    steepest = int(phases.argmax())
    others = float(np.median(np.delete(phases, steepest)))
    return float(phases[steepest]) / max(others, _SMALLEST_STEP)


COMPRESSED = MeasuringCheck(
    name="compressed",
    measure=blocking,
    limits=_LIMITS,
    bad="above",
    code=Code(value="111215", scheme="DCM", meaning="Artifact(s) other than grid or detector artifact"),
    good_sentence="No blocks of compression are seen.",
    bad_sentence="Blocks of 8 x 8 pixels are seen: the image was compressed too much, or stored as JPEG before.",
)
