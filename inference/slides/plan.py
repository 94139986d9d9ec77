"""What of a slide is looked at: the level, the tiles with tissue and the choice among them; or the reason why nothing is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.manifests import SlidesSection
from inference.findings import AbstentionReason
from inference.frames import UndecodableError
from inference.slides.frame_stream import Damaged
from inference.slides.levels import Level
from inference.slides.overview import Overview, overview_of
from inference.slides.pyramid import Slide, level_for
from inference.slides.tiles import Tile, TileSize, TooManyTilesError, cut, evenly, tile_grid, tile_size
from inference.slides.tissue import share_of, tissue


@dataclass(frozen=True, slots=True, kw_only=True)
class TilesAsked:
    """How the models of a route are shown a slide; `image_size`: side of the input of the one that looks for findings, in pixels."""

    section: SlidesSection
    image_size: int
    maximum_tiles: int
    maximum_megapixels: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """Which tiles of a slide are looked at: `tiles` of `with_tissue`, of `in_all`."""

    slide: Slide
    level: Level
    asked: TilesAsked
    size: TileSize
    overview: Overview
    tiles: tuple[Tile, ...]
    with_tissue: int
    in_all: int

    def in_words(self, looked_at: int) -> str:
        """Return for a report how much of the slide was looked at, and how: what was not must be no silence."""
        level, levels = self.level, self.slide.levels
        place = f"level {levels.index(level) + 1} of {len(levels)} ({level.microns_per_pixel:.3g} um per pixel)"
        chosen = "".join(f", {one}" for one in level.chosen)
        side = f"{self.size.rows * level.spacing_um[0]:.0f} x {self.size.columns * level.spacing_um[1]:.0f} um"
        if not looked_at:
            return f"Slide of {self.in_all} tiles of {side}, {self.with_tissue} with tissue, on {place}{chosen}: none was shown to a model"
        how = "all" if looked_at == self.with_tissue else "spread evenly over the tissue"
        sampled = f"; the tissue was found on 1 of {self.overview.every**2} frames" if self.overview.every > 1 else ""
        return (
            f"Slide: {looked_at} of {self.with_tissue} tiles with tissue were looked at ({how}), of {self.in_all} tiles in all, on "
            f"{place}{chosen}, as {self.size.microns_per_pixel:.3g} um per pixel; a tile is {side}{sampled}"
        )


class NotLookedAtError(Exception):
    """Why nothing of a slide is looked at, with the reason and the words of the abstention."""

    def __init__(self, reason: AbstentionReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def plan_tiles(slide: Slide, asked: TilesAsked, *, damaged: Damaged) -> Plan:
    """Return the tiles to look at; the slide was seen at low power for it. `damaged` is told of frames that cannot be decoded.

    Raises:
        NotLookedAtError: there is no level, no tissue, or something that is no slide of stained tissue.
    """
    level = _usable_level(slide, asked.section)
    size = tile_size(level, asked.section, asked.image_size)
    if size.rows * size.columns > asked.maximum_megapixels * 1e6:
        raise NotLookedAtError(AbstentionReason.UNSUPPORTED, _too_fine(level, asked.section))
    try:
        tops, lefts = tile_grid(level, size)
    except TooManyTilesError as exc:
        raise NotLookedAtError(AbstentionReason.UNSUPPORTED, str(exc)) from exc
    if not len(tops):
        raise NotLookedAtError(AbstentionReason.UNSUPPORTED, _too_small(level, size))
    try:
        overview = overview_of(slide, maximum_megapixels=asked.maximum_megapixels, damaged=damaged)
    except UndecodableError as exc:
        raise NotLookedAtError(AbstentionReason.UNREADABLE, str(exc)) from exc
    shares = share_of(tissue(overview.pixels), tops, lefts, (size.rows, size.columns), overview.scale(level))
    held = np.flatnonzero(shares >= asked.section.minimum_tissue)
    if not len(held):
        raise NotLookedAtError(AbstentionReason.QUALITY, _no_tissue(shares, asked.section))
    taken = held[evenly(tops[held], lefts[held], asked.maximum_tiles)]
    tiles = tuple(cut(level, size, tops[taken].tolist(), lefts[taken].tolist()))
    if not tiles:
        raise NotLookedAtError(AbstentionReason.UNSUPPORTED, "the level has no frames where the slide has tissue; ask for all of it")
    return Plan(slide=slide, level=level, asked=asked, size=size, overview=overview, tiles=tiles, with_tissue=len(held), in_all=len(tops))


def _usable_level(slide: Slide, asked: SlidesSection) -> Level:
    level = level_for(slide, asked)
    if level is None:
        finest = min((one.microns_per_pixel for one in slide.levels if not one.thumbnail), default=None)
        said = f"the finest has {finest:.3g} um per pixel" if finest else "there is only a thumbnail"
        raise NotLookedAtError(
            AbstentionReason.UNSUPPORTED, f"no level of the slide is fine enough: {said}, {asked.microns_per_pixel:g} are asked for"
        )
    if not level.colour:
        raise NotLookedAtError(
            AbstentionReason.UNSUPPORTED, "grey slide (fluorescence, or not stained): tissue can be told from glass by colour only"
        )
    return level


def _too_fine(level: Level, asked: SlidesSection) -> str:
    there, wanted = level.microns_per_pixel, asked.microns_per_pixel
    return f"the coarsest fitting level has {there:.3g} um per pixel and {wanted:g} are asked for: tiles are larger than the node decodes"


def _too_small(level: Level, size: TileSize) -> str:
    return (
        f"the slide is smaller than one tile: {level.rows} x {level.columns} pixels of {level.microns_per_pixel:.3g} um, "
        f"and a tile has {size.rows} x {size.columns}"
    )


def _no_tissue(shares: NDArray[np.float64], asked: SlidesSection) -> str:
    return (
        f"no tissue was found on the slide, the model was not asked: the fullest of {len(shares)} tiles is tissue to {shares.max():.0%}, "
        f"{asked.minimum_tissue:.0%} are needed"
    )
