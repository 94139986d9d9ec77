"""Do the distances between slices vary without a plan?"""

from inference.findings import QualityVerdict
from inference.quality.check import Limit
from inference.quality.series.check import PROTOCOL, SOUND, SeriesSubject, series_verdict
from inference.quality.series.steps import steps

LIMIT = Limit(
    value=0.1,
    unit="1",
    source=f"{SOUND}; found with 1 of 24 slices moved by 1/8 of a step 78 of 78, with 3 dropped and the rest numbered anew 76 of 78",
)


class UnevenSpacing:
    """Steps between slices that differ from those around them. Measured: the largest difference, as a part of the usual step."""

    name = "uneven-spacing"

    def __call__(self, series: SeriesSubject) -> QualityVerdict | None:
        found = [step for stack in series.geometry.stacks for step in steps(stack)]
        if not found:
            return None
        worst = max(found, key=lambda step: step.deviation)
        told = f"one step is {worst.length_mm:.4g} mm, those around it {worst.usual_mm:.4g} mm"
        return series_verdict(
            self.name,
            series,
            measured=worst.deviation,
            limit=LIMIT,
            code=PROTOCOL,
            good="The slices of the series are evenly spaced.",
            bad=f"The slices of the series are unevenly spaced: {told}.",
        )
