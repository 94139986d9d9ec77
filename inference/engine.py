"""The engine: owner of the loaded models and of the device. Frames in, scores out; text embeddings are computed once."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from config.catalogue import Catalogue
from config.heads import ANY_IMAGE
from config.manifests import ModelManifest
from config.schema import WorkSection
from inference.adapters import DeviceMemoryError, Head, ModelAdapter, ModelLoadError, load_adapter
from inference.device.ahead import batches
from inference.device.compiled import compiled, inductor
from inference.device.forward import REMEDY, Forward, OutOfMemory, out_of_memory
from inference.device.loaded_models import LoadedModels, memory_of
from inference.device.precision import Precision, forbid_tf32, precision_on
from inference.device.preparation import DevicePreparation, on_device
from inference.findings import ImageRef, Score
from inference.frames import Frame
from inference.golden import prove, prove_as_served
from inference.prompts import PromptEmbeddings, cache_name, embed_prompts, group_of, read_cached, write_cached
from inference.scoring import heads_asked, score_images

_log = structlog.get_logger(__name__)

_MOST_THREADS = 8

LoadAdapter = Callable[[ModelManifest, Path, str], ModelAdapter]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How models run: see `config.schema.WorkSection`. `model_memory` is in bytes; None: no limit."""

    precision: Precision = "float16"
    compile_models: bool = False
    model_memory: int | None = None
    batch_wait_s: float = 0.0

    @classmethod
    def of(cls, work: WorkSection) -> "EngineOptions":
        """Return what the settings say."""
        return cls(
            precision=work.precision,
            compile_models=work.compile_models,
            model_memory=None if work.model_memory_mb is None else work.model_memory_mb * 1_000_000,
            batch_wait_s=work.batch_wait_ms / 1000,
        )


class Engine:
    """Models of one catalogue on one device, loaded when first asked. One per worker process; any thread may ask.

    Frames are read in the thread that asks, preprocessed in some beside it, and computed in one of the engine's own.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        device: Literal["auto", "cpu", "cuda"],
        batch_size: int,
        cache_folder: Path | None,
        options: EngineOptions = EngineOptions(),
        load: LoadAdapter = load_adapter,
    ) -> None:
        """Choose the device; nothing is loaded yet. `cache_folder` None: text embeddings are kept in memory only.

        Raises:
            ModelLoadError: CUDA was asked for and there is none.
        """
        self._catalogue = catalogue
        self._batch_size = batch_size
        self._cache_folder = cache_folder
        self._options = options
        self._load_adapter = load
        self.device = _device(device)
        self.precision: Precision = precision_on(self.device, options.precision)
        if self.device != "cpu" and self.precision == "float32":
            forbid_tf32()
        self._models = LoadedModels(self._load, self._memory_of, budget=options.model_memory)
        self._prompts: dict[tuple[str, str, str | None], PromptEmbeddings] = {}
        self._prompts_made = threading.Lock()
        self._on_device: dict[str, DevicePreparation | None] = {}
        self._forward = Forward(self.device, self.precision)
        self._device_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="device")
        self._ahead = min(_MOST_THREADS, len(os.sched_getaffinity(0)))
        self._preprocessing = ThreadPoolExecutor(max_workers=self._ahead, thread_name_prefix="preprocessing")

    @property
    def loaded_models(self) -> tuple[str, ...]:
        """The names of the models in memory, the least recently used first."""
        return self._models.names

    def scores(self, model: str, prompt_set: str, frames: Sequence[Frame]) -> tuple[tuple[Score, ...], ...]:
        """Return, for each frame, one score a label in the order of the prompt set.

        Raises:
            KeyError, ModelLoadError, ModelOutputError, DeviceMemoryError: as the two steps do.
        """
        embeddings = self.embed(model, frames)
        return self.score(model, prompt_set, embeddings, [frame.ref for frame in frames])

    def embed(self, model: str, frames: Iterable[Frame]) -> NDArray[np.float32]:
        """Return unit vectors, float32 `(n, d)`, one row a frame; `(0, 0)` for no frames.

        Frames are taken one at a time and only few of them and of their batches are held, so `frames` may be a generator over
        more pixels than fit into memory.

        Raises:
            KeyError: no model of this name.
            ModelLoadError: it cannot be loaded.
            ModelOutputError: it answered with NaN or infinity.
            DeviceMemoryError: the device has no memory for the model, or for one frame.
        """
        with self._models.in_use(model) as adapter:
            rows = list(self._rows(adapter, self._prepared(model, adapter, frames)))
        return np.concatenate(rows) if rows else np.empty((0, 0), dtype=np.float32)

    def _prepared(self, model: str, adapter: ModelAdapter, frames: Iterable[Frame]) -> Iterator[torch.Tensor]:
        """Batches of frames as the model takes them, prepared on its device where that gives the same bits."""
        size, threads, ahead = self._batch_size, self._preprocessing, self._ahead + 1
        there = self._on_device.get(model)
        if there is None:
            return batches(frames, adapter.preprocess, size=size, threads=threads, ahead=ahead, pinned=self.device != "cpu")
        finish = partial(there.rows, together=size)
        return batches(frames, there.levels, size=size, threads=threads, ahead=ahead, pinned=False, finish=finish)

    def _rows(self, adapter: ModelAdapter, prepared: Iterable[torch.Tensor]) -> Iterator[NDArray[np.float32]]:
        """Yield the rows of each batch; while the device computes one, the next is prepared and asked for."""
        asked: deque[Future[NDArray[np.float32]]] = deque()
        try:
            for batch in prepared:
                asked.append(self._submit(adapter, batch))
                if len(asked) > 1:
                    yield asked.popleft().result()
            while asked:
                yield asked.popleft().result()
        finally:
            for one in asked:
                one.cancel()
            wait(asked)

    def _submit(self, adapter: ModelAdapter, batch: torch.Tensor) -> Future[NDArray[np.float32]]:
        return self._device_thread.submit(self._forward.encode, adapter, batch)

    def score(
        self,
        model: str,
        prompt_set: str,
        embeddings: NDArray[np.float32],
        images: Sequence[ImageRef],
        *,
        views: tuple[str, ...] = ANY_IMAGE,
    ) -> tuple[tuple[Score, ...], ...]:
        """Return the scores of `embeddings`, rows of the images beside them: see `inference.scoring.score_images`.

        Raises:
            KeyError: no model or prompt set of this name.
            ModelLoadError: the model cannot be loaded, the prompts give no vectors, or no head answers this from such views.
        """
        if not images:
            return ()
        asked = self._catalogue.prompt_set(prompt_set)
        with self._models.in_use(model) as adapter:
            return score_images(
                adapter.heads, asked, lambda head: self.prompt_embeddings(model, prompt_set, head), embeddings, images, views=views
            )

    def warm_up(self) -> None:
        """Load every model that a route uses and embed its prompts, so that the first study does not wait for it.

        Raises:
            ModelLoadError: a model cannot be loaded.
        """
        used = self._catalogue.models_used()
        for manifest in self._catalogue.manifests:
            if manifest.name in used:
                self.adapter(manifest.name)
                for name in self._catalogue.prompt_sets_asked(manifest):
                    asked = self._catalogue.prompt_set(name)
                    for head in heads_asked(self.adapter(manifest.name).heads, asked):
                        self.prompt_embeddings(manifest.name, name, head)

    def adapter(self, model: str) -> ModelAdapter:
        """Return the loaded model, which reproduced its reference outputs on this device if its manifest names some.

        Raises:
            KeyError: no model of this name.
            ModelLoadError: it cannot be loaded, computes something else than it should, or exceeds the memory budget alone.
            DeviceMemoryError: the device has no memory for it.
        """
        with self._models.in_use(model) as adapter:
            return adapter

    def _load(self, model: str) -> ModelAdapter:
        manifest = self._catalogue.manifest(model)
        folder = self._catalogue.weights_path(manifest)
        adapter = self._load_adapter(manifest, folder, self.device)
        golden = folder / manifest.golden if manifest.golden else None
        if golden is not None:
            prove(adapter, golden, self.device, precision=self.precision)
        self._on_device[model] = on_device(adapter, self.device)
        if not self._options.compile_models:
            return adapter

        def as_before(fast: ModelAdapter) -> None:
            if golden is not None:
                prove_as_served(fast, golden, self.device, precision=self.precision)

        return compiled(
            adapter,
            batch_size=self._batch_size,
            device=self.device,
            precision=self.precision,
            compiler=inductor(self._cache_folder and self._cache_folder / "compiled"),
            prove=as_before,
        )

    def _memory_of(self, model: str) -> int:
        manifest = self._catalogue.manifest(model)
        return memory_of(self._catalogue.weights_path(manifest) / manifest.weights.file)

    def prompt_embeddings(self, model: str, prompt_set: str, head: str | None = None) -> PromptEmbeddings:
        """Return the vectors of a prompt set from memory, from the cache folder (a damaged file is replaced) or from the model.

        `head` is the name of one of the adapter's heads, the first if left out.

        Raises:
            KeyError: no model, prompt set or head of this name.
            ModelLoadError: the model cannot be loaded, or the prompts give no vectors.
            DeviceMemoryError: the device has no memory for the model, or for its texts.
        """
        asked = (model, prompt_set, head)
        if asked not in self._prompts:
            with self._models.in_use(model) as adapter, self._prompts_made:
                space = adapter.heads[0] if head is None else {known.name: known for known in adapter.heads}[head]
                key = (model, prompt_set, space.name)
                if key not in self._prompts:
                    self._prompts[key] = self._cached(adapter, prompt_set, space)
                self._prompts[asked] = self._prompts[key]
        return self._prompts[asked]

    def _cached(self, adapter: ModelAdapter, prompt_set: str, head: Head) -> PromptEmbeddings:
        if self._cache_folder is None:
            return self._embed_prompts(adapter, prompt_set, head)
        labels = self._catalogue.prompt_set(prompt_set)
        path = self._cache_folder / cache_name(labels, adapter.manifest, head.name)
        found = read_cached(path, labels=len(labels.labels))
        if found is not None:
            return found
        made = self._embed_prompts(adapter, prompt_set, head)
        try:
            write_cached(path, made)
        except OSError as exc:  # the cache saves time only: without it the analysis is the same
            _log.warning("text_embeddings_not_kept", model=adapter.manifest.name, prompt_set=prompt_set, reason=exc.strerror)
        return made

    def _embed_prompts(self, adapter: ModelAdapter, prompt_set: str, head: Head) -> PromptEmbeddings:
        model, group = adapter.manifest.name, group_of(adapter.manifest.tokenizer)

        def encode(texts: Sequence[str]) -> NDArray[np.float32]:
            try:
                with out_of_memory():
                    vectors: NDArray[np.float32] = head.texts(adapter.encode_texts(texts)).numpy()
                    return vectors
            except OutOfMemory as exc:
                if group != "any" or len(texts) == 1:
                    raise DeviceMemoryError(f"model {model}: the device has no memory for the texts of {prompt_set}; {REMEDY}") from exc
            half = len(texts) // 2
            return np.concatenate([encode(texts[:half]), encode(texts[half:])])

        try:
            return embed_prompts(self._catalogue.prompt_set(prompt_set), encode, batch_size=self._batch_size, group=group)
        except ValueError as exc:
            raise ModelLoadError(f"model {model} with prompt set {prompt_set}: {exc}") from exc


def _device(asked: Literal["auto", "cpu", "cuda"]) -> str:
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise ModelLoadError("work.device is cuda and this machine has no CUDA device that torch can use; set it to auto or cpu")
    return "cuda" if there and asked != "cpu" else "cpu"
