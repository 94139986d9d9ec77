"""Thresholds meet scores here: what a site's calibration makes of a score, and what happens without one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import Code
from config.calibrations import Calibration, LabelCalibration
from config.catalogue import prompt_set_digest
from config.manifests import FaultLimitSection, GateSection
from config.prompt_sets import LabelSection, PromptSet
from inference.decision import calibrated_probability, decide, gate_agrees, judge_fault
from inference.findings import FlagLevel, ImageRef, Presence, QualityGrade, Score

IMAGE = ImageRef(sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1", sop_instance_uid="2.25.1")


def prompts(version: int = 1) -> PromptSet:
    def label(name: str, flag: str) -> LabelSection:
        concept = Code(value=name, scheme="99TEST", meaning=name)
        return LabelSection.model_validate({"name": name, "concept": concept, "positive": ["a"], "negative": ["b"], "flag": flag})

    labels = (label("pneumothorax", "emergency"), label("effusion", "urgent"), label("nodule", "none"))
    return PromptSet(name="chest", version=version, recipe="pair-softmax", temperature="model", labels=labels)


def calibration(**labels: LabelCalibration) -> Calibration:
    return Calibration(
        id="site-1",
        site="our-site",
        model="tiny",
        model_digest="0" * 64,
        prompt_set="chest",
        prompt_set_digest=prompt_set_digest(prompts()),
        labels=labels,
    )


PLAIN = LabelCalibration(slope=1, intercept=0, threshold=0.8, undetermined_from=0.4, source="100 studies")


def scored(label: str, value: float) -> Score:
    return Score(label=label, value=value, image=IMAGE)


@given(st.floats(0, 1))
def test_without_calibration_nothing_is_decided_and_nothing_flagged(value: float) -> None:
    (finding,) = decide([scored("pneumothorax", value)], prompts(), None)
    assert (finding.presence, finding.flag, finding.threshold, finding.calibrated) == (Presence.UNDETERMINED, FlagLevel.NONE, None, False)
    assert finding.score == value
    assert "not calibrated" in finding.threshold_source


@pytest.mark.parametrize(
    ("value", "presence", "flag"),
    [
        (0.9, Presence.PRESENT, FlagLevel.EMERGENCY),
        (0.8, Presence.PRESENT, FlagLevel.EMERGENCY),
        (0.79, Presence.UNDETERMINED, FlagLevel.NONE),
        (0.4, Presence.UNDETERMINED, FlagLevel.NONE),
        (0.39, Presence.ABSENT, FlagLevel.NONE),
        (0.0, Presence.ABSENT, FlagLevel.NONE),
        (1.0, Presence.PRESENT, FlagLevel.EMERGENCY),
    ],
)
def test_a_calibrated_pneumothorax_is_present_from_the_threshold_on(value: float, presence: Presence, flag: FlagLevel) -> None:
    (finding,) = decide([scored("pneumothorax", value)], prompts(), calibration(pneumothorax=PLAIN))
    assert (finding.presence, finding.flag) == (presence, flag)
    assert (finding.calibrated, finding.threshold, finding.threshold_source) == (True, 0.8, "100 studies")


def test_a_label_that_the_calibration_does_not_know_stays_in_shadow() -> None:
    known, unknown = decide([scored("pneumothorax", 0.99), scored("effusion", 0.99)], prompts(), calibration(pneumothorax=PLAIN))
    assert known.flag is FlagLevel.EMERGENCY
    assert (unknown.presence, unknown.flag, unknown.calibrated) == (Presence.UNDETERMINED, FlagLevel.NONE, False)


def test_a_finding_without_a_flag_level_raises_no_study() -> None:
    (finding,) = decide([scored("nodule", 1.0)], prompts(), calibration(nodule=PLAIN))
    assert (finding.presence, finding.flag) == (Presence.PRESENT, FlagLevel.NONE)


def test_a_calibration_for_other_words_is_refused() -> None:
    with pytest.raises(ValueError, match="other prompts"):
        decide([scored("nodule", 0.5)], prompts(version=2), calibration(nodule=PLAIN))


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan])
def test_a_score_outside_its_range_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not in"):
        decide([scored("nodule", value)], prompts(), None)
    with pytest.raises(ValueError, match="no label"):
        decide([scored("fracture", 0.5)], prompts(), None)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 20), st.floats(-20, 20))
def test_a_higher_score_never_means_a_lower_probability(low: float, high: float, slope: float, intercept: float) -> None:
    fitted = PLAIN.model_copy(update={"slope": slope, "intercept": intercept})
    low, high = sorted((low, high))
    assert 0 <= calibrated_probability(low, fitted) <= calibrated_probability(high, fitted) <= 1


def test_platt_scaling_at_a_worked_point_and_at_the_ends() -> None:
    fitted = PLAIN.model_copy(update={"slope": 2, "intercept": -1})
    assert calibrated_probability(0.75, fitted) == pytest.approx(1 / (1 + math.exp(1 - 2 * math.log(3))))
    assert [calibrated_probability(end, fitted) for end in (0.0, 1.0)] == [0.0, 1.0]
    assert [calibrated_probability(end, PLAIN.model_copy(update={"slope": -1})) for end in (0.0, 1.0)] == [1.0, 0.0]
    assert calibrated_probability(0.0, PLAIN.model_copy(update={"slope": 0})) == 0.5


def test_the_gate_agrees_from_its_minimum_on() -> None:
    gate = GateSection(prompt_set="kinds", minimum_probability=0.5, threshold_source="test")
    assert [gate_agrees(value, gate) for value in (0.49, 0.5, 0.9)] == [False, True, True]


def blurred() -> LabelSection:
    concept = Code(value="111210", scheme="DCM", meaning="Motion blur")
    fault = {"grade": "limited", "sentence": "The image looks blurred."}
    return LabelSection.model_validate({"name": "blurred", "concept": concept, "positive": ["a"], "negative": ["b"], "fault": fault})


@pytest.mark.parametrize(("value", "grade"), [(0.699, QualityGrade.DIAGNOSTIC), (0.7, QualityGrade.LIMITED), (1.0, QualityGrade.LIMITED)])
def test_a_fault_is_seen_from_the_threshold_of_the_manifest_on(value: float, grade: QualityGrade) -> None:
    limit = FaultLimitSection(threshold=0.7, threshold_source="1 % of 900 clean images")
    verdict = judge_fault(scored("blurred", value), blurred(), limit)
    assert (verdict.grade, verdict.measured, verdict.by_model) == (grade, value, True)
    assert (verdict.check, verdict.code.value, verdict.image) == ("prompt:blurred", "111210", IMAGE)
    assert (verdict.threshold, verdict.threshold_source) == (0.7, "1 % of 900 clean images")


def test_a_fault_is_judged_by_its_own_score_only() -> None:
    limit = FaultLimitSection(threshold=0.7, threshold_source="test")
    with pytest.raises(ValueError, match="no label"):
        judge_fault(scored("noisy", 0.9), blurred(), limit)
    with pytest.raises(ValueError, match="not in"):
        judge_fault(scored("blurred", math.nan), blurred(), limit)
    with pytest.raises(ValueError, match="no fault"):
        judge_fault(scored("nodule", 0.9), prompts().labels[2], limit)
