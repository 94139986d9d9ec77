"""The proof before a model serves: its reference outputs on the device in use, in full precision and in that of the service."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch

from inference.adapters import ModelAdapter, ModelLoadError
from inference.golden.check import require_match
from inference.golden.folder import GoldenError, read_golden


def prove(adapter: ModelAdapter, folder: Path, device: str) -> None:
    """Return if the model reproduces the reference outputs in `folder`.

    Full precision has the tolerances of golden.json; on CUDA, where the engine serves in half precision, that is compared too.

    Raises:
        ModelLoadError: it does not, or the folder cannot be used.
    """
    try:
        golden = read_golden(folder)
        with full_precision():
            require_match(golden, adapter)
        if device == "cuda":
            with torch.autocast("cuda"):
                require_match(golden, adapter, precision="float16")
    except GoldenError as exc:
        raise ModelLoadError(
            f"model {adapter.manifest.name}: its reference outputs cannot be used ({exc}); import it again, or take golden out of"
            " its manifest"
        ) from exc


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Float32 that is float32: no TF32 in convolutions and matrix products meanwhile."""
    matrices = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = matrices
