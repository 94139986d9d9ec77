"""The zero-shot recipes: unit vectors of images and texts to logits, logits to scores in [0, 1]. Pure numpy, no threshold."""

from collections.abc import Sequence
from statistics import median
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.float32]
Logits = NDArray[np.float64]
Scores = NDArray[np.float64]
OverTexts = Literal["mean", "highest"]
Pooling = Literal["mean-of-highest", "highest", "mean", "median"]

UNIT_TOLERANCE = 1e-3  # half precision moves the length of a 1024-vector by less
POOLED_FRAMES = 3

_LABELS_AXIS = 1


def logits(images: Embeddings, texts: Embeddings, *, scale: float, bias: float = 0.0) -> Logits:
    """Return scale · cosine + bias of each image with each text: `(n, t)`.

    `images` is `(n, d)`, `texts` `(t, d)`, both of unit length; `scale` is the factor on cosines, 1 for plain cosines; `bias`
    only models with a sigmoid loss have.

    Raises:
        ValueError: shapes differ, a vector is not of unit length or the scale is not positive.
    """
    if images.ndim != 2 or texts.ndim != 2 or images.shape[1] != texts.shape[1]:  # noqa: PLR2004 - rows and dimensions
        raise ValueError(f"embeddings {images.shape} and {texts.shape} are not of one space")
    if not scale > 0:
        raise ValueError(f"scale {scale} is not positive")
    for name, vectors in (("image", images), ("text", texts)):
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        if not np.all(np.abs(lengths - 1) <= UNIT_TOLERANCE):
            raise ValueError(f"{name} embedding is not of unit length")
    return scale * (images.astype(np.float64) @ texts.astype(np.float64).T) + bias


def over_texts(of_texts: Logits, counts: Sequence[int], rule: OverTexts) -> Logits:
    """Return one logit a label, `(n, k)`, from those of its texts: `counts[j]` columns of `(n, t)` belong to label j, in order.

    The mean of logits is the logit of the mean of unit vectors that is not normalised again. Source: FLAIR (Silva-Rodríguez et
    al., Med Image Anal 2025), flair/modeling/model.py (mean); MedCLIP (Wang et al., EMNLP 2022), MedClipPromptClassifier (mean, or
    highest with `ensemble=False`).

    Raises:
        ValueError: the counts are not those of the columns, or a label has none.
    """
    if sum(counts) != of_texts.shape[_LABELS_AXIS] or min(counts, default=0) < 1:
        raise ValueError(f"{of_texts.shape[_LABELS_AXIS]} texts cannot be {len(counts)} labels of {tuple(counts)} texts")
    starts = np.cumsum([0, *counts[:-1]])
    if rule == "highest":
        return np.asarray(np.maximum.reduceat(of_texts, starts, axis=_LABELS_AXIS), dtype=np.float64)
    return np.asarray(np.add.reduceat(of_texts, starts, axis=_LABELS_AXIS) / np.asarray(counts), dtype=np.float64)


def pair_softmax(positive: Logits, negative: Logits) -> Scores:
    """Return the softmax share of "it is there" against "it is not": `(n, k)` in [0, 1], from logits of the same shape.

    exp(l+) / (exp(l+) + exp(l-)), which is the logistic function of l+ - l-.
    Source: CheXzero (Tiu et al., Nat Biomed Eng 2022), zero_shot.py, there of plain cosines; the values rank images and are
    no probabilities.

    Raises:
        ValueError: shapes differ.
    """
    if positive.shape != negative.shape:
        raise ValueError(f"positive {positive.shape} and negative {negative.shape} prompts differ in shape")
    return sigmoid(positive - negative)


def multi_class_softmax(of_labels: Logits) -> Scores:
    """Return the softmax over mutually exclusive labels: `(n, k)` in [0, 1], each row sums to 1.

    exp(l_j) / sum over labels of exp(l). It answers "which of these", never "any of these": something foreign also gets a
    largest share. Source: CLIP (Radford et al., ICML 2021), section 3.1.2; BiomedCLIP, FLAIR, UniMed-CLIP and the model cards of
    PLIP and the Why models do the same.
    """
    shares = np.exp(of_labels - of_labels.max(axis=_LABELS_AXIS, keepdims=True))
    return np.asarray(shares / shares.sum(axis=_LABELS_AXIS, keepdims=True), dtype=np.float64)


def sigmoid(of_labels: Logits) -> Scores:
    """Return 1 / (1 + exp(-l)), each label alone: in [0, 1], the shape of the input, without overflow at either end.

    Means something only with the scale and the bias that the model was trained with.
    Source: SigLIP (Zhai et al., ICCV 2023), section 3.2; MedSigLIP's model card.
    """
    small = np.exp(-np.abs(of_labels))
    return np.asarray(np.where(of_labels >= 0, 1 / (1 + small), small / (1 + small)), dtype=np.float64)


def concept_mean(positive: Logits, counts: Sequence[int], negative: Logits | None, negative_counts: Sequence[int]) -> Scores:
    """Return `(n, k)` from the mean, label by label, of the logits of its concepts, each scored by itself.

    With negative concepts: the softmax share of a label's mean against that of its negative concepts. Without (None): the
    softmax over the means of all labels. Source: WhyXrayCLIP and WhyLesionCLIP (Yang et al., A Textbook Remedy for Domain Shifts,
    NeurIPS 2024), which average over the concept prompts of a class with the factor 100 of the model cards; neither code nor lists
    of it are in the repository KnoBo.

    Raises:
        ValueError: as `over_texts` and `pair_softmax` do.
    """
    means = over_texts(positive, counts, "mean")
    if negative is None:
        return multi_class_softmax(means)
    return pair_softmax(means, over_texts(negative, negative_counts, "mean"))


def target_versus_reference(targets: Logits, reference: Logits, *, pairing: Literal["all", "template"]) -> Scores:
    """Return the softmax share of each label against reference texts, then its mean over templates: `(n, k)` in [0, 1].

    `targets` is `(n, k, templates)`: the mean logit of the label's terms in each template. `reference` is `(n, r)`. Pairing
    `template`: reference i beside template i, exp(t_i) / (exp(t_i) + exp(r_i)). Pairing `all`: exp(t_i) / (exp(t_i) + sum of
    exp(r)). Source: MONET (Kim et al., Nat Med 2024), tutorial/automatic_concept_annotation.ipynb,
    calculate_concept_presence_score (pairing by template, there with the factor exp(4.5944)).

    Raises:
        ValueError: pairing by template, and not one reference a template.
    """
    if pairing == "template" and targets.shape[2] != reference.shape[1]:
        raise ValueError(f"{targets.shape[2]} templates and {reference.shape[1]} references make no pairs")
    against = reference[:, np.newaxis, :] if pairing == "template" else _log_sum_exp(reference)[:, np.newaxis, np.newaxis]
    return np.asarray(sigmoid(targets - against).mean(axis=2), dtype=np.float64)


def ensemble_mean(members: Sequence[Scores]) -> Scores:
    """Return the arithmetic mean of the scores that several checkpoints, or views of one image, gave: the shape of one of them.

    Source: CheXzero, zero_shot.py, ensemble_models: the mean of probabilities over the sorted checkpoints.

    Raises:
        ValueError: there are none.
    """
    if not members:
        raise ValueError("no scores to average")
    return np.asarray(np.mean(np.stack(members), axis=0), dtype=np.float64)


def pool(values: Sequence[float], *, rule: Pooling = "mean-of-highest", highest: int = POOLED_FRAMES) -> float:
    """Return one value for frames that are judged together: by default the mean of the three highest (of all, if there are fewer).

    One outlying slice moves a series less than with a maximum, and a small finding is not diluted as with a mean. `highest` counts for
    the rule `mean-of-highest` only.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("nothing to pool")
    if rule == "median":
        return median(values)
    counted = len(values) if rule == "mean" else 1 if rule == "highest" else highest
    taken = sorted(values, reverse=True)[:counted]
    return sum(taken) / len(taken)


def _log_sum_exp(reference: Logits) -> Logits:
    highest = reference.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(reference - highest).sum(axis=1)) + highest[:, 0], dtype=np.float64)
