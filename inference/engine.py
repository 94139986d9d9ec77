"""The engine: owner of the loaded models and of the device. Frames in, scores out; text embeddings are computed once."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from config.catalogue import Catalogue
from config.schema import PromptSet
from inference.adapters import DeviceMemoryError, Head, ModelAdapter, ModelLoadError, ModelOutputError, load_adapter
from inference.findings import ImageRef, Score
from inference.frames import Frame
from inference.golden import prove
from inference.prompts import PromptEmbeddings, cache_name, embed_prompts, group_of, read_cached, write_cached
from inference.scores import score

_log = structlog.get_logger(__name__)


class Engine:
    """Models of one catalogue on one device, loaded when first asked. One per worker process, used by one thread."""

    def __init__(self, catalogue: Catalogue, *, device: Literal["auto", "cpu", "cuda"], batch_size: int, cache_folder: Path | None) -> None:
        """Choose the device; nothing is loaded yet. `cache_folder` None: text embeddings are kept in memory only.

        Raises:
            ModelLoadError: CUDA was asked for and there is none.
        """
        self._catalogue = catalogue
        self._batch_size = batch_size
        self._cache_folder = cache_folder
        self._adapters: dict[str, ModelAdapter] = {}
        self._prompts: dict[tuple[str, str, str], PromptEmbeddings] = {}
        self.device = _device(device)

    def scores(self, model: str, prompt_set: str, frames: Sequence[Frame]) -> tuple[tuple[Score, ...], ...]:
        """Return, for each frame, one score a label in the order of the prompt set.

        Raises:
            KeyError, ModelLoadError, ModelOutputError, DeviceMemoryError: as the two steps do.
        """
        embeddings = self.embed(model, frames)
        return self.score(model, prompt_set, embeddings, [frame.ref for frame in frames])

    def embed(self, model: str, frames: Iterable[Frame]) -> NDArray[np.float32]:
        """Return unit vectors, float32 `(n, d)`, one row a frame; `(0, 0)` for no frames.

        Frames are taken one at a time and only a batch of preprocessed ones is held, so `frames` may be a generator over
        more pixels than fit into memory.

        Raises:
            KeyError: no model of this name.
            ModelLoadError: it cannot be loaded.
            ModelOutputError: it answered with NaN or infinity.
            DeviceMemoryError: the device has no memory for a batch.
        """
        adapter = self.adapter(model)
        tensors = map(adapter.preprocess, frames)
        rows = [self._encode(adapter, torch.stack(batch)) for batch in _batches(tensors, self._batch_size)]
        return np.concatenate(rows) if rows else np.empty((0, 0), dtype=np.float32)

    def score(
        self, model: str, prompt_set: str, embeddings: NDArray[np.float32], images: Sequence[ImageRef]
    ) -> tuple[tuple[Score, ...], ...]:
        """Return, for each row of `embeddings` (of the image beside it), one score a label in the order of the prompt set.

        Raises:
            KeyError: no model or prompt set of this name.
            ModelLoadError: the model cannot be loaded, or the prompts give no vectors.
        """
        if not images:
            return ()
        labels = self._catalogue.prompt_set(prompt_set)
        heads = self.adapter(model).heads
        values = np.mean([self._head_scores(model, labels, head, embeddings) for head in heads], axis=0)
        return tuple(
            tuple(Score(label=label.name, value=float(value), image=image) for label, value in zip(labels.labels, row, strict=True))
            for image, row in zip(images, values, strict=True)
        )

    def _head_scores(self, model: str, labels: PromptSet, head: Head, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        prompts = self.prompt_embeddings(model, labels.name, head.name)
        scale = head.logit_scale if labels.temperature == "model" else 1.0
        images = head.images(torch.from_numpy(embeddings)).numpy()
        return score(labels.recipe, images, prompts.positive, prompts.negative, scale=scale)

    def warm_up(self) -> None:
        """Load every model that a route uses and embed its prompts, so that the first study does not wait for it.

        Raises:
            ModelLoadError: a model cannot be loaded.
        """
        used = {route.model for route in self._catalogue.routes}
        for manifest in self._catalogue.manifests:
            if manifest.name in used:
                self.adapter(manifest.name)
                for prompt_set in self._catalogue.prompt_sets_asked(manifest):
                    self.prompt_embeddings(manifest.name, prompt_set)

    def adapter(self, model: str) -> ModelAdapter:
        """Return the loaded model, which reproduced its reference outputs on this device if its manifest names some.

        Raises:
            KeyError: no model of this name.
            ModelLoadError: it cannot be loaded, or computes something else than it should.
        """
        if model not in self._adapters:
            manifest = self._catalogue.manifest(model)
            folder = self._catalogue.weights_path(manifest)
            adapter = load_adapter(manifest, folder, self.device)
            if manifest.golden:
                prove(adapter, folder / manifest.golden, self.device)
            self._adapters[model] = adapter
        return self._adapters[model]

    def prompt_embeddings(self, model: str, prompt_set: str, head: str | None = None) -> PromptEmbeddings:
        """Return the vectors of a prompt set from memory, from the cache folder (a damaged file is replaced) or from the model.

        `head` is the name of one of the adapter's heads, the first if left out.

        Raises:
            KeyError: no model, prompt set or head of this name.
            ModelLoadError: the model cannot be loaded, or the prompts give no vectors.
        """
        heads = self.adapter(model).heads
        space = heads[0] if head is None else {known.name: known for known in heads}[head]
        key = (model, prompt_set, space.name)
        if key not in self._prompts:
            self._prompts[key] = self._cached(model, prompt_set, space)
        return self._prompts[key]

    def _cached(self, model: str, prompt_set: str, head: Head) -> PromptEmbeddings:
        if self._cache_folder is None:
            return self._embed_prompts(model, prompt_set, head)
        labels = self._catalogue.prompt_set(prompt_set)
        path = self._cache_folder / cache_name(labels, self._catalogue.manifest(model), head.name)
        found = read_cached(path, labels=len(labels.labels))
        if found is not None:
            return found
        made = self._embed_prompts(model, prompt_set, head)
        try:
            write_cached(path, made)
        except OSError as exc:  # the cache saves time only: without it the analysis is the same
            _log.warning("text_embeddings_not_kept", model=model, prompt_set=prompt_set, reason=exc.strerror)
        return made

    def _embed_prompts(self, model: str, prompt_set: str, head: Head) -> PromptEmbeddings:
        adapter, labels = self.adapter(model), self._catalogue.prompt_set(prompt_set)

        def encode(texts: Sequence[str]) -> NDArray[np.float32]:
            vectors: NDArray[np.float32] = head.texts(adapter.encode_texts(texts)).numpy()
            return vectors

        try:
            with _device_memory(model):
                return embed_prompts(labels, encode, batch_size=self._batch_size, group=group_of(adapter.manifest.tokenizer))
        except ValueError as exc:
            raise ModelLoadError(f"model {model} with prompt set {prompt_set}: {exc}") from exc

    def _encode(self, adapter: ModelAdapter, batch: torch.Tensor) -> NDArray[np.float32]:
        on_cuda = self.device == "cuda"
        with _device_memory(adapter.manifest.name), torch.autocast("cuda") if on_cuda else contextlib.nullcontext():
            vectors: NDArray[np.float32] = adapter.encode_images(batch.pin_memory() if on_cuda else batch).numpy()
        if not np.isfinite(vectors).all():
            raise ModelOutputError(f"model {adapter.manifest.name} answered with NaN or infinity; check its weights and architecture")
        return vectors


def _device(asked: Literal["auto", "cpu", "cuda"]) -> str:
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise ModelLoadError("work.device is cuda and this machine has no CUDA device that torch can use; set it to auto or cpu")
    return "cuda" if there and asked != "cpu" else "cpu"


def _batches(tensors: Iterator[torch.Tensor], size: int) -> Iterator[list[torch.Tensor]]:
    while batch := list(islice(tensors, size)):
        yield batch


@contextlib.contextmanager
def _device_memory(model: str) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as exc:
        raise DeviceMemoryError(f"model {model}: the device has no memory for a batch; lower work.batch_size") from exc
