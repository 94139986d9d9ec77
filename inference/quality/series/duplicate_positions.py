"""Are slices there twice?"""

import math
from collections.abc import Iterator

from inference.findings import QualityVerdict
from inference.quality.check import Limit
from inference.quality.series.check import PROTOCOL, SOUND, SeriesSubject, series_verdict
from inference.series.geometry import SAME_PLACE_MM, Level
from inference.series.slices import Slice, acquisition_of

LIMIT = Limit(
    value=0,
    unit="{slices}",
    source=f"Two images of one place differ in something. {SOUND}; found with 1 of 24 slices sent again 78 of 78",
)


class DuplicatePositions:
    """Different images of one place that nothing in the header tells apart: neither time, echo, phase, weighting nor reconstruction.

    Measured: the images that repeat another one. The same object received twice is one image.
    """

    name = "duplicate-positions"

    def __call__(self, series: SeriesSubject) -> QualityVerdict | None:
        levels = [level for stack in series.geometry.placed for level in stack.levels]
        if not levels:
            return None
        repeated = sum(len(tuple(_repeated(level, series))) for level in levels)
        images = "1 image of the series repeats" if repeated == 1 else f"{repeated} images of the series repeat"
        return series_verdict(
            self.name,
            series,
            measured=repeated,
            limit=LIMIT,
            code=PROTOCOL,
            good="No image of the series repeats another one.",
            bad=f"{images} another one at the same place, with nothing in the header that tells them apart.",
        )


def _repeated(level: Level, series: SeriesSubject) -> Iterator[Slice]:
    if len(level.slices) == 1:
        return
    of_acquisition: dict[tuple[str, ...], list[Slice]] = {}
    for one in {(one.sop_instance_uid, one.frames.start): one for one in level.slices}.values():
        alike = of_acquisition.setdefault(acquisition_of(series.headers[one.header], one.frames.start), [])
        if any(_same_place(one, other) for other in alike):
            yield one
        else:
            alike.append(one)


def _same_place(one: Slice, other: Slice) -> bool:
    return one.position_mm is not None and other.position_mm is not None and math.dist(one.position_mm, other.position_mm) <= SAME_PLACE_MM
