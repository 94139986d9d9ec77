"""Prompt sets as vectors: templates times texts, one averaged unit vector a label or all of them, kept on disk by digest."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from config.catalogue import prompt_set_digest
from config.manifests import ModelManifest
from config.prompt_sets import PromptSet
from config.tokenizer import LongestOfGroup, Tokenizer

EncodeTexts = Callable[[Sequence[str]], NDArray[np.float32]]

_SHORTEST_MEAN = 1e-6  # texts whose unit vectors cancel out describe nothing
_FORMAT = "3"
_COUNTS = ("positive_counts", "negative_counts")
_AVERAGED_AS_VECTORS = frozenset({"pair-softmax", "multi-class-softmax", "sigmoid"})

Group = Literal["any", "text", "label", "prompt-set"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTexts:
    """Unit vectors, float32 `(t, d)`: `counts[j]` rows for label j, in the order of the labels."""

    vectors: NDArray[np.float32]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptEmbeddings:
    """Unit vectors of a prompt set, in the order of its labels. `negative` and `reference` `(r, d)` are None if it has none."""

    positive: LabelTexts
    negative: LabelTexts | None
    reference: NDArray[np.float32] | None = None


class DegeneratePromptsError(ValueError):
    """The texts of a label average to nothing, or the model embedded them as something that is no vector."""


def expand(templates: Sequence[str], texts: Sequence[str]) -> tuple[str, ...]:
    """Return each text in each template, without repeats, in order."""
    return tuple(dict.fromkeys(template.replace("{}", text) for text in texts for template in templates))


def group_of(tokenizer: Tokenizer) -> Group:
    """Return which texts must be encoded together; "any" if a text's vector does not depend on its neighbours."""
    padding = tokenizer.padding if tokenizer.kind == "wordpiece" else None
    return padding.group if isinstance(padding, LongestOfGroup) else "any"


def embed_prompts(prompt_set: PromptSet, encode_texts: EncodeTexts, *, batch_size: int, group: Group = "any") -> PromptEmbeddings:
    """Return the L2-normalised embeddings of all texts; with the ensemble `embeddings`, for each label their normalised mean.

    Source of that mean: CLIP (Radford et al., ICML 2021), section 3.1.4, ensembling over the embedding space; UniMed-CLIP and
    CONCH do the same. The rows of a recipe that compares by template (target-versus-reference) are ordered by template, then
    text. `encode_texts` gets the texts of one group at a time (at most `batch_size` of "any") and returns float32 `(n, d)`.

    Raises:
        DegeneratePromptsError: the embeddings of a label cancel out or are not finite.
    """
    positive = [texts_of(prompt_set, label.positive) for label in prompt_set.labels]
    negative = [texts_of(prompt_set, label.negative) for label in prompt_set.labels if label.negative]
    sides = [*positive, *negative, *([prompt_set.reference] if prompt_set.reference else [])]
    averaged = prompt_set.ensemble == "embeddings" and prompt_set.recipe in _AVERAGED_AS_VECTORS
    vectors = {side: _units(raw, side) for side, raw in _encoded(sides, encode_texts, batch_size, group)}
    of_labels = {side: _mean(units, side) if averaged else units for side, units in vectors.items()}
    return PromptEmbeddings(
        positive=_stacked([of_labels[side] for side in positive]),
        negative=_stacked([of_labels[side] for side in negative]) if len(negative) == len(prompt_set.labels) else None,
        reference=vectors[prompt_set.reference].astype(np.float32) if prompt_set.reference else None,
    )


def texts_of(prompt_set: PromptSet, texts: Sequence[str]) -> tuple[str, ...]:
    """Return the texts of one side of a label in the templates, in the order in which `embed_prompts` embeds them."""
    if prompt_set.recipe == "target-versus-reference":
        return tuple(template.replace("{}", text) for template in prompt_set.templates for text in texts)
    return expand(prompt_set.templates, texts)


def _encoded(
    sides: Sequence[tuple[str, ...]], encode_texts: EncodeTexts, batch_size: int, group: Group
) -> Iterator[tuple[tuple[str, ...], NDArray[np.float64]]]:
    """Yield each side of each label with its vectors, no text encoded twice unless its group differs."""
    if group == "label":
        yield from ((side, encode_texts(side).astype(np.float64)) for side in sides)
        return
    asked = tuple(dict.fromkeys(text for side in sides for text in side))
    size = {"any": batch_size, "text": 1, "prompt-set": len(asked)}[group]
    vectors = dict(zip(asked, np.concatenate([encode_texts(batch) for batch in _batches(asked, size)]).astype(np.float64), strict=True))
    yield from ((side, np.stack([vectors[text] for text in side])) for side in sides)


def _batches(texts: Iterable[str], size: int) -> Iterator[tuple[str, ...]]:
    iterator = iter(texts)
    while batch := tuple(islice(iterator, size)):
        yield batch


def _units(vectors: NDArray[np.float64], texts: Sequence[str]) -> NDArray[np.float64]:
    return np.stack([_unit(vector, text) for vector, text in zip(vectors, texts, strict=True)])


def _mean(units: NDArray[np.float64], texts: Sequence[str]) -> NDArray[np.float64]:
    return _unit(units.mean(axis=0), texts[0])[np.newaxis]


def _stacked(sides: Sequence[NDArray[np.float64]]) -> LabelTexts:
    return LabelTexts(vectors=np.concatenate(sides).astype(np.float32), counts=tuple(len(side) for side in sides))


def _unit(vector: NDArray[np.float64], text: str) -> NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length < _SHORTEST_MEAN:
        raise DegeneratePromptsError(f"the embeddings of the texts around {text!r} give no direction; reword the prompts")
    return vector / length


def cache_name(prompt_set: PromptSet, manifest: ModelManifest, head: str) -> str:
    """Return the file name of these embeddings: SHA-256 over all that determines them."""
    facts = {
        "format": _FORMAT,
        "prompt_set": prompt_set_digest(prompt_set),
        "weights": manifest.weights.sha256,
        "files": manifest.weights.files,
        "architecture": manifest.architecture.model_dump(mode="json"),
        "tokenizer": manifest.tokenizer.model_dump(mode="json"),
        "head": head,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest() + ".safetensors"


def read_cached(path: Path, *, labels: int) -> PromptEmbeddings | None:
    """Return the embeddings kept at `path`, or None if there are none or the file is damaged in any way."""
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping
            digest = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError):
        return None
    if digest != _digest(arrays) or any(len(arrays.get(name, ())) not in {0, labels} for name in _COUNTS):
        return None
    positive = _label_texts(arrays, "positive")
    return (
        None
        if positive is None
        else PromptEmbeddings(positive=positive, negative=_label_texts(arrays, "negative"), reference=arrays.get("reference"))
    )


def write_cached(path: Path, embeddings: PromptEmbeddings) -> None:
    """Put the embeddings at `path`, whole or not at all.

    Raises:
        OSError: the folder cannot be written.
    """
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, texts in (("positive", embeddings.positive), ("negative", embeddings.negative)):
        if texts is not None:
            arrays |= {name: texts.vectors, f"{name}_counts": np.array(texts.counts, dtype=np.int64)}
    if embeddings.reference is not None:
        arrays["reference"] = embeddings.reference
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(save(arrays, metadata={"sha256": _digest(arrays)}))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _label_texts(arrays: Mapping[str, NDArray[Any]], name: str) -> LabelTexts | None:
    if name not in arrays:
        return None
    return LabelTexts(vectors=arrays[name], counts=tuple(int(count) for count in arrays[f"{name}_counts"]))


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].shape} {arrays[name].dtype}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
