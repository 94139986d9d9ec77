"""A YAML file with the line of every field, so that a mistake can be named where it was made."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import yaml

Location: TypeAlias = tuple[int | str, ...]

_MERGE_KEY = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"


class SourceError(Exception):
    """A file that is no usable YAML; `problems` are (line, field, message)."""

    def __init__(self, problems: tuple[tuple[int, str, str], ...]) -> None:
        self.problems = problems
        super().__init__("; ".join(message for _, _, message in problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDocument:
    """One YAML file: its value (mappings, lists and scalars; {} if the file is empty) and its nodes, which know their lines."""

    path: Path
    value: object
    root: yaml.Node | None

    def line_of(self, location: Location) -> int:
        """Return the line (1-based) where a field is written, or the nearest section that is there; of an alias, in its anchor."""
        return [1, *self._lines(location)][-1]

    def _lines(self, location: Location) -> Iterator[int]:
        """Yield the line of every part of a location, up to the first that is not there."""
        node = self.root
        for part in location:
            if part == 0 and not isinstance(node, yaml.SequenceNode):
                continue  # the only value, written without a list around it
            if isinstance(node, yaml.MappingNode):
                pair = next(((key, value) for key, value in node.value if key.value == part), None)
                if pair is None:
                    return
                yield pair[0].start_mark.line + 1
                node = pair[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                yield node.start_mark.line + 1
            else:
                return


def field_name(location: Location) -> str:
    """Return a location as a person writes it: `destinations[0].port`; "file" if it is the whole file."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location if part != "[key]")
    return "".join(parts).removeprefix(".") or "file"


def read_source(path: Path) -> SourceDocument:
    """Read one YAML file with the safe loader.

    Raises:
        SourceError: not readable, not UTF-8, not YAML, a field given twice, a field name that is not text, a merge key, or an
            alias inside its own anchor.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise SourceError(((1, "file", f"cannot be read: {exc.strerror}; give a readable file"),)) from exc
    except UnicodeDecodeError as exc:
        raise SourceError(((1, "file", "is not UTF-8 text; save it as UTF-8"),)) from exc
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return SourceDocument(path=path, value={}, root=None)
        if problems := tuple(_problems(root, "", set(), ())):
            raise SourceError(problems)
        return SourceDocument(path=path, value=loader.construct_document(root), root=root)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        raise SourceError(((mark.line + 1 if mark else 1, "file", f"is not YAML: {exc.problem}; mind indentation and quotes"),)) from exc
    except (yaml.YAMLError, ValueError) as exc:
        raise SourceError(((1, "file", "holds a character or a date that YAML cannot read; put the value in quotes"),)) from exc
    except RecursionError as exc:
        raise SourceError(((1, "file", "is nested too deeply; write it flat"),)) from exc
    finally:
        if loader is not None:
            loader.dispose()


def _problems(node: yaml.Node, field: str, seen: set[int], above: tuple[int, ...]) -> Iterator[tuple[int, str, str]]:
    line = node.start_mark.line + 1
    if id(node) in above:
        yield line, field or "file", "an alias stands inside its own anchor; write the value out"
        return
    if id(node) in seen:
        return
    seen.add(id(node))
    above = (*above, id(node))
    if isinstance(node, yaml.MappingNode):
        yield from _key_problems(node, field)
        for key, value in node.value:
            yield from _problems(value, f"{field}.{key.value}".removeprefix("."), seen, above)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _problems(item, f"{field}[{index}]", seen, above)


def _key_problems(node: yaml.MappingNode, field: str) -> Iterator[tuple[int, str, str]]:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        name = f"{field}.{key.value}".removeprefix(".")
        if key.tag == _MERGE_KEY:
            yield line, name, "merge keys are not used here; write the fields out, or alias whole values"
        elif key.tag != _TEXT:
            yield line, name, "a field name must be text; put it in quotes"
        elif key.value in lines:
            yield line, name, f"given twice, first in line {lines[key.value]}; remove one"
        else:
            lines[key.value] = line
