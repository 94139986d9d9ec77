"""One verdict from many: of an image, of a series. That of a study is `Analysis.grade`. The only place where votes are counted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from inference.findings import ImageRef, QualityGrade, QualityVerdict, SeriesQuality

RULE = (
    "Each check that measured has one vote on an image, and the model has one for all that it was asked about faults: its worst answer. "
    "An image is as good as the worst vote. A series is non-diagnostic if at least half of its images are, limited if at least a tenth "
    "of them are limited or worse, and no better than a verdict on the series as a whole. A study is what its series are if they agree, "
    "else limited."
)

_HALF, _TENTH = 2, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageGrade:
    """The verdict on one image, and how many of the votes on it name a fault."""

    image: ImageRef
    grade: QualityGrade
    against: int
    votes: int


def image_grades(verdicts: Sequence[QualityVerdict]) -> tuple[ImageGrade, ...]:
    """The verdict on each image, in the order in which the images first come up."""
    votes: dict[ImageRef, dict[str, QualityGrade]] = {}
    for verdict in verdicts:
        own = votes.setdefault(verdict.image, {})
        voter = "model" if verdict.by_model else verdict.check
        own[voter] = max(own.get(voter, verdict.grade), verdict.grade)
    return tuple(
        ImageGrade(
            image=image,
            grade=max(own.values()),
            against=sum(grade is not QualityGrade.DIAGNOSTIC for grade in own.values()),
            votes=len(own),
        )
        for image, own in votes.items()
    )


def grade_series(
    verdicts: Sequence[QualityVerdict],
    *,
    series_of: Mapping[str, str],
    together: Mapping[ImageRef, int],
    of_series: frozenset[str] = frozenset(),
) -> tuple[SeriesQuality, ...]:
    """The verdict on each series, in the order in which they first come up.

    `series_of`: Series Instance UID of each SOP Instance UID. `together`: how many frames the model judged together with a frame, itself
    counted. `of_series`: names of the checks that judge a series as a whole; so does the model where it judged several frames together.
    """
    of_one: dict[str, list[QualityVerdict]] = {}
    of_all: dict[str, list[QualityVerdict]] = {}
    for verdict in verdicts:
        series = series_of.get(verdict.image.sop_instance_uid, "")
        whole = verdict.check in of_series or (verdict.by_model and together.get(verdict.image, 1) > 1)
        (of_all if whole else of_one).setdefault(series, []).append(verdict)
    return tuple(_grade(series, of_one.get(series, ()), of_all.get(series, ())) for series in dict.fromkeys((*of_one, *of_all)))


def _grade(series: str, of_one: Sequence[QualityVerdict], of_all: Sequence[QualityVerdict]) -> SeriesQuality:
    grades = [image.grade for image in image_grades(of_one)]
    limited, worthless = grades.count(QualityGrade.LIMITED), grades.count(QualityGrade.NON_DIAGNOSTIC)
    return SeriesQuality(
        series_instance_uid=series,
        grade=max((*_by_shares(len(grades), limited, worthless), *(verdict.grade for verdict in of_all)), default=QualityGrade.DIAGNOSTIC),
        images=len(grades),
        limited=limited,
        non_diagnostic=worthless,
    )


def _by_shares(images: int, limited: int, worthless: int) -> Iterator[QualityGrade]:
    if images and worthless * _HALF >= images:
        yield QualityGrade.NON_DIAGNOSTIC
    if images and (limited + worthless) * _TENTH >= images:
        yield QualityGrade.LIMITED
