"""`dicom-node purge`, `hold` and `release`: what the node still keeps, and for how long."""

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from dicom_node.audit import record
from dicom_node.audit.events import OperatorActed
from dicom_node.commands.flags import operator
from dicom_node.commands.opening import ConfigOption, JsonOption, existing_node, stop_with
from dicom_node.keeping import retention
from dicom_node.keeping.retention import BackupRunsError, Purged
from dicom_node.ledger import PurgeableStudy

SHOWN = 20


def purge(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Purge: remove the files of delivered studies, by age and where space runs short, as `schedule` does from time to time.

    Never goes: what is held, what failed, what is in work, what lies in quarantine.

    Example: dicom-node purge --dry-run
    """
    node = existing_node(config)
    try:
        done = retention.purge(node.settings, node.ledger, node.store, now=node.clock(), dry_run=dry_run)
    except BackupRunsError as exc:
        stop_with(str(exc))
    if not dry_run:
        gone = f"{len(done.by_age) + len(done.for_space)} studies purged"
        record(OperatorActed(user=operator(), action="purge", subject="every study", why=gone))
    kept = node.ledger.kept_counts()
    if as_json:
        answer = {**msgspec.to_builtins(done, enc_hook=str), "received_bytes": done.received_bytes, "dry_run": dry_run, "kept": kept}
        typer.echo(msgspec.json.encode(answer, enc_hook=str).decode())
        return
    _say(Console(), done, kept, dry_run=dry_run)


def _say(console: Console, done: Purged, kept: dict[str, int], *, dry_run: bool) -> None:
    table = Table("Study", "Last arrival (UTC)", "Instances", "MB", "Why", title="Would go" if dry_run else "Purged", title_justify="left")
    rows: list[tuple[PurgeableStudy, str]] = [(study, "age") for study in done.by_age] + [(study, "space") for study in done.for_space]
    for study, why in rows[:SHOWN]:
        megabytes = f"{study.received_bytes / 1e6:.1f}"
        table.add_row(study.study_instance_uid, study.last_arrival.strftime("%Y-%m-%d %H:%M"), str(study.instances), megabytes, why)
    console.print(table)
    if len(rows) > SHOWN:
        console.print(f"... and {len(rows) - SHOWN} more (--json names them)")
    console.print(f"{len(rows)} studies, {done.received_bytes / 1e6:.1f} MB received; {done.files_removed} files removed")
    for why, number in kept.items():
        if number:
            console.print(f"{number} studies stay whatever their age: {why}")
    if not done.enough_space:
        console.print("That is not enough space: nothing else may go. See the runbook, disk full.")


def hold(
    study: Annotated[str, typer.Argument(help="Study Instance UID.")],
    why: Annotated[str, typer.Option("--why", help="Reason, kept in the study's history; no patient data.")] = "asked for by an operator",
    config: ConfigOption = None,
) -> None:
    """Hold: keep a study from being purged.

    Example: dicom-node hold 1.2.840.113619.2.1 --why "complaint 12"
    """
    node = existing_node(config)
    if not node.ledger.hold(study, why=why, now=node.clock()):
        stop_with(f"study {study} never arrived here")
    record(OperatorActed(user=operator(), action="hold", subject=study, why=why))
    typer.echo(f"study {study} is held: it is not purged until it is released")


def release(
    study: Annotated[str, typer.Argument(help="Study Instance UID.")],
    why: Annotated[str, typer.Option("--why", help="Reason, kept in the study's history; no patient data.")] = "asked for by an operator",
    config: ConfigOption = None,
) -> None:
    """Release: let a held study be purged when its time has come.

    Example: dicom-node release 1.2.840.113619.2.1
    """
    node = existing_node(config)
    if not node.ledger.release(study, why=why, now=node.clock()):
        stop_with(f"study {study} never arrived here")
    record(OperatorActed(user=operator(), action="release", subject=study, why=why))
    typer.echo(f"study {study} is released")
