"""Facts of a model from several places put together into one manifest; what is missing is an error that names the field."""

import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError

from config.architecture import Architecture
from config.manifests import ModelManifest
from config.preprocessing import Preprocessing
from config.tokenizer import Tokenizer
from inference.importing.published import Fact, ImportRefusedError, Json

_UNIONS: Mapping[str, tuple[object, str]] = {
    "architecture": (Architecture, "family"),
    "preprocessing": (Preprocessing, "resize_mode"),
    "tokenizer": (Tokenizer, "kind"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """The facts that count, and those that another place, asked later, overruled."""

    used: tuple[Fact, ...]
    overruled: tuple[Fact, ...]

    def values(self) -> dict[str, object]:
        """Return the facts as a manifest has them."""
        tree: dict[str, dict[str, Json]] = {}
        plain: dict[str, object] = {}
        for fact in self.used:
            section, _, name = fact.field.partition(".")
            if name:
                tree.setdefault(section, {})[name] = fact.value
            else:
                plain[section] = fact.value
        return {**plain, **tree}


def gather(facts: Iterable[Fact]) -> Gathered:
    """Return the last fact of each field. Facts about another way of resizing or tokenizing than the last one are left out."""
    last: dict[str, Fact] = {}
    overruled: list[Fact] = []
    for fact in facts:
        earlier = last.pop(fact.field, None)
        if earlier is not None and earlier.value != fact.value:
            overruled.append(earlier)
        last[fact.field] = fact
    return Gathered(used=tuple(fact for fact in last.values() if _belongs(fact, last)), overruled=tuple(overruled))


def stated(values: Mapping[str, Json], origin: str) -> tuple[Fact, ...]:
    """Return the facts of (part of) a manifest: one a field of each of its sections that have kinds, one for everything else."""
    found: list[Fact] = []
    for name, value in values.items():
        if name in _UNIONS and isinstance(value, Mapping):
            found += (Fact(field=f"{name}.{field}", value=inner, origin=origin) for field, inner in value.items())
        else:
            found.append(Fact(field=name, value=value, origin=origin))
    return tuple(found)


def checked_manifest(values: Mapping[str, object]) -> ModelManifest:
    """Return the manifest.

    Raises:
        ImportRefusedError: fields are missing or wrong; names each of them and where to state it.
    """
    try:
        return ModelManifest.model_validate(values)
    except ValidationError as exc:
        problems = "; ".join(_problem(error["loc"], error["type"], error["msg"]) for error in exc.errors())
        raise ImportRefusedError(
            f"{problems}. Tensors do not reveal this: state it in a YAML file given with --facts, give reference outputs with"
            " --golden, or name a published model that this node knows with --as"
        ) from exc


def _belongs(fact: Fact, facts: Mapping[str, Fact]) -> bool:
    section, _, field = fact.field.partition(".")
    if section not in _UNIONS:
        return True
    told = facts.get(f"{section}.{_UNIONS[section][1]}")
    if told is None or told.origin == fact.origin:
        return True
    known = _kinds(section).get(told.value)
    return known is None or field in known.model_fields


def _kinds(section: str) -> dict[object, type[BaseModel]]:
    """The sections of a union by what tells them apart."""
    union, tells = _UNIONS[section]
    return {model.model_fields[tells].default: model for model in typing.get_args(typing.get_args(union)[0])}


def _problem(location: tuple[int | str, ...], kind: str, message: str) -> str:
    tags = {tag for name in _UNIONS for tag in _kinds(name)}
    field = ".".join(str(part) for part in location if part not in tags)
    if kind == "union_tag_not_found":
        return f"{field}.{_UNIONS[field][1] if field in _UNIONS else 'kind'} is missing"
    return f"{field} is missing" if kind == "missing" else f"{field}: {message}"
