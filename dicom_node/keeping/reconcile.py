"""The start-up scan: after it, what lies in the object store and what the ledger knows agree again."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import structlog

from dicom_node.keeping.object_store import ObjectStore, data_set_digest, received_path
from dicom_node.keeping.part10 import NotDicomError, read_file_meta
from dicom_node.receiving.instance_header import UnreadableHeaderError, is_valid_uid
from dicom_node.receiving.reception import InstanceRecorder, received_instance
from dicom_node.study import ReceivedInstance

_log = structlog.get_logger(__name__)


class ReconcilableLedger(InstanceRecorder, Protocol):
    """The part of the ledger that the scan needs."""

    def record_instance(self, instance: ReceivedInstance, *, urgent: bool) -> object: ...

    def known_paths(self, folder: str) -> frozenset[str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """What the scan did."""

    found_again: int
    quarantined: int
    temporary_removed: int


def reconcile(
    store: ObjectStore, ledger: ReconcilableLedger, *, now: datetime, urgent_calling_ae_titles: tuple[str, ...] = ()
) -> Reconciled:
    """Record each received or quarantined file that has no row, and remove temporary and empty files that nobody writes any more.

    A whole file without a row counts as received: the node was killed between the two, before or after the sender got its answer, or the
    power failed before the row was on the disk. What arrived first is recorded first, so that the newest version of an instance stays that.
    Safe while other processes receive: recording is idempotent, and their temporary files are locked. One process scans at a time, and
    before it receives: so nobody's new file can take the place of a torn one between the look at that and its way to quarantine.
    """
    with store.scanned_alone():
        return _reconcile(store, ledger, now=now, urgent_calling_ae_titles=urgent_calling_ae_titles)


def _reconcile(store: ObjectStore, ledger: ReconcilableLedger, *, now: datetime, urgent_calling_ae_titles: tuple[str, ...]) -> Reconciled:
    temporary_removed = store.remove_abandoned()
    found_again = quarantined = 0
    for path in _without_row(store, ledger, store.received_folders()):
        if store.is_empty(path):  # its name outlived a loss of power, and nothing else of it; it was never synchronised
            store.remove((path,))
            _log.warning("empty_file_removed", path=path.as_posix())
            temporary_removed += 1
            continue
        store.synchronise(path)  # the node may have been killed after it was named and before that
        found = _read(store, path)
        if found is None:
            moved = store.quarantine(path)
            ledger.record_quarantine(
                path=moved.as_posix(),
                reason="found without a row, and not as it was received",
                calling_ae_title="",
                sop_instance_uid="",
                at=now,
            )
            quarantined += 1
            continue
        instance, high_priority = found
        ledger.record_instance(instance, urgent=high_priority or instance.calling_ae_title in urgent_calling_ae_titles)
        _log.warning("instance_found_again", sop_instance_uid=instance.sop_instance_uid, study_instance_uid=instance.study_instance_uid)
        found_again += 1
    for path in _without_row(store, ledger, ("quarantine",)):
        ledger.record_quarantine(path=path.as_posix(), reason="found without a row", calling_ae_title="", sop_instance_uid="", at=now)
        quarantined += 1
    return Reconciled(found_again=found_again, quarantined=quarantined, temporary_removed=temporary_removed)


def _without_row(store: ObjectStore, ledger: ReconcilableLedger, folders: Iterable[str]) -> Iterator[Path]:
    """Yield the files that no row accounts for, folder by folder: a store may hold millions."""
    for folder in folders:
        known = ledger.known_paths(folder)
        found = [path for path in store.files_in(folder) if path.as_posix() not in known]
        yield from sorted(found, key=lambda path: (store.written_at(path), path))


def _read(store: ObjectStore, path: Path) -> tuple[ReceivedInstance, bool] | None:
    """Return what a received file says of itself, and whether it has priority; None if its name does not fit its bytes."""
    with store.absolute(path).open("rb") as file:
        try:
            meta = read_file_meta(file)
        except NotDicomError:
            return None
        start = file.tell()
        digest = data_set_digest(file)
        size_bytes = file.tell() - start
        received_at = store.written_at(path)
        file.seek(start)
        from dicom_node.receiving.header_peek import peek  # noqa: PLC0415 - it loads pydicom, which a scan that finds nothing does not need

        try:
            header = peek(file, transfer_syntax_uid=str(meta.get("TransferSyntaxUID", "")))
        except UnreadableHeaderError:
            return None
    named = received_path(study_instance_uid=header.study_instance_uid, sop_instance_uid=header.sop_instance_uid, digest=digest)
    if not is_valid_uid(header.study_instance_uid) or path != named:
        return None
    instance = received_instance(
        header,
        transfer_syntax_uid=str(meta.TransferSyntaxUID),
        calling_ae_title=str(meta.get("SendingApplicationEntityTitle", "")),
        received_at=received_at,
        digest=digest,
        size_bytes=size_bytes,
        path=path,
    )
    return instance, header.high_priority
