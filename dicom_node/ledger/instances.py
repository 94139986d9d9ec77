"""Instances: recording what arrived."""

import enum
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Dialect, and_, delete, exists, insert, or_, select, update
from sqlalchemy.exc import DataError, IntegrityError

from dicom_node.ledger.newcomers import is_known, record_newcomers
from dicom_node.ledger.rows import Rows
from dicom_node.ledger.tables import instances, quarantine, removals, studies
from dicom_node.lifecycle import STUDY, StudyEvent, StudyState, after
from dicom_node.study import Arrival, ReceivedInstance


class Recorded(enum.StrEnum):
    """What the ledger already knew about an instance."""

    NEW = "new"
    DUPLICATE = "duplicate"
    NEW_VERSION = "new version"
    BACK_AGAIN = "back again"


class RemovedMeanwhileError(Exception):
    """The file of an instance that came back was purged before its row could say so. When it is sent again, it will do."""


def _driver(dialect: Dialect) -> Any:
    """Return the module of the database driver."""
    return dialect.loaded_dbapi


def _refusals(dialect: Dialect) -> tuple[type[Exception], ...]:
    """Errors that are about a value and not about the database: SQLAlchemy's, and those of the database driver itself."""
    driver = _driver(dialect)
    return (IntegrityError, DataError, RemovedMeanwhileError, driver.IntegrityError, driver.DataError)


class Instances(Rows):
    """Recording what arrived."""

    def record_instance(self, instance: ReceivedInstance, *, urgent: bool) -> Recorded:
        """Make `instance` durable; its study is (again) being received unless the same bytes were known and are still here.

        Raises:
            RemovedMeanwhileError: its file was purged in the same moment; nothing is recorded.
        """
        with self._write() as connection:
            return self._record(connection, instance, urgent=urgent)

    def record_instances(self, arrivals: Sequence[Arrival]) -> tuple[Recorded | Exception, ...]:
        """Record instances in one transaction, each as `record_instance` does; an exception for one that could not be.

        Raises:
            SQLAlchemyError: the ledger cannot be written now; nothing is recorded.
        """
        if self._all_are_new(arrivals):
            return (Recorded.NEW,) * len(arrivals)
        try:
            with self._write() as connection:
                return tuple(self._record(connection, arrival.instance, urgent=arrival.urgent) for arrival in arrivals)
        except _refusals(self._engine.dialect) as exc:
            if len(arrivals) == 1:
                return (exc,)
        return tuple(outcome for arrival in arrivals for outcome in self.record_instances((arrival,)))

    def record_newcomers(self, arrivals: Sequence[Arrival]) -> bool:
        """Record instances that nobody has sent before, if nobody needs to be waited for.

        False, and nothing is recorded, if that cannot be: one of them is known, another process is writing, or the ledger fails.
        `record_instances` can, or says why not.

        Their files are durable: a loss of power may take the rows, which `reconcile` makes again from the files.
        """
        try:
            with self._write_often() as transaction:
                record_newcomers(transaction, arrivals)
        except _driver(self._engine.dialect).Error:
            return False
        return True

    def may_know(self, sop_instance_uid: str) -> bool:
        """Say whether there is a row of this instance; True also if nobody can tell without waiting."""
        try:
            with self._read_often() as transaction:
                return is_known(transaction, sop_instance_uid)
        except _driver(self._engine.dialect).Error:
            return True

    def _all_are_new(self, arrivals: Sequence[Arrival]) -> bool:
        """Record instances the short way; False, and nothing is recorded, if one of them needs the long one."""
        try:
            with self._write_by_driver() as transaction:
                record_newcomers(transaction, arrivals)
        except _refusals(self._engine.dialect):
            return False
        return True

    def _record(self, connection: Connection, instance: ReceivedInstance, *, urgent: bool) -> Recorded:
        of_instance = instances.c.sop_instance_uid == instance.sop_instance_uid
        versions = connection.execute(select(instances.c.digest, instances.c.purged_at, instances.c.path).where(of_instance)).all()
        same = next((row for row in versions if row.digest == instance.digest), None)
        if same is not None and same.purged_at is None:
            self._keep_one_file(connection, instance, same.path)
            return Recorded.DUPLICATE
        self._study_received(connection, instance, urgent=urgent)
        if same is not None:
            self._unpurge(connection, instance)
            return Recorded.BACK_AGAIN
        values = asdict(instance) | {"path": instance.path.as_posix(), "version": len(versions) + 1}
        del values["expected_instances"]
        connection.execute(insert(instances).values(values))
        if not versions:
            return Recorded.NEW
        self._log(
            connection,
            at=instance.received_at,
            study=instance.study_instance_uid,
            name="instance changed",
            detail=f"{instance.sop_instance_uid} version {len(versions) + 1} from {instance.calling_ae_title}",
        )
        return Recorded.NEW_VERSION

    def _keep_one_file(self, connection: Connection, instance: ReceivedInstance, known_path: str) -> None:
        """Let the file of a duplicate go that lies elsewhere, as versions of this node named files in their own ways; or take its place."""
        path = instance.path.as_posix()
        if path == known_path:
            return
        if not self._is_there(Path(known_path)):
            connection.execute(update(instances).where(instances.c.path == known_path).values(path=path))
        elif not connection.execute(select(exists().where(removals.c.path == path))).scalar():
            connection.execute(insert(removals).values(path=path, study_instance_uid=instance.study_instance_uid, at=instance.received_at))

    def _unpurge(self, connection: Connection, instance: ReceivedInstance) -> None:
        """Let a purged instance that was sent again be here again.

        Files are removed only while the write lock is held, so the file that is there now stays.
        """
        if not self._is_there(instance.path):
            raise RemovedMeanwhileError(f"instance {instance.sop_instance_uid} was purged while it came in again; send it once more")
        same = and_(instances.c.sop_instance_uid == instance.sop_instance_uid, instances.c.digest == instance.digest)
        connection.execute(
            update(instances)
            .where(same)
            .values(purged_at=None, path=instance.path.as_posix(), received_at=instance.received_at, revision=None)
        )
        connection.execute(delete(removals).where(removals.c.path == instance.path.as_posix()))

    def _study_received(self, connection: Connection, instance: ReceivedInstance, *, urgent: bool) -> None:
        row = connection.execute(select(studies).where(studies.c.study_instance_uid == instance.study_instance_uid)).one_or_none()
        if row is None:
            connection.execute(
                insert(studies).values(
                    study_instance_uid=instance.study_instance_uid,
                    state=StudyState.RECEIVING,
                    revision=0,
                    routed_revision=0,
                    urgent=int(urgent),
                    expected_instances=instance.expected_instances,
                    first_arrival=instance.received_at,
                    last_arrival=instance.received_at,
                )
            )
            return
        state = StudyState(row.state)
        connection.execute(
            update(studies)
            .where(studies.c.study_instance_uid == instance.study_instance_uid)
            .values(
                state=after(STUDY, state, StudyEvent.INSTANCE_RECEIVED),
                urgent=max(row.urgent, int(urgent)),
                expected_instances=instance.expected_instances or row.expected_instances,
                first_arrival=row.first_arrival if state is StudyState.RECEIVING else instance.received_at,
                last_arrival=instance.received_at,
            )
        )

    def known_instance(self, sop_instance_uid: str, digest: str) -> bool:
        """Say whether exactly these bytes are recorded under this UID."""
        with self._read() as connection:
            same = and_(instances.c.sop_instance_uid == sop_instance_uid, instances.c.digest == digest)
            return bool(connection.execute(select(exists().where(same))).scalar())

    def known_paths(self, folder: str = "") -> frozenset[str]:
        """Return the object-store paths that rows account for, of all that was received or of what lies in one folder of the store.

        A purged instance has one while its file is due for removal. A file that is there later came in again, and has no row yet.
        """
        due = select(removals.c.path)
        paths = select(instances.c.path).where(or_(instances.c.purged_at.is_(None), instances.c.path.in_(due)))
        quarantined = select(quarantine.c.path)
        if folder:
            paths = paths.where(instances.c.path > f"{folder}/", instances.c.path < f"{folder}0")  # "0" follows "/"
            quarantined = quarantined.where(quarantine.c.path > f"{folder}/", quarantine.c.path < f"{folder}0")
        with self._read() as connection:
            return frozenset(connection.execute(paths).scalars()) | frozenset(connection.execute(quarantined).scalars())

    def record_quarantine(self, *, path: str, reason: str, calling_ae_title: str, sop_instance_uid: str, at: datetime) -> None:
        """Account for bytes that were kept although they are no instance that could be analysed."""
        with self._write() as connection:
            connection.execute(
                insert(quarantine).values(
                    path=path, reason=reason, calling_ae_title=calling_ae_title, sop_instance_uid=sop_instance_uid, at=at
                )
            )
