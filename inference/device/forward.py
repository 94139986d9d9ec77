"""The forward pass: batches of preprocessed frames in, rows out, in halves where the device has no memory for the whole."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from inference.adapters import DeviceMemoryError, ModelAdapter, ModelOutputError
from inference.device.precision import Precision, serving

_log = structlog.get_logger(__name__)

# What torch says, beside its own error class, when an allocation fails on the CPU, in cuBLAS, in cuDNN or in the CUDA driver.
_NO_MEMORY = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "CUDA error: out of memory")

REMEDY = "stop other programs there, or lower work.model_memory_mb so that fewer models share it"


class OutOfMemory(Exception):  # noqa: N818 - an answer of the device, for whoever can ask for less
    """The device has no memory for what was asked."""


@contextmanager
def out_of_memory() -> Iterator[None]:
    """Translate each way in which torch says so into `OutOfMemory`, which keeps what was half done alive until it is handled."""
    try:
        yield
    except torch.OutOfMemoryError as exc:
        raise OutOfMemory from exc
    except RuntimeError as exc:
        if any(words in str(exc) for words in _NO_MEMORY):
            raise OutOfMemory from exc
        raise


class Forward:
    """Runs models on one device, in the precision of the service; of one thread. It remembers the batch that a model had memory for."""

    def __init__(self, device: str, precision: Precision) -> None:
        self._device, self._precision = device, precision
        self._fits: dict[str, int] = {}

    def encode(self, adapter: ModelAdapter, batch: torch.Tensor) -> NDArray[np.float32]:
        """Return the rows `(n, f)` of a batch that is not empty, after as many smaller passes as memory asks for.

        Raises:
            ModelOutputError: the model answered with NaN or infinity.
            DeviceMemoryError: there is no memory for one frame.
        """
        model, rows = adapter.manifest.name, []
        size = fits = self._fits.get(model, len(batch))
        while len(batch):
            part = batch[:size]
            try:
                rows.append(self._pass(adapter, part))
            except OutOfMemory as exc:
                if len(part) == 1:
                    raise DeviceMemoryError(f"model {model}: the device has no memory for one frame; {REMEDY}") from exc
                size = len(part) // 2
                _log.warning("batch_halved", model=model, device=self._device, frames=len(part), next=size)
                continue
            if size < fits:  # halved, and this much worked
                self._fits[model] = fits = size
            batch = batch[size:]
        return np.concatenate(rows)

    def _pass(self, adapter: ModelAdapter, batch: torch.Tensor) -> NDArray[np.float32]:
        with out_of_memory(), serving(self._device, self._precision):
            rows: NDArray[np.float32] = adapter.encode_images(batch).numpy()
        if not np.isfinite(rows).all():
            raise ModelOutputError(f"model {adapter.manifest.name} answered with NaN or infinity; check its weights and architecture")
        return rows
