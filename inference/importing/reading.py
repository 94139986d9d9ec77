"""Reads published weight files of every known format, without running anything that they hold.

Only ever called in the importing process: a pickle is read with `weights_only=True`, a TorchScript archive by its data alone.
"""

import pickle
import re
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors import SafetensorError, safe_open

from inference.importing.published import Format, ImportRefusedError, Published, PublishedCheckpoint
from inference.importing.torchscript import is_torchscript, read_torchscript

WEIGHTS = frozenset({".pt", ".pth", ".bin", ".safetensors", ".ckpt", ".tar", ".th"})

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_LARGEST_DOCUMENT = 64 << 20
_SMALLEST_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"


def read_published(
    source: Path,
    supplement: Path | None,
    only: tuple[str, ...] = (),
    *,
    companions: Mapping[str, Path] = MappingProxyType({}),
    hints: Mapping[str, str] = MappingProxyType({}),
) -> Published:
    """Return what lies at `source`, a weight file (with the documents of its folder) or a folder.

    Of a folder that has the same weights in several formats, safetensors are taken. `only` names the weight files to take.
    `companions` are files that this node brings along: each counts where the supplement has none of that name.

    Raises:
        ImportRefusedError: there are no weights, a file is damaged or incomplete, or it holds more than tensors.
    """
    if supplement is not None and not supplement.is_dir():
        raise ImportRefusedError(
            f"the supplement {supplement} is no folder; give the folder with the files that the publisher does not ship"
        )
    folder = source if source.is_dir() else source.parent
    files = weight_files(source) if not only else [folder / name for name in only]
    return Published(
        checkpoints=tuple(read_checkpoint(paths) for paths in _shards(files)),
        documents=dict(_documents(folder, folder.iterdir())),
        supplement=_supplement(supplement, companions),
        hints=hints,
    )


def _supplement(folder: Path | None, companions: Mapping[str, Path]) -> dict[str, Path]:
    found = dict(_documents(folder, folder.rglob("*"))) if folder else {}
    names = {Path(inner).name for inner in found}
    return found | {name: path for name, path in companions.items() if name not in names}


def weight_files(source: Path) -> list[Path]:
    """Return the weight files at `source`, sorted by path; safetensors only, where there are some.

    Raises:
        ImportRefusedError: there are none.
    """
    if not source.exists():
        raise ImportRefusedError(f"there is no {source}; give a weight file, or the folder that the publisher offers")
    if source.is_file():
        return [source]
    found = sorted(path for path in source.iterdir() if path.suffix in WEIGHTS and path.is_file() and path.name != "training_args.bin")
    if not found:
        raise ImportRefusedError(f"{source} has no weights ({', '.join(sorted(WEIGHTS))}); give the file or folder with them")
    return [path for path in found if path.suffix == ".safetensors"] or found


def _shards(files: Iterable[Path]) -> list[tuple[Path, ...]]:
    return [tuple(group) for _, group in groupby(files, key=lambda path: _SHARD.sub("", path.stem) + path.suffix)]


def _documents(folder: Path, paths: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    for path in sorted(paths):
        if path.is_file() and path.suffix not in WEIGHTS and path.stat().st_size <= _LARGEST_DOCUMENT:
            yield path.relative_to(folder).as_posix(), path


def read_checkpoint(paths: tuple[Path, ...]) -> PublishedCheckpoint:
    """Return the tensors of one checkpoint, which lies in one file or in numbered shards.

    Raises:
        ImportRefusedError: see `read_published`.
    """
    kind = _format(paths[0])
    found: dict[str, object] = {}
    for path in paths:
        found |= _content(path, kind)
    where = paths[0].name
    wrapper, state = _unwrapped(found, where)
    tensors = _only_tensors(state, where)
    prefix = _common_prefix(tensors)
    return PublishedCheckpoint(
        paths=paths,
        format=kind,
        tensors={name.removeprefix(prefix): tensor for name, tensor in tensors.items()},
        wrapper_key=wrapper,
        prefix=prefix,
        other_keys=tuple(key for key in found if key != wrapper) if wrapper else (),
    )


def _format(path: Path) -> Format:
    with path.open("rb") as file:
        head = file.read(512)
    if path.suffix == ".safetensors":
        return "safetensors"
    if head.startswith(_SMALLEST_ZIP):
        if not zipfile.is_zipfile(path):
            raise ImportRefusedError(f"{path} is incomplete: the end of the archive is missing; download it again and compare its SHA-256")
        with zipfile.ZipFile(path) as archive:
            return "torchscript" if is_torchscript(archive.namelist()) else "torch-zip"
    if head.startswith(b"version https://git-lfs"):
        raise ImportRefusedError(f"{path} is a Git LFS pointer, not the weights; fetch the file itself (git lfs pull)")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise ImportRefusedError(
            f"{path} is a web page, not the weights; download the file itself, signed in where the publisher asks for it"
        )
    if head.startswith(_PICKLE):
        return "torch-legacy"
    raise ImportRefusedError(f"{path} is no weight file that this node can read (torch, TorchScript or safetensors); download it again")


def _content(path: Path, kind: Format) -> dict[str, object]:
    if kind == "safetensors":
        return dict(_safetensors(path))
    if kind == "torchscript":
        return dict(read_torchscript(path))
    try:
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=kind == "torch-zip")
    except pickle.UnpicklingError as exc:
        raise ImportRefusedError(f"{path} holds more than tensors, and is not read: {_culprit(exc)}. {_RESAVE}") from exc
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ImportRefusedError(f"{path} is damaged or incomplete ({exc}); download it again and compare its SHA-256") from exc
    if not isinstance(value, Mapping):
        raise ImportRefusedError(f"{path} holds a {type(value).__name__}, not a state dict; {_RESAVE}")
    return dict(value)


_RESAVE = "Ask the publisher for a plain state dict or safetensors"


def _culprit(error: pickle.UnpicklingError) -> str:
    found = re.search(r"Unsupported (?:global|operand)[^.]*?(?:GLOBAL )?([\w.]+\.[\w.]+|\d+)", str(error))
    return found[1] if found else str(error).splitlines()[0]


def _safetensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
    if len(head) < 8 or struct.unpack("<Q", head)[0] > size:  # noqa: PLR2004 - the header's length is eight bytes
        raise ImportRefusedError(f"{path} is incomplete or no safetensors file; download it again and compare its SHA-256")
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - safe_open is no mapping
                yield name, file.get_tensor(name)
    except SafetensorError as exc:
        raise ImportRefusedError(f"{path} is incomplete or damaged ({exc}); download it again and compare its SHA-256") from exc


def _unwrapped(found: Mapping[str, object], where: str) -> tuple[str, Mapping[str, object]]:
    """The state dict in a dict of a training run, and its key; the dict itself and "" if it is bare."""
    if any(isinstance(value, torch.Tensor) for value in found.values()) and not any(
        isinstance(found.get(key), Mapping) for key in _WRAPPERS
    ):
        return "", found
    states = {key: value for key, value in found.items() if isinstance(value, Mapping) and _is_state(value)}
    known = [key for key in _WRAPPERS if key in states] or list(states)
    if len(known) != 1 and not (known and known[0] in _WRAPPERS):
        raise ImportRefusedError(
            f"{where} holds {'no state dict' if not known else 'several: ' + ', '.join(known)}; its keys are: {', '.join(map(str, found))}."
            " Give a file with the model's state dict alone"
        )
    return known[0], states[known[0]]


def _is_state(value: Mapping[object, object]) -> bool:
    return bool(value) and all(isinstance(key, str) and isinstance(item, torch.Tensor) for key, item in value.items())


def _only_tensors(state: Mapping[str, object], where: str) -> dict[str, torch.Tensor]:
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise ImportRefusedError(f"{where}: {key} holds a {type(value).__name__}, not a tensor; {_RESAVE}")
        if value.layout != torch.strided or value.is_quantized:
            raise ImportRefusedError(f"{where}: {key} is sparse or quantised, which no family here is; take the publisher's full weights")
    if not state:
        raise ImportRefusedError(f"{where} holds no tensors; download it again")
    return {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}


def _common_prefix(tensors: Mapping[str, torch.Tensor]) -> str:
    prefix = ""
    while found := next((known for known in _PREFIXES if all(name.startswith(prefix + known) for name in tensors)), ""):
        prefix += found
    return prefix
