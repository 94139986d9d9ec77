"""Recomputes the arrays that reference outputs name: each by its name, from one adapter and the inputs of the folder."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch

from config.preprocessing import Squash
from inference.adapters import Head, ModelAdapter
from inference.golden.folder import Array, Golden
from inference.preprocessing import preprocessor


class Recomputation:
    """The arrays of one model. What several need is computed once.

    With several heads that see the same images (an ensemble), an array has a leading axis for them; a head of its own space
    (`patient`) has arrays of its own (`image_embeddings_patient`).
    """

    def __init__(self, golden: Golden, adapter: ModelAdapter) -> None:
        self._golden, self._adapter = golden, adapter

    @property
    def largest_scale(self) -> float:
        """The largest factor that a head puts on its cosines."""
        return max(head.logit_scale for head in self._adapter.heads)

    def array(self, name: str) -> Array | None:
        """Return the array of this name; None if this node does not know how to compute it."""
        if name in _ARRAYS:
            return _ARRAYS[name](self)
        for head in self._adapter.heads:
            base = name.removesuffix(f"_{head.name}")
            if base in _OF_A_HEAD and base != name:
                return _OF_A_HEAD[base](self, head)
        return None

    @cached_property
    def preprocessed(self) -> Array:
        return self._stacked(self._adapter.preprocess)

    @cached_property
    def preprocessed_squash(self) -> Array:
        steps = self._adapter.manifest.preprocessing
        squash = Squash(image_size=steps.image_size, mean=steps.mean, std=steps.std, interpolation=steps.interpolation)
        return self._stacked(preprocessor(squash))

    def _stacked(self, preprocess: Callable[..., torch.Tensor]) -> Array:
        return torch.stack([preprocess(frame) for frame in self._golden.frames()]).numpy()

    @cached_property
    def image_rows(self) -> torch.Tensor:
        return self._adapter.encode_images(torch.from_numpy(self.preprocessed))

    @cached_property
    def text_rows(self) -> torch.Tensor:
        return self._adapter.encode_texts(self._golden.texts)

    def tokens(self, kind: str) -> Array:
        """Ids or attention mask of the texts as one group."""
        tokens = self._adapter.tokenize(self._golden.texts)
        return (tokens.ids if kind == "ids" else tokens.attended).numpy()

    def images(self, head: Head, rows: torch.Tensor | None = None) -> Array:
        """Vectors of the images, or of their pairs, where a head sees several."""
        rows = self.image_rows if rows is None else rows
        if not self._golden.pairs:
            return head.images(rows).numpy()
        views = [rows[[pair[view] for pair in self._golden.pairs]] for view in head.views]
        return head.images(*views).numpy()

    def texts(self, head: Head) -> Array:
        return head.texts(self.text_rows).numpy()

    def texts_alone(self, head: Head) -> Array:
        """Each text encoded without neighbours."""
        return head.texts(torch.cat([self._adapter.encode_texts([text]) for text in self._golden.texts])).numpy()

    def cosines(self, head: Head) -> Array:
        return np.asarray(self.images(head) @ self.texts(head).T)

    def logits(self, head: Head) -> Array:
        return _logits(head, self.cosines(head))

    def cosines_of_pairs(self, head: Head, *, positive: bool) -> Array:
        """Of the texts' first half, one a label, or of their second."""
        labels = len(self._golden.labels)
        return self.cosines(head)[:, :labels] if positive else self.cosines(head)[:, labels:]

    def pair_shares(self, head: Head) -> Array:
        difference = self.cosines_of_pairs(head, positive=True) - self.cosines_of_pairs(head, positive=False)
        return np.asarray(1 / (1 + np.exp(-float(self._golden.scoring.get("temperature", 1.0)) * difference)))

    def probabilities(self) -> Array | None:
        """By the recipe that the folder names."""
        kind = self._golden.scoring["kind"]
        if kind == "paired_softmax_ensemble":
            return np.asarray(np.mean([self.pair_shares(head) for head in self._adapter.heads], axis=0))
        logits = self.by_head(self.logits)
        if kind == "softmax":
            return _softmax(logits)
        return np.asarray(1 / (1 + np.exp(-logits))) if kind == "sigmoid" else None

    def by_head(self, compute: Callable[[Head], Array]) -> Array:
        """Of the only head, or of all along a new first axis."""
        heads = self._adapter.heads
        return compute(heads[0]) if len(heads) == 1 else np.stack([compute(head) for head in heads])

    @cached_property
    def class_texts(self) -> tuple[Array, ...]:
        """Vectors of the texts of each class, which are one group each."""
        head = self._adapter.heads[0]
        caption = str(self._golden.scoring.get("caption", "[CLS]"))
        groups = ([caption.replace("[CLS]", text) for text in texts] for texts in self._golden.classes.values())
        return tuple(head.texts(self._adapter.encode_texts(group)).numpy() for group in groups)

    def class_embeddings(self) -> Array:
        """Means of the vectors of a class; of unit length again only where the folder's axes say so."""
        means = np.stack([vectors.mean(axis=0) for vectors in self.class_texts])
        if (
            "L2-normalised" in self._golden.axes.get("class_embeddings", "")
            and "not normalised" not in self._golden.axes["class_embeddings"]
        ):
            means /= np.linalg.norm(means, axis=1, keepdims=True)
        return means

    def class_logits(self) -> Array:
        head = self._adapter.heads[0]
        return _logits(head, self.images(head) @ self.class_embeddings().T)

    def class_logits_over_texts(self, pool: Callable[..., Array]) -> Array:
        """Mean or maximum of the logits of the texts of each class."""
        head = self._adapter.heads[0]
        images = self.images(head)
        return np.stack([pool(_logits(head, images @ vectors.T), axis=1) for vectors in self.class_texts], axis=1)

    def squashed_images(self) -> Array:
        """Vectors of the images squashed to the square instead of preprocessed as the manifest says."""
        rows = self._adapter.encode_images(torch.from_numpy(self.preprocessed_squash))
        return self.images(self._adapter.heads[0], rows)


def _logits(head: Head, cosines: Array) -> Array:
    return np.asarray(np.float32(head.logit_scale) * cosines + np.float32(head.logit_bias))


def _softmax(logits: Array) -> Array:
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=-1, keepdims=True))


def in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Return array names as a model computes them, so that the first that differs is the cause of the others."""
    stages = ("preprocessed", "token_ids", "attention_mask", "raw", "image", "text", "prompt", "class_emb", "cosine", "logits")
    return tuple(sorted(names, key=lambda name: next((i for i, stage in enumerate(stages) if name.startswith(stage)), len(stages))))


_OF_A_HEAD: Mapping[str, Callable[[Recomputation, Head], Array]] = {
    "image_embeddings": Recomputation.images,
    "text_embeddings": Recomputation.texts,
    "text_embeddings_single": Recomputation.texts_alone,
    "cosine": Recomputation.cosines,
    "logits": Recomputation.logits,
}

_ARRAYS: Mapping[str, Callable[[Recomputation], Array | None]] = {
    "preprocessed": lambda own: own.preprocessed,
    "preprocessed_squash": lambda own: own.preprocessed_squash,
    "token_ids": lambda own: own.tokens("ids"),
    "attention_mask": lambda own: own.tokens("mask"),
    "raw_visual_features": lambda own: own.image_rows.numpy(),
    "image_embeddings": lambda own: own.by_head(own.images),
    "image_embeddings_squash": Recomputation.squashed_images,
    "text_embeddings": lambda own: own.by_head(own.texts),
    "text_embeddings_single": lambda own: own.by_head(own.texts_alone),
    "cosine": lambda own: own.by_head(own.cosines),
    "cosine_positive": lambda own: own.by_head(lambda head: own.cosines_of_pairs(head, positive=True)),
    "cosine_negative": lambda own: own.by_head(lambda head: own.cosines_of_pairs(head, positive=False)),
    "logits": lambda own: own.by_head(own.logits),
    "probabilities_per_checkpoint": lambda own: own.by_head(own.pair_shares),
    "probabilities": Recomputation.probabilities,
    "prompt_text_embeddings": lambda own: np.concatenate(own.class_texts),
    "class_embeddings": Recomputation.class_embeddings,
    "class_logits": Recomputation.class_logits,
    "class_probabilities": lambda own: _softmax(own.class_logits()),
    "class_logits_mean": lambda own: own.class_logits_over_texts(np.mean),
    "class_logits_max": lambda own: own.class_logits_over_texts(np.max),
}
