"""Checks of a whole series on its headers. Each is one file here and one entry in `SERIES_CHECKS`; its limit stands beside it."""

from collections.abc import Mapping

from inference.findings import QualityVerdict
from inference.quality.series.check import SeriesCheck, SeriesSubject
from inference.quality.series.contrast_medium import ContrastMedium
from inference.quality.series.duplicate_positions import DuplicatePositions
from inference.quality.series.missing_slices import MissingSlices
from inference.quality.series.mixed_orientations import MixedOrientations
from inference.quality.series.truncated import Truncated
from inference.quality.series.uneven_spacing import UnevenSpacing

__all__ = ["SERIES_CHECKS", "SeriesCheck", "SeriesSubject", "check_series"]

SERIES_CHECKS: Mapping[str, SeriesCheck] = {
    check.name: check
    for check in (MissingSlices(), UnevenSpacing(), DuplicatePositions(), MixedOrientations(), Truncated(), ContrastMedium())
}


def check_series(series: SeriesSubject) -> tuple[QualityVerdict, ...]:
    """The verdicts of every check that the headers of the series allow."""
    verdicts = (check(series) for check in SERIES_CHECKS.values())
    return tuple(verdict for verdict in verdicts if verdict is not None)
