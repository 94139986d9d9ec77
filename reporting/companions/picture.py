"""Small pictures of analysed images, as they are and under heat maps, for the pages that a person looks at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydicom.dataset import Dataset

from inference.findings import Analysis, Finding, HeatGrid, ImageRef, Presence
from reporting.result import EncodedResult, PreviousReport, Producer

MOST = 3  # of each, on one page

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A thumbnail as a PNG file, grey or RGB. `rows` and `columns` are those of the image that it was made from."""

    image: ImageRef
    png: bytes
    rows: int
    columns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatPicture:
    """An image under the colours of a heat map, and these colours, sRGB, from no heat to the top of the map's scale."""

    heat: HeatGrid
    picture: Picture
    scale: tuple[Colour, ...]


class IllustratedEncoder(Protocol):
    """A `ResultEncoder` that can show pictures of `images_to_show` and `heat_to_show`, in any order.

    Without pictures it says the same in words; without a heat map that it can show, the page is as if there were none.
    """

    def __call__(
        self,
        analysis: Analysis,
        headers: Sequence[Dataset],
        *,
        producer: Producer,
        previous: PreviousReport | None,
        companions: Sequence[EncodedResult] = (),
        pictures: Sequence[Picture] = (),
        heat_pictures: Sequence[HeatPicture] = (),
    ) -> EncodedResult | None: ...


def images_to_show(analysis: Analysis) -> tuple[ImageRef, ...]:
    """Return the images that a page shows: those with a Present finding first, then by score; without findings the first input."""
    ranked = sorted(analysis.findings, key=lambda finding: (finding.presence is not Presence.PRESENT, -finding.score))
    images = dict.fromkeys(image for finding in ranked for image in finding.images)
    return tuple(images)[:MOST] or tuple(image for image in analysis.inputs[:1] if analysis.withdrawn is None)


def heat_to_show(analysis: Analysis) -> tuple[HeatGrid, ...]:
    """Return the heat maps that a page shows, at most MOST: of flagged findings first, then of present ones, then by score."""

    def rank(grid: HeatGrid) -> tuple[int, bool, float]:
        finding = finding_under(grid, analysis)
        return (-finding.flag, finding.presence is not Presence.PRESENT, -finding.score)

    known = [grid for grid in analysis.heat_maps if any(_is_of(grid, finding) for finding in analysis.findings)]
    return tuple(sorted(known, key=rank)[:MOST])


def finding_under(grid: HeatGrid, analysis: Analysis) -> Finding:
    """Return the finding that a heat map of `heat_to_show` was made of."""
    return next(finding for finding in analysis.findings if _is_of(grid, finding))


def _is_of(grid: HeatGrid, finding: Finding) -> bool:
    return finding.label == grid.label and grid.image in (finding.image, *finding.others)
