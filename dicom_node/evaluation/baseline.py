"""The shortcut baseline: what 32 x 32 grey pixels alone give away. A model that does no better may have learnt no more."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dicom_node.evaluation.metrics import Codes, Flags, Floats
from inference.frames import Frame

SIDE = 32
FOLDS = 5
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow turns colour grey
_PENALTIES = np.logspace(-4, 2, 13)  # of the mean eigenvalue


def grey_pixels(frame: Frame) -> NDArray[np.float32]:
    """Return the picture as `(1024,)` values in [0, 1]: grey, squashed to 32 x 32 by averaging."""
    pixels = frame.pixels if frame.pixels.ndim == 2 else frame.pixels @ _LUMA  # noqa: PLR2004 - rows and columns
    small = Image.fromarray(pixels.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32).ravel()


def fold_of_each(groups: Codes, truth: Codes, *, seed: int) -> Codes:
    """Return the fold, 0 to 4, of each image. A group is never split; groups are dealt class by class, so that each fold sees each class.

    `truth` holds a class for each image; a group counts with its rarest one.
    """
    rng = np.random.default_rng(seed)
    images_of = np.bincount(truth)
    members = [np.flatnonzero(groups == group) for group in range(int(groups.max(initial=-1)) + 1)]
    rarest = [min((int(images_of[label]), int(label)) for label in truth[member]) for member in members]
    shuffled = rng.permutation(len(members)).tolist()
    fold = np.empty(len(groups), dtype=np.intp)
    for place, group in enumerate(sorted(shuffled, key=lambda group: rarest[group])):
        fold[members[group]] = place % FOLDS
    return fold


def out_of_fold_scores(pixels: NDArray[np.float32], positive: Flags, fold: Codes) -> Floats:
    """Return, for each image and label `(n, k)`, the score of a ridge regression that was fitted without the image's fold.

    `positive` is `(n, k)`. 0.5 lies midway between the mean fitted scores of the two classes, whatever their sizes. NaN where a fold leaves
    one class of a label empty.
    """
    scores = np.full(positive.shape, np.nan)
    for held_out in np.unique(fold):
        inside, outside = fold != held_out, fold == held_out
        known = positive[inside].any(axis=0) & ~positive[inside].all(axis=0)
        if known.any():
            scores[np.ix_(outside, known)] = _fitted_elsewhere(pixels[inside], positive[inside][:, known], pixels[outside])
    return scores


def _fitted_elsewhere(pixels: NDArray[np.float32], positive: Flags, others: NDArray[np.float32]) -> Floats:
    coefficients, centre = ridge(pixels.astype(np.float64), positive.astype(np.float64))
    fitted = (pixels - centre) @ coefficients
    members = positive.sum(axis=0)
    there = (fitted * positive).sum(axis=0) / members
    elsewhere = (fitted * ~positive).sum(axis=0) / (len(fitted) - members)
    return np.asarray((others - centre) @ coefficients - (there + elsewhere) / 2 + 0.5, dtype=np.float64)


def ridge(features: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """Return coefficients `(d, k)` on centred features, and the centre `(d,)`. Each target has the penalty with the lowest generalised
    cross-validation error of thirteen.

    Source: Hoerl and Kennard, Technometrics 1970;12:55; Golub, Heath and Wahba, Technometrics 1979;21:215.
    """
    centre = features.mean(axis=0)
    centred = features - centre
    left, singular, right = _thin_svd(centred)
    if not len(singular):
        return np.zeros((features.shape[1], targets.shape[1])), centre
    aims = targets - targets.mean(axis=0)
    along = left.T @ aims
    beyond = (aims**2).sum(axis=0) - (along**2).sum(axis=0)
    energy = singular**2
    best, errors = np.zeros_like(along), np.full(targets.shape[1], math.inf)
    for penalty in _PENALTIES * energy.mean():
        kept = energy / (energy + penalty)
        freedom = max(1.0, len(features) - 1 - float(kept.sum()))
        error = (beyond + (((1 - kept)[:, None] * along) ** 2).sum(axis=0)) / freedom**2
        better = error < errors
        errors = np.where(better, error, errors)
        best = np.where(better, (singular / (energy + penalty))[:, None] * along, best)
    return right.T @ best, centre


def _thin_svd(matrix: Floats) -> tuple[Floats, Floats, Floats]:
    """Singular vectors and values through the smaller Gram matrix, which is many times faster than a direct decomposition."""
    rows, columns = matrix.shape
    gram = matrix @ matrix.T if rows < columns else matrix.T @ matrix
    energy, vectors = np.linalg.eigh(gram)
    kept = energy > energy.max(initial=0) * max(rows, columns) * np.finfo(np.float64).eps
    singular, vectors = np.sqrt(energy[kept]), vectors[:, kept]
    if rows < columns:
        return vectors, singular, (matrix.T @ vectors / singular).T
    return matrix @ vectors / singular, singular, vectors.T
