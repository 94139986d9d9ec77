"""The zero-shot recipes: unit vectors of images and prompts in, scores in [0, 1] out. Pure numpy, no threshold."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Recipe = Literal["pair-softmax", "multi-class-softmax"]
Embeddings = NDArray[np.float32]
Scores = NDArray[np.float64]

UNIT_TOLERANCE = 1e-3  # half precision moves the length of a 1024-vector by less
POOLED_FRAMES = 3


def pair_softmax(images: Embeddings, positive: Embeddings, negative: Embeddings, *, scale: float) -> Scores:
    """Return, for image i and label j, the softmax share of "it is there" against "it is not": `(n, k)` in [0, 1].

    exp(s·cos+) / (exp(s·cos+) + exp(s·cos-)), which is the logistic function of s·(cos+ - cos-). `images` is `(n, d)`,
    `positive` and `negative` are `(k, d)`, all of unit length; `scale` s is 1 for plain cosines.
    Source: CheXzero (Tiu et al., Nat Biomed Eng 2022), zero_shot.py, there with s = 1; the values rank images and are
    no probabilities.

    Raises:
        ValueError: shapes differ, a vector is not of unit length or the scale is not positive.
    """
    _check(images, positive, scale)
    _check(images, negative, scale)
    if positive.shape != negative.shape:
        raise ValueError(f"positive {positive.shape} and negative {negative.shape} prompts differ in shape")
    difference = images.astype(np.float64) @ (positive.astype(np.float64) - negative.astype(np.float64)).T
    return _logistic(scale * difference)


def multi_class_softmax(images: Embeddings, labels: Embeddings, *, scale: float) -> Scores:
    """Return, for image i, the softmax over mutually exclusive labels: `(n, k)` in [0, 1], each row sums to 1.

    exp(s·cos_j) / sum over labels of exp(s·cos). `images` is `(n, d)`, `labels` `(k, d)`, of unit length; `scale` s is
    the model's logit scale. It answers "which of these", never "any of these": something foreign also gets a largest share.
    Source: CLIP (Radford et al., ICML 2021), section 3.1.2.

    Raises:
        ValueError: shapes differ, a vector is not of unit length or the scale is not positive.
    """
    _check(images, labels, scale)
    logits = scale * (images.astype(np.float64) @ labels.astype(np.float64).T)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float64)


def score(recipe: Recipe, images: Embeddings, positive: Embeddings, negative: Embeddings | None, *, scale: float) -> Scores:
    """Return `(n, k)` scores in [0, 1] by the named recipe; `negative` None if the prompt set has no negative texts.

    Raises:
        ValueError: as the recipes do, or the recipe needs negative prompts and there are none.
    """
    if recipe == "multi-class-softmax":
        return multi_class_softmax(images, positive, scale=scale)
    if negative is None:
        raise ValueError("recipe pair-softmax needs negative prompts")
    return pair_softmax(images, positive, negative, scale=scale)


def pool(values: Sequence[float]) -> float:
    """Return the mean of the three highest values (of all, if there are fewer).

    One outlying slice moves a series less than with a maximum, and a small finding is not diluted as with a mean.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("nothing to pool")
    highest = sorted(values, reverse=True)[:POOLED_FRAMES]
    return sum(highest) / len(highest)


def _logistic(x: Scores) -> Scores:
    """1 / (1 + exp(-x)) without overflow at either end."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def _check(images: Embeddings, texts: Embeddings, scale: float) -> None:
    if images.ndim != 2 or texts.ndim != 2 or images.shape[1] != texts.shape[1]:  # noqa: PLR2004 - rows and dimensions
        raise ValueError(f"embeddings {images.shape} and {texts.shape} are not of one space")
    if not scale > 0:
        raise ValueError(f"scale {scale} is not positive")
    for name, vectors in (("image", images), ("text", texts)):
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        if not np.all(np.abs(lengths - 1) <= UNIT_TOLERANCE):
            raise ValueError(f"{name} embedding is not of unit length")
