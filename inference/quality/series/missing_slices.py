"""Are slices missing in between?"""

from inference.findings import QualityVerdict
from inference.quality.check import Limit
from inference.quality.series.check import INCOMPLETE, SOUND, SeriesSubject, series_verdict
from inference.quality.series.steps import steps

LIMIT = Limit(
    value=0,
    unit="{slices}",
    source=f"A step of 1.5 is nearer to two than to one. {SOUND}; found with 1 of 24 slices dropped 78 of 78, with 3 dropped 74 of 78",
)


class MissingSlices:
    """Steps of one and a half times the usual length or more, across which the numbering does not go on.

    Measured: the slices that would fill them, over all stacks of the series. Where the numbering goes on, the step is judged as uneven.
    """

    name = "missing-slices"

    def __call__(self, series: SeriesSubject) -> QualityVerdict | None:
        found = [step for stack in series.geometry.stacks for step in steps(stack)]
        if not found:
            return None
        missing = sum(step.missing for step in found)
        places = sum(step.missing > 0 for step in found)
        return series_verdict(
            self.name,
            series,
            measured=missing,
            limit=LIMIT,
            code=INCOMPLETE,
            good="No slice is missing between the first and the last of the series.",
            bad=f"In the series {_seem(missing)} to be missing at {places} place{'s'[: places != 1]}, judged by slice positions.",
        )


def _seem(slices: int) -> str:
    return "1 slice seems" if slices == 1 else f"{slices} slices seem"
