"""What the model is asked about image quality, and what becomes of its answers."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from config import Catalogue, load
from config.routes import RouteRule
from inference.analysis import analyse
from inference.findings import AbstentionReason, Analysis, Outcome, QualityGrade, QualityVerdict
from inference.selection import SelectedInstance
from tests.embedded import FINDING, FINDINGS, MODEL, THRESHOLD, TURNS, with_quality
from tests.fakes import FakeScorer
from tests.phantoms import chest_radiograph, head_ct, write_instance

CATALOGUE = with_quality(load(None)[1])
CHEST = RouteRule(name="chest-radiograph", model=MODEL, prompt_set=FINDINGS, expect=("chest-radiograph",))
HAND = RouteRule(name="hand-radiograph", model=MODEL, expect=("hand-radiograph",))
ANY = RouteRule(name="other-radiograph", model=MODEL)
NOT_FINDINGS = {AbstentionReason.NO_MODEL}


@pytest.fixture
def scorer() -> FakeScorer:
    return FakeScorer(CATALOGUE)


def analysed(scorer: FakeScorer, route: RouteRule, *selected: SelectedInstance, catalogue: Catalogue = CATALOGUE) -> Analysis:
    return analyse(
        study_instance_uid="2.25.7",
        revision=1,
        route=route,
        selected=selected,
        excluded=(),
        engine=scorer,
        catalogue=catalogue,
        site="our-site",
        analysed_at=datetime(2026, 5, 4, tzinfo=UTC),
        maximum_frame_megapixels=400,
    )


def asked(analysis: Analysis) -> dict[str, QualityVerdict]:
    return {verdict.check.removeprefix("prompt:"): verdict for verdict in analysis.quality if verdict.by_model}


def refusals(analysis: Analysis) -> list[tuple[AbstentionReason, str]]:
    return [(one.reason, one.detail) for one in analysis.abstentions if one.reason not in NOT_FINDINGS]


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("rotated-90", "the image looks rotated by 90 degrees clockwise"),
        ("upside-down", "the image looks upside down"),
        ("rotated-270", "the image looks rotated by 90 degrees counter-clockwise"),
    ],
)
def test_a_rotated_chest_radiograph_is_a_quality_fault_and_no_findings_are_looked_for(
    scorer: FakeScorer, tmp_path: Path, label: str, words: str
) -> None:
    turned = write_instance(tmp_path, chest_radiograph())
    scorer.says(turned.image, **{label: 0.97})
    analysis = analysed(scorer, CHEST, turned)
    verdict = asked(analysis)[label]
    assert (verdict.check, verdict.grade, verdict.code.value) == (f"prompt:{label}", QualityGrade.LIMITED, "111209")
    assert refusals(analysis) == [(AbstentionReason.QUALITY, f"{words}: no findings were looked for")]
    assert (analysis.outcome, analysis.findings) == (Outcome.PARTIAL, ())
    assert FINDINGS not in scorer.asked


@pytest.mark.parametrize(
    "label", ["inverted", "blurred", "motion-blurred", "noisy", "under-exposed", "over-exposed", "cropped", "burnt-in-text"]
)
def test_any_other_fault_stands_beside_the_findings(scorer: FakeScorer, tmp_path: Path, label: str) -> None:
    poor = write_instance(tmp_path, chest_radiograph())
    scorer.says(poor.image, **{label: 0.97})
    analysis = analysed(scorer, CHEST, poor)
    assert [name for name, verdict in asked(analysis).items() if verdict.grade is not QualityGrade.DIAGNOSTIC] == [label]
    assert asked(analysis)[label].grade is QualityGrade.LIMITED
    assert [finding.label for finding in analysis.findings] == [FINDING]
    assert (analysis.outcome, analysis.abstentions) == (Outcome.SUCCEEDED, ())


def test_a_verdict_shows_the_score_the_limit_and_where_the_limit_comes_from(scorer: FakeScorer, tmp_path: Path) -> None:
    sharp = write_instance(tmp_path, chest_radiograph())
    scorer.says(sharp.image, blurred=THRESHOLD - 0.01, noisy=THRESHOLD)
    found = asked(analysed(scorer, CHEST, sharp))
    below, at = found["blurred"], found["noisy"]
    assert (below.measured, below.unit, below.threshold, below.threshold_source) == (0.79, "{score}", THRESHOLD, "chosen for the tests")
    assert (below.grade, at.grade) == (QualityGrade.DIAGNOSTIC, QualityGrade.LIMITED)
    assert below.sentence == "The model does not see this fault: blurred."
    assert at.image == replace(sharp.image, frame_number=1)


def test_of_turns_that_exclude_each_other_only_the_likeliest_is_reported(scorer: FakeScorer, tmp_path: Path) -> None:
    lying = write_instance(tmp_path, chest_radiograph())
    scorer.says(lying.image, noisy=0.9, **{"rotated-90": 0.97, "rotated-270": 0.96, "upside-down": 0.1})
    analysis = analysed(scorer, CHEST, lying)
    assert [name for name, verdict in asked(analysis).items() if verdict.grade is not QualityGrade.DIAGNOSTIC] == ["rotated-90", "noisy"]
    assert asked(analysis)["upside-down"].grade is QualityGrade.DIAGNOSTIC


def test_a_fault_without_a_limit_in_the_manifest_is_not_asked(scorer: FakeScorer, tmp_path: Path) -> None:
    image = write_instance(tmp_path, chest_radiograph())
    scorer.says(image.image, blank=1.0)
    assert "blank" not in asked(analysed(scorer, CHEST, image))


def test_a_hand_has_no_upright_so_nobody_calls_it_rotated(scorer: FakeScorer, tmp_path: Path) -> None:
    hand = write_instance(tmp_path, chest_radiograph(), body_part="HAND")
    scorer.says(hand.image, kind="hand-radiograph", **{"upside-down": 0.99})
    found = asked(analysed(scorer, HAND, hand))
    assert not set(TURNS) & set(found)
    assert "blurred" in found


def test_an_image_counts_as_what_the_route_expects_only_if_the_gate_agrees(scorer: FakeScorer, tmp_path: Path) -> None:
    hand = write_instance(tmp_path, chest_radiograph())
    scorer.says(hand.image, kind="hand-radiograph", **{"upside-down": 0.99})
    analysis = analysed(scorer, CHEST, hand)
    assert not set(TURNS) & set(asked(analysis))
    (refusal,) = refusals(analysis)
    assert refusal[1].endswith("pixels look like HAND RADIOGRAPH (p = 0.95)")


def test_pixel_check_and_model_both_have_their_say(scorer: FakeScorer, tmp_path: Path) -> None:
    framed = np.zeros((160, 160), dtype=np.float32)
    framed[24:152, 16:144] = chest_radiograph()
    negative = write_instance(tmp_path, 1 - framed)
    scorer.says(negative.image, inverted=0.2)
    verdicts = {verdict.check: verdict.grade for verdict in analysed(scorer, CHEST, negative).quality}
    assert (verdicts["inverted"], verdicts["prompt:inverted"]) == (QualityGrade.LIMITED, QualityGrade.DIAGNOSTIC)


def test_a_series_gets_one_verdict_a_fault_at_its_worst_slice(scorer: FakeScorer, tmp_path: Path) -> None:
    slices = [write_instance(tmp_path, head_ct(), number=number, modality="MR", body_part="BRAIN") for number in range(1, 6)]
    for one, noise in zip(slices, (0.1, 0.9, 0.85, 0.95, 0.3), strict=True):
        scorer.says(one.image, kind="brain-mr", noisy=noise, blurred=noise / 2)
    route = RouteRule(name="brain-mr", model=MODEL, expect=("brain-mr",))
    analysis = analysed(scorer, route, *slices)
    found = [verdict for verdict in analysis.quality if verdict.by_model]
    assert len(found) == len({verdict.check for verdict in found})
    noisy = asked(analysis)["noisy"]
    assert (noisy.measured, noisy.grade) == (0.85, QualityGrade.LIMITED)
    assert noisy.image.sop_instance_uid == slices[3].image.sop_instance_uid


def test_the_first_and_last_slices_do_not_condemn_a_series(scorer: FakeScorer, tmp_path: Path) -> None:
    slices = [write_instance(tmp_path, head_ct(), number=number, modality="MR", body_part="BRAIN") for number in range(1, 6)]
    for one in slices:
        scorer.says(one.image, kind="brain-mr")
    for end in (slices[0], slices[-1]):
        scorer.says(end.image, kind="brain-mr", cropped=1.0)
    assert asked(analysed(scorer, ANY, *slices))["cropped"].grade is QualityGrade.DIAGNOSTIC


def test_projection_images_are_judged_one_by_one(scorer: FakeScorer, tmp_path: Path) -> None:
    upright, turned = (write_instance(tmp_path, chest_radiograph() * np.float32(1 - number / 50), number=number) for number in (1, 2))
    scorer.says(turned.image, **{"rotated-90": 0.99})
    analysis = analysed(scorer, CHEST, upright, turned)
    assert {finding.image.sop_instance_uid for finding in analysis.findings} == {upright.image.sop_instance_uid}
    (abstention,) = analysis.abstentions
    assert [image.sop_instance_uid for image in abstention.images] == [turned.image.sop_instance_uid]


def test_every_image_is_embedded_once_whatever_is_asked_of_it(scorer: FakeScorer, tmp_path: Path) -> None:
    images = [write_instance(tmp_path, chest_radiograph() * np.float32(1 - number / 50), number=number) for number in (1, 2)]
    analysed(scorer, CHEST, *images)
    assert [ref.sop_instance_uid for ref in scorer.embedded] == [image.image.sop_instance_uid for image in images]
    assert set(scorer.asked) == {"kind-of-image", "image-quality", FINDINGS}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("document", "pixels look like a scanned document (p = 0.95)"),
        ("photograph", "pixels look like an everyday photograph (p = 0.95)"),
        ("phantom", "pixels look like a phantom or test object (p = 0.95)"),
        ("viewer-screen-capture", "pixels look like a screen capture of an image viewer (p = 0.95)"),
    ],
)
def test_what_is_no_image_of_a_patient_is_named_in_plain_words(scorer: FakeScorer, tmp_path: Path, kind: str, words: str) -> None:
    page = write_instance(tmp_path, chest_radiograph())
    scorer.says(page.image, kind=kind, blurred=0.99)
    analysis = analysed(scorer, CHEST, page)
    assert refusals(analysis) == [(AbstentionReason.GATE_DISAGREES, f"header says CHEST (route chest-radiograph), {words}")]
    assert asked(analysis) == {}, "nobody asks whether a document is well exposed"


def test_an_image_that_does_not_look_medical_contradicts_its_header_even_if_the_gate_agrees(scorer: FakeScorer, tmp_path: Path) -> None:
    odd = write_instance(tmp_path, chest_radiograph())
    scorer.says(odd.image, **{"not-a-medical-image": 0.99})
    analysis = analysed(scorer, CHEST, odd)
    expected = "header says CHEST (route chest-radiograph), the pixels do not look like a medical image"
    assert refusals(analysis) == [(AbstentionReason.GATE_DISAGREES, expected)]
    assert (analysis.findings, analysis.grade) == ((), QualityGrade.NON_DIAGNOSTIC)


def test_a_route_without_expectation_tells_the_kind_and_judges_only_the_quality(scorer: FakeScorer, tmp_path: Path) -> None:
    foot = write_instance(tmp_path, chest_radiograph(), body_part="FOOT")
    scorer.says(foot.image, kind="hand-radiograph", probability=0.4, blurred=0.99)
    analysis = analysed(scorer, ANY, foot)
    (kind,) = analysis.kinds
    assert (kind.kind, kind.probability, kind.expected) == ("HAND RADIOGRAPH", 0.4, False)
    assert kind.images == (replace(foot.image, frame_number=1),)
    assert asked(analysis)["blurred"].grade is QualityGrade.LIMITED
    assert refusals(analysis) == []


def test_a_kind_that_was_expected_is_told_as_such(scorer: FakeScorer, tmp_path: Path) -> None:
    (kind,) = analysed(scorer, CHEST, write_instance(tmp_path, chest_radiograph())).kinds
    assert (kind.kind, kind.expected) == ("CHEST RADIOGRAPH", True)


def test_a_rotated_image_under_a_route_without_findings_is_only_called_rotated(scorer: FakeScorer, tmp_path: Path) -> None:
    turned = write_instance(tmp_path, chest_radiograph())
    scorer.says(turned.image, **{"rotated-90": 0.99})
    analysis = analysed(scorer, ANY, turned)
    assert asked(analysis)["rotated-90"].grade is QualityGrade.LIMITED
    assert refusals(analysis) == []


def test_of_several_turns_the_clearest_gives_the_reason(scorer: FakeScorer, tmp_path: Path) -> None:
    turned = write_instance(tmp_path, chest_radiograph())
    scorer.says(turned.image, **{"rotated-90": 0.85, "rotated-270": 0.95, "not-a-medical-image": 0.2})
    analysis = analysed(scorer, CHEST, turned)
    (refusal,) = refusals(analysis)
    assert "counter-clockwise" in refusal[1]


def test_a_route_that_checks_no_quality_asks_the_model_nothing_about_it(scorer: FakeScorer, tmp_path: Path) -> None:
    turned = write_instance(tmp_path, chest_radiograph())
    scorer.says(turned.image, **{"rotated-90": 0.99})
    analysis = analysed(scorer, CHEST.model_copy(update={"quality": False}), turned)
    assert (analysis.quality, analysis.abstentions) == ((), ())
    assert "image-quality" not in scorer.asked


def test_a_model_without_gate_is_asked_what_holds_for_every_kind(scorer: FakeScorer, tmp_path: Path) -> None:
    without = CATALOGUE.manifest(MODEL).model_copy(update={"gate": None})
    catalogue = replace(CATALOGUE, manifests=(without,))
    analysis = analysed(scorer, ANY, write_instance(tmp_path, chest_radiograph()), catalogue=catalogue)
    assert "blurred" in asked(analysis)
    assert not set(TURNS) & set(asked(analysis))
    assert analysis.kinds == ()


def test_the_words_of_the_quality_prompts_are_part_of_the_provenance(scorer: FakeScorer, tmp_path: Path) -> None:
    provenance = analysed(scorer, CHEST, write_instance(tmp_path, chest_radiograph())).provenance
    assert provenance is not None
    named = dict(parameter.split("=", 1) for parameter in provenance.parameters)
    assert named["quality-prompt-set"] == "image-quality"
    assert len(named["quality-prompt-set-sha256"]) == 64


def test_a_blank_frame_is_not_shown_to_the_model(scorer: FakeScorer, tmp_path: Path) -> None:
    analysed(scorer, CHEST, write_instance(tmp_path, np.zeros((128, 128), dtype=np.float32)))
    assert scorer.embedded == []
