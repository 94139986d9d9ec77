"""`dicom-node ledger`: check, backup, restore."""

import errno
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from dicom_node.commands.opening import FAILED, ConfigOption, JsonOption, existing_node, settings_and_catalogue, stop_with
from dicom_node.delivery import utc_now
from dicom_node.keeping import backup as backups
from dicom_node.keeping.stocktaking import Stocktaking, take_stock
from dicom_node.ledger import Ledger

app = typer.Typer(no_args_is_help=True)
SHOWN = 50


@app.command()
def check(
    repair: Annotated[bool, typer.Option("--repair", help="Also do what loses nothing: see the runbook.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Only look whether files are there; read none.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare every row of the ledger with the object store, and every file with the ledger. Exit code 1: something is wrong.

    Example: dicom-node ledger check --repair
    """
    node = existing_node(config)
    taken = take_stock(node.ledger, node.store, now=node.clock(), digests=not quick, repair=repair)
    if as_json:
        typer.echo(msgspec.json.encode({**msgspec.to_builtins(taken), "standing": len(taken.standing)}).decode())
    else:
        _say(Console(), taken)
    if taken.standing:
        raise typer.Exit(FAILED)


def _say(console: Console, taken: Stocktaking) -> None:
    if taken.problems:
        table = Table("Problem", "What", "Detail", "", title="Ledger and object store", title_justify="left")
        for problem in taken.problems[:SHOWN]:
            table.add_row(problem.kind.value, problem.subject, problem.detail, "repaired" if problem.repaired else "")
        console.print(table)
    if len(taken.problems) > SHOWN:
        console.print(f"... and {len(taken.problems) - SHOWN} more (--json names them)")
    repaired = len(taken.problems) - len(taken.standing)
    console.print(f"{taken.files} files, {taken.bytes_read / 1e6:.1f} MB read, {len(taken.problems)} problems, {repaired} repaired")


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="Folder for the backup, on another disk; an earlier backup in it is renewed.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy ledger and object store to a folder while the node runs.

    Example: dicom-node ledger backup /mnt/backup/dicom-node
    """
    node = existing_node(config)
    try:
        made = backups.back_up(node.settings.node.data_folder, folder, now=utc_now())
    except backups.BackupError as exc:
        stop_with(str(exc))
    except OSError as exc:
        stop_with(f"cannot write the backup: {errno.errorcode.get(exc.errno or 0, 'error')}; the backup in {folder} is not whole")
    _say_backup(made, f"backup in {folder}", as_json=as_json)
    if made.missing:
        raise typer.Exit(FAILED)


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="Folder that `backup` made.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the data folder of the settings of a backup; the node must not run, and nothing may lie there yet.

    Example: dicom-node ledger restore /mnt/backup/dicom-node
    """
    settings, _ = settings_and_catalogue(config)
    data = settings.node.data_folder
    try:
        made = backups.restore(folder, data)
    except backups.BackupError as exc:
        stop_with(str(exc))
    except OSError as exc:
        stop_with(f"cannot restore to {data}: {errno.errorcode.get(exc.errno or 0, 'error')}; remove what was restored, and try again")
    ledger = Ledger(f"sqlite:///{data / backups.LEDGER}")
    ledger.release_all_leases(now=utc_now())
    ledger.close()
    _say_backup(made, f"restored to {data}; what came in since is not in it: have it sent again", as_json=as_json)


def _say_backup(made: backups.Backup, words: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(made).decode())
        return
    size = f"{made.files} files, {made.file_bytes / 1e6:.1f} MB, {made.copied} new"
    typer.echo(f"{words}: {size}, as of {made.made_at:%Y-%m-%d %H:%M:%S} UTC")
    for path in made.missing[:SHOWN]:
        typer.echo(f"not there, and so not in it: {path} (dicom-node ledger check)", err=True)
