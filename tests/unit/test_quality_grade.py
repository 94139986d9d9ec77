"""From verdicts to one verdict: of an image, of a series, of a study; and what the route makes of it."""

from datetime import UTC, datetime

import pytest

from config import Code
from inference.analysis import decode_analysis, encode_analysis
from inference.findings import Analysis, ImageRef, Outcome, QualityGrade, QualityVerdict, SeriesQuality
from inference.quality.grade import RULE, grade_series, image_grades

GOOD, LIMITED, WORTHLESS = QualityGrade.DIAGNOSTIC, QualityGrade.LIMITED, QualityGrade.NON_DIAGNOSTIC


def image(number=1, series="2.25.1"):
    return ImageRef(sop_class_uid="1.2.840.10008.5.1.4.1.1.2", sop_instance_uid=f"{series}.{number}", frame_number=1)


def said(check, grade, on=None):
    return QualityVerdict(
        check=check,
        image=on or image(),
        measured=0.5,
        unit="1",
        threshold=0.4,
        threshold_source="a test, 1 image",
        grade=grade,
        code=Code(value="111215", scheme="DCM", meaning="Artifact(s) other than grid or detector artifact"),
        sentence="Something was measured.",
    )


def graded(verdicts, *, together=1, of_series=()):
    series_of = {verdict.image.sop_instance_uid: verdict.image.sop_instance_uid.rsplit(".", 1)[0] for verdict in verdicts}
    return grade_series(
        verdicts,
        series_of=series_of,
        together={verdict.image: together for verdict in verdicts},
        of_series=frozenset(of_series),
    )


def study(*series):
    return Analysis(
        study_instance_uid="2.25.9",
        revision=1,
        route="chest",
        outcome=Outcome.SUCCEEDED,
        analysed_at=datetime(2026, 1, 1, tzinfo=UTC),
        inputs=(image(),),
        quality=(said("noise", WORTHLESS),),
        series_quality=tuple(
            SeriesQuality(series_instance_uid=f"2.25.{number}", grade=grade, images=1, limited=0, non_diagnostic=0)
            for number, grade in enumerate(series)
        ),
    )


def test_an_image_is_as_good_as_the_worst_vote():
    (one,) = image_grades([said("noise", GOOD), said("blurred", LIMITED), said("motion", GOOD)])
    assert (one.grade, one.against, one.votes) == (LIMITED, 1, 3)
    (other,) = image_grades([said("noise", LIMITED), said("document", WORTHLESS)])
    assert other.grade is WORTHLESS


def test_all_answers_of_the_model_are_one_vote():
    prompts = [said(f"prompt:{label}", LIMITED) for label in ("noisy", "blurred", "cropped")]
    (one,) = image_grades([said("noise", LIMITED), said("blurred", GOOD), *prompts])
    assert (one.against, one.votes) == (2, 3)
    (alone,) = image_grades([said("noise", GOOD), *prompts, said("prompt:blank", WORTHLESS)])
    assert (alone.grade, alone.against) == (WORTHLESS, 1)


@pytest.mark.parametrize(
    ("limited", "worthless", "of", "expected"),
    [
        (0, 0, 30, GOOD),
        (2, 0, 30, GOOD),
        (3, 0, 30, LIMITED),
        (0, 1, 30, GOOD),
        (2, 1, 30, LIMITED),
        (0, 14, 30, LIMITED),
        (0, 15, 30, WORTHLESS),
        (1, 0, 1, LIMITED),
        (0, 1, 1, WORTHLESS),
        (0, 1, 2, WORTHLESS),
    ],
)
def test_a_series_is_judged_by_the_share_of_its_images(limited, worthless, of, expected):
    grades = [LIMITED] * limited + [WORTHLESS] * worthless + [GOOD] * (of - limited - worthless)
    (one,) = graded([said("noise", grade, image(number)) for number, grade in enumerate(grades)])
    assert (one.grade, one.images, one.limited, one.non_diagnostic) == (expected, of, limited, worthless)


def test_a_verdict_on_the_series_as_a_whole_counts_for_all_of_it():
    slices = [said("noise", GOOD, image(number)) for number in range(30)]
    (one,) = graded([*slices, said("missing-slices", LIMITED, image(0))], of_series=("missing-slices",))
    assert (one.grade, one.images, one.limited) == (LIMITED, 30, 0)


def test_what_the_model_sees_in_half_of_a_series_is_said_of_the_series():
    slices = [said("noise", GOOD, image(number)) for number in range(30)]
    faults = [said("prompt:upside-down", LIMITED, image(7))]
    (together,) = graded([*slices, *faults], together=30)
    (alone,) = graded([*slices, *faults], together=1)
    assert (together.grade, alone.grade) == (LIMITED, GOOD)


def test_each_series_is_judged_by_its_own_images():
    verdicts = [said("noise", GOOD, image(1, "2.25.1")), said("noise", WORTHLESS, image(1, "2.25.2"))]
    assert [one.grade for one in graded(verdicts)] == [GOOD, WORTHLESS]


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ((GOOD, GOOD), GOOD),
        ((LIMITED,), LIMITED),
        ((GOOD, LIMITED), LIMITED),
        ((GOOD, WORTHLESS), LIMITED),
        ((WORTHLESS, WORTHLESS), WORTHLESS),
        ((), WORTHLESS),
    ],
)
def test_a_study_is_what_its_series_are_if_they_agree(series, expected):
    assert study(*series).grade is expected


def test_the_verdicts_on_series_are_kept_with_the_analysis():
    analysis = study(GOOD, LIMITED)
    assert decode_analysis(encode_analysis(analysis)) == analysis


def test_the_rule_is_said_in_words():
    assert "worst vote" in RULE
    assert "half" in RULE
    assert "tenth" in RULE
