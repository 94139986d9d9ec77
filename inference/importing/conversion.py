"""From published files to a model's folder: read, recognise, rename, state, write. Runs in the importing process only."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from config.source import SourceError, read_source
from inference.golden import read_golden
from inference.importing import IMPORTERS, importer_of
from inference.importing.facts import Gathered, checked_manifest, gather, stated
from inference.importing.golden_facts import golden_facts, golden_family
from inference.importing.published import Conversion, Fact, ImportRefusedError, Published, PublishedCheckpoint
from inference.importing.reading import read_published
from inference.importing.writing import write_safetensors

WEIGHTS_FILE = "model.safetensors"

_SHOWN = 6
_NOBODY = "nobody stated it"
_TENSORS = "tensors"  # origin of what importers read from the shapes


def convert(request: Mapping[str, Any]) -> dict[str, Any]:
    """Write weights and companion files into the folder of the request; return the manifest and what was inferred, as JSON.

    Raises:
        ImportRefusedError: the files cannot become a model. Nothing but that folder was written to.
        GoldenError: the folder with reference outputs cannot be used.
    """
    published = read_published(
        Path(request["source"]),
        Path(request["supplement"]) if request["supplement"] else None,
        tuple(request["only"]),
        companions={name: Path(path) for name, path in request.get("companions", {}).items()},
        hints=request.get("hints", {}),
    )
    golden = read_golden(Path(request["golden"])) if request["golden"] else None
    family = request["family"] or (golden_family(golden) if golden else _recognised(published))
    conversions = [importer_of(family).convert(checkpoint, published) for checkpoint in published.checkpoints]
    _alike(conversions, published.checkpoints)
    sources = {path.name: _digest(path) for checkpoint in published.checkpoints for path in checkpoint.paths}
    _as_published(sources, request["known_files"], request["name"])
    gathered = gather(
        (
            *stated(_unstated(sources), _NOBODY),
            *_published_facts(conversions[0].facts, published, request),
            *(golden_facts(golden, family) if golden else ()),
            *_stated_in(request["facts"]),
        )
    )
    folder = Path(request["folder"])
    weights: dict[str, Any] = {"folder": request["name"], "file": WEIGHTS_FILE, "sha256": "0" * 64, "checkpoints": len(conversions)}
    values = {**gathered.values(), "name": request["name"], "imported_from": sources, "weights": weights}
    checked_manifest(values)  # before the long part
    weights["files"] = {name: _written(folder / name, data) for name, data in conversions[0].files.items()}
    weights["sha256"] = _weights(folder / WEIGHTS_FILE, conversions, published.checkpoints)
    return {"manifest": checked_manifest(values).model_dump(mode="json"), "report": _report(published, conversions, gathered, family)}


def _published_facts(found: Sequence[Fact], published: Published, request: Mapping[str, Any]) -> tuple[Fact, ...]:
    """What importer and description state, what counts more later: rules of a family, the description, the files beside the weights.

    The description comes last in what it says it `overrules`.
    """
    described = stated(request["description"] or {}, f"published model {request['name']}")
    overrules = frozenset(request.get("overrules", ()))
    files = {_TENSORS, *(Path(name).name for name in published.documents)}
    return (
        *(fact for fact in found if fact.origin not in files),
        *(fact for fact in described if fact.field not in overrules),
        *(fact for fact in found if fact.origin in files),
        *(fact for fact in described if fact.field in overrules),
    )


def _recognised(published: Published) -> str:
    first = published.checkpoints[0]
    found = [family for family in IMPORTERS if importer_of(family).recognises(first, published)]
    if len(found) == 1:
        return found[0]
    seen = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in list(first.tensors.items())[:_SHOWN])
    families = f"could be of {' or '.join(found)}" if found else "is of no family that this node recognises"
    raise ImportRefusedError(
        f"{first.name} ({len(first.tensors)} tensors: {seen}, ...) {families}; say which with --family: {', '.join(IMPORTERS)}"
    )


def _alike(conversions: Sequence[Conversion], checkpoints: Sequence[PublishedCheckpoint]) -> None:
    """An ensemble is of one architecture.

    Raises:
        ImportRefusedError: the checkpoints differ in more than their numbers.
    """
    first = {name: tensor.shape for name, tensor in conversions[0].tensors.items()}
    for conversion, checkpoint in zip(conversions[1:], checkpoints[1:], strict=True):
        other = {name: tensor.shape for name, tensor in conversion.tensors.items()}
        if other != first or conversion.facts != conversions[0].facts:
            key = next(iter(sorted(first.items() ^ other.items())), ("its facts",))[0]
            raise ImportRefusedError(
                f"{checkpoints[0].name} and {checkpoint.name} differ in {key}, so they are no ensemble; name one of the files"
            )


def _as_published(sources: Mapping[str, str], known: Mapping[str, str], name: str) -> None:
    for file, digest in sources.items():
        if known.get(file, digest) != digest:
            raise ImportRefusedError(
                f"{file} has SHA-256 {digest}, its publisher's has {known[file]}; download it again, or import it under another name than"
                f" {name} if it is another model"
            )


def _unstated(sources: Mapping[str, str]) -> dict[str, Any]:
    """What a manifest must say and the site may state better: unknown terms are the strictest."""
    return {
        "version": next(iter(sources.values()))[:12],
        "manufacturer": "unknown",
        "colour": "any",
        "gate": None,
        "licence": {"usage": "unlicensed", "name": "not stated", "read": "the terms of the model's publisher"},
        "intended_use": "Imported by the site, which has stated no intended use. Not for diagnosis.",
    }


def _stated_in(path: str | None) -> tuple[Fact, ...]:
    if path is None:
        return ()
    try:
        value = read_source(Path(path)).value
    except SourceError as exc:
        raise ImportRefusedError(f"{path}: {exc}") from exc
    if not isinstance(value, dict):
        raise ImportRefusedError(f"{path} holds no fields of a manifest")
    return stated(value, Path(path).name)


def _weights(path: Path, conversions: Sequence[Conversion], checkpoints: Sequence[PublishedCheckpoint]) -> str:
    tensors: dict[str, torch.Tensor] = {}
    origin: dict[str, str] = {}
    for number, (conversion, checkpoint) in enumerate(zip(conversions, checkpoints, strict=True)):
        prefix = f"{number}/" if len(conversions) > 1 else ""
        tensors |= {prefix + name: tensor for name, tensor in conversion.tensors.items()}
        origin |= {prefix + name: f"{checkpoint.name}: {name}" for name in conversion.tensors}
    return write_safetensors(path, tensors, origin)


def _written(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _report(published: Published, conversions: Sequence[Conversion], gathered: Gathered, family: str) -> dict[str, Any]:
    return {
        "family": family,
        "files": [
            {
                "file": ", ".join(path.name for path in checkpoint.paths),
                "format": checkpoint.format,
                "tensors": len(checkpoint.tensors),
                "wrapper": checkpoint.wrapper_key,
                "prefix": checkpoint.prefix,
                "not_used": list(checkpoint.other_keys),
            }
            for checkpoint in published.checkpoints
        ],
        "inferred": dict(conversions[0].inferred),
        "dropped": dict(conversions[0].dropped),
        "facts": [{"field": fact.field, "value": fact.value, "origin": fact.origin} for fact in gathered.used],
        "overruled": [
            {"field": fact.field, "value": fact.value, "origin": fact.origin} for fact in gathered.overruled if fact.origin != _NOBODY
        ],
    }
