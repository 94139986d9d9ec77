"""The figures of an evaluation, against values worked out by hand and against what must hold for any data."""

import numpy as np
import pytest

from dicom_node.evaluation.metrics import (
    Bootstrap,
    auroc,
    discrimination,
    group_codes,
    limits,
    mean_of_known,
    roc_curve,
    spearman,
    weighted_auroc,
    weighted_recalls,
)

NO, YES = False, True


def scores(*values):
    return np.array(values, dtype=np.float64)


def flags(*values):
    return np.array(values, dtype=np.bool_)


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    # Positives 0.9 and 0.4 against negatives 0.5 and 0.1: three of four pairs are right.
    assert auroc(scores(0.9, 0.5, 0.4, 0.1), flags(YES, NO, YES, NO)) == 0.75


def test_auroc_counts_ties_half():
    assert auroc(scores(0.5, 0.5), flags(YES, NO)) == 0.5
    assert auroc(scores(0.5, 0.5, 0.9, 0.5), flags(YES, NO, YES, NO)) == 0.75


def test_auroc_is_one_for_perfect_scores_nought_for_inverted_ones_and_a_half_for_constant_ones():
    positive = flags(YES, YES, NO, NO, NO)
    ranked = scores(5, 4, 3, 2, 1)
    assert (auroc(ranked, positive), auroc(-ranked, positive), auroc(scores(1, 1, 1, 1, 1), positive)) == (1, 0, 0.5)


def test_auroc_of_one_class_alone_is_not_a_number():
    assert np.isnan(auroc(scores(1, 2), flags(YES, YES)))
    assert np.isnan(auroc(scores(), flags()))


def test_auroc_does_not_change_with_the_scale_of_the_scores():
    rng = np.random.default_rng(1)
    values, positive = rng.normal(size=50), rng.random(50) < 0.3
    assert auroc(values, positive) == auroc(np.exp(values), positive)


def test_a_weight_counts_an_image_as_often_as_it_says():
    values, positive = scores(0.9, 0.5, 0.4, 0.1), flags(YES, NO, YES, NO)
    times = np.array([[2, 0, 1, 3], [1, 1, 1, 1]])
    repeated = np.repeat(np.arange(4), times[0])
    assert weighted_auroc(values, positive, times.astype(float)).tolist() == [auroc(values[repeated], positive[repeated]), 0.75]


def test_the_roc_curve_goes_up_for_positives_and_right_for_negatives():
    assert roc_curve(scores(0.9, 0.5, 0.4, 0.1), flags(YES, NO, YES, NO)) == ((0, 0), (0, 0.5), (0.5, 0.5), (0.5, 1), (1, 1))


def test_the_roc_curve_goes_slanting_over_ties_and_is_not_drawn_for_one_class():
    assert roc_curve(scores(0.5, 0.5), flags(YES, NO)) == ((0, 0), (1, 1))
    assert roc_curve(scores(0.5, 0.4), flags(YES, YES)) == ()


def test_the_roc_curve_of_many_images_stays_small_and_keeps_its_ends():
    rng = np.random.default_rng(2)
    curve = roc_curve(rng.random(5000), rng.random(5000) < 0.5)
    assert len(curve) <= 200
    assert (curve[0], curve[-1]) == ((0, 0), (1, 1))


def test_recall_is_the_share_of_each_class_that_is_right():
    truth, correct = np.array([0, 0, 0, 1, 2, -1]), flags(YES, YES, NO, NO, YES, NO)
    found = weighted_recalls(correct, truth, 4, np.ones((1, 6)))
    assert found[0, :3].tolist() == pytest.approx([2 / 3, 0, 1])
    assert np.isnan(found[0, 3])
    assert mean_of_known(found)[0] == pytest.approx((2 / 3 + 0 + 1) / 3)


def test_spearman_of_ranks_by_hand():
    # Ranks 1 2 3 4 5 against 2 1 4 3 5: 1 - 6 * 4 / (5 * 24) = 0.8.
    assert spearman(scores(1, 2, 3, 4, 5), scores(20, 10, 40, 30, 500)) == pytest.approx(0.8)


def test_spearman_gives_ties_their_mean_rank():
    # Ranks 1.5 1.5 3 against 1 2 3.
    assert spearman(scores(1, 1, 7), scores(1, 2, 3)) == pytest.approx(np.sqrt(3) / 2)
    assert np.isnan(spearman(scores(1, 1, 1), scores(1, 2, 3)))


def test_spearman_is_one_for_any_rising_curve_and_minus_one_for_any_falling_one():
    rising = scores(1, 2, 4, 8, 16)
    assert spearman(np.log(rising), rising**3) == pytest.approx(1)
    assert spearman(rising, -rising) == pytest.approx(-1)


def test_patients_are_drawn_whole():
    groups = group_codes(["a", "a", "b", "c", "c", "c"])
    weights = Bootstrap(groups=groups, seed=0).distribution(lambda weights: weights)
    assert weights.shape == (1000, 6)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(6), abs=0.1)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    rng = np.random.default_rng(3)
    values, positive, groups = rng.random(60), rng.random(60) < 0.5, np.arange(60)
    first, second, other = (discrimination(values, positive, groups, seed=seed) for seed in (1, 1, 2))
    assert first == second
    assert first.interval != other.interval


def test_an_interval_holds_the_value_and_shrinks_with_more_patients():
    rng = np.random.default_rng(4)

    def width(patients):
        positive = np.arange(patients) % 2 == 0
        found = discrimination(rng.normal(size=patients) + positive, positive, np.arange(patients), seed=0)
        assert found.interval.low < found.value < found.interval.high
        return found.interval.high - found.interval.low

    assert width(1000) < width(50) / 2


def test_many_images_of_one_patient_are_no_more_sure_than_one():
    rng = np.random.default_rng(5)
    positive = np.arange(40) % 2 == 0
    values = rng.normal(size=40) + positive
    single = discrimination(values, positive, np.arange(40), seed=0)
    copied = discrimination(np.repeat(values, 10), np.repeat(positive, 10), np.repeat(np.arange(40), 10), seed=0)
    assert copied == single


def test_without_one_class_there_is_no_figure_and_of_a_single_patient_no_interval():
    none = discrimination(scores(1, 2), flags(NO, NO), np.arange(2), seed=0)
    assert (none.value, none.note) == (None, "no positive images")
    alone = discrimination(scores(3, 4, 1, 2), flags(YES, YES, NO, NO), np.array([0, 0, 1, 2]), seed=0)
    assert (alone.value, alone.interval) == (1, None)
    assert "single patient" in alone.note


def test_resamples_without_a_figure_are_passed_over_unless_they_are_most():
    assert limits(np.array([0.5] * 9 + [np.nan])).low == 0.5
    assert limits(np.array([0.5] + [np.nan] * 9)) is None
