"""From embeddings to scores: the heads of a model that answer, the views that each sees, and the recipe of the prompt set."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from config.prompt_sets import LabelSection, PromptSet
from inference.adapters import Head, ModelLoadError
from inference.findings import ImageRef, Score
from inference.prompts import LabelTexts, PromptEmbeddings
from inference.scores import (
    Logits,
    Scores,
    concept_mean,
    ensemble_mean,
    logits,
    multi_class_softmax,
    over_texts,
    pair_softmax,
    sigmoid,
    target_versus_reference,
)

PromptsOfHead = Callable[[str], PromptEmbeddings]


def score_images(
    heads: Sequence[Head],
    prompt_set: PromptSet,
    prompts: PromptsOfHead,
    embeddings: NDArray[np.float32],
    images: Sequence[ImageRef],
    *,
    views: tuple[str, ...],
) -> tuple[tuple[Score, ...], ...]:
    """Return one tuple of scores for each `len(views)` consecutive rows of `embeddings`, which show these views in this order.

    It has one score for each label whose head sees exactly these views, in the order of the prompt set. Where several heads
    answer (checkpoints, crops), a score is the mean of theirs. `images` names the image of each row.

    Raises:
        ModelLoadError: no label is answered from such views, or the model cannot answer by this recipe.
    """
    heads_of_labels = {label.name: _heads(label, prompt_set, heads, views) for label in prompt_set.labels}
    labels = [(column, label) for column, label in enumerate(prompt_set.labels) if heads_of_labels[label.name]]
    if not labels:
        raise ModelLoadError(f"prompt set {prompt_set.name}: no label is answered from {' and '.join(views)}; {_seen(heads)}")
    rows = [embeddings[start :: len(views)] for start in range(len(views))]
    by_head = {id(head): _scores(head, prompt_set, prompts(head.name), rows) for found in heads_of_labels.values() for head in found}
    columns = [ensemble_mean([by_head[id(head)][:, column] for head in heads_of_labels[label.name]]) for column, label in labels]
    subjects = [tuple(images[start : start + len(views)]) for start in range(0, len(images), len(views))]
    return tuple(
        tuple(
            Score(label=label.name, value=float(column[row]), image=seen[0], others=seen[1:])
            for (_, label), column in zip(labels, columns, strict=True)
        )
        for row, seen in enumerate(subjects)
    )


def heads_asked(heads: Sequence[Head], prompt_set: PromptSet) -> tuple[str, ...]:
    """Return the names of the heads that answer some label of the prompt set, in the order of the heads."""
    wanted = {prompt_set.head_of(label) for label in prompt_set.labels}
    return tuple(head.name for head in heads if None in wanted or head.name in wanted)


def _heads(label: LabelSection, prompt_set: PromptSet, heads: Sequence[Head], views: tuple[str, ...]) -> tuple[Head, ...]:
    """The heads that answer a label from these views. A model whose heads see different things needs one named."""
    wanted = prompt_set.head_of(label)
    if wanted is None and len({head.views for head in heads}) > 1:
        raise ModelLoadError(f"prompt set {prompt_set.name} names no head for {label.name}; {_seen(heads)}")
    named = tuple(head for head in heads if wanted in {None, head.name})
    if not named:
        raise ModelLoadError(f"prompt set {prompt_set.name} asks head {wanted} about {label.name}; {_seen(heads)}")
    return tuple(head for head in named if head.views == views)


def _seen(heads: Sequence[Head]) -> str:
    return "the model's heads are " + ", ".join(dict.fromkeys(f"{head.name} (sees {' and '.join(head.views)})" for head in heads))


def _scores(head: Head, prompt_set: PromptSet, prompts: PromptEmbeddings, rows: Sequence[NDArray[np.float32]]) -> Scores:
    """The scores of all labels, `(n, k)`, by the recipe of the prompt set."""
    images = head.images(*(torch.from_numpy(np.ascontiguousarray(view)) for view in rows)).numpy()
    return by_recipe(prompt_set, prompts, images, scale=head.logit_scale, bias=head.logit_bias)


def by_recipe(prompt_set: PromptSet, prompts: PromptEmbeddings, images: NDArray[np.float32], *, scale: float, bias: float = 0.0) -> Scores:
    """Return the scores of all labels, `(n, k)`, for unit vectors `(n, d)`; scale and bias are the model's.

    Raises:
        ModelLoadError: the recipe is sigmoid and the model has no bias: it was not trained for it.
        ValueError: the vectors are not of one space or not of unit length.
    """
    if prompt_set.recipe == "sigmoid" and bias == 0:
        raise ModelLoadError(f"prompt set {prompt_set.name}: recipe sigmoid needs a model that was trained with a bias")
    scale, bias = (scale, bias) if prompt_set.temperature == "model" else (1.0, 0.0)

    def texts(side: LabelTexts) -> Logits:
        return logits(images, side.vectors, scale=scale, bias=bias)

    def labels(side: LabelTexts) -> Logits:
        return over_texts(texts(side), side.counts, "highest" if prompt_set.ensemble == "highest" else "mean")

    positive, negative = prompts.positive, prompts.negative
    if prompt_set.recipe == "target-versus-reference" and prompts.reference is not None:
        reference = logits(images, prompts.reference, scale=scale, bias=bias)
        targets = _by_template(texts(positive), positive.counts, len(prompt_set.templates))
        return target_versus_reference(targets, reference, pairing=prompt_set.reference_pairing)
    if prompt_set.recipe == "concept-mean":
        against = None if negative is None else texts(negative)
        return concept_mean(texts(positive), positive.counts, against, () if negative is None else negative.counts)
    if prompt_set.recipe == "pair-softmax" and negative is not None:
        return pair_softmax(labels(positive), labels(negative))
    if prompt_set.recipe == "multi-class-softmax":
        return multi_class_softmax(labels(positive))
    if prompt_set.recipe == "sigmoid":
        return sigmoid(labels(positive))
    raise ValueError(f"recipe {prompt_set.recipe} needs texts that were not embedded")


def _by_template(of_texts: Logits, counts: Sequence[int], templates: int) -> Logits:
    """The mean logit of the terms of each label in each template, `(n, k, templates)`."""
    in_templates = over_texts(of_texts, [count // templates for count in counts for _ in range(templates)], "mean")
    return in_templates.reshape(len(of_texts), len(counts), templates)
