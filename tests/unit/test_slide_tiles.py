"""Tissue on a slide, and the tiles cut from it: where they are, how many, and that their pixels are those of the slide."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from config.manifests import SlidesSection
from inference.findings import ImageRef
from inference.frames import Frame
from inference.slides.levels import Level, read_level
from inference.slides.tiles import Tile, TileSize, TooManyTilesError, cut, evenly, frames_of, reference, region_of, tile_grid, tile_size
from inference.slides.tissue import share_of, tissue
from tests.slides import LESION, TISSUE, LevelFacts, header_of, section, tiles_of, write_native

BLUE_GREEN_PEN, GREEN_PEN, BLACK_PEN = (0, 140, 150), (20, 150, 60), (25, 22, 28)
BROWN_STAIN = (150, 105, 70)  # DAB


def share(picture: NDArray[np.uint8]) -> float:
    return float(tissue(picture).mean())


def test_clear_glass_holds_no_tissue() -> None:
    assert share(section(200, 300)) == 0


@pytest.mark.parametrize("glass", [(255, 255, 255), (0, 0, 0), (232, 236, 240), (250, 245, 240)])
def test_glass_of_any_scanner_holds_no_tissue(glass: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(1).normal(0, 1, (200, 300, 1))
    assert share(np.clip(np.rint(np.asarray(glass) + noise), 0, 255).astype(np.uint8)) < 0.01


@pytest.mark.parametrize("stain", [TISSUE, LESION, BROWN_STAIN, (225, 170, 195), (190, 175, 215)])
def test_stained_tissue_is_found_whatever_its_colour(stain: tuple[int, int, int]) -> None:
    disc = np.pi * 0.3**2 * 200 * 200 / (200 * 300)
    assert share(section(200, 300, (0.5, 0.5, 0.3, stain))) == pytest.approx(disc, rel=0.03)


def test_a_section_that_fills_the_slide_is_not_halved() -> None:
    picture = section(200, 300, (0.5, 0.5, 5, TISSUE), (0.5, 0.5, 0.4, LESION))
    assert share(picture) > 0.99


@pytest.mark.parametrize("pen", [GREEN_PEN, BLUE_GREEN_PEN, BLACK_PEN])
def test_a_mark_of_a_felt_pen_is_no_tissue(pen: tuple[int, int, int]) -> None:
    marked = section(200, 300, (0.5, 0.3, 0.2, TISSUE), (0.5, 0.8, 0.2, pen))
    assert share(marked) == pytest.approx(share(section(200, 300, (0.5, 0.3, 0.2, TISSUE))), abs=0.005)


def test_the_share_of_tissue_of_a_tile_is_that_of_its_place() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[10:, 15:] = True
    tops, lefts = np.array([0, 10, 10, 5]) * 40, np.array([0, 15, 10, 15]) * 40
    shares = share_of(mask, tops, lefts, (400, 400), (40.0, 40.0))
    assert shares.tolist() == pytest.approx([0.0, 1.0, 0.5, 0.5])


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 500))
def test_tiles_are_spread_evenly_over_the_tissue(down: int, across: int, maximum: int) -> None:
    tops, lefts = (axis.ravel() for axis in np.mgrid[0:down, 0:across] * 256)
    taken = evenly(tops, lefts, maximum)
    assert len(taken) == min(maximum, down * across)
    assert len(set(taken.tolist())) == len(taken)
    assert np.array_equal(taken, np.sort(taken))


def test_each_quarter_of_the_tissue_gives_as_many_tiles() -> None:
    tops, lefts = (axis.ravel() for axis in np.mgrid[0:64, 0:64])
    taken = evenly(tops, lefts, 100)
    quarters = (tops[taken] >= 32).astype(int) * 2 + (lefts[taken] >= 32)
    assert np.bincount(quarters).tolist() == [25, 25, 25, 25]


def test_a_header_that_claims_a_slide_larger_than_any_is_refused_before_its_tiles_are_listed(tmp_path: Path) -> None:
    level = flat_level(tmp_path, section(64, 64), (64, 64))
    huge = Level(**{**{name: getattr(level, name) for name in Level.__slots__}, "rows": 1 << 31, "columns": 1 << 31})
    with pytest.raises(TooManyTilesError, match="more than a slide can have"):
        tile_grid(huge, TileSize(rows=224, columns=224, microns_per_pixel=0.5))


@pytest.mark.parametrize(
    ("frame", "spacing_um", "side"),
    [
        (256, 0.5, 256),
        (512, 0.5, 256),
        (512, 0.25, 512),
        (240, 0.25, 480),
        (1024, 0.5, 256),
        (224, 0.5, 224),
        (300, 0.5, 224),
        (256, 0.1, 1024),
    ],
)
def test_tiles_follow_the_frames_where_that_keeps_the_magnification(tmp_path: Path, frame: int, spacing_um: float, side: int) -> None:
    level = flat_level(tmp_path, section(64, 64), (frame, frame), spacing_um=spacing_um)
    asked = SlidesSection(microns_per_pixel=0.5, tolerance=0.2, source="chosen for the test")
    size = tile_size(level, asked, 224)
    assert (size.rows, size.columns) == (side, side)
    assert size.microns_per_pixel == pytest.approx(side * spacing_um / 224)
    assert 0.5 / 1.2 <= size.microns_per_pixel <= 0.5 * 1.2


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(40, 90), columns=st.integers(40, 90), frame=st.integers(7, 40), side=st.integers(5, 40), data=st.data())
def test_a_tile_shows_exactly_its_part_of_the_slide(  # noqa: PLR0917 - drawn by Hypothesis
    tmp_path: Path, rows: int, columns: int, frame: int, side: int, data: st.DataObject
) -> None:
    picture = np.random.default_rng(rows * columns).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    level = flat_level(tmp_path, picture, (frame, frame + 3))
    size = TileSize(rows=side, columns=side, microns_per_pixel=0.5)
    tops, lefts = tile_grid(level, size)
    chosen = data.draw(st.lists(st.integers(0, len(tops) - 1), min_size=1, max_size=6, unique=True))
    tiles = tuple(cut(level, size, tops[chosen].tolist(), lefts[chosen].tolist()))
    shown = list(frames_of(level, size, tiles, maximum_megapixels=1, damaged=refuse))
    assert len(shown) == len(chosen)
    for tile, decoded in shown:
        part = picture[tile.top : tile.top + side, tile.left : tile.left + side]
        assert np.array_equal(np.rint(decoded.pixels * 255).astype(np.uint8), part)
        assert_named_by_its_middle(level, size, tile, decoded)


def assert_named_by_its_middle(level: Level, size: TileSize, tile: Tile, decoded: Frame) -> None:
    assert decoded.ref == reference(level, tile)
    placed = tile.frames[0]
    points = region_of(level, size, tile).points
    assert all(0 <= column <= level.frame_columns and 0 <= row <= level.frame_rows for column, row in points)
    assert placed.top <= tile.top + size.rows / 2 <= placed.top + level.frame_rows
    assert placed.left <= tile.left + size.columns / 2 <= placed.left + level.frame_columns


def test_the_tiles_cover_the_slide_up_to_its_last_row_and_column(tmp_path: Path) -> None:
    level = flat_level(tmp_path, section(70, 100), (32, 32))
    tops, lefts = tile_grid(level, TileSize(rows=32, columns=32, microns_per_pixel=0.5))
    assert sorted(set(tops.tolist())) == [0, 32, 38]
    assert sorted(set(lefts.tolist())) == [0, 32, 64, 68]


def flat_level(folder: Path, picture: NDArray[np.uint8], frame: tuple[int, int], *, spacing_um: float = 0.5) -> Level:
    facts = LevelFacts(rows=picture.shape[0], columns=picture.shape[1], tile=frame, spacing_um=spacing_um)
    return read_level([write_native(folder / "level.dcm", header_of(facts), list(tiles_of(picture, frame)))])


def refuse(image: ImageRef, reason: str) -> None:
    raise AssertionError(f"frame {image.frame_number}: {reason}")
