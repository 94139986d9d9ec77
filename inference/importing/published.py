"""A publisher's files as an importer sees them: checkpoints of named tensors, and documents beside them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import torch

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | float | bool | None"
Format = Literal["safetensors", "torch-zip", "torch-legacy", "torchscript"]

_LARGEST_CONFIGURATION = 1 << 20


class ImportRefusedError(Exception):
    """The files cannot become a model of this node. The message names file, key and remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedCheckpoint:
    """The tensors of one checkpoint, by their published names without a wrapping dict and without a common prefix."""

    paths: tuple[Path, ...]
    format: Format
    tensors: "Mapping[str, torch.Tensor]"
    wrapper_key: str = ""
    prefix: str = ""
    other_keys: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of its (first) file."""
        return self.paths[0].name


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """All that was published of a model: checkpoints (several make an ensemble, sorted by path) and documents by path in the folder.

    `supplement` holds what the publisher does not ship with the weights (the configuration of a text tower, a vocabulary). `hints` says
    of such a file where to find it.
    """

    checkpoints: tuple[PublishedCheckpoint, ...]
    documents: Mapping[str, Path]
    supplement: Mapping[str, Path] = field(default_factory=dict)
    hints: Mapping[str, str] = field(default_factory=dict)

    def document(self, name: str) -> Path | None:
        """Return a file of this name from the published folder, else from anywhere in the supplement, else None.

        Raises:
            ImportRefusedError: the supplement has several.
        """
        if name in self.documents:
            return self.documents[name]
        found = [path for inner, path in sorted(self.supplement.items()) if Path(inner).name == name]
        if len(found) > 1:
            raise ImportRefusedError(f"the supplement has several files {name}: {found[0]} and {found[1]}; keep the one of this model")
        return found[0] if found else None

    def needed(self, name: str, why: str) -> Path:
        """Return the document of this name.

        Raises:
            ImportRefusedError: there is none; `why` says what for.
        """
        found = self.document(name)
        if found is None:
            what = f"take {self.hints[name]} and put it" if name in self.hints else "put it"
            raise ImportRefusedError(f"{name} is missing: {why}; {what} beside the weights, or into a folder given with --supplement")
        return found

    def json(self, name: str, why: str) -> Mapping[str, Json]:
        """Return a JSON document.

        Raises:
            ImportRefusedError: it is missing or is no JSON object.
        """
        return read_json(self.needed(name, why))

    def json_with(self, field: str) -> "Mapping[Path, Mapping[str, Json]]":
        """Return the JSON objects of any name that have this field, for configurations whose names differ from model to model."""
        found: dict[Path, Mapping[str, Json]] = {}
        for path in {**self.documents, **self.supplement}.values():
            if path.suffix == ".json" and path.stat().st_size <= _LARGEST_CONFIGURATION:
                try:
                    told = read_json(path)
                except ImportRefusedError:  # any other file of the folder
                    continue
                if field in told:
                    found[path] = told
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One field of a manifest, `section.field` or deeper, its value and where it comes from."""

    field: str
    value: Json
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What an importer makes of one checkpoint.

    `tensors` are named as the adapter wants them; `dropped` says of each published name that is not used why; `files` are
    put beside the weights under their names; `inferred` is what the tensors revealed, in words.
    """

    tensors: "Mapping[str, torch.Tensor]"
    facts: tuple[Fact, ...] = ()
    dropped: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    inferred: Mapping[str, str] = field(default_factory=dict)


def facts(section: str, origin: str, **values: Json) -> tuple[Fact, ...]:
    """Return facts of one section and origin."""
    return tuple(Fact(field=f"{section}.{name}", value=value, origin=origin) for name, value in values.items())


def read_json(path: Path) -> Mapping[str, Json]:
    """Return the object in a JSON file.

    Raises:
        ImportRefusedError: the file cannot be read or holds no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ImportRefusedError(f"{path} is no JSON ({exc}); fetch it again") from exc
    if not isinstance(value, dict):
        raise ImportRefusedError(f"{path} holds no JSON object; fetch it again")
    return value
