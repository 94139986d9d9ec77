"""Writes safetensors tensor by tensor, so that an ensemble of many gigabytes needs the memory of one tensor."""

import hashlib
import json
import os
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from inference.importing.published import ImportRefusedError

_TYPES: Mapping[torch.dtype, str] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ALIGNMENT = 8


def write_safetensors(path: Path, tensors: Mapping[str, torch.Tensor], origin: Mapping[str, str]) -> str:
    """Write the tensors dense and in their own type; return the SHA-256 of the file.

    `origin` names, for each tensor, the file and key that it comes from, for the message.

    Raises:
        ImportRefusedError: a tensor is not finite, or of a type that safetensors do not hold.
    """
    tensors = dict(sorted(tensors.items(), key=lambda item: -item[1].element_size()))  # so that every tensor lies aligned
    header = _header(tensors, origin)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in _parts(header, tensors, origin):
            file.write(part)
            digest.update(part)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _header(tensors: Mapping[str, torch.Tensor], origin: Mapping[str, str]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        if tensor.dtype not in _TYPES:
            raise ImportRefusedError(
                f"{origin[name]} is of type {tensor.dtype}, which no model here uses; take the publisher's full weights"
            )
        start, end = end, end + tensor.numel() * tensor.element_size()
        entries[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % _ALIGNMENT)


def _parts(header: bytes, tensors: Mapping[str, torch.Tensor], origin: Mapping[str, str]) -> Iterable[bytes]:
    yield struct.pack("<Q", len(header))
    yield header
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ImportRefusedError(
                f"{origin[name]} holds NaN or infinity; the file is damaged or was never a working model, fetch it again"
            )
        yield tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
