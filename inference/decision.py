"""From scores to findings. The only place where a threshold meets a score; nothing else in the node compares the two."""

import math
from collections.abc import Sequence

from config.calibrations import Calibration, LabelCalibration
from config.catalogue import prompt_set_digest
from config.manifests import FaultLimitSection, GateSection
from config.prompt_sets import LabelSection, PromptSet
from inference.findings import PROMPT, Finding, FlagLevel, Presence, QualityGrade, QualityVerdict, Score

NOT_CALIBRATED = "not calibrated for this site: the score is no probability and nothing is decided from it"

_DECIMALS = 6  # thresholds may lie close to 1
_UNIT = "{score}"  # UCUM annotation: a number that ranks images and is no probability
_GRADES = {"limited": QualityGrade.LIMITED, "non-diagnostic": QualityGrade.NON_DIAGNOSTIC}
_FLAGS = {"none": FlagLevel.NONE, "urgent": FlagLevel.URGENT, "emergency": FlagLevel.EMERGENCY}


def decide(scores: Sequence[Score], prompt_set: PromptSet, calibration: Calibration | None) -> tuple[Finding, ...]:
    """Return one finding a score, in order.

    Without a calibration (of the site, or of the one label) a finding is UNDETERMINED, without threshold and flag:
    shadow. With it, `Finding.score` is the calibrated probability, and the flag is the label's if the finding is PRESENT.

    Raises:
        ValueError: a score's label is not in the prompt set or its value not in [0, 1], or the calibration is for other prompts.
    """
    if calibration is not None and calibration.prompt_set_digest != prompt_set_digest(prompt_set):
        raise ValueError(f"calibration {calibration.id} was made for other prompts than {prompt_set.name} version {prompt_set.version}")
    labels = {label.name: label for label in prompt_set.labels}
    return tuple(_decide(score, _label(labels, score), calibration) for score in scores)


def gate_agrees(expected_probability: float, gate: GateSection) -> bool:
    """True if the pixels show an expected kind with the probability that the model's manifest asks for."""
    return expected_probability >= gate.minimum_probability


def judge_fault(score: Score, label: LabelSection, limit: FaultLimitSection) -> QualityVerdict:
    """Return what the model says of one fault: there from the manifest's threshold on, else DIAGNOSTIC.

    Raises:
        ValueError: the score is of another label or not in [0, 1], or the label does not say what a report makes of it.
    """
    fault = _label({label.name: label}, score).fault
    if fault is None:
        raise ValueError(f"label {label.name!r} is no fault of image quality")
    seen = score.value >= limit.threshold
    return QualityVerdict(
        check=f"{PROMPT}{label.name}",
        image=score.image,
        measured=round(score.value, _DECIMALS),
        unit=_UNIT,
        threshold=limit.threshold,
        threshold_source=limit.threshold_source,
        grade=_GRADES[fault.grade] if seen else QualityGrade.DIAGNOSTIC,
        code=label.concept,
        sentence=fault.sentence if seen else f"The model does not see this fault: {label.name}.",
    )


def calibrated_probability(score: float, calibration: LabelCalibration) -> float:
    """Return 1 / (1 + exp(-(slope · logit(score) + intercept))) for a score in [0, 1].

    Source: Platt scaling (Platt 1999), here on the logit of the score. Scores of exactly 0 and 1 have the limits as probabilities.
    """
    if calibration.slope == 0:
        return _logistic(calibration.intercept)
    if score in {0.0, 1.0}:
        return 1.0 if (score == 1.0) == (calibration.slope > 0) else 0.0
    return _logistic(calibration.slope * math.log(score / (1 - score)) + calibration.intercept)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _label(labels: dict[str, LabelSection], score: Score) -> LabelSection:
    if score.label not in labels:
        raise ValueError(f"no label {score.label!r} in the prompt set")
    if not 0 <= score.value <= 1:
        raise ValueError(f"score {score.value} of {score.label} is not in [0, 1]")
    return labels[score.label]


def _decide(score: Score, label: LabelSection, calibration: Calibration | None) -> Finding:
    fitted = calibration.labels.get(label.name) if calibration is not None else None
    probability = score.value if fitted is None else calibrated_probability(score.value, fitted)
    presence = Presence.UNDETERMINED if fitted is None else _presence(probability, fitted)
    return Finding(
        label=label.name,
        concept=label.concept,
        site=label.site,
        presence=presence,
        score=probability,
        calibrated=fitted is not None,
        threshold=None if fitted is None else fitted.threshold,
        threshold_source=NOT_CALIBRATED if fitted is None else fitted.source,
        flag=_FLAGS[label.flag] if presence is Presence.PRESENT else FlagLevel.NONE,
        image=score.image,
        others=score.others,
        key_images=score.key_images,
    )


def _presence(probability: float, calibration: LabelCalibration) -> Presence:
    if probability >= calibration.threshold:
        return Presence.PRESENT
    return Presence.UNDETERMINED if probability >= calibration.undetermined_from else Presence.ABSENT
