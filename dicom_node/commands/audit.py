"""`dicom-node audit`: reading the audit trail, and proving that it is whole. Each use is itself recorded."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree as ET

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from config.schema import Settings
from dicom_node.audit import record, trail_folder, trail_open
from dicom_node.audit.events import AuditLogUsed
from dicom_node.audit.forwarding import unsent
from dicom_node.audit.trail import Record, read_head, records, trail_files
from dicom_node.audit.verification import Anchor, Verification, verify
from dicom_node.commands.flags import operator
from dicom_node.commands.opening import USAGE, ConfigOption, JsonOption, settings_and_catalogue, stop_with

app = typer.Typer(no_args_is_help=True)


@contextmanager
def _existing_trail(config: Path | None, command: str) -> Iterator[tuple[Settings, Path]]:
    """Open the trail that a node keeps, and record that somebody did."""
    settings, _ = settings_and_catalogue(config)
    folder = trail_folder(settings)
    if not trail_files(folder) and not read_head(folder).n:
        stop_with(f"there is no audit trail in {folder}; name the settings of the node with --config")
    try:
        with trail_open(settings, process="audit"):
            record(AuditLogUsed(user=operator(), command=f"dicom-node audit {command}"))
            yield settings, folder
    except OSError as exc:
        stop_with(f"cannot use the audit trail in {folder}: {exc.strerror}")


@app.command("verify")
def verify_trail(
    anchor: Annotated[Path | None, typer.Option("--anchor", help="Anchor that was saved before: its record must be there.")] = None,
    save_anchor: Annotated[
        Path | None, typer.Option("--save-anchor", help="Write the last record's number and digest here, for safe keeping elsewhere.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify: say whether a record was changed, removed, replaced, moved or cut off, and which. Exit code 1 if so.

    Example: dicom-node audit verify --anchor /media/safe/anchor.json
    """
    known = None if anchor is None else _read_anchor(anchor)
    with _existing_trail(config, "verify") as (settings, folder):
        found = verify(folder, known)
        waiting = unsent(folder) if settings.audit.repository else 0
    if save_anchor is not None and found.anchor is not None:
        save_anchor.write_bytes(msgspec.json.encode(found.anchor))
    if as_json:
        typer.echo(msgspec.json.encode({"whole": not found.problems, "unsent": waiting, **msgspec.to_builtins(found)}).decode())
    else:
        _tell(found, waiting)
    if found.problems:
        raise typer.Exit(1)


def _read_anchor(path: Path) -> Anchor:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Anchor)
    except OSError as exc:
        stop_with(f"cannot read {path}: {exc.strerror}", USAGE)
    except msgspec.DecodeError:
        stop_with(f"{path} is no anchor; `dicom-node audit verify --save-anchor` writes one", USAGE)


def _tell(found: Verification, waiting: int) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for problem in found.problems:
        where = f" ({problem.file}, line {problem.line})" if problem.file else ""
        console.print(f"{problem.words}{where}", style="red", markup=False)
    verdict = "NOT whole" if found.problems else "whole"
    console.print(
        f"The audit trail is {verdict}: {found.records} records, {found.first} to {found.last}; {waiting} wait for the repository"
    )
    if found.anchor is not None:
        console.print(f"Anchor: record {found.anchor.n}, digest {found.anchor.digest}")


@app.command()
def show(
    number: Annotated[int, typer.Argument(help="Number of the record.", min=1)],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show: one record, with its message as it goes to the repository. It may name a patient.

    Example: dicom-node audit show 17
    """
    with _existing_trail(config, f"show {number}") as (_, folder):
        found = next((one for one in _all(folder) if one.n == number), None)
    if found is None:
        stop_with(f"there is no record {number}")
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    typer.echo(f"record {found.n}, {found.at}, digest {found.digest}")
    typer.echo(_indented(found.message) if found.message else f"records up to {found.removed.through if found.removed else 0} were removed")


@app.command()
def tail(
    count: Annotated[int, typer.Option("--count", "-n", help="How many records.", min=1, max=100_000)] = 20,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tail: the last records, a line each. They may name patients.

    Example: dicom-node audit tail -n 50
    """
    with _existing_trail(config, f"tail {count}") as (_, folder):
        last = tuple(deque(_all(folder), maxlen=count))
    if as_json:
        typer.echo(msgspec.json.encode(last).decode())
        return
    table = Table("Record", "At", "Event", "Outcome", "By", "About")
    for one in last:
        table.add_row(str(one.n), one.at, *_in_words(one))
    Console().print(table)


def _all(folder: Path) -> Iterator[Record]:
    for file in trail_files(folder):
        for placed in records(file):
            yield placed.record


def _in_words(one: Record) -> tuple[str, str, str, str]:
    """Return event, outcome, who and what of a record."""
    if not one.message:
        return f"records up to {one.removed.through if one.removed else 0} were removed", "", "", ""
    root = ET.fromstring(one.message)  # noqa: S314 - our own file, of which the chain says whether somebody changed it
    event = root.find("EventIdentification")
    kinds = [code.get("originalText", "") for code in root.findall("EventIdentification/EventID")]
    kinds += [code.get("originalText", "") for code in root.findall("EventIdentification/EventTypeCode")]
    outcome = "" if event is None else event.get("EventOutcomeIndicator", "")
    who = ", ".join(found.get("UserID", "") for found in root.findall("ActiveParticipant"))
    what = ", ".join(found.get("ParticipantObjectID", "") for found in root.findall("ParticipantObjectIdentification"))
    return ": ".join(kinds), outcome, who, what


def _indented(message: str) -> str:
    root = ET.fromstring(message)  # noqa: S314 - as above
    ET.indent(root)
    return ET.tostring(root, encoding="unicode")
