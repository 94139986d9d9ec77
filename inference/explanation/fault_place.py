"""The place of a fault of image quality: the check that found it is asked again about parts of the frame."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from inference.explanation.heat_map import shrunk
from inference.explanation.occlusion import GRID
from inference.explanation.place import box_around, hottest_part
from inference.findings import QualityGrade, QualityVerdict, Region
from inference.frames import Frame
from inference.quality import CHECKS, Sample

LOCAL = frozenset({"burnt-in-text", "annotation", "dead-lines"})
"""Checks whose fault lies somewhere in the image. Of others, such as exposure, no part is to blame."""

_PART = GRID // 4  # cells: a quarter of the side, which text and lines fit into
_STEP = _PART // 2
_SCALES = (None, 1024, 512)  # longest side in pixels; checks for text look at the last two, for lines at all pixels
_MOST = 0.5  # of the parts where it is plainest; of the frame


def place_of_fault(frame: Frame, header: Dataset, verdict: QualityVerdict) -> Region | None:
    """Return the box around the parts of the frame of which the check says the same; None if it says it of no part alone.

    `frame` is as it was decoded. Of several places the one with the most parts counts. What covers most of the frame has no place in it.
    """
    if verdict.check not in LOCAL or verdict.grade is QualityGrade.DIAGNOSTIC:
        return None
    for longest_side in _SCALES:
        seen = frame if longest_side is None else shrunk(frame, longest_side=longest_side)
        shares = _shares(seen, header, verdict.check)
        if shares.any():
            cells = hottest_part(shares, shares >= _MOST * shares.max())
            if cells.mean() > _MOST:
                return None
            rows, columns = frame.pixels.shape[:2]
            return box_around(cells, verdict.image, rows=rows, columns=columns, crop=frame.crop)
    return None


def _shares(frame: Frame, header: Dataset, check: str) -> NDArray[np.float32]:
    """For each cell the share of the parts around it that show the fault, `(GRID, GRID)`."""
    faulty, parts = (np.zeros((GRID, GRID), dtype=np.float32) for _ in range(2))
    for cells, part in _parts(frame):
        found = CHECKS[check](Sample(part), header)
        parts[cells] += 1
        faulty[cells] += found is not None and found.grade is not QualityGrade.DIAGNOSTIC
    return np.asarray(faulty / np.maximum(parts, 1), dtype=np.float32)


def _parts(frame: Frame) -> Iterator[tuple[tuple[slice, slice], Frame]]:
    """Overlapping parts of the frame, with the cells that they cover."""
    rows, columns = frame.pixels.shape[:2]
    for top in range(0, GRID - _PART + 1, _STEP):
        for left in range(0, GRID - _PART + 1, _STEP):
            down = slice(top * rows // GRID, (top + _PART) * rows // GRID)
            across = slice(left * columns // GRID, (left + _PART) * columns // GRID)
            if down.stop > down.start and across.stop > across.start:
                values = None if frame.values is None else frame.values[down, across]
                part = replace(frame, pixels=np.ascontiguousarray(frame.pixels[down, across]), values=values)
                yield (slice(top, top + _PART), slice(left, left + _PART)), part
