"""The models in memory: loaded when first asked, within a budget, the least recently used one leaving for another."""

import contextlib
import gc
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path

import structlog
import torch
from safetensors import SafetensorError, safe_open

from inference.adapters import DeviceMemoryError, ModelAdapter, ModelLoadError
from inference.device.forward import REMEDY, OutOfMemory, out_of_memory

_log = structlog.get_logger(__name__)

_FLOAT32_BYTES = 4
_BYTES = {"F64": 8, "I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_MEGABYTE = 1_000_000


class LoadedModels:
    """Adapters by model name, for any thread. One model is loaded at a time; those that are there stay available meanwhile.

    A model in use never leaves. Who needs room that only models in use could give waits until one is free, and nobody else gets
    a model before, so that a busy model cannot keep another out for ever. A thread uses one model at a time.
    """

    def __init__(self, load: Callable[[str], ModelAdapter], size: Callable[[str], int], *, budget: int | None) -> None:
        """`size` gives the bytes that a model will take; `budget` is the bytes for all together, None for no limit."""
        self._load, self._size, self._budget = load, size, budget
        self._loading = threading.Lock()
        self._changed = threading.Condition()
        self._room_wanted = False
        self._adapters: dict[str, ModelAdapter] = {}  # the least recently used first
        self._sizes: dict[str, int] = {}
        self._users: Counter[str] = Counter()
        self._held = threading.local()

    @property
    def names(self) -> tuple[str, ...]:
        """The models that are loaded, the least recently used first."""
        with self._changed:
            return tuple(self._adapters)

    @contextlib.contextmanager
    def in_use(self, model: str) -> Iterator[ModelAdapter]:
        """Give the loaded model, which stays until the block is left.

        Raises:
            KeyError, ModelLoadError: it cannot be loaded, or exceeds the budget alone.
            DeviceMemoryError: the device has no memory for its weights.
        """
        adapter = self._taken(model)
        held: list[str] = self._held.__dict__.setdefault("models", [])
        held.append(model)
        try:
            yield adapter
        finally:
            held.pop()
            with self._changed:
                self._users[model] -= 1
                self._changed.notify_all()

    def _taken(self, model: str) -> ModelAdapter:
        with self._changed:
            if model in self._adapters and (not self._room_wanted or model in self._held.__dict__.get("models", ())):
                return self._counted(model)
        with self._loading:
            with self._changed:
                if model in self._adapters:
                    return self._counted(model)
                size = self._size(model)
                self._make_room(model, size)
            adapter = self._loaded(model)
            with self._changed:
                self._adapters[model], self._sizes[model] = adapter, size
                _log.info("model_loaded", model=model, megabytes=round(size / _MEGABYTE))
                return self._counted(model)

    def _counted(self, model: str) -> ModelAdapter:
        """The adapter, as the one most recently used."""
        self._users[model] += 1
        self._adapters[model] = self._adapters.pop(model)
        return self._adapters[model]

    def _make_room(self, model: str, size: int) -> None:
        if self._budget is None:
            return
        if size > self._budget:
            raise ModelLoadError(
                f"model {model}: its weights take {size / _MEGABYTE:.0f} MB, more than work.model_memory_mb allows for all models together"
                f" ({self._budget / _MEGABYTE:.0f}); raise it, or take the routes of this model out"
            )
        self._room_wanted = True
        try:
            while sum(self._sizes.values()) + size > self._budget:
                if not self._let_one_leave():
                    self._changed.wait()
        finally:
            self._room_wanted = False

    def _let_one_leave(self) -> bool:
        """The least recently used of those that nobody uses; False if all are in use."""
        idle = next((model for model in self._adapters if not self._users[model]), None)
        if idle is None:
            return False
        del self._adapters[idle]
        _log.info("model_left", model=idle, megabytes=round(self._sizes.pop(idle) / _MEGABYTE))
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return True

    def _loaded(self, model: str) -> ModelAdapter:
        while True:
            with contextlib.suppress(OutOfMemory), out_of_memory():
                return self._load(model)
            with self._changed:
                if not self._let_one_leave():
                    raise DeviceMemoryError(f"model {model}: the device has no memory for its weights; {REMEDY}")


def memory_of(weights: Path) -> int:
    """Return the bytes that the weights in a safetensors file take once loaded: floats as float32. 0 if it cannot be read.

    A file that cannot be read takes no room; loading it says what is wrong with it.
    """
    try:
        with safe_open(weights, framework="numpy") as file:
            tensors = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118 - safe_open is no mapping
            return sum(prod(tensor.get_shape()) * _BYTES.get(tensor.get_dtype(), _FLOAT32_BYTES) for tensor in tensors)
    except (OSError, SafetensorError):
        return 0
