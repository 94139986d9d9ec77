"""What a model computes in: float32 that is float32, or on CUDA half precision by autocast."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Literal

import torch

Precision = Literal["float32", "float16", "bfloat16"]

_AUTOCAST: dict[Precision, torch.dtype] = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def serving(device: str, precision: Precision) -> AbstractContextManager[object]:
    """Return the context in which a model serves: autocast, where `precision_on` is not float32."""
    served = precision_on(device, precision)
    return contextlib.nullcontext() if served == "float32" else torch.autocast(device, dtype=_AUTOCAST[served])


def precision_on(device: str, precision: Precision) -> Precision:
    """Return what a model on `device` computes in: the CPU knows float32 only."""
    return "float32" if device == "cpu" else precision


def forbid_tf32() -> None:
    """Make float32 on CUDA float32 in convolutions and matrix products, for good."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


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
