"""The parts of the documents that are made from the code, between `<!-- generated: NAME -->` and `<!-- end -->`.

`python -m dicom_node.reference FILE...` renews them; a test says when somebody forgot to.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from importlib import import_module
from pathlib import Path

import typer
from pydicom.uid import UID

from config import load
from config.reference import markdown_table, settings_reference
from config.routes import RouteRule
from dicom_node.commands import COMMANDS, GROUPS, help_of
from dicom_node.lifecycle import CIRCUIT, DELIVERY, STUDY, WORK_ITEM
from dicom_node.receiving.capabilities import STORED_SOP_CLASSES, TRANSFER_SYNTAXES
from dicom_node.specimens import (
    codes_table,
    coding_schemes_table,
    content_tree,
    key_object_tree,
    proposed_classes_table,
    region_tree,
    report_classes_table,
    results_table,
)

_BLOCK = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def lifecycle_diagram() -> str:
    """Return the life cycles as Mermaid state diagrams."""
    tables: Mapping[str, Mapping[StrEnum, Mapping[StrEnum, StrEnum]]] = {
        "Study": STUDY,  # type: ignore[dict-item]  # enums are invariant keys
        "Work item": WORK_ITEM,  # type: ignore[dict-item]
        "Delivery": DELIVERY,  # type: ignore[dict-item]
        "Circuit of a destination": CIRCUIT,  # type: ignore[dict-item]
    }
    return "\n".join(f"**{name}**\n\n```mermaid\n{_state_diagram(table)}\n```\n" for name, table in tables.items())


def _state_diagram(table: Mapping[StrEnum, Mapping[StrEnum, StrEnum]]) -> str:
    def lines() -> Iterator[str]:
        yield "stateDiagram-v2"
        yield f"    [*] --> {next(iter(table))}"
        for state, events in table.items():
            for event, target in events.items():
                yield f"    {state} --> {target}: {event}"
            if not events:
                yield f"    {state} --> [*]"

    return "\n".join(lines())


def command_list() -> str:
    """Return the commands with the first sentence of their help."""
    rows = ["| command | what it does |", "|---|---|"]
    rows += [f"| `dicom-node {name}` | {_first_sentence(help_of(name))} |" for name in COMMANDS]
    rows += [f"| `dicom-node {name} {_verbs(import_module(f'dicom_node.commands.{name}').app)}` | {GROUPS[name]} |" for name in GROUPS]
    return "\n".join(rows) + "\n"


def _first_sentence(text: str) -> str:
    summary = " ".join(text.strip().partition("\n\n")[0].split())
    return summary.partition(": ")[2] or summary


def _verbs(group: typer.Typer) -> str:
    return "\\|".join(command.name or (command.callback.__name__ if command.callback else "") for command in group.registered_commands)


def storage_classes() -> str:
    """Return the storage SOP classes that are taken."""
    uids = sorted((UID(uid) for uid in STORED_SOP_CLASSES), key=lambda uid: uid.name)
    return "\n".join(["| SOP class | UID |", "|---|---|", *(f"| {uid.name} | {uid} |" for uid in uids)]) + "\n"


def transfer_syntaxes() -> str:
    """Return the transfer syntaxes that are taken, most preferred first."""
    return "\n".join(["| transfer syntax | UID |", "|---|---|", *(f"| {UID(uid).name} | {uid} |" for uid in TRANSFER_SYNTAXES)]) + "\n"


def settings_table() -> str:
    """Return the settings with type, default and sentence."""
    return markdown_table(settings_reference())


def routes_table() -> str:
    """Return the routes that ship."""
    _, catalogue = load(None)
    rows = ["| route | model | pixels must show | findings | otherwise |", "|---|---|---|---|---|"]
    for route in catalogue.routes:
        rows.append(f"| {route.name} | {route.model or ''} | {', '.join(route.expect)} | {route.prompt_set or ''} | {_otherwise(route)} |")
    return "\n".join(rows) + "\n"


def crash_matrix() -> str:
    """Return what the last long run of the crash matrix counted: `make crash-matrix` writes it."""
    return (Path(__file__).parents[1] / "docs" / "crash-matrix.md").read_text(encoding="utf-8")


def _otherwise(route: RouteRule) -> str:
    if route.no_analysis:
        return f"not analysed: {route.no_analysis}"
    if route.model is None:
        return "image quality only"
    return "" if route.expect else "the kind of image is told, not compared"


BLOCKS: Mapping[str, Callable[[], str]] = {
    "lifecycle": lifecycle_diagram,
    "commands": command_list,
    "storage-classes": storage_classes,
    "transfer-syntaxes": transfer_syntaxes,
    "settings": settings_table,
    "routes": routes_table,
    "crash-matrix": crash_matrix,
    "results": results_table,
    "report-classes": report_classes_table,
    "proposed-classes": proposed_classes_table,
    "content-tree": content_tree,
    "region-tree": region_tree,
    "key-object-tree": key_object_tree,
    "codes": codes_table,
    "coding-schemes": coding_schemes_table,
}


def renewed(text: str) -> str:
    """Return a document with every generated block made anew.

    Raises:
        KeyError: a block has a name that nobody generates.
    """
    return _BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found['name']]()}{found[3]}", text)


if __name__ == "__main__":
    for document in map(Path, sys.argv[1:]):
        document.write_text(renewed(document.read_text(encoding="utf-8")), encoding="utf-8")
