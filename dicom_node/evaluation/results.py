"""What an evaluation found: figures with their intervals and counts. Plain values, as they stand in `evaluation.json`."""

from dataclasses import dataclass

from dicom_node.evaluation.answers import LeftOut
from dicom_node.evaluation.metrics import Estimate

Curve = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AtThreshold:
    """What the model's manifest makes of a score: the share of images reported, where the label is true and where it is not."""

    threshold: float
    detected: Estimate
    false_alarms: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptResult:
    """One label: how well its score ranks images, and how often the answer is right.

    `images`: those of which it is known; `positives`: of those, where it is true; `patients`: groups that were resampled together.
    Accuracy is the recall in a multi-class set, and in a pair-softmax set the balanced accuracy at a score of 0.5. `difference`: AUROC of
    the model minus that of the baseline, of the same resamples. `at_threshold`: where the manifest has one. Curves are corners of
    (1 - specificity, sensitivity).
    """

    label: str
    images: int
    positives: int
    patients: int
    model_auroc: Estimate
    baseline_auroc: Estimate
    difference: Estimate
    model_accuracy: Estimate
    baseline_accuracy: Estimate
    at_threshold: AtThreshold | None
    model_roc: Curve
    baseline_roc: Curve


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceResult:
    """One label within one source. Accuracy as in `ConceptResult`."""

    source: str
    label: str
    images: int
    positives: int
    model_auroc: Estimate
    baseline_auroc: Estimate
    model_accuracy: Estimate
    baseline_accuracy: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How often a multi-class set chose the right label. `confusion[true][chosen]` counts images, in the order of the labels.

    The macro accuracy is the mean recall of the labels with at least `fewest_images` images (`counted`).
    """

    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    accuracy: Estimate
    macro_accuracy: Estimate
    baseline_macro_accuracy: Estimate
    fewest_images: int
    counted: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSetResult:
    """All labels of one prompt set. `digest` is SHA-256; `choice` only for a multi-class set."""

    prompt_set: str
    version: int
    digest: str
    recipe: str
    images: int
    patients: int
    concepts: tuple[ConceptResult, ...]
    sources: tuple[SourceResult, ...]
    choice: Choice | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StrengthResult:
    """Images degraded with one strength: their scores, and how well those tell them from the same images undegraded (strength 0)."""

    strength: float
    mean_score: float
    lower_quartile: float
    upper_quartile: float
    auroc: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DegradationResult:
    """One kind of degradation: does its score rise with the strength, and does its threshold find it without false alarms?

    `images`: clean ones on which it can be decided, which were degraded; `asked`: clean ones that the node would ask about it, of which
    `false_alarms` is a share.
    `medium`: AUROC at medium strength (of a kind without strengths: at all). `rank_of_means`: Spearman's correlation of the mean score with
    the strength, `rank_of_images` of every single score; None for a kind without strengths. `threshold_source` tells where the threshold
    comes from.
    """

    kind: str
    images: int
    asked: int
    strengths: tuple[StrengthResult, ...]
    medium: Estimate
    rank_of_means: float | None
    rank_of_images: float | None
    threshold: float
    threshold_source: str
    detected: Estimate
    false_alarms: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationResult:
    """Rotated against upright images of one kind: the highest score of any rotation."""

    image_kind: str
    images: int
    auroc: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class DegradationStudy:
    """Clean images degraded on purpose. `any_false_alarm`: share of clean images of which any fault that is asked was reported."""

    prompt_set: str
    images: int
    kinds: tuple[DegradationResult, ...]
    rotated: tuple[RotationResult, ...]
    any_false_alarm: Estimate
    not_studied: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Everything that was measured, and on what. `made_at` is ISO 8601, digests are SHA-256; `rows` are all that the table has."""

    model: str
    model_version: str
    weights_digest: str
    intended_use: str
    data: str
    data_digest: str
    label_rules: str
    label_rules_digest: str
    split: str
    rows: int
    images: int
    patients: int
    made_at: str
    seed: int
    node_version: str
    prompt_sets: tuple[PromptSetResult, ...]
    degradation: DegradationStudy | None
    left_out: tuple[LeftOut, ...]
