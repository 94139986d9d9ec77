"""Is this a page of text or a screen instead of an image of a patient?"""

import numpy as np
from pydicom import Dataset

from config import Code
from inference.findings import QualityGrade
from inference.quality.check import MeasuringCheck, held_out, limits
from inference.quality.luminance import Mask
from inference.quality.sample import Sample

_SMALLEST_SIDE = 128  # no page can be read on fewer, and echo-planar slices of fewer have hard edges everywhere
_SOFT, _HARD = 16, 80  # of 255
_SQUARE = 8
_LEVELS = 255

_LIMITS = limits(
    "1",
    ("CR DX RG", 0.02, held_out("0 of 15", "30 of 30")),
    ("CT", 0.02, held_out("0 of 6", "12 of 12")),
    ("MR", 0.02, held_out("0 of 22", "44 of 44")),
    ("XC", 0.02, held_out("0 of 31", "62 of 62")),
    ("ES", 0.02, held_out("0 of 25", "50 of 50")),
    ("SM", 0.02, held_out("0 of 26", "52 of 52")),
    ("MG", 0.02, held_out("0 of 1", "2 of 2")),
    ("XA", 0.02, "The limit of the other modalities; no false alarm on the 2 clean angiograms of the half that it was chosen on"),
    ("OP", 0.02, held_out("0 of 1", "2 of 2")),
)


def soft_shades(sample: Sample, _header: Dataset) -> float | None:
    """The share of pixels that differ a little (1 to 16 of 255, right and below together) from their neighbours, on at most 512 a side.

    Tissue shades; a page or a screen is of flat areas and hard edges. Around hard edges (squares of 8 pixels with one, and those beside
    them) nothing counts: JPEG makes shades there. A page that was scanned has shades: the model is asked about those. The
    screen of an ultrasound console is made of flat areas and text as well: it is not judged.
    """
    brightness = sample.brightness(512)
    if min(brightness.shape) < _SMALLEST_SIDE:
        return None
    levels = np.rint(brightness * _LEVELS).astype(np.int16)
    difference = np.abs(np.diff(levels, axis=1))[:-1] + np.abs(np.diff(levels, axis=0))[:, :-1]
    rows, columns = (size // _SQUARE * _SQUARE for size in difference.shape)
    squares = difference[:rows, :columns].reshape(rows // _SQUARE, _SQUARE, columns // _SQUARE, _SQUARE)
    soft = ((squares > 0) & (squares <= _SOFT)).mean(axis=(1, 3))
    hard: Mask = np.any(squares > _HARD, axis=(1, 3))
    return float((soft * ~_and_beside(hard)).mean())


def _and_beside(squares: Mask) -> Mask:
    grown = np.pad(squares, 1)
    across = grown[:, :-2] | grown[:, 1:-1] | grown[:, 2:]
    beside: Mask = across[:-2] | across[1:-1] | across[2:]
    return beside


DOCUMENT = MeasuringCheck(
    name="document",
    measure=soft_shades,
    limits=_LIMITS,
    bad="below",
    grade=QualityGrade.NON_DIAGNOSTIC,
    code=Code(value="111220", scheme="DCM", meaning="Other failure"),
    good_sentence="The frame has the shades of an image.",
    bad_sentence="The frame is made of flat areas and hard edges, as a page of text, a screen or a drawing.",
)
