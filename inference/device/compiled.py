"""The image tower through torch.compile, for full batches, where it gives the numbers that it gives without."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import structlog
import torch

from inference.adapters import Head, ModelAdapter, ModelLoadError, ModelOutputError
from inference.device.drawn import drawn
from inference.device.forward import Forward
from inference.device.precision import Precision
from inference.frames import Frame
from inference.tokenizers import Tokens

Encode = Callable[[torch.Tensor], torch.Tensor]
Compile = Callable[[Encode], Encode]

_log = structlog.get_logger(__name__)

# Largest difference of a row, as a share of its length: the tolerance of reference outputs for embeddings (see `inference.golden`).
_TOLERANCE: dict[Precision, float] = {"float32": 1e-5, "float16": 0.006, "bfloat16": 0.05}


class CompiledModel:
    """A `ModelAdapter` whose batches of one size run compiled; all others run as before, so that nothing is compiled in service."""

    def __init__(self, adapter: ModelAdapter, encode: Encode, *, batch_size: int) -> None:
        """`encode` is the adapter's `encode_images`, compiled; it only ever gets batches of `batch_size`."""
        self.manifest = adapter.manifest
        self.heads: tuple[Head, ...] = adapter.heads
        self._adapter, self._encode, self._batch_size = adapter, encode, batch_size

    @property
    def logit_scale(self) -> float:
        """As without."""
        return self._adapter.logit_scale

    def preprocess(self, frame: Frame) -> torch.Tensor:
        """As without."""
        return self._adapter.preprocess(frame)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """As without."""
        return self._adapter.tokenize(texts)

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """As without."""
        return self._adapter.encode_texts(texts)

    def encode_images(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the rows that the model gives, compiled if the batch is a full one."""
        return self._encode(batch) if len(batch) == self._batch_size else self._adapter.encode_images(batch)


class _EveryBatch(CompiledModel):
    """Brings every batch to the size that is compiled, so that a proof meets what a full batch will."""

    def encode_images(self, batch: torch.Tensor) -> torch.Tensor:
        size = self._batch_size
        parts = (batch[start : start + size] for start in range(0, len(batch), size))
        return torch.cat(
            [self._encode(torch.cat([part, part[:1].expand(size - len(part), *part.shape[1:])]))[: len(part)] for part in parts]
        )


def compiled(
    adapter: ModelAdapter,
    *,
    batch_size: int,
    device: str,
    precision: Precision,
    compiler: Compile,
    prove: Callable[[ModelAdapter], None],
) -> ModelAdapter:
    """Return the model with its image tower compiled, or the model itself, with a logged warning, where that fails.

    It fails if nothing can be compiled here, if the rows of a drawn batch move, or if `prove`, which is given the compiled model
    (and compares the reference outputs, where there are some), raises ModelLoadError.
    """
    model = adapter.manifest.name
    try:
        encode = compiler(adapter.encode_images)
        every = _EveryBatch(adapter, encode, batch_size=batch_size)
        _require_same_rows(adapter, every, Forward(device, precision), batch_size, _TOLERANCE[precision])
        prove(every)
    except Exception as exc:  # noqa: BLE001 - a compiler fails in any way; the model itself is sound and serves
        reason = str(exc) if isinstance(exc, ModelLoadError | ModelOutputError) else type(exc).__name__
        _log.warning("model_not_compiled", model=model, reason=reason)
        return adapter
    _log.info("model_compiled", model=model, batch_size=batch_size)
    return CompiledModel(adapter, encode, batch_size=batch_size)


def inductor(cache_folder: Path | None) -> Compile:
    """Return torch.compile for batches of one shape. What it makes is kept in `cache_folder`, where nobody else may write."""
    if cache_folder is not None:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder))
    return lambda encode: torch.compile(encode, dynamic=False)


def _require_same_rows(adapter: ModelAdapter, other: ModelAdapter, forward: Forward, batch_size: int, tolerance: float) -> None:
    """Compare their rows of a batch of drawn pictures; differences are shares of the length of a row."""
    side = adapter.manifest.preprocessing.image_size
    rng = np.random.default_rng(0)
    batch = torch.stack([adapter.preprocess(drawn(rng.random((side, side), dtype=np.float32))) for _ in range(batch_size)])
    rows, others = forward.encode(adapter, batch), forward.encode(other, batch)
    difference = float((np.abs(rows - others).max(axis=1) / np.linalg.norm(rows, axis=1)).max())
    if not difference <= tolerance:
        raise ModelLoadError(f"rows of a drawn batch differ by {difference:.3g}, more than {tolerance:g}")
