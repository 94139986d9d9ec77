"""One level of a whole-slide pyramid: its total pixel matrix, and which frame of which file shows which part of it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.multival import MultiValue

from inference.attributes import UNUSABLE, functional_group, items, number, numbers, text
from inference.findings import ImageRef
from inference.frames import frame_count
from inference.selection import SelectedInstance

SLIDE_STORAGE = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage (PS3.4 B.5)

_MM_TO_UM = 1000.0


class LevelError(Exception):
    """Why an instance is no usable level, in words for the report without any value but sizes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedFrame:
    """A frame, by file (its place in `Level.instances`) and 1-based number, with the row and column of the matrix where it begins."""

    part: int
    frame_number: int
    top: int
    left: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FullTiling:
    """Frames in the order of TILED_FULL (PS3.3 C.7.6.17.3): along the rows, of one focal plane of one optical path.

    `first`: 0-based number of the first in the whole level. `down`, `across`: how many there are.
    """

    first: int
    down: int
    across: int
    rows: int
    columns: int

    def within(self, top: int, left: int, bottom: int, right: int) -> Iterator[tuple[int, int, int]]:
        """Yield 0-based number, row and column of each frame that shows some of this part of the matrix."""
        for row in range(max(0, top // self.rows), min(self.down, -(-bottom // self.rows))):
            for column in range(max(0, left // self.columns), min(self.across, -(-right // self.columns))):
                yield self.first + row * self.across + column, row * self.rows, column * self.columns


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SparseTiling:
    """Frames that say themselves where they are: `numbers` (0-based), `tops` and `lefts`, int64 `(n,)`, in order of the numbers."""

    numbers: NDArray[np.int64]
    tops: NDArray[np.int64]
    lefts: NDArray[np.int64]
    rows: int
    columns: int

    def within(self, top: int, left: int, bottom: int, right: int) -> Iterator[tuple[int, int, int]]:
        """Yield 0-based number, row and column of each frame that shows some of this part of the matrix."""
        down = (self.tops < bottom) & (self.tops + self.rows > top)
        for at in np.flatnonzero(down & (self.lefts < right) & (self.lefts + self.columns > left)):
            yield int(self.numbers[at]), int(self.tops[at]), int(self.lefts[at])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Level:
    """A total pixel matrix of `rows` x `columns` in frames of `frame_rows` x `frame_columns` pixels.

    `instances`: the file, or the parts of a concatenation in order; `first_frames`: the number of each one's first frame in the whole,
    0-based. `spacing_um`: micrometres between rows, between columns. `chosen` says which focal plane and optical path is looked at,
    where there are several.
    """

    instances: tuple[SelectedInstance, ...]
    first_frames: tuple[int, ...]
    rows: int
    columns: int
    frame_rows: int
    frame_columns: int
    spacing_um: tuple[float, float]
    tiling: FullTiling | SparseTiling
    colour: bool
    thumbnail: bool
    chosen: tuple[str, ...] = ()

    @property
    def microns_per_pixel(self) -> float:
        """The geometric mean of both directions."""
        return math.sqrt(self.spacing_um[0] * self.spacing_um[1])

    @property
    def image(self) -> ImageRef:
        """The instance, or the first part of the concatenation."""
        return self.instances[0].image

    def within(self, top: int, left: int, bottom: int, right: int) -> tuple[PlacedFrame, ...]:
        """Return the frames that show some of this part of the matrix; where a sparse level has none, nothing was scanned."""
        return tuple(self._placed(*found) for found in self.tiling.within(top, left, bottom, right))

    def reference(self, frame: PlacedFrame) -> ImageRef:
        """Name a frame."""
        whole = self.instances[frame.part].image
        return ImageRef(sop_class_uid=whole.sop_class_uid, sop_instance_uid=whole.sop_instance_uid, frame_number=frame.frame_number)

    def _placed(self, frame: int, top: int, left: int) -> PlacedFrame:
        part = max(part for part, first in enumerate(self.first_frames) if first <= frame)
        return PlacedFrame(part=part, frame_number=frame - self.first_frames[part] + 1, top=top, left=left)


def read_level(parts: Sequence[SelectedInstance]) -> Level:
    """Return the level that one instance (or the parts of one concatenation) is. Only headers are looked at.

    Raises:
        LevelError: sizes are missing or contradict each other, the spacing is missing, or a part of the concatenation is.
    """
    ordered = sorted(parts, key=lambda part: number(part.header, "InConcatenationNumber") or 0)
    header = ordered[0].header
    rows, columns = _count(header, "TotalPixelMatrixRows"), _count(header, "TotalPixelMatrixColumns")
    frame_rows, frame_columns = _count(header, "Rows"), _count(header, "Columns")
    counts = [frame_count(part.header) for part in ordered]
    for part, frames in zip(ordered, counts, strict=True):
        _refuse_more_than_held(part, frames)
    firsts = _first_frames(ordered, counts)
    tiling, chosen = _tiling(ordered, sum(counts), size=(rows, columns), frame=(frame_rows, frame_columns))
    return Level(
        instances=tuple(ordered),
        first_frames=firsts,
        rows=rows,
        columns=columns,
        frame_rows=frame_rows,
        frame_columns=frame_columns,
        spacing_um=_spacing_um(header, rows, columns),
        tiling=tiling,
        colour=(number(header, "SamplesPerPixel") or 0) > 1 or text(header, "PhotometricInterpretation") == "PALETTE COLOR",
        thumbnail="THUMBNAIL" in flavours(header),
        chosen=chosen,
    )


def flavours(header: Dataset) -> tuple[str, ...]:
    """The values of Image Type from the third on: VOLUME, LABEL, OVERVIEW or THUMBNAIL, and more (PS3.3 C.8.12.4.1.1)."""
    try:
        value = header.get("ImageType")
    except UNUSABLE:
        return ()
    values = value if isinstance(value, MultiValue | list | tuple) else (value,)
    return tuple(str(one).strip().upper() for one in values[2:])


def _count(header: Dataset, keyword: str) -> int:
    value = number(header, keyword)
    if value is None or value < 1:
        raise LevelError(f"{keyword} is missing or no positive number; have the sender correct it")
    return int(value)


def _refuse_more_than_held(part: SelectedInstance, frames: int) -> None:
    """So that nothing is made for frames that a short file only claims."""
    held = part.path.stat().st_size if part.path.exists() else 0
    if frames > held:
        raise LevelError(f"the header claims {frames} frames, and the file is too short for them; ask the sender to send it again")


def _first_frames(parts: Sequence[SelectedInstance], counts: Sequence[int]) -> tuple[int, ...]:
    """Where each part's frames begin in the whole (PS3.3 C.7.6.16.2.2.4): by Concatenation Frame Offset Number, else by order."""
    firsts, next_frame = [], 0
    for part, frames in zip(parts, counts, strict=True):
        said = number(part.header, "ConcatenationFrameOffsetNumber")
        if said is not None and int(said) != next_frame:
            raise LevelError("a part of this concatenation is missing; ask the sender to send all of it again")
        firsts.append(next_frame)
        next_frame += frames
    total = number(parts[0].header, "InConcatenationTotalNumber")
    if total is not None and int(total) != len(parts):
        raise LevelError(f"{len(parts)} of {int(total)} parts of this concatenation are there; ask the sender to send all of it again")
    return tuple(firsts)


def _spacing_um(header: Dataset, rows: int, columns: int) -> tuple[float, float]:
    """Pixel Spacing of the Pixel Measures (PS3.3 C.7.6.16.2.1), else Imaged Volume Height and Width over the matrix (C.8.12.4)."""
    measures = functional_group(header, 0, "PixelMeasuresSequence") or header
    match numbers(measures, "PixelSpacing"):
        case (down, across) if down > 0 and across > 0:
            return down * _MM_TO_UM, across * _MM_TO_UM
    height, width = number(header, "ImagedVolumeHeight"), number(header, "ImagedVolumeWidth")
    if height and width and height > 0 and width > 0:
        return height * _MM_TO_UM / rows, width * _MM_TO_UM / columns
    raise LevelError("neither Pixel Spacing nor Imaged Volume Width and Height say how large a pixel is; have the sender add one")


def _tiling(
    parts: Sequence[SelectedInstance], frames: int, *, size: tuple[int, int], frame: tuple[int, int]
) -> tuple[FullTiling | SparseTiling, tuple[str, ...]]:
    header = parts[0].header
    down, across = -(-size[0] // frame[0]), -(-size[1] // frame[1])
    full = text(header, "DimensionOrganizationType") == "TILED_FULL"
    if not full and any("PerFrameFunctionalGroupsSequence" in part.header for part in parts) and _has_positions(header):
        return _sparse(parts, frame)
    planes = int(number(header, "TotalPixelMatrixFocalPlanes") or 1)
    paths = int(number(header, "NumberOfOpticalPaths") or len(items(header, "OpticalPathSequence")) or 1)
    if planes < 1 or paths < 1 or frames != down * across * planes * paths:
        raise LevelError(
            f"the header claims {frames} frames, and its total pixel matrix needs {down * across}"
            f"{f' in each of {planes} focal planes and {paths} optical paths' if planes * paths > 1 else ''}; have the sender correct it"
        )
    plane = planes // 2
    tiling = FullTiling(first=plane * down * across, down=down, across=across, rows=frame[0], columns=frame[1])
    return tiling, _chosen(plane, planes, paths)


def _chosen(plane: int, planes: int, paths: int) -> tuple[str, ...]:
    """The middle focal plane, where the scanner had its focus as a rule, and the first optical path."""
    said = (f"focal plane {plane + 1} of {planes}",) if planes > 1 else ()
    return (*said, f"optical path 1 of {paths}") if paths > 1 else said


def _has_positions(header: Dataset) -> bool:
    groups = items(header, "PerFrameFunctionalGroupsSequence")[:1]
    return bool(groups and items(groups[0], "PlanePositionSlideSequence"))


def _sparse(parts: Sequence[SelectedInstance], frame: tuple[int, int]) -> tuple[SparseTiling, tuple[str, ...]]:
    """The positions of TILED_SPARSE (PS3.3 C.8.12.6.1, Plane Position (Slide)) in one focal plane of one optical path."""
    found = [_position(group) for part in parts for group in items(part.header, "PerFrameFunctionalGroupsSequence")]
    placed = [(index, *place) for index, place in enumerate(found) if place is not None]
    if not placed:
        raise LevelError("no frame says where in the total pixel matrix it is; have the sender correct it")
    heights = sorted({height for *_, height, _ in placed})
    paths = list(dict.fromkeys(path for *_, path in placed))
    plane = len(heights) // 2
    taken = [(index, top, left) for index, top, left, height, path in placed if height == heights[plane] and path == paths[0]]
    indices, tops, lefts = (np.array(column, dtype=np.int64) for column in zip(*taken, strict=True))
    tiling = SparseTiling(numbers=indices, tops=tops, lefts=lefts, rows=frame[0], columns=frame[1])
    return tiling, _chosen(plane, len(heights), len(paths))


def _position(group: Dataset) -> tuple[int, int, float, str] | None:
    """Row and column (0-based) where a frame begins, its height in the slide and its optical path; None if it does not say."""
    places = items(group, "PlanePositionSlideSequence")
    if not places:
        return None
    row, column = (number(places[0], f"{axis}PositionInTotalImagePixelMatrix") for axis in ("Row", "Column"))
    if row is None or column is None or row < 1 or column < 1:
        return None
    paths = items(group, "OpticalPathIdentificationSequence")
    path = text(paths[0], "OpticalPathIdentifier") if paths else ""
    return int(row) - 1, int(column) - 1, number(places[0], "ZOffsetInSlideCoordinateSystem") or 0.0, path
