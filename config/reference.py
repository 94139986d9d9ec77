"""The reference of the settings, generated from the schema, so that documents cannot drift from it."""

import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from config.code import Code
from config.schema import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRow:
    """One field: its path in the file (`destinations[c-store].port`), type and default in words, and its sentence with the unit."""

    field: str
    type: str
    default: str
    description: str


def settings_reference(model: type[BaseModel] = Settings) -> tuple[ReferenceRow, ...]:
    """Return a row for every field of the settings file, in the order of the schema."""
    return tuple(_rows(model, ""))


def markdown_table(rows: tuple[ReferenceRow, ...]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| field | type | default | meaning |", "|---|---|---|---|"]
    lines += [f"| `{row.field}` | {_cell(row.type)} | {_cell(row.default)} | {_cell(row.description)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _rows(model: type[BaseModel], prefix: str) -> Iterator[ReferenceRow]:
    for name, field in model.model_fields.items():
        inner = tuple(_models_in(field.annotation))
        if not inner:
            yield ReferenceRow(
                field=prefix + name,
                type=_type(field.annotation),
                default=_default(field),
                description=field.description or _kind_sentence(model),
            )
        elif typing.get_origin(field.annotation) is tuple:
            for found in inner:
                yield from _rows(found, f"{prefix}{name}[{_kind(found)}].")
        else:
            for found in inner:
                yield from _rows(found, f"{prefix}{name}." if len(inner) == 1 else f"{prefix}{name}[{_kind(found)}].")


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)


def _kind(model: type[BaseModel]) -> str:
    """What tells the sections of a list apart; empty if all are of one kind."""
    return str(model.model_fields["kind"].default) if "kind" in model.model_fields else ""


def _kind_sentence(model: type[BaseModel]) -> str:
    """The first line of a section's docstring, for the field that only says which section it is."""
    return (model.__doc__ or "").partition("\n")[0]


def _type(annotation: object) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin is typing.Literal:
        return " or ".join(f"`{argument}`" for argument in arguments)
    if origin in {typing.Union, UnionType}:
        return " or ".join(_type(argument) for argument in arguments if argument is not type(None))
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"mapping of {_type(arguments[0])} to {_type(arguments[1])}"
    words: dict[object, str] = {str: "text", int: "integer", float: "number", Code: "code", bool: "true or false", Path: "path"}
    return words[annotation]


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True) if not field.is_required() else PydanticUndefined
    if value is PydanticUndefined:
        return "(required)"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Code):
        return f"({value.value}, {value.scheme}, {value.meaning})"
    return f"`{value}`" if value or value == 0 else "(none)"
