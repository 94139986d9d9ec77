"""Do slices of another plane stand among those of the series?"""

from inference.findings import QualityVerdict
from inference.quality.check import Limit
from inference.quality.series.check import PROTOCOL, SOUND, SeriesSubject, series_verdict

LIMIT = Limit(
    value=0,
    unit="{slices}",
    source=f"{SOUND}; found with 1 of 24 slices at right angles 78 of 78",
)

# A table moves along one axis; MR series have many planes on purpose: three for planning, one a disc, a fan around the heart.
_ONE_PLANE = frozenset({"CT", "PT"})
_LARGE_STACK = 5


class MixedOrientations:
    """In CT and PET: slices that are not parallel to most. Elsewhere only single slices of another plane beside a stack of five or more.

    Measured: these slices. Localizers are left out by the routes before.
    """

    name = "mixed-orientations"

    def __call__(self, series: SeriesSubject) -> QualityVerdict | None:
        stacks = series.geometry.placed
        if sum(len(stack.slices) for stack in stacks) < 2:  # noqa: PLR2004 - one slice has nothing to be mixed with
            return None
        others = stacks[1:]
        if series.modality not in _ONE_PLANE:
            lone = len(stacks[0].slices) >= _LARGE_STACK
            others = tuple(stack for stack in others if lone and len(stack.slices) == 1)
        strays = sum(len(stack.slices) for stack in others)
        return series_verdict(
            self.name,
            series,
            measured=strays,
            limit=LIMIT,
            code=PROTOCOL,
            good="The planes of the series belong together.",
            bad=f"The series mixes planes: {strays} of its {len(series.geometry.slices)} slices lie in another plane than the others.",
        )
