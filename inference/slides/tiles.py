"""Tiles of a level as a model reads them: their size by microns per pixel, those with tissue, an even choice of them, their pixels."""

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from config.manifests import SlidesSection
from inference.findings import ImageRef, Region
from inference.frames import Frame
from inference.slides.frame_stream import Damaged, FrameStream
from inference.slides.levels import Level, PlacedFrame

_MOST_TILES = 1 << 22  # a slide of 50 x 75 mm at 0.25 um per pixel has 1.4 million of 56 um; a header that says more is made up
_MORTON_BITS = 32


class TooManyTilesError(Exception):
    """A level has more tiles than any slide; the message is for the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileSize:
    """Rows and columns of a tile, in pixels of `level`; `microns_per_pixel`: what the model sees after the tile is resized to its input."""

    rows: int
    columns: int
    microns_per_pixel: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One tile: where it begins in the total pixel matrix, and the frames that it is cut from, the one with its middle first."""

    top: int
    left: int
    frames: tuple[PlacedFrame, ...]


def tile_size(level: Level, asked: SlidesSection, image_size: int) -> TileSize:
    """Return the size of tiles that a model with an input of `image_size` pixels is shown.

    They are frames of the level, whole blocks of frames or equal parts of one, if that is within the tolerance of the microns per
    pixel asked for: then a tile is decoded once and named by its frame. Else they have exactly the size asked for.
    """
    sides = [image_size * asked.microns_per_pixel / spacing for spacing in level.spacing_um]
    fitted = [_fitted(side, frame, asked.tolerance) for side, frame in zip(sides, (level.frame_rows, level.frame_columns), strict=True)]
    rows, columns = fitted if None not in fitted else [round(side) for side in sides]
    rows, columns = max(1, rows or 1), max(1, columns or 1)
    seen = math.sqrt(rows * level.spacing_um[0] * columns * level.spacing_um[1]) / image_size
    return TileSize(rows=rows, columns=columns, microns_per_pixel=seen)


def tile_grid(level: Level, size: TileSize) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where tiles begin, `tops` and `lefts` int64 (n,), row by row; the last row and column end where the matrix does.

    None, if the matrix is smaller than a tile.

    Raises:
        TooManyTilesError: there are more than a slide can have.
    """
    rows, columns = _starts(level.rows, size.rows), _starts(level.columns, size.columns)
    if len(rows) * len(columns) > _MOST_TILES:
        raise TooManyTilesError(
            f"the total pixel matrix has {len(rows) * len(columns)} tiles, more than a slide can have; have the sender correct the header"
        )
    tops, lefts = np.meshgrid(np.array(rows, dtype=np.int64), np.array(columns, dtype=np.int64), indexing="ij")
    return tops.ravel(), lefts.ravel()


def evenly(tops: NDArray[np.int64], lefts: NDArray[np.int64], maximum: int) -> NDArray[np.int64]:
    """Return which tiles to take, ascending, at most `maximum`: spread evenly over the area that they cover, always the same.

    They are put in the order of a Z curve, where neighbours on the slide are near each other, and the middle of each of `maximum` equal
    parts is taken.
    """
    total = len(tops)
    if total <= maximum:
        return np.arange(total)
    along = np.argsort(_morton(tops, lefts), kind="stable")
    return np.sort(along[(2 * np.arange(maximum) + 1) * total // (2 * maximum)])


def cut(level: Level, size: TileSize, tops: Sequence[int], lefts: Sequence[int]) -> Iterator[Tile]:
    """Yield the tiles that begin there, in reading order; those that a sparse level does not hold completely are left out."""
    for top, left in sorted(zip(tops, lefts, strict=True)):
        placed = level.within(top, left, top + size.rows, left + size.columns)
        if sum(_shared(one, level, top, left, size) for one in placed) >= size.rows * size.columns:
            middle = (top + size.rows / 2, left + size.columns / 2)
            nearest = sorted(placed, key=lambda one: (_away(one, level, middle), one.part, one.frame_number))
            yield Tile(top=top, left=left, frames=tuple(nearest))


def frames_of(
    level: Level, size: TileSize, tiles: Sequence[Tile], *, maximum_megapixels: float, damaged: Damaged
) -> Iterator[tuple[Tile, Frame]]:
    """Yield each tile with its pixels, one at a time; without those whose frames cannot be decoded, of which `damaged` is told.

    Only the frames of a tile and of the one before it are held. A tile is named by the frame with its middle; `Frame.crop` is where it
    begins in that frame, which may be before it.

    Raises:
        UndecodableError: nothing of a file can be decoded.
    """
    held: dict[PlacedFrame, Frame | None] = {}
    with closing(FrameStream(level, list(_reads(tiles)), maximum_megapixels=maximum_megapixels, damaged=damaged)) as stream:
        for tile in tiles:
            kept = {placed: held[placed] for placed in tile.frames if placed in held}
            held = kept | {placed: stream.frame(placed) for placed in tile.frames if placed not in kept}
            decoded = [frame for placed in tile.frames if (frame := held[placed]) is not None]
            if len(decoded) == len(tile.frames):
                yield tile, _pixels(level, size, tile, decoded)


def region_of(level: Level, size: TileSize, tile: Tile) -> Region:
    """Return the part of a tile that lies in the frame that names it, in pixels of that frame."""
    placed = tile.frames[0]
    top, left = max(0, tile.top - placed.top), max(0, tile.left - placed.left)
    bottom = min(tile.top + size.rows - placed.top, level.frame_rows)
    right = min(tile.left + size.columns - placed.left, level.frame_columns)
    return Region.box(reference(level, tile), left=left, top=top, right=right, bottom=bottom)


def reference(level: Level, tile: Tile) -> ImageRef:
    """Name a tile by its frame."""
    return level.reference(tile.frames[0])


def _fitted(side: float, frame: int, tolerance: float) -> int | None:
    """The whole multiple or equal part of a frame's side nearest to `side`, if one is near enough."""
    multiples = [frame * times for times in {max(1, math.floor(side / frame)), max(1, math.ceil(side / frame))}]
    parts = [frame // count for count in {max(1, math.floor(frame / side)), math.ceil(frame / side)} if frame % count == 0]
    nearest = min((*multiples, *parts), key=lambda fitted: abs(math.log(fitted / side)))
    return nearest if abs(math.log(nearest / side)) <= math.log1p(tolerance) else None


def _starts(limit: int, side: int) -> range | list[int]:
    whole = range(0, limit - side + 1, side)
    return whole if limit < side or limit % side == 0 or len(whole) > _MOST_TILES else [*whole, limit - side]


def _morton(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bits of both, interleaved: the place on a Z curve (Morton 1966). Ranks are interleaved, since tiles may be large."""
    code = np.zeros(len(rows), dtype=np.int64)
    for place, values in enumerate((columns, rows)):
        ranks = np.unique(values, return_inverse=True)[1].astype(np.int64)
        for bit in range(_MORTON_BITS // 2 + 6):
            code |= ((ranks >> bit) & 1) << (2 * bit + place)
    return code


def _shared(placed: PlacedFrame, level: Level, top: int, left: int, size: TileSize) -> int:
    down = min(placed.top + level.frame_rows, top + size.rows) - max(placed.top, top)
    across = min(placed.left + level.frame_columns, left + size.columns) - max(placed.left, left)
    return max(0, down) * max(0, across)


def _away(placed: PlacedFrame, level: Level, middle: tuple[float, float]) -> float:
    down = placed.top + level.frame_rows / 2 - middle[0]
    across = placed.left + level.frame_columns / 2 - middle[1]
    return max(abs(down) / level.frame_rows, abs(across) / level.frame_columns)  # at most a half in the frame that holds the middle


def _reads(tiles: Sequence[Tile]) -> Iterator[PlacedFrame]:
    """What is decoded, in order: all but what the tile before needed too."""
    before: frozenset[PlacedFrame] = frozenset()
    for tile in tiles:
        yield from (placed for placed in tile.frames if placed not in before)
        before = frozenset(tile.frames)


def _pixels(level: Level, size: TileSize, tile: Tile, decoded: Sequence[Frame]) -> Frame:
    named, placed = decoded[0], tile.frames[0]
    if len(decoded) == 1:
        row, column = tile.top - placed.top, tile.left - placed.left
        pixels = np.ascontiguousarray(named.pixels[row : row + size.rows, column : column + size.columns])
    else:
        pixels = _stitched(size, tile, decoded)
    words = f"tile of {size.rows} x {size.columns} pixels of the slide, {size.microns_per_pixel:.3g} um per pixel for the model"
    return replace(
        named,
        pixels=pixels,
        values=None,
        spacing_mm=(level.spacing_um[0] / 1000, level.spacing_um[1] / 1000),
        crop=(tile.top - placed.top, tile.left - placed.left),
        steps=(*named.steps, words),
    )


def _stitched(size: TileSize, tile: Tile, decoded: Sequence[Frame]) -> NDArray[np.float32]:
    pixels = np.zeros((size.rows, size.columns, *decoded[0].pixels.shape[2:]), dtype=np.float32)
    for placed, frame in zip(tile.frames, decoded, strict=True):
        row, column = placed.top - tile.top, placed.left - tile.left
        part = frame.pixels[max(0, -row) : size.rows - row, max(0, -column) : size.columns - column]
        pixels[max(0, row) : max(0, row) + part.shape[0], max(0, column) : max(0, column) + part.shape[1]] = part
    return pixels
