"""Backup and restore of a data folder while the node runs: first the ledger, as of one moment, then the files that it names.

Files are complete and never change, so whatever the ledger named at that moment can be copied after it; nothing is purged
meanwhile. A backup into the same folder again copies only what is new.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from dicom_node import migrations
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.keeping.retention import files_stay
from dicom_node.ledger import FileKind, Ledger

LEDGER = "ledger.sqlite"
OBJECTS = "objects"
MANIFEST = "backup.json"


class BackupError(Exception):
    """A backup cannot be made or used. The message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What a backup holds. `missing` are files that the ledger names and that were not there; `copied` those that are new in it."""

    made_at: datetime
    schema: str
    files: int
    file_bytes: int
    copied: int
    missing: tuple[str, ...]


def back_up(data_folder: Path, folder: Path, *, now: datetime) -> Backup:
    """Make or renew the backup of a data folder in `folder`; it is whole when its manifest is there.

    Raises:
        BackupError: the folder cannot be used, or the copy of the ledger is damaged.
        OSError: it cannot be written.
    """
    if folder.resolve().is_relative_to(data_folder.resolve()):
        raise BackupError(f"{folder} lies in the data folder {data_folder}; a backup belongs elsewhere, on another disk")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / MANIFEST).unlink(missing_ok=True)
    with files_stay(data_folder):
        _copy_ledger(data_folder / LEDGER, folder / LEDGER)
        made = _copy_files(folder / LEDGER, data_folder / OBJECTS, folder / OBJECTS, now)
    _write_durably(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(made)))
    return made


def restore(folder: Path, data_folder: Path) -> Backup:
    """Make a data folder of a backup and return what that held. Results that were sent since may be sent again, under the same UIDs.

    Raises:
        BackupError: the backup is not whole, or something lies in the data folder already.
        OSError: it cannot be read or written.
    """
    made = read_manifest(folder)
    if (data_folder / LEDGER).exists():
        raise BackupError(f"there is a ledger in {data_folder} already; move that folder away, or restore to another one")
    data_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    coming = data_folder / f"{LEDGER}.restored"
    _copy_ledger(folder / LEDGER, coming)
    _copy_files(coming, folder / OBJECTS, data_folder / OBJECTS, made.made_at)
    coming.replace(data_folder / LEDGER)  # last: without it the folder is not a node's
    _synchronise(data_folder)
    return made


def read_manifest(folder: Path) -> Backup:
    """Return what a backup says of itself.

    Raises:
        BackupError: it is not whole, or not a backup of this version or an older one.
    """
    try:
        made = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Backup)
    except FileNotFoundError as exc:
        raise BackupError(f"{folder} is no whole backup: there is no {MANIFEST}, which is written last") from exc
    except msgspec.DecodeError as exc:
        raise BackupError(f"{folder / MANIFEST} is not the manifest of a backup") from exc
    if made.schema > migrations.HEAD:
        raise BackupError(f"the backup was made by a newer dicom-node (ledger {made.schema}, here {migrations.HEAD}): use that version")
    return made


def _copy_ledger(source: Path, target: Path) -> None:
    """Copy a database as of one moment, however busy it is, and check the copy."""
    if not source.exists():
        raise BackupError(f"there is no {source}")
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as live, closing(sqlite3.connect(part)) as copy:
            live.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
            (answer,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as exc:
        raise BackupError(f"the ledger {source} cannot be copied: {exc}") from exc
    if answer != "ok":
        raise BackupError(f"the ledger {source} is damaged: {answer}; the backup before is the last good one")
    part.chmod(0o600)
    _synchronise(part)
    part.replace(target)
    _synchronise(target.parent)


def _copy_files(ledger_file: Path, source: Path, target: Path, now: datetime) -> Backup:
    """Copy what the rows of a ledger name, as far as it is not there yet."""
    ObjectStore(target)
    files = size = copied = 0
    missing: list[str] = []
    for path in _named(ledger_file):
        try:
            stat = (source / path).stat()
            copied += _copy_file(source / path, target / path, stat.st_size)
        except FileNotFoundError:
            missing.append(path)
            continue
        files, size = files + 1, size + stat.st_size
    return Backup(made_at=now, schema=_schema_of(ledger_file), files=files, file_bytes=size, copied=copied, missing=tuple(missing))


def _schema_of(ledger_file: Path) -> str:
    with closing(sqlite3.connect(f"file:{ledger_file}?mode=ro", uri=True)) as connection:
        (version,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(version)


def _named(ledger_file: Path) -> Iterator[str]:
    """Yield the files that a copied ledger names. It is a copy: opening it may bring its schema up to date."""
    ledger = Ledger(f"sqlite:///{ledger_file}")
    try:
        for kind in FileKind:
            last = ""
            while page := ledger.expected_files(kind, after_path=last):
                yield from (row.path for row in page)
                last = page[-1].path
    finally:
        ledger.close()
        for suffix in ("-wal", "-shm"):
            ledger_file.with_name(ledger_file.name + suffix).unlink(missing_ok=True)


def _copy_file(source: Path, target: Path, size: int) -> bool:
    """Copy a file that never changes, durably; False if it is there."""
    if target.exists() and target.stat().st_size == size:
        return False
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = target.with_name(f"{target.name}.part")
    shutil.copyfile(source, part)
    part.chmod(0o600)
    _synchronise(part)
    part.replace(target)
    _synchronise(target.parent)
    return True


def _write_durably(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(data)
    _synchronise(part)
    part.replace(path)
    _synchronise(path.parent)


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
