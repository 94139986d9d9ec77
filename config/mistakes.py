"""Mistakes in the configuration: each with its file, line and field, all of them told at once."""

import difflib
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from config.source import Location, SourceDocument, field_name

_UNKNOWN_FIELD = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
_MISSING_FIELD = frozenset({"missing", "missing_argument"})
_UNTOLD_UNION = frozenset({"union_tag_not_found", "union_tag_invalid"})
_LONGEST_VALUE_SHOWN = 60
_DISCRIMINATORS = ("kind", "family", "resize_mode")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Mistake:
    """One mistake. `message` says what is wrong and what to do; `line` is 1-based."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field}: {self.message}"


class ConfigurationError(Exception):
    """The configuration cannot be used. Its text has one line for each mistake."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(sorted(set(mistakes)))
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


def mistake_at(document: SourceDocument, location: Location, message: str) -> Mistake:
    """Return the mistake at one place of a document."""
    return Mistake(file=str(document.path), line=document.line_of(location), field=field_name(location), message=message)


def mistakes_of(document: SourceDocument, model: type[BaseModel], error: ValidationError) -> tuple[Mistake, ...]:
    """Return pydantic's errors in the words of the person who wrote the file."""
    return tuple(_mistake(document, model, found) for found in error.errors(include_url=False) if not _is_echo(found))


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the closest known name, or what is known."""
    names = sorted(set(known))
    if close := difflib.get_close_matches(name, names, n=1):
        return f"; did you mean {close[0]!r}?"
    return f"; known are: {', '.join(names)}" if names else "; none is known"


def _is_echo(found: ErrorDetails) -> bool:
    """True if a list is called too short only because pydantic did not count its items that have mistakes of their own."""
    return found["type"] == "too_short" and bool(found["input"])


def _mistake(document: SourceDocument, model: type[BaseModel], found: ErrorDetails) -> Mistake:
    location, owners = _place(model, found["loc"])
    if found["type"] in _UNTOLD_UNION:
        return _untold(document, location, found)
    return mistake_at(document, location, _message(owners, location, found))


def _untold(document: SourceDocument, location: Location, found: ErrorDetails) -> Mistake:
    """The mistake in a section that does not say, or says wrongly, which of several kinds it is."""
    told = found["ctx"]
    where = (*location, str(told["discriminator"]).strip("'"))
    if "tag" not in told:
        return mistake_at(document, where, "missing; add it: it says which other fields belong here")
    known = (name.strip("' ") for name in str(told["expected_tags"]).split(","))
    return mistake_at(document, where, f"there is no {told['tag']!r}" + suggestion(str(told["tag"]), known))


def _message(owners: tuple[type[BaseModel], ...], location: Location, found: ErrorDetails) -> str:
    last = str(location[-1]) if location else ""
    description = _description(owners, last)
    if found["type"] in _UNKNOWN_FIELD:
        return "unknown field" + suggestion(last, (name for owner in owners for name in owner.model_fields))
    if found["type"] in _MISSING_FIELD:
        return f"missing; add it{': ' + description if description else ''}"
    if found["type"] == "value_error":
        return found["msg"].removeprefix("Value error, ")
    what = found["msg"].removeprefix("Input ")
    value = _shown(found["input"])
    return what + (f", not {value}" if value else "") + (f"; {description}" if description else "")


def _shown(value: object) -> str:
    """The value as written, if it is one that a person would recognise."""
    if not isinstance(value, str | int | float | bool) and value is not None:
        return ""
    text = "empty" if value is None else repr(value)
    return text if len(text) <= _LONGEST_VALUE_SHOWN else ""


def _place(model: type[BaseModel], location: Location) -> tuple[Location, tuple[type[BaseModel], ...]]:
    """Return a location of pydantic as it stands in the file, and the sections that its last part may be a field of.

    In a union of sections pydantic adds what tells them apart to the location, which is no part of the file.
    """
    owners: tuple[type[BaseModel], ...] = (model,)
    inner = owners
    parts: list[int | str] = []
    for part in location:
        tagged = tuple(section for section in inner if part in _tags(section))
        if len(inner) > 1 and tagged:
            inner = tagged
            continue
        parts.append(part)
        if isinstance(part, str):
            owners = inner
            fields = (section.model_fields[part] for section in owners if part in section.model_fields)
            inner = tuple(found for field in fields for found in _models_in(field.annotation)) or owners
    return tuple(parts), owners


def _tags(section: type[BaseModel]) -> tuple[object, ...]:
    """What tells this section from the others of its union."""
    return tuple(section.model_fields[name].default for name in _DISCRIMINATORS if name in section.model_fields)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)


def _description(owners: tuple[type[BaseModel], ...], name: str) -> str:
    fields: Iterator[FieldInfo] = (owner.model_fields[name] for owner in owners if name in owner.model_fields)
    return next((field.description.rstrip(".") for field in fields if field.description), "")
