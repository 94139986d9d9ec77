"""The tensors of a TorchScript archive, read without running it: no code of the archive is compiled, no class of it is made."""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from inference.importing.published import ImportRefusedError

_STORAGES: Mapping[str, torch.dtype] = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def is_torchscript(names: list[str]) -> bool:
    """Return whether the members of a zip archive are those of a TorchScript archive."""
    return any(name.endswith("/constants.pkl") or "/code/" in name for name in names) and any(name.endswith("/data.pkl") for name in names)


def read_torchscript(path: Path) -> dict[str, torch.Tensor]:
    """Return the parameters, buffers and number attributes of the archived module by their dotted names.

    Numbers (input_resolution and the like) come as tensors of shape ().

    Raises:
        ImportRefusedError: the archive is damaged, or its data hold anything but modules, tensors and plain values.
    """
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        reader = _Reader(archive, name)
        try:
            root = reader.load()
        except (pickle.UnpicklingError, EOFError, KeyError, ValueError, RuntimeError) as exc:
            raise ImportRefusedError(f"{path} is a damaged TorchScript archive, or holds more than tensors: {exc}") from exc
    if not isinstance(root, _Module):
        raise ImportRefusedError(f"{path} holds no TorchScript module; take the publisher's state dict instead")
    return dict(_tensors(root, ""))


class _Module:
    """Stands for any class of the archive: keeps its attributes, does nothing."""

    attributes: dict[str, object]

    def __new__(cls) -> "_Module":
        """Made by the unpickler without calling `__init__`."""
        module = super().__new__(cls)
        module.attributes = {}
        return module

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.attributes.update(state)


class _Reader(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        super().__init__(archive.open(name))
        self._archive, self._folder = archive, name.removesuffix("data.pkl")

    def find_class(self, module: str, name: str) -> Any:
        """Know modules of the archive as `_Module`, and of torch only what rebuilds tensors and lists."""
        if module.startswith("__torch__"):
            return _Module
        known: dict[tuple[str, str], Callable[..., object]] = {
            ("torch._utils", "_rebuild_tensor_v2"): _rebuilt,
            ("collections", "OrderedDict"): OrderedDict,
            **{("torch.jit._pickle", f"build_{kind}list"): list for kind in ("int", "double", "bool", "tensor")},
            ("torch.jit._pickle", "restore_type_tag"): lambda value, _: value,
        }
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is neither a tensor nor a plain container")
        return known[module, name]

    def persistent_load(self, pid: Any) -> torch.Tensor:
        """Return a storage: a flat tensor."""
        _, dtype, key, _, number = pid
        data = bytearray(self._archive.read(f"{self._folder}data/{key}"))
        return torch.frombuffer(data, dtype=dtype, count=number) if number else torch.empty(0, dtype=dtype)


def _rebuilt(storage: torch.Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> torch.Tensor:
    return storage.as_strided(size, stride, offset)


def _tensors(module: _Module, prefix: str) -> list[tuple[str, torch.Tensor]]:
    found: list[tuple[str, torch.Tensor]] = []
    for name, value in module.attributes.items():
        if isinstance(value, _Module):
            found += _tensors(value, f"{prefix}{name}.")
        elif isinstance(value, torch.Tensor):
            found.append((prefix + name, value))
    return found
