"""From scores and truth to the figures of one prompt set, with the shortcut baseline beside them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.catalogue import prompt_set_digest
from config.manifests import FaultLimitSection, QualitySection
from config.prompt_sets import PromptSet
from dicom_node.evaluation.baseline import FOLDS, fold_of_each, out_of_fold_scores
from dicom_node.evaluation.manifest import TRUE, UNKNOWN, Truth
from dicom_node.evaluation.metrics import (
    OPERATING_POINT,
    Bootstrap,
    Codes,
    Estimate,
    Flags,
    Floats,
    auroc,
    discrimination,
    enough_groups,
    group_codes,
    limits,
    mean_of_known,
    roc_curve,
    weighted_auroc,
    weighted_recalls,
)
from dicom_node.evaluation.results import AtThreshold, Choice, ConceptResult, PromptSetResult, SourceResult

FEWEST_IMAGES = 20  # of a class that counts in the macro accuracy
NO_SOURCE = "(not stated)"
_TOO_FEW = f"too few patients to cross-validate (each side needs {FOLDS})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The images of which the truth of one prompt set is known: scores `(n, labels)`, pixels `(n, 1024)`, patient and source of each.

    `rows`: their places among all that were shown to the model.
    """

    truth: Truth
    rows: Codes
    scores: Floats
    pixels: NDArray[np.float32]
    patients: tuple[tuple[str, str], ...]
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One label and the images of which it is known. `baseline` is None where it cannot be cross-validated. `chosen`: the answer is yes."""

    label: str
    scores: Floats
    baseline: Floats | None
    positive: Flags
    chosen: Flags
    baseline_chosen: Flags
    groups: Codes
    sources: NDArray[np.str_]
    exclusive: bool

    def of(self, rows: Flags) -> "_Case":
        return _Case(
            label=self.label,
            scores=self.scores[rows],
            baseline=None if self.baseline is None else self.baseline[rows],
            positive=self.positive[rows],
            chosen=self.chosen[rows],
            baseline_chosen=self.baseline_chosen[rows],
            groups=group_codes(self.groups[rows].tolist()),
            sources=self.sources[rows],
            exclusive=self.exclusive,
        )


def judge(judged: Judged, prompt_set: PromptSet, quality: QualitySection | None, *, seed: int) -> PromptSetResult:
    """Return the figures of one prompt set. `quality` has the thresholds of the model's manifest. The same seed gives the same folds and
    resamples.
    """
    limits = quality.labels if quality is not None and quality.prompt_set == prompt_set.name else {}
    cases = _choices(judged, seed) if judged.truth.exclusive else tuple(_presences(judged, seed))
    return PromptSetResult(
        prompt_set=prompt_set.name,
        version=prompt_set.version,
        digest=prompt_set_digest(prompt_set),
        recipe=prompt_set.recipe,
        images=len(judged.scores),
        patients=len(set(judged.patients)),
        concepts=tuple(_concept(case, limits.get(case.label), seed) for case in cases),
        sources=tuple(_by_source(cases, seed)),
        choice=_choice(judged, cases, seed) if judged.truth.exclusive else None,
    )


def _choices(judged: Judged, seed: int) -> tuple[_Case, ...]:
    """Of a multi-class set: each label against all others, over all images; labels that no image has are left out."""
    groups = group_codes(judged.patients)
    positive = judged.truth.values == TRUE
    baseline = _cross_validated(judged.pixels, positive, groups, seed)
    chosen = judged.scores.argmax(axis=1)
    guessed = np.where(np.isnan(baseline), -np.inf, baseline).argmax(axis=1)
    return tuple(
        _Case(
            label=label,
            scores=judged.scores[:, column],
            baseline=None if np.isnan(baseline[:, column]).any() else baseline[:, column],
            positive=positive[:, column],
            chosen=chosen == column,
            baseline_chosen=guessed == column,
            groups=groups,
            sources=np.array(judged.sources),
            exclusive=True,
        )
        for column, label in enumerate(judged.truth.labels)
        if positive[:, column].any()
    )


def _presences(judged: Judged, seed: int) -> Iterator[_Case]:
    """Of a pair-softmax set: each label that is known of any image, over those images."""
    for column, label in enumerate(judged.truth.labels):
        rows = judged.truth.values[:, column] != UNKNOWN
        if not rows.any():
            continue
        groups = group_codes([group for group, here in zip(judged.patients, rows, strict=True) if here])
        positive = judged.truth.values[rows, column] == TRUE
        baseline = _cross_validated(judged.pixels[rows], positive[:, None], groups, seed)[:, 0]
        scores = judged.scores[rows, column]
        yield _Case(
            label=label,
            scores=scores,
            baseline=None if np.isnan(baseline).any() else baseline,
            positive=positive,
            chosen=scores >= OPERATING_POINT,
            baseline_chosen=baseline >= OPERATING_POINT,
            groups=groups,
            sources=np.array(judged.sources)[rows],
            exclusive=False,
        )


def _cross_validated(pixels: NDArray[np.float32], positive: Flags, groups: Codes, seed: int) -> Floats:
    """The baseline's scores `(n, labels)`; NaN in the columns of labels with too few patients."""
    scores = np.full(positive.shape, np.nan)
    possible = np.array([enough_groups(column, groups, FOLDS) for column in positive.T], dtype=np.bool_)
    if possible.any():
        one_class = np.where(positive.any(axis=1), positive.argmax(axis=1), positive.shape[1]).astype(np.intp)
        scores[:, possible] = out_of_fold_scores(pixels, positive[:, possible], fold_of_each(groups, one_class, seed=seed))
    return scores


def _concept(case: _Case, limit: FaultLimitSection | None, seed: int) -> ConceptResult:
    model, baseline, difference = _compared(case, seed)
    return ConceptResult(
        label=case.label,
        images=len(case.scores),
        positives=int(case.positive.sum()),
        patients=int(case.groups.max(initial=-1)) + 1,
        model_auroc=model,
        baseline_auroc=baseline,
        difference=difference,
        model_accuracy=_accuracy(case, case.chosen, seed),
        baseline_accuracy=Estimate(value=None, note=_TOO_FEW) if case.baseline is None else _accuracy(case, case.baseline_chosen, seed),
        at_threshold=None if limit is None else _at_threshold(case, limit.threshold, seed),
        model_roc=roc_curve(case.scores, case.positive),
        baseline_roc=() if case.baseline is None else roc_curve(case.baseline, case.positive),
    )


def _compared(case: _Case, seed: int) -> tuple[Estimate, Estimate, Estimate]:
    """AUROC of the model, of the baseline, and the difference, of the same resamples."""
    model = discrimination(case.scores, case.positive, case.groups, seed=seed)
    if case.baseline is None:
        absent = Estimate(value=None, note=_TOO_FEW)
        return model, absent, absent
    scores, guesses = case.scores, case.baseline
    resampled = Bootstrap(groups=case.groups, seed=seed).distribution(
        lambda weights: np.stack([weighted_auroc(one, case.positive, weights) for one in (scores, guesses)], axis=1)
    )
    own, other = auroc(scores, case.positive), auroc(guesses, case.positive)
    difference = Estimate(value=own - other, interval=limits(resampled[:, 0] - resampled[:, 1]))
    return model, Estimate(value=other, interval=limits(resampled[:, 1])), difference


def _at_threshold(case: _Case, threshold: float, seed: int) -> AtThreshold:
    reported, truth = case.scores >= threshold, case.positive.astype(np.intp)
    ones = np.ones((1, len(truth)))

    def share(column: int) -> Estimate:
        def figure(weights: Floats) -> Floats:
            return weighted_recalls(reported, truth, 2, weights)[:, column]

        value = float(figure(ones)[0])
        if np.isnan(value):
            return Estimate(value=None, note="no images")
        return Estimate(value=value, interval=Bootstrap(groups=case.groups, seed=seed).interval(figure))

    return AtThreshold(threshold=threshold, detected=share(1), false_alarms=share(0))


def _accuracy(case: _Case, chosen: Flags, seed: int) -> Estimate:
    """Recall in a multi-class set, else balanced accuracy."""
    correct, truth = chosen == case.positive, case.positive.astype(np.intp)

    def figure(weights: Floats) -> Floats:
        missed_and_found = weighted_recalls(correct, truth, 2, weights)
        return missed_and_found[:, 1] if case.exclusive else missed_and_found.mean(axis=1)

    value = float(figure(np.ones((1, len(truth))))[0])
    if np.isnan(value):
        return Estimate(value=None, note="no positive images" if not case.positive.any() else "no negative images")
    sure = _several(case.groups[case.positive]) and (case.exclusive or _several(case.groups[~case.positive]))
    return Estimate(value=value, interval=Bootstrap(groups=case.groups, seed=seed).interval(figure) if sure else None)


def _several(groups: Codes) -> bool:
    """True if there is more than one patient: one alone, drawn again and again, has no spread."""
    return len(np.unique(groups)) > 1


def _by_source(cases: tuple[_Case, ...], seed: int) -> Iterator[SourceResult]:
    """Each source that has positive images of a label; of a label whose presence is asked, also those that have negative ones only."""
    for source in sorted({str(source) for case in cases for source in case.sources}):
        for case in cases:
            here = case.of(case.sources == source)
            if not (here.positive.any() if here.exclusive else len(here.positive)):
                continue
            absent = Estimate(value=None, note=_TOO_FEW)
            yield SourceResult(
                source=source or NO_SOURCE,
                label=here.label,
                images=len(here.positive),
                positives=int(here.positive.sum()),
                model_auroc=discrimination(here.scores, here.positive, here.groups, seed=seed),
                baseline_auroc=absent if here.baseline is None else discrimination(here.baseline, here.positive, here.groups, seed=seed),
                model_accuracy=_accuracy(here, here.chosen, seed),
                baseline_accuracy=absent if here.baseline is None else _accuracy(here, here.baseline_chosen, seed),
            )


def _choice(judged: Judged, cases: tuple[_Case, ...], seed: int) -> Choice:
    """The confusion matrix and the macro accuracy, over the images that show one of the labels."""
    positive = judged.truth.values == TRUE
    shown = positive.any(axis=1)
    truth, chosen = positive[shown].argmax(axis=1), judged.scores[shown].argmax(axis=1)
    labels = judged.truth.labels
    confusion = np.zeros((len(labels), len(labels)), dtype=np.intp)
    np.add.at(confusion, (truth, chosen), 1)
    counted = tuple(label for label, images in zip(labels, confusion.sum(axis=1), strict=True) if images >= FEWEST_IMAGES)
    groups = group_codes([group for group, here in zip(judged.patients, shown, strict=True) if here])
    known = {case.label: case for case in cases}
    guessed = np.zeros(int(shown.sum()), dtype=np.bool_)
    for case in known.values():
        guessed |= (case.baseline_chosen & case.positive)[shown]
    without = [label for label in counted if known[label].baseline is None]
    return Choice(
        labels=labels,
        confusion=tuple(tuple(map(int, row)) for row in confusion),
        accuracy=_macro(truth == chosen, np.zeros(len(truth), dtype=np.intp), (0,), groups, seed),
        macro_accuracy=_macro(truth == chosen, truth, [labels.index(label) for label in counted], groups, seed),
        baseline_macro_accuracy=Estimate(value=None, note=f"{_TOO_FEW} ({', '.join(without)})")
        if without
        else _macro(guessed, truth, [labels.index(label) for label in counted], groups, seed),
        fewest_images=FEWEST_IMAGES,
        counted=counted,
    )


def _macro(correct: Flags, truth: Codes, counted: tuple[int, ...] | list[int], groups: Codes, seed: int) -> Estimate:
    if not counted or not len(truth):
        return Estimate(value=None, note=f"no class has {FEWEST_IMAGES} images")
    classes = int(truth.max()) + 1

    def figure(weights: Floats) -> Floats:
        return mean_of_known(weighted_recalls(correct, truth, classes, weights)[:, list(counted)])

    return Estimate(value=float(figure(np.ones((1, len(truth))))[0]), interval=Bootstrap(groups=groups, seed=seed).interval(figure))
