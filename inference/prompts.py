"""Prompt sets as vectors: templates times texts, one averaged unit vector a label, kept on disk by digest."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from config.catalogue import prompt_set_digest
from config.schema import ModelManifest, PromptSet
from config.tokenizer import LongestOfGroup, Tokenizer

EncodeTexts = Callable[[Sequence[str]], NDArray[np.float32]]

_SHORTEST_MEAN = 1e-6  # texts whose unit vectors cancel out describe nothing
_FORMAT = "2"

Group = Literal["any", "text", "label", "prompt-set"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptEmbeddings:
    """Unit vectors of a prompt set, float32 `(labels, d)`, in the order of its labels; `negative` None if it has none."""

    positive: NDArray[np.float32]
    negative: NDArray[np.float32] | None


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
    """Return, for each label, the L2-normalised mean of the L2-normalised embeddings of its expanded texts.

    Source: CLIP (Radford et al., ICML 2021), section 3.1.4, ensembling over the embedding space. `encode_texts` gets the
    texts of one group at a time (at most `batch_size` of "any") and returns float32 `(n, d)`.

    Raises:
        DegeneratePromptsError: the embeddings of a label cancel out or are not finite.
    """
    sides = [expand(prompt_set.templates, texts) for label in prompt_set.labels for texts in (label.positive, label.negative) if texts]
    means = {side: _mean(vectors, side) for side, vectors in _encoded(sides, encode_texts, batch_size, group)}
    negative = [means[expand(prompt_set.templates, label.negative)] for label in prompt_set.labels if label.negative]
    return PromptEmbeddings(
        positive=np.stack([means[expand(prompt_set.templates, label.positive)] for label in prompt_set.labels]),
        negative=np.stack(negative) if len(negative) == len(prompt_set.labels) else None,
    )


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


def _mean(vectors: NDArray[np.float64], texts: Sequence[str]) -> NDArray[np.float32]:
    units = np.stack([_unit(vector, text) for vector, text in zip(vectors, texts, strict=True)])
    return _unit(units.mean(axis=0), texts[0]).astype(np.float32)


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
    if "positive" not in arrays or digest != _digest(arrays) or any(len(array) != labels for array in arrays.values()):
        return None
    return PromptEmbeddings(positive=arrays["positive"], negative=arrays.get("negative"))


def write_cached(path: Path, embeddings: PromptEmbeddings) -> None:
    """Put the embeddings at `path`, whole or not at all.

    Raises:
        OSError: the folder cannot be written.
    """
    arrays = {"positive": embeddings.positive}
    if embeddings.negative is not None:
        arrays["negative"] = embeddings.negative
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(save(arrays, metadata={"sha256": _digest(arrays)}))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _digest(arrays: dict[str, NDArray[np.float32]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].shape} {arrays[name].dtype}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
