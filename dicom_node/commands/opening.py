"""What every command opens first: the settings, the ledger, the object store."""

import os
import stat
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from config import Catalogue, ConfigurationError, load
from config.schema import Settings
from dicom_node.audit import open_trail
from dicom_node.delivery import utc_now
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.ledger import Ledger, LedgerError
from dicom_node.node import Node

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings file (YAML). Without it: the defaults.", envvar="DICOM_NODE_CONFIG", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

_OWN_USER_ONLY = 0o077
FAILED = 1
USAGE = 2


def stop_with(message: str, code: int = FAILED) -> NoReturn:
    """Say what is wrong on standard error and end with `code`."""
    Console(stderr=True, soft_wrap=True, highlight=False).print(message, markup=False, style="red" if sys.stderr.isatty() else None)
    raise typer.Exit(code)


def settings_and_catalogue(config: Path | None) -> tuple[Settings, Catalogue]:
    """Return the settings, or end with every mistake in them."""
    try:
        return load(config)
    except ConfigurationError as exc:
        stop_with(str(exc))


def open_node(settings: Settings, catalogue: Catalogue) -> Node:
    """Open the ledger and the store of the data folder, making both if they are not there.

    From here on whatever this process writes is for its own user only.
    """
    folder = settings.node.data_folder
    os.umask(_OWN_USER_ONLY)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _close_to_others(folder)
        store = ObjectStore(folder / "objects")
        ledger = Ledger(f"sqlite:///{folder / 'ledger.sqlite'}", is_there=store.has)
        open_trail(settings, process="command")
    except LedgerError as exc:
        stop_with(f"cannot open the ledger in {folder}: {exc}")
    except OSError as exc:
        stop_with(f"cannot use the data folder {folder}: {exc.strerror}; make it writable for this user or set node.data_folder")
    return Node(settings=settings, catalogue=catalogue, ledger=ledger, store=store, clock=utc_now)


def _close_to_others(folder: Path) -> None:
    """Take every right from those who are neither the owner nor of the group of a data folder that was made by hand."""
    found = folder.stat()
    if found.st_uid == os.geteuid() and found.st_mode & stat.S_IRWXO:
        folder.chmod(stat.S_IMODE(found.st_mode) & ~stat.S_IRWXO)


def existing_node(config: Path | None) -> Node:
    """Open a data folder that a node has used before; end with a message if none has."""
    settings, catalogue = settings_and_catalogue(config)
    ledger = settings.node.data_folder / "ledger.sqlite"
    if not ledger.exists():
        stop_with(f"no node has run here yet: there is no {ledger}; start one with `dicom-node serve`, or name its settings with --config")
    return open_node(settings, catalogue)
