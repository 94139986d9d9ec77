"""Taking stock: what the rows say must lie in the object store, and rows that contradict each other."""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, exists, func, literal, select, text, true, update

from dicom_node.ledger.rows import CLOCK_SKEW, Rows
from dicom_node.ledger.tables import deliveries, instances, quarantine, removals, results, studies, work_items
from dicom_node.lifecycle import WORK_ITEM, DeliveryState, StudyState, WorkItemEvent, WorkItemState, after

_OPEN = (WorkItemState.ROUTED, WorkItemState.ANALYSED, WorkItemState.FAILED)
_WAITING = (DeliveryState.PENDING, DeliveryState.FAILED)


class FileKind(enum.StrEnum):
    """What a row says of a file: this decides how its digest is taken."""

    INSTANCE = "instance"
    ANALYSIS = "analysis"
    RESULT = "result"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedFile:
    """A file that a row accounts for. `digest` as the row has it, "" where it has none; `about` is a UID."""

    kind: FileKind
    path: str
    digest: str
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A lease that somebody holds on a work item or a delivery."""

    owner: str
    until: datetime


_Columns = tuple[ColumnElement[Any], ColumnElement[Any], ColumnElement[Any], ColumnElement[bool]]

_WHERE_FILES_ARE: Mapping[FileKind, _Columns] = {
    FileKind.INSTANCE: (instances.c.path, instances.c.digest, instances.c.sop_instance_uid, instances.c.purged_at.is_(None)),
    FileKind.ANALYSIS: (work_items.c.analysis_path, literal(""), work_items.c.study_instance_uid, work_items.c.analysis_path.is_not(None)),
    FileKind.RESULT: (results.c.path, results.c.digest, results.c.sop_instance_uid, results.c.purged_at.is_(None)),
    FileKind.QUARANTINE: (quarantine.c.path, literal(""), literal("quarantine"), true()),
}
"""Kind -> path, digest, what it is about, and which rows have a file."""


class Stock(Rows):
    """Questions of `dicom-node ledger check`, and the repairs that lose nothing."""

    def expected_files(self, kind: FileKind, *, after_path: str = "", limit: int = 1000) -> tuple[ExpectedFile, ...]:
        """Return files that must lie in the store, in the order of their paths, those behind `after_path`."""
        path, digest, about, here = _WHERE_FILES_ARE[kind]
        page = select(path, digest, about).where(path > after_path, here).order_by(path).distinct().limit(limit)
        with self._read() as connection:
            return tuple(ExpectedFile(kind=kind, path=row[0], digest=row[1], about=row[2]) for row in connection.execute(page))

    def is_expected(self, kind: FileKind, path: str) -> bool:
        """Say whether a row accounts for a file."""
        column, _, _, here = _WHERE_FILES_ARE[kind]
        return self._any(select(column).where(column == path, here))

    def is_due_for_removal(self, path: str) -> bool:
        """Say whether a file is on the list of those that are to be removed."""
        return self._any(select(removals.c.path).where(removals.c.path == path))

    def removals_before(self, moment: datetime) -> int:
        """Return how many files have been due for removal since before `moment`."""
        with self._read() as connection:
            return int(connection.execute(select(func.count()).select_from(removals).where(removals.c.at < moment)).scalar_one())

    def leases(self) -> tuple[Lease, ...]:
        """Return who holds leases, and the latest that each ends."""
        found: dict[str, datetime] = {}
        with self._read() as connection:
            for table in (work_items, deliveries):
                held = select(table.c.lease_owner, func.max(table.c.lease_until).label("until")).where(table.c.lease_owner.is_not(None))
                for row in connection.execute(held.group_by(table.c.lease_owner)):
                    found[row.lease_owner] = max(row.until, found.get(row.lease_owner, row.until))
        return tuple(Lease(owner=owner, until=until) for owner, until in sorted(found.items()))

    def contradictions(self) -> tuple[tuple[str, str], ...]:
        """Return rows that cannot both be true: Study Instance UID (or table), and what is wrong."""
        has_deliveries = exists().where(deliveries.c.work_item_id == work_items.c.id)
        waiting = exists().where(deliveries.c.work_item_id == work_items.c.id, deliveries.c.state.in_(_WAITING))
        has_instances = exists().where(instances.c.study_instance_uid == studies.c.study_instance_uid)
        here = exists().where(instances.c.study_instance_uid == studies.c.study_instance_uid, instances.c.purged_at.is_(None))
        analysed = work_items.c.state == WorkItemState.ANALYSED
        of_item, of_study = work_items.c.study_instance_uid, studies.c.study_instance_uid
        wrong: tuple[tuple[str, Select[Any]], ...] = (
            ("a delivered report still waits for a destination", _where(of_item, work_items.c.state == WorkItemState.DELIVERED, waiting)),
            ("a report is ENCODED and due nowhere", _where(of_item, work_items.c.state == WorkItemState.ENCODED, ~has_deliveries)),
            ("a work item is ANALYSED without an analysis", _where(of_item, analysed, work_items.c.analysis_path.is_(None))),
            ("a study has no instances", _where(of_study, ~has_instances)),
            ("a purged study still has instances", _where(of_study, studies.c.state == StudyState.PURGED, here)),
            ("more revisions are routed than there are", _where(of_study, studies.c.routed_revision > studies.c.revision)),
        )
        with self._read() as connection:
            found = [(uid, words) for words, query in wrong for uid in connection.execute(query).scalars()]
            return (*found, *((uid, FINISHED_UNSAID) for uid in connection.execute(_finished_unsaid(of_item)).scalars()))

    def damage(self) -> tuple[str, ...]:
        """Return what the database itself finds wrong with its file (SQLite)."""
        if self._engine.dialect.name != "sqlite":
            return ()
        with self._read() as connection:
            integrity = [str(line) for line in connection.execute(text("PRAGMA integrity_check(20)")).scalars() if line != "ok"]
            foreign = connection.execute(text("PRAGMA foreign_key_check")).all()
        return (*integrity, *(f"a row of {row[0]} names a row of {row[2]} that is not there" for row in foreign))

    def release_impossible_leases(self, *, now: datetime, longest_s: float) -> int:
        """Free leases that end later than any lease can: the clock was set back since; return how many."""
        with self._write() as connection:
            return sum(
                connection.execute(
                    update(table)
                    .where(table.c.lease_until > now + CLOCK_SKEW + timedelta(seconds=longest_s))
                    .values(lease_owner=None, lease_until=None, updated_at=now)
                ).rowcount
                for table in (work_items, deliveries)
            )

    def release_all_leases(self, *, now: datetime) -> int:
        """Free every lease: after a restore nobody holds any; return how many there were."""
        return sum(self._release(lease.owner, now) for lease in self.leases())

    def _release(self, owner: str, now: datetime) -> int:
        freed = {"lease_owner": None, "lease_until": None, "updated_at": now}
        with self._write() as connection:
            return sum(
                connection.execute(update(table).where(table.c.lease_owner == owner).values(freed)).rowcount
                for table in (work_items, deliveries)
            )

    def finish_finished(self, *, now: datetime) -> int:
        """Make work items DELIVERED whose every delivery was taken; return how many."""
        delivered = after(WORK_ITEM, WorkItemState.ENCODED, WorkItemEvent.ALL_ACCEPTED)
        with self._write() as connection:
            finished = connection.execute(_finished_unsaid(work_items.c.id)).scalars().all()
            connection.execute(update(work_items).where(work_items.c.id.in_(finished)).values(state=delivered, updated_at=now))
            return len(finished)

    def remove_unreferenced(self, paths: Sequence[tuple[Path, datetime]], unlink: Callable[[Sequence[Path]], None]) -> tuple[Path, ...]:
        """Have `unlink` remove analyses and results that no row names and no open work item can still come to name; return them.

        Args:
            paths: each file and when it was written. One that is older than every open work item belongs to none of them.
            unlink: removes files, durably.
        """
        with self._write() as connection:
            oldest = connection.execute(select(func.min(work_items.c.created_at)).where(work_items.c.state.in_(_OPEN))).scalar_one()
            free = [path for path, written_at in paths if oldest is None or written_at < oldest - CLOCK_SKEW]
            names = [path.as_posix() for path in free]
            known = {
                *connection.execute(select(results.c.path).where(results.c.path.in_(names))).scalars(),
                *connection.execute(select(work_items.c.analysis_path).where(work_items.c.analysis_path.in_(names))).scalars(),
            }
            gone = tuple(path for path in free if path.as_posix() not in known)
            unlink(gone)
            connection.execute(delete(removals).where(removals.c.path.in_([path.as_posix() for path in gone])))
            return gone


FINISHED_UNSAID = "every destination took the report, and it is not DELIVERED"


def _where(column: ColumnElement[str], *conditions: ColumnElement[bool]) -> Select[Any]:
    return select(column).where(*conditions).limit(100)


def _finished_unsaid(column: ColumnElement[str]) -> Select[Any]:
    sent = exists().where(deliveries.c.work_item_id == work_items.c.id)
    waiting = exists().where(deliveries.c.work_item_id == work_items.c.id, deliveries.c.state.in_(_WAITING))
    return select(column).where(work_items.c.state == WorkItemState.ENCODED, sent, ~waiting)
