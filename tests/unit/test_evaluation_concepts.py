"""The figures of a prompt set: who is counted, what is called right, and what the baseline and the sources say beside it."""

import numpy as np
import pytest

from config.manifests import QualitySection
from dicom_node.evaluation.concepts import Judged, judge
from dicom_node.evaluation.manifest import Truth
from dicom_node.evaluation.wording import against_baseline
from tests.labelled import prompt_set


def judged(recipe, labels, values, scores, *, pixels=None, patients=None, sources=None):
    count = len(values)
    return Judged(
        truth=Truth(
            prompt_set="set", labels=tuple(labels), exclusive=recipe == "multi-class-softmax", values=np.array(values, dtype=np.int8)
        ),
        rows=np.arange(count),
        scores=np.array(scores, dtype=np.float64),
        pixels=np.zeros((count, 1024), dtype=np.float32) if pixels is None else pixels,
        patients=tuple(patients or [("", f"line {row}") for row in range(count)]),
        sources=tuple(sources or ["here"] * count),
    ), prompt_set("set", recipe, *labels)


def result(recipe, *facts, quality=None, **more):
    found, prompts = judged(recipe, *facts, **more)
    return judge(found, prompts, quality, seed=0)


def one_hot(classes, labels=3):
    return np.where(np.arange(labels) == np.array(classes)[:, None], 1, 0)


CHOICE = "multi-class-softmax"
PAIR = "pair-softmax"


def test_the_confusion_matrix_counts_what_was_taken_for_what():
    truth, chosen = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 2]
    choice = result(CHOICE, "abc", one_hot(truth), one_hot(chosen) * 0.8 + 0.1).choice
    assert choice.confusion == ((2, 1, 0), (1, 1, 0), (0, 0, 1))
    assert choice.accuracy.value == pytest.approx(4 / 6)


def test_macro_accuracy_is_the_mean_recall_of_the_labels_with_enough_images():
    truth = [0] * 40 + [1] * 20 + [2] * 19
    chosen = [0] * 30 + [1] * 10 + [1] * 20 + [0] * 19
    choice = result(CHOICE, "abc", one_hot(truth), one_hot(chosen)).choice
    assert choice.counted == ("a", "b")
    assert choice.macro_accuracy.value == pytest.approx((0.75 + 1) / 2)
    assert choice.macro_accuracy.interval.low < 0.875 < choice.macro_accuracy.interval.high


def test_an_image_of_none_of_the_labels_counts_against_their_scores_and_not_in_the_accuracy():
    truth = np.vstack([one_hot([0, 0, 1, 1]), np.zeros((1, 3))])
    scores = np.vstack([one_hot([0, 0, 1, 1]) * 0.5, [[0.9, 0.05, 0.05]]])
    found = result(CHOICE, "abc", truth, scores)
    first, second = found.concepts
    assert (first.label, first.images, first.positives) == ("a", 5, 2)
    assert first.model_auroc.value == pytest.approx(2 / 3)
    assert second.model_auroc.value == 1
    assert (found.choice.accuracy.value, sum(map(sum, found.choice.confusion))) == (1, 4)


def test_presence_is_judged_over_the_images_of_which_it_is_known():
    values = [[1, -1], [1, 0], [0, 1], [0, -1]]
    scores = [[0.9, 0.1], [0.4, 0.2], [0.6, 0.3], [0.1, 0.9]]
    first, second = result(PAIR, ["blurred", "noisy"], values, scores).concepts
    assert (first.images, first.positives, first.model_auroc.value) == (4, 2, 0.75)
    assert first.model_accuracy.value == 0.5
    assert (second.images, second.positives, second.model_auroc.value) == (2, 1, 1)


def test_balanced_accuracy_does_not_reward_always_saying_no():
    values = [[1]] * 10 + [[0]] * 90
    (concept,) = result(PAIR, ["blurred"], values, [[0.4]] * 100).concepts
    assert concept.model_accuracy.value == 0.5


def test_the_thresholds_of_the_manifest_are_judged_too():
    limit = {"threshold": 0.8, "threshold_source": "test"}
    quality = QualitySection.model_validate({"prompt_set": "set", "labels": {"blurred": limit}})
    values, scores = [[1], [1], [0], [0], [0], [0]], [[0.9], [0.7], [0.85], [0.6], [0.1], [0.1]]
    (concept,) = result(PAIR, ["blurred"], values, scores, quality=quality).concepts
    assert (concept.at_threshold.threshold, concept.at_threshold.detected.value, concept.at_threshold.false_alarms.value) == (
        0.8,
        0.5,
        0.25,
    )
    (other,) = result(PAIR, ["blurred"], values, scores, quality=quality.model_copy(update={"prompt_set": "another"})).concepts
    assert other.at_threshold is None


def test_a_model_that_sees_what_pixels_do_not_give_away_is_better_than_the_baseline():
    rng = np.random.default_rng(0)
    truth = np.arange(120) % 2
    (concept,) = result(
        PAIR, ["blurred"], truth[:, None], 0.3 + 0.4 * truth[:, None] + rng.normal(scale=0.1, size=(120, 1)), pixels=noise(rng, 120)
    ).concepts
    assert concept.model_auroc.value > 0.95
    assert concept.baseline_auroc.value < 0.75
    assert concept.difference.interval.low > 0
    assert against_baseline(concept) == "better"


def test_a_model_that_says_no_more_than_the_brightness_is_no_better_than_the_baseline():
    rng = np.random.default_rng(1)
    truth = np.arange(120) % 2
    pixels = noise(rng, 120) + truth[:, None].astype(np.float32)
    scores = pixels.mean(axis=1)[:, None]
    (concept,) = result(PAIR, ["blurred"], truth[:, None], scores, pixels=pixels).concepts
    assert concept.baseline_auroc.value == pytest.approx(1, abs=0.01)
    assert against_baseline(concept) == "no better"


def test_with_too_few_patients_there_is_no_baseline_but_a_reason():
    values, scores = [[1]] * 40 + [[0]] * 40, [[0.9]] * 40 + [[0.1]] * 40
    patients = [("here", f"p{row % 4}") for row in range(40)] + [("here", f"q{row}") for row in range(40)]
    (concept,) = result(PAIR, ["blurred"], values, scores, patients=patients).concepts
    assert concept.baseline_auroc.value is None
    assert concept.baseline_auroc.note == "too few patients to cross-validate (each side needs 5)"
    assert concept.patients == 44
    assert against_baseline(concept) == ""


def test_each_source_has_figures_of_its_own():
    values, scores = [[1], [0], [1], [0]], [[0.9], [0.1], [0.1], [0.9]]
    found = result(PAIR, ["blurred"], values, scores, sources=["north", "north", "south", "south"])
    assert [(row.source, row.images, row.model_auroc.value) for row in found.sources] == [("north", 2, 1), ("south", 2, 0)]


def test_a_source_of_one_kind_alone_has_a_recall_and_says_why_it_has_no_auroc():
    found = result(CHOICE, "ab", one_hot([0, 0, 1], 2), one_hot([0, 1, 1], 2), sources=["north", "north", "south"])
    north, south = found.sources
    assert (north.source, north.label, north.model_accuracy.value, north.model_auroc.note) == ("north", "a", 0.5, "no negative images")
    assert (south.source, south.label, south.model_accuracy.value, south.model_accuracy.interval) == ("south", "b", 1, None)


def noise(rng, images):
    return rng.random((images, 1024), dtype=np.float32)
