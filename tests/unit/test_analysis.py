"""From files to an analysis: what is answered, what is refused and why, and that nothing is silent."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import msgspec
import numpy as np
import pytest

from config import Catalogue, Code, load
from config.calibrations import Calibration, LabelCalibration
from config.catalogue import model_digest, prompt_set_digest
from config.prompt_sets import PromptSet
from config.routes import RouteRule
from inference.analysis import analyse, decode_analysis, encode_analysis, unanswered
from inference.engine import Engine
from inference.findings import (
    AbstentionReason,
    Analysis,
    Exclusion,
    FlagLevel,
    ImageRef,
    Outcome,
    Presence,
    QualityGrade,
)
from inference.questions import Scorer
from inference.selection import SelectedInstance, choose_frames
from tests.builders import ct_slice, write_file
from tests.embedded import FINDING, FINDINGS, MODEL, chest, with_quality
from tests.fakes import FakeScorer
from tests.phantoms import chest_radiograph, head_ct, write_instance

AT = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)
CHEST = RouteRule(name="chest-radiograph", model=MODEL, prompt_set="findings", expect=("chest-radiograph",), quality=False)
HEAD = RouteRule(name="head-ct", model=MODEL, expect=("head-ct",), quality=False)
QUALITY_ONLY = RouteRule(name="other")
LABELS = ("pneumothorax", "pleural-effusion")


def findings() -> PromptSet:
    def label(name: str, flag: str) -> dict[str, object]:
        code = Code(value=name, scheme="99TEST", meaning=name)
        return {"name": name, "concept": code, "positive": ["a chest x-ray"], "negative": ["no chest x-ray"], "flag": flag}

    labels = [label(name, flag) for name, flag in zip(LABELS, ("emergency", "urgent"), strict=True)]
    return PromptSet.model_validate({"name": "findings", "version": 1, "recipe": "pair-softmax", "temperature": "model", "labels": labels})


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    shipped = with_quality(load(None)[1])
    return replace(shipped, prompt_sets=(*shipped.prompt_sets, findings()))


@pytest.fixture
def scorer(catalogue: Catalogue) -> FakeScorer:
    return FakeScorer(catalogue)


class Desk:
    """Analyses files under a route, as the worker does."""

    def __init__(self, catalogue: Catalogue, engine: Scorer) -> None:
        self.catalogue = catalogue
        self.engine = engine

    def analyse(self, route: RouteRule, *selected: SelectedInstance, excluded: Sequence[Exclusion] = ()) -> Analysis:
        return analyse(
            study_instance_uid="2.25.7",
            revision=1,
            route=route,
            selected=selected,
            excluded=excluded,
            engine=self.engine,
            catalogue=self.catalogue,
            site="our-site",
            analysed_at=AT,
            maximum_frame_megapixels=400,
        )


@pytest.fixture
def desk(catalogue: Catalogue, scorer: FakeScorer) -> Desk:
    return Desk(catalogue, scorer)


def only_reason(analysis: Analysis) -> AbstentionReason:
    (abstention,) = analysis.abstentions
    return abstention.reason


def test_a_chest_radiograph_gets_every_finding_in_shadow(desk: Desk, tmp_path: Path) -> None:
    chest = write_instance(tmp_path, chest_radiograph())
    analysis = desk.analyse(CHEST, chest)
    assert (analysis.outcome, analysis.abstentions) == (Outcome.SUCCEEDED, ())
    assert tuple(finding.label for finding in analysis.findings) == LABELS
    assert {finding.presence for finding in analysis.findings} == {Presence.UNDETERMINED}
    assert (analysis.flag, analysis.in_shadow) == (FlagLevel.NONE, True)
    assert analysis.inputs == (chest.image,)
    assert analysis.provenance is not None
    assert (analysis.provenance.model, analysis.provenance.prompt_set) == (MODEL, "findings")
    assert "gate=chest-radiograph>=0.5" in analysis.provenance.parameters


def test_projection_images_are_answered_one_by_one(desk: Desk, tmp_path: Path) -> None:
    images = [write_instance(tmp_path, chest_radiograph() * brightness, number=number) for number, brightness in ((1, 1.0), (2, 0.9))]
    analysis = desk.analyse(CHEST, *images)
    assert len(analysis.findings) == 2 * len(LABELS)
    assert {finding.image.sop_instance_uid for finding in analysis.findings} == {image.image.sop_instance_uid for image in images}


def test_a_calibrated_site_gets_a_flag(desk: Desk, tmp_path: Path) -> None:
    manifest, prompts = desk.catalogue.manifest(MODEL), desk.catalogue.prompt_set("findings")
    always = LabelCalibration(slope=1, intercept=50, threshold=0.5, undetermined_from=0.5, source="test")
    calibration = Calibration(
        id="our-calibration",
        site="our-site",
        model=manifest.name,
        model_digest=model_digest(manifest),
        prompt_set="findings",
        prompt_set_digest=prompt_set_digest(prompts),
        labels={"pneumothorax": always},
    )
    calibrated = Desk(replace(desk.catalogue, calibrations=(calibration,)), desk.engine)
    analysis = calibrated.analyse(CHEST, write_instance(tmp_path, chest_radiograph()))
    assert (analysis.flag, analysis.in_shadow) == (FlagLevel.EMERGENCY, False)
    assert [finding.label for finding in analysis.findings if finding.presence is Presence.PRESENT] == ["pneumothorax"]


def test_pixels_that_contradict_the_header_get_no_findings(desk: Desk, scorer: FakeScorer, tmp_path: Path) -> None:
    head = write_instance(tmp_path, head_ct())
    scorer.says(head.image, kind="head-ct")
    analysis = desk.analyse(CHEST, head)
    assert (analysis.outcome, analysis.findings) == (Outcome.NOT_ATTEMPTED, ())
    (abstention,) = analysis.abstentions
    assert abstention.reason is AbstentionReason.GATE_DISAGREES
    assert abstention.detail == "header says CHEST (route chest-radiograph), pixels look like HEAD CT (p = 0.95)"
    assert [image.sop_instance_uid for image in abstention.images] == [head.image.sop_instance_uid]


def test_pixels_that_do_not_show_clearly_what_is_expected_get_no_findings(desk: Desk, scorer: FakeScorer, tmp_path: Path) -> None:
    faint = write_instance(tmp_path, chest_radiograph())
    scorer.says(faint.image, probability=0.45)
    (abstention,) = desk.analyse(CHEST, faint).abstentions
    assert abstention.detail.endswith("pixels do not show it clearly: CHEST RADIOGRAPH with p = 0.45, 0.50 is needed")


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_a_body_part_that_is_no_code_string_is_not_repeated(desk: Desk, scorer: FakeScorer, tmp_path: Path) -> None:
    head = write_instance(tmp_path, head_ct(), body_part="CANARY^PHI")
    scorer.says(head.image, kind="head-ct")
    analysis = desk.analyse(CHEST, head)
    assert "CANARY" not in encode_analysis(analysis).decode()
    assert analysis.abstentions[0].detail.startswith("header says no body part")


def test_one_wrong_image_does_not_silence_the_right_one(desk: Desk, scorer: FakeScorer, tmp_path: Path) -> None:
    chest, head = write_instance(tmp_path, chest_radiograph(), number=1), write_instance(tmp_path, head_ct(), number=2)
    scorer.says(head.image, kind="head-ct")
    analysis = desk.analyse(CHEST, chest, head)
    assert (analysis.outcome, only_reason(analysis)) == (Outcome.PARTIAL, AbstentionReason.GATE_DISAGREES)
    assert {finding.image.sop_instance_uid for finding in analysis.findings} == {chest.image.sop_instance_uid}
    assert set(analysis.inputs) == {chest.image, head.image}


def test_a_colour_image_is_not_shown_to_a_model_for_grey_images(desk: Desk, tmp_path: Path) -> None:
    grey = desk.catalogue.manifest(MODEL).model_copy(update={"colour": "grey"})
    desk.catalogue = replace(desk.catalogue, manifests=(grey,))
    analysis = desk.analyse(CHEST, write_instance(tmp_path, np.stack([chest_radiograph()] * 3, axis=-1)))
    (abstention,) = analysis.abstentions
    assert (abstention.reason, analysis.findings) == (AbstentionReason.UNSUPPORTED, ())
    assert abstention.detail == f"colour image; model {MODEL} was made for grey images"


def test_a_broken_file_is_named_and_the_others_go_on(desk: Desk, tmp_path: Path) -> None:
    good, broken = write_instance(tmp_path, chest_radiograph(), number=1), write_instance(tmp_path, chest_radiograph(), number=2)
    broken.path.write_bytes(broken.path.read_bytes()[:-1000])
    analysis = desk.analyse(CHEST, good, broken)
    (abstention,) = analysis.abstentions
    assert (analysis.outcome, abstention.reason, abstention.images) == (Outcome.PARTIAL, AbstentionReason.UNREADABLE, (broken.image,))
    assert broken.image.sop_instance_uid in abstention.detail
    assert "CANARY" not in abstention.detail
    assert len(analysis.findings) == len(LABELS)
    assert analysis.inputs == (good.image,)


def test_a_study_that_nobody_can_read_has_failed_and_names_all_its_files(desk: Desk, tmp_path: Path) -> None:
    broken = [write_instance(tmp_path, chest_radiograph(), number=number) for number in (1, 2)]
    for instance in broken:
        instance.path.write_bytes(b"DICM" * 20)
    analysis = desk.analyse(CHEST, *broken)
    assert (analysis.outcome, analysis.findings, analysis.provenance) == (Outcome.FAILED, (), None)
    assert {abstention.reason for abstention in analysis.abstentions} == {AbstentionReason.UNREADABLE}
    assert set(analysis.inputs) == {instance.image for instance in broken}


def test_slices_are_gated_together(desk: Desk, scorer: FakeScorer, tmp_path: Path) -> None:
    slices = [write_instance(tmp_path, head_ct(), number=number, modality="CT", body_part="HEAD") for number in range(1, 6)]
    for one in slices:
        scorer.says(one.image, kind="head-ct")
    odd_one = write_instance(tmp_path, chest_radiograph(), number=6, modality="CT", body_part="HEAD")
    analysis = desk.analyse(HEAD, *slices, odd_one)
    assert AbstentionReason.GATE_DISAGREES not in {abstention.reason for abstention in analysis.abstentions}
    alone = desk.analyse(HEAD, odd_one)
    assert AbstentionReason.GATE_DISAGREES in {abstention.reason for abstention in alone.abstentions}


def test_a_series_gets_one_finding_a_label_at_its_key_slice(desk: Desk, scorer: FakeScorer, tmp_path: Path) -> None:
    route = RouteRule(name="ct", model=MODEL, prompt_set="findings", quality=False)
    slices = [write_instance(tmp_path, head_ct(), number=number, modality="CT", body_part="HEAD") for number in range(1, 5)]
    for one, score in zip(slices, (0.2, 0.9, 0.4, 0.5), strict=True):
        scorer.says(one.image, kind="head-ct", pneumothorax=score, pleural_effusion=1 - score)
    found = {finding.label: finding for finding in desk.analyse(route, *slices).findings}
    assert found["pneumothorax"].score == pytest.approx((0.9 + 0.5 + 0.4) / 3)
    assert found["pneumothorax"].image.sop_instance_uid == slices[1].image.sop_instance_uid
    assert found["pleural-effusion"].score == pytest.approx((0.8 + 0.6 + 0.5) / 3)
    assert found["pleural-effusion"].image.sop_instance_uid == slices[0].image.sop_instance_uid


def test_a_finding_on_a_series_names_the_slices_that_show_it_best(desk: Desk, scorer: FakeScorer, tmp_path: Path) -> None:
    route = RouteRule(name="ct", model=MODEL, prompt_set="findings", quality=False)
    slices = [write_instance(tmp_path, head_ct(), number=number, modality="CT", body_part="HEAD") for number in range(1, 6)]
    for one, score in zip(slices, (0.2, 0.9, 0.4, 0.5, 0.1), strict=True):
        scorer.says(one.image, kind="head-ct", pneumothorax=score)
    found = {finding.label: finding for finding in desk.analyse(route, *slices).findings}["pneumothorax"]
    assert [image.sop_instance_uid for image in found.key_images] == [slices[index].image.sop_instance_uid for index in (1, 3, 2)]
    assert found.images == found.key_images
    (alone, *_) = desk.analyse(route, slices[0]).findings
    assert alone.key_images == ()


def test_an_image_that_is_there_twice_is_read_once_and_the_copy_is_named(desk: Desk, tmp_path: Path) -> None:
    first, copy = (write_instance(tmp_path, chest_radiograph(), number=number) for number in (1, 2))
    analysis = desk.analyse(CHEST, copy, first)
    assert analysis.inputs == (first.image,)
    assert [(left.image, left.reason) for left in analysis.excluded] == [(copy.image, "the same pixels as another image of the study")]


def test_a_series_with_a_missing_slice_is_limited_in_one_sentence_and_still_answered(desk: Desk, tmp_path: Path) -> None:
    headers = [ct_slice(study_uid="2.25.7", series_uid="2.25.8", number=number) for number in (1, 2, 3, 5, 6, 7)]
    slices = [SelectedInstance(path=write_file(tmp_path / f"{n}.dcm", one), header=one) for n, one in enumerate(headers)]
    analysis = desk.analyse(QUALITY_ONLY, *slices)
    (verdict,) = (one for one in analysis.quality if one.check == "missing-slices")
    assert (verdict.measured, verdict.grade, verdict.image) == (1, QualityGrade.LIMITED, slices[0].image)
    assert verdict.sentence == "In the series 1 slice seems to be missing at 1 place, judged by slice positions."
    assert encode_analysis(analysis) == encode_analysis(desk.analyse(QUALITY_ONLY, *reversed(slices)))


def test_a_route_that_asks_no_findings_says_so(desk: Desk, scorer: FakeScorer, tmp_path: Path) -> None:
    head = write_instance(tmp_path, head_ct(), modality="CT", body_part="HEAD")
    scorer.says(head.image, kind="head-ct")
    analysis = desk.analyse(HEAD, head)
    assert only_reason(analysis) is AbstentionReason.NO_MODEL
    assert "asks for no findings" in analysis.abstentions[0].detail


def test_a_route_without_model_checks_the_quality_and_says_that_no_model_answered(desk: Desk, tmp_path: Path) -> None:
    analysis = desk.analyse(QUALITY_ONLY, write_instance(tmp_path, chest_radiograph()))
    assert (analysis.outcome, only_reason(analysis)) == (Outcome.PARTIAL, AbstentionReason.NO_MODEL)
    assert analysis.quality
    assert analysis.provenance is None


def test_a_blank_image_gets_a_verdict_and_no_findings(desk: Desk, tmp_path: Path) -> None:
    route = CHEST.model_copy(update={"quality": True})
    analysis = desk.analyse(route, write_instance(tmp_path, np.zeros((128, 128), dtype=np.float32)))
    assert analysis.grade is QualityGrade.NON_DIAGNOSTIC
    assert (analysis.outcome, only_reason(analysis), analysis.findings) == (Outcome.PARTIAL, AbstentionReason.QUALITY, ())


def test_a_route_that_analyses_nothing_gives_its_reason(desk: Desk, tmp_path: Path) -> None:
    instance = write_instance(tmp_path, chest_radiograph())
    analysis = desk.analyse(RouteRule(name="dose", no_analysis="dose reports are not analysed"), instance)
    assert analysis.outcome is Outcome.NOT_ATTEMPTED
    assert [abstention.detail for abstention in analysis.abstentions] == ["dose reports are not analysed"]
    assert analysis.inputs == (instance.image,)


def test_a_route_whose_instances_were_all_left_out_reports_them(desk: Desk) -> None:
    localizer = Exclusion(image=ImageRef(sop_class_uid="1.2.3", sop_instance_uid="2.25.5"), reason="localizer")
    analysis = desk.analyse(HEAD, excluded=[localizer])
    assert (analysis.outcome, only_reason(analysis)) == (Outcome.NOT_ATTEMPTED, AbstentionReason.NOTHING_TO_ANALYSE)
    assert (analysis.excluded, analysis.inputs) == ((localizer,), (localizer.image,))


def test_frames_are_taken_evenly_and_in_order_and_the_rest_is_reported(desk: Desk, tmp_path: Path) -> None:
    slices = [write_instance(tmp_path, head_ct(), number=number, modality="CT", body_part="HEAD") for number in (9, 2, 5, 1, 7)]
    analysis = desk.analyse(HEAD.model_copy(update={"maximum_frames": 2}), *slices)
    assert [image.sop_instance_uid for image in analysis.inputs] == ["2.25.77.2", "2.25.77.7"]
    assert [left.image.sop_instance_uid for left in analysis.excluded] == ["2.25.77.1", "2.25.77.5", "2.25.77.9"]
    assert "2 frames" in analysis.excluded[0].reason


def test_many_frames_of_one_instance_are_spread_from_end_to_end(tmp_path: Path) -> None:
    cine = write_instance(tmp_path, head_ct(), modality="US")
    cine.header.NumberOfFrames = 10_000
    single = write_instance(tmp_path, head_ct(), modality="US", number=2)
    (many, one) = choose_frames([single, cine], maximum_frames=4)
    assert many.frame_numbers == (1251, 3751, 6251, 8751)
    assert one.frame_numbers == ()
    assert [choice.frame_numbers for choice in choose_frames([single], maximum_frames=4)] == [(1,)]


def test_a_file_without_a_readable_header_is_named_as_it_was_received(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "broken.dcm"
    path.write_bytes(b"nothing")
    known = ImageRef(sop_class_uid="1.2.840.10008.5.1.4.1.1.2", sop_instance_uid="2.25.4")
    empty = write_instance(tmp_path, head_ct()).header.__class__()
    analysis = desk.analyse(CHEST, SelectedInstance(path=path, header=empty, received_as=known))
    assert (analysis.outcome, analysis.inputs) == (Outcome.FAILED, (known,))


def test_the_same_files_give_the_same_analysis(tmp_path: Path) -> None:
    catalogue = load(None)[1]
    desk = Desk(catalogue, Engine(catalogue, device="cpu", batch_size=4, cache_folder=None))
    images = [write_instance(tmp_path, chest() * np.float32(level), number=number) for number, level in ((1, 1.0), (2, 0.8), (3, 0.9))]
    route = CHEST.model_copy(update={"prompt_set": FINDINGS})
    analysis = desk.analyse(route, *images)
    assert {finding.label for finding in analysis.findings} == {FINDING}
    assert encode_analysis(analysis) == encode_analysis(desk.analyse(route, *reversed(images)))


def test_an_analysis_survives_its_encoding_exactly(desk: Desk, scorer: FakeScorer, tmp_path: Path) -> None:
    chest, head = write_instance(tmp_path, chest_radiograph(), number=1), write_instance(tmp_path, head_ct(), number=2)
    scorer.says(head.image, kind="head-ct")
    full = desk.analyse(CHEST.model_copy(update={"quality": True}), chest, head)
    assert full.findings
    assert full.quality
    assert full.kinds
    assert full.abstentions
    elsewhere = replace(full, analysed_at=AT.astimezone(timezone(timedelta(hours=-3, minutes=-30))))
    for analysis in (full, elsewhere, failed(), skipped()):
        assert decode_analysis(encode_analysis(analysis)) == analysis
    with pytest.raises(msgspec.DecodeError):
        decode_analysis(encode_analysis(full)[:-5])


def failed() -> Analysis:
    return unanswered(
        outcome=Outcome.FAILED,
        study_instance_uid="2.25.7",
        revision=2,
        route="chest-radiograph",
        reason=AbstentionReason.MODEL_FAILED,
        detail="attempts exhausted",
        inputs=[ImageRef(sop_class_uid="1.2", sop_instance_uid="2.25.1")],
        analysed_at=AT,
    )


def skipped() -> Analysis:
    return unanswered(
        outcome=Outcome.NOT_ATTEMPTED,
        study_instance_uid="2.25.7",
        revision=2,
        route="none",
        reason=AbstentionReason.NO_ROUTE,
        detail="no route takes this study",
        inputs=[],
        analysed_at=AT,
    )


def test_failed_and_not_attempted_say_so_and_need_a_time_zone() -> None:
    assert (failed().outcome, skipped().outcome) == (Outcome.FAILED, Outcome.NOT_ATTEMPTED)
    with pytest.raises(ValueError, match="time zone"):
        unanswered(
            outcome=Outcome.NOT_ATTEMPTED,
            study_instance_uid="2.25.7",
            revision=1,
            route="none",
            reason=AbstentionReason.NO_ROUTE,
            detail="none",
            inputs=[],
            analysed_at=AT.replace(tzinfo=None),
        )
