"""Is there text in the pixels that the header does not admit?"""

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from config import Code
from inference.attributes import text
from inference.findings import QualityGrade, QualityVerdict
from inference.quality.check import ANNOTATED, Limit, verdict
from inference.quality.sample import Sample

LIMIT = Limit(
    value=8.5,
    unit="{strokes}/{row}",
    source=(
        "Held-out: 3451 images of 65 to 160 pixels not known to hold text, found in 58 (1.7 %: radiographs 0, MR 2 %, US 5 %, CT "
        "6 %, histology 7 %); not held-out: of 69 large images, 59 radiographs, with a line of text 14 to 28 pixels (of 1024) high all "
        "found, 36 pixels 86 %"
    ),
)
CODE = Code(value="111215", scheme="DCM", meaning="Artifact(s) other than grid or detector artifact")

Grey = npt.NDArray[np.uint8]

_LONGEST_SIDES = (1024, 512, 256)
_STROKE_WIDTH = 9
_STROKE_CONTRAST = 90
_WINDOW_ROWS = 8
_WINDOW_COLUMNS = 64


class BurntInText:
    """A line of characters in the pixels, in any modality: a hint that a name or number may be there, not a reading of it.

    Measured: on at most 1024 pixels a side, and again on 512 and 256 for larger letters, strokes are what a 9 x 9 opening (bright text) or
    closing (dark text) takes away by more than 90 of 255; the number of stroke beginnings a row, averaged over a window of 8 rows and 64
    columns, greatest over the frame.
    LIMITED only where nobody expects it: Burned In Annotation (0028,0301) says NO, or says nothing and the modality writes no text.
    """

    name = "burnt-in-text"

    def __call__(self, sample: Sample, header: Dataset) -> QualityVerdict | None:
        sizes = (sample.brightness(side) for side in _LONGEST_SIDES)
        scales = {scaled.shape: scaled for scaled in sizes if min(scaled.shape) > _WINDOW_COLUMNS}
        if not scales:
            return None
        measured = max(_densest_line(brightness) for brightness in scales.values())
        found = measured > LIMIT.value
        admitted = text(header, "BurnedInAnnotation")
        unexpected = found and (admitted == "NO" or (admitted != "YES" and sample.modality not in ANNOTATED))
        grade = QualityGrade.LIMITED if unexpected else QualityGrade.DIAGNOSTIC
        sentence = _sentence(found=found, unexpected=unexpected)
        return verdict(self.name, sample, measured=measured, limit=LIMIT, grade=grade, code=CODE, sentence=sentence)


def _sentence(*, found: bool, unexpected: bool) -> str:
    if unexpected:
        return "Text seems to be burnt in and the header does not say so: it may identify the patient."
    if found:
        return "Text seems to be burnt in, as the header says or as is usual for the modality: it may identify the patient."
    return "No line of text was seen in the pixels."


def _densest_line(brightness: npt.NDArray[np.float32]) -> float:
    grey = (np.clip(brightness, 0, 1) * 255 + 0.5).astype(np.uint8)
    opened, closed = _dilated(_eroded(grey)), _eroded(_dilated(grey))
    return max(_strokes_per_row(grey - opened), _strokes_per_row(closed - grey))


def _eroded(grey: Grey) -> Grey:
    return _running(_running(grey, np.minimum), np.minimum)


def _dilated(grey: Grey) -> Grey:
    return _running(_running(grey, np.maximum), np.maximum)


def _running(grey: Grey, extreme: np.ufunc) -> Grey:
    """The extreme over nine neighbours down the columns, transposed: applied twice it covers both directions and turns back."""
    half = _STROKE_WIDTH // 2
    padded = np.pad(grey, ((half, half), (0, 0)), mode="edge")
    by_two = extreme(padded[:-1], padded[1:])
    by_four = extreme(by_two[:-2], by_two[2:])
    by_eight = extreme(by_four[:-4], by_four[4:])
    by_nine: Grey = extreme(by_eight[:-1], by_eight[1:])
    return np.ascontiguousarray(by_nine.T)


def _strokes_per_row(difference: Grey) -> float:
    strokes = difference > _STROKE_CONTRAST
    beginnings = (strokes[:, 1:] & ~strokes[:, :-1]).astype(np.uint16)
    in_rows = _summed(beginnings, _WINDOW_ROWS)
    return float(_summed(np.ascontiguousarray(in_rows.T), _WINDOW_COLUMNS).max(initial=0)) / _WINDOW_ROWS


def _summed(counts: npt.NDArray[np.uint16], window: int) -> npt.NDArray[np.uint16]:
    """Sums over `window` neighbours (a power of two) down the columns."""
    covered = 1
    while covered < window:
        counts = counts[:-covered] + counts[covered:]
        covered *= 2
    return counts
