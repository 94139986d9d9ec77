"""Purging: removes the files of studies that are delivered, by age, and sooner where space runs short.

The ledger decides and records first, under its own rules; then files go, from a list that outlives a crash.
"""

import errno
import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from pydicom import dcmread

from config.schema import Settings
from dicom_node import audit
from dicom_node.audit.events import StudyDeleted
from dicom_node.audit.subjects import patient_id_in
from dicom_node.failures import describe
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.ledger import Ledger, Predecessor, PurgeableStudy, StoredResult

log = structlog.get_logger()

_PAGE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What a purge did, or what one would do. `received_bytes` are those of the received files."""

    by_age: tuple[PurgeableStudy, ...]
    for_space: tuple[PurgeableStudy, ...]
    files_removed: int
    enough_space: bool

    @property
    def received_bytes(self) -> int:
        return sum(study.received_bytes for study in (*self.by_age, *self.for_space))


class BackupRunsError(Exception):
    """Files are being copied to a backup, so none may go now."""


@contextmanager
def files_stay(folder: Path, *, exclusive: bool = False) -> Iterator[None]:
    """Hold the lock on the files of a data folder: shared by backups, exclusive for whoever removes files.

    Raises:
        BackupRunsError: files cannot be removed now.
    """
    with (folder / "files.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB if exclusive else fcntl.LOCK_SH)
        except OSError as exc:
            if exc.errno not in {errno.EAGAIN, errno.EACCES}:
                raise
            raise BackupRunsError("a backup is being made; studies are purged when it is done") from exc
        yield


def purge(settings: Settings, ledger: Ledger, store: ObjectStore, *, now: datetime, dry_run: bool = False) -> Purged:
    """Purge what may go and is old enough, then the oldest of what may go until there is enough space; finish earlier removals.

    Raises:
        BackupRunsError: a backup is being made.
    """
    if dry_run:
        return _Purge(settings, ledger, store, now).done(really=False)
    with files_stay(settings.node.data_folder, exclusive=True):
        return _Purge(settings, ledger, store, now).done(really=True)


class _Purge:
    def __init__(self, settings: Settings, ledger: Ledger, store: ObjectStore, now: datetime) -> None:
        self._settings = settings.retention
        self._committing = tuple(
            destination.name for destination in settings.destinations if getattr(destination, "storage_commitment", None) is not None
        )
        self._ledger, self._store, self._now = ledger, store, now
        self._removed = 0

    def done(self, *, really: bool) -> Purged:
        if really:
            self._remove_due()
        by_age = tuple(self._by_age(really=really))
        missing_bytes = self._missing_bytes() - (0 if really else sum(study.received_bytes for study in by_age))
        for_space = tuple(self._for_space(missing_bytes, {study.study_instance_uid for study in by_age}, really=really))
        return Purged(
            by_age=by_age,
            for_space=for_space,
            files_removed=self._removed,
            enough_space=sum(study.received_bytes for study in for_space) >= missing_bytes,
        )

    def _by_age(self, *, really: bool) -> Iterator[PurgeableStudy]:
        if self._settings.after_days is None:
            return
        hours = max(self._settings.after_days * 24, self._settings.at_least_h)
        why = f"delivered, and nothing has happened for {hours / 24:g} days"
        yield from self._gone(timedelta(hours=hours), why, really=really)

    def _for_space(self, missing_bytes: int, taken: set[str], *, really: bool) -> Iterator[PurgeableStudy]:
        if missing_bytes <= 0:
            return
        why = f"delivered, and less than {self._settings.below_free_mb} MB are free"
        for study in self._gone(timedelta(hours=self._settings.at_least_h), why, really=really, without=taken):
            yield study
            missing_bytes -= study.received_bytes
            if missing_bytes <= 0:
                return

    def _missing_bytes(self) -> int:
        wanted_mb = self._settings.below_free_mb
        return 0 if wanted_mb is None else wanted_mb * 1_000_000 - self._store.free_bytes()

    def _gone(
        self, age: timedelta, why: str, *, really: bool, without: set[str] | frozenset[str] = frozenset()
    ) -> Iterator[PurgeableStudy]:
        """Yield each study that may go, oldest first, purged if `really`."""
        before, last = self._now - age, None
        while page := self._ledger.purgeable_studies(before=before, committing=self._committing, limit=_PAGE, after_study=last):
            for study in page:
                last = study
                if study.study_instance_uid in without:
                    continue
                if not really or self._purge_one(study, before, why):
                    yield study

    def _purge_one(self, study: PurgeableStudy, before: datetime, why: str) -> bool:
        uid = study.study_instance_uid
        results = self._ledger.stored_results(uid)
        known = tuple(facts for result in results if (facts := _as_predecessor(self._store, result)) is not None)
        patient = next(filter(None, (patient_id_in(self._store.absolute(result.path)) for result in results)), "")
        files = self._ledger.record_purge(uid, before=before, committing=self._committing, predecessors=known, why=why, now=self._now)
        if files is None:
            return False
        log.info("study_purged", study_instance_uid=uid, files=files, received_bytes=study.received_bytes, why=why)
        audit.record(StudyDeleted(study_instance_uid=uid, patient_id=patient, why=why))
        self._remove_due()
        return True

    def _remove_due(self) -> None:
        remove: Callable[..., None] = self._store.remove
        while due := self._ledger.due_removals():
            self._removed += self._ledger.remove(due, remove)


def _as_predecessor(store: ObjectStore, result: StoredResult) -> Predecessor | None:
    if not result.sop_class_uid:  # a message has no series
        return None
    try:
        header = dcmread(store.absolute(result.path), specific_tags=["SeriesInstanceUID", "InstanceNumber"], stop_before_pixels=True)
        return Predecessor(
            sop_instance_uid=result.sop_instance_uid,
            series_instance_uid=str(header.SeriesInstanceUID),
            instance_number=int(header.InstanceNumber),
        )
    except Exception as exc:  # noqa: BLE001 - a damaged result must not keep a disk full; a later report then names no predecessor
        log.warning("result_unreadable", sop_instance_uid=result.sop_instance_uid, reason=describe(exc))
        return None
