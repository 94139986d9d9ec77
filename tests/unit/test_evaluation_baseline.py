"""The shortcut baseline: it finds what pixels give away, and it is never shown the patient it is asked about."""

import numpy as np
import pytest

from dicom_node.evaluation.baseline import FOLDS, fold_of_each, grey_pixels, out_of_fold_scores, ridge
from dicom_node.evaluation.metrics import auroc
from inference.findings import ImageRef
from inference.frames import Frame


def frame(pixels):
    return Frame(
        pixels=np.asarray(pixels, dtype=np.float32),
        values=None,
        spacing_mm=None,
        ref=ImageRef(sop_class_uid="", sop_instance_uid=""),
        modality="",
        photometric_interpretation="",
        steps=(),
    )


def test_pixels_are_averaged_to_32_by_32():
    large = np.kron(np.arange(1024).reshape(32, 32) / 1023, np.ones((4, 6)))
    assert grey_pixels(frame(large)) == pytest.approx(np.arange(1024) / 1023, abs=1e-6)


def test_colour_counts_by_its_brightness():
    green = np.zeros((64, 48, 3))
    green[..., 1] = 1
    assert grey_pixels(frame(green)) == pytest.approx(np.full(1024, 0.587), abs=1e-6)


@pytest.mark.parametrize("rows", [40, 400], ids=["fewer images than pixels", "more images than pixels"])
def test_ridge_recovers_a_linear_rule(rows):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(rows, 100)) * (rng.random(100) < 0.2)
    rule = np.zeros((100, 2))
    rule[:, 0] = rng.normal(size=100)
    rule[:, 1] = -3 * rule[:, 0]
    targets = features @ rule + 7
    coefficients, centre = ridge(features, targets)
    fitted = (features - centre) @ coefficients + targets.mean(axis=0)
    assert fitted == pytest.approx(targets, abs=0.01)


def test_ridge_with_the_chosen_penalty_is_the_textbook_solution():
    rng = np.random.default_rng(1)
    features, targets = rng.normal(size=(60, 8)), rng.normal(size=(60, 1))
    coefficients, centre = ridge(features, targets)
    centred, aims = features - centre, targets - targets.mean(axis=0)
    penalties = np.logspace(-4, 2, 13) * (np.linalg.svd(centred, compute_uv=False) ** 2).mean()
    solutions = [np.linalg.solve(centred.T @ centred + penalty * np.eye(8), centred.T @ aims) for penalty in penalties]
    assert min(np.abs(coefficients - solution).max() for solution in solutions) < 1e-9


def test_ridge_of_identical_images_says_nothing():
    coefficients, _ = ridge(np.ones((5, 4)), np.arange(5.0).reshape(5, 1))
    assert not coefficients.any()


def test_no_fold_splits_a_patient_and_every_fold_sees_every_class():
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(60), rng.integers(1, 6, 60))
    of_group = rng.integers(0, 3, 60)
    truth = of_group[groups]
    fold = fold_of_each(groups, truth, seed=5)
    assert all(len(np.unique(fold[groups == group])) == 1 for group in range(60))
    assert all(len(np.unique(fold[truth == label])) == FOLDS for label in range(3))
    assert (fold == fold_of_each(groups, truth, seed=5)).all()
    assert (fold != fold_of_each(groups, truth, seed=6)).any()


def test_a_brighter_half_is_found():
    rng = np.random.default_rng(3)
    positive = (np.arange(80) % 2 == 0)[:, None]
    pixels = rng.random((80, 1024), dtype=np.float32)
    pixels[positive[:, 0], :512] += 0.5
    scores = out_of_fold_scores(pixels, positive, fold_of_each(np.arange(80), positive[:, 0].astype(int), seed=0))
    assert auroc(scores[:, 0], positive[:, 0]) > 0.99
    assert ((scores >= 0.5) == positive).mean() > 0.95


def test_what_only_the_patient_gives_away_is_not_found():
    """Every patient has a pattern of its own and labels at random; a baseline that had seen the patient would be right."""
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(40), 3)
    pixels = rng.random((40, 1024), dtype=np.float32)[groups] + rng.normal(scale=0.01, size=(120, 1024)).astype(np.float32)
    positive = (rng.random((40, 30)) < 0.5)[groups]

    def found(fold):
        scores = out_of_fold_scores(pixels, positive, fold)
        return np.mean([auroc(scores[:, label], positive[:, label]) for label in range(30)])

    assert found(np.arange(120) % 3) > 0.99
    assert found(fold_of_each(groups, np.zeros(120, dtype=np.intp), seed=0)) < 0.6


def test_a_half_lies_between_the_classes_even_where_one_is_rare():
    rng = np.random.default_rng(6)
    positive = (np.arange(200) % 20 == 0)[:, None]
    pixels = rng.normal(scale=0.1, size=(200, 1024)).astype(np.float32) + positive
    scores = out_of_fold_scores(pixels, positive, fold_of_each(np.arange(200), positive[:, 0].astype(int), seed=0))
    assert ((scores >= 0.5) == positive).all()


def test_a_label_that_a_fold_cannot_learn_has_no_scores():
    positive = np.zeros((10, 1), dtype=np.bool_)
    positive[0] = True
    scores = out_of_fold_scores(np.random.default_rng(0).random((10, 1024), dtype=np.float32), positive, np.arange(10) % FOLDS)
    assert np.isnan(scores[0, 0])
