"""Retention: what may be purged, what an operator holds, and the list of files that are still to be removed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, insert, or_, select, update

from dicom_node.failpoints import failpoint
from dicom_node.ledger.rows import Rows
from dicom_node.ledger.tables import deliveries, instances, removals, results, studies, work_items
from dicom_node.lifecycle import STUDY, DeliveryState, StudyEvent, StudyState, WorkItemState, after

_DONE = (WorkItemState.DELIVERED, WorkItemState.SUPERSEDED)
_TAKEN = (DeliveryState.ACCEPTED, DeliveryState.COMMITTED, DeliveryState.DROPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeableStudy:
    """A study of which everything is delivered and nothing is held. `received_bytes` are those of its received files."""

    study_instance_uid: str
    last_arrival: datetime
    instances: int
    received_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResult:
    """A result whose file is still there."""

    sop_class_uid: str
    sop_instance_uid: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Predecessor:
    """What a later report must know of a result whose file is gone, to name it as its predecessor."""

    sop_instance_uid: str
    series_instance_uid: str
    instance_number: int


class Retention(Rows):
    """Purging and holding studies."""

    def purgeable_studies(
        self, *, before: datetime, committing: Sequence[str], limit: int, after_study: PurgeableStudy | None = None
    ) -> tuple[PurgeableStudy, ...]:
        """Return studies with which nothing has happened since `before` and of which everything was delivered, oldest first.

        `committing` names the destinations that must also have committed to keep what they accepted. `after_study` pages on.
        """
        wanted = (
            select(studies.c.study_instance_uid, studies.c.last_arrival)
            .where(_may_go(before, committing))
            .order_by(studies.c.last_arrival, studies.c.study_instance_uid)
            .limit(limit)
        )
        if after_study is not None:
            arrived, uid = after_study.last_arrival, after_study.study_instance_uid
            wanted = wanted.where(
                or_(studies.c.last_arrival > arrived, and_(studies.c.last_arrival == arrived, studies.c.study_instance_uid > uid))
            )
        with self._read() as connection:
            return tuple(_purgeable(connection, row.study_instance_uid, row.last_arrival) for row in connection.execute(wanted).all())

    def stored_results(self, study_instance_uid: str) -> tuple[StoredResult, ...]:
        """Return the results of a study whose files are here."""
        here = and_(work_items.c.study_instance_uid == study_instance_uid, results.c.purged_at.is_(None))
        with self._read() as connection:
            rows = connection.execute(select(results).join(work_items, work_items.c.id == results.c.work_item_id).where(here)).all()
        return tuple(
            StoredResult(sop_class_uid=row.sop_class_uid, sop_instance_uid=row.sop_instance_uid, path=Path(row.path)) for row in rows
        )

    def record_purge(
        self,
        study_instance_uid: str,
        *,
        before: datetime,
        committing: Sequence[str],
        predecessors: Sequence[Predecessor],
        why: str,
        now: datetime,
    ) -> int | None:
        """Make a study PURGED and its files due for removal; return how many, or None if it may no longer go.

        The record comes first here, and then the effect: a row without its file would be a loss, a file without use is none.
        """
        with self._write() as connection:
            of_study = studies.c.study_instance_uid == study_instance_uid
            row = connection.execute(select(studies).where(of_study, _may_go(before, committing))).one_or_none()
            if row is None:
                return None
            state = after(STUDY, StudyState(row.state), StudyEvent.PURGE)
            connection.execute(update(studies).where(of_study).values(state=state))
            files = self._give_up_files(connection, study_instance_uid, predecessors, now)
            self._log(connection, at=now, study=study_instance_uid, name="purged", detail=f"{files} files: {why}")
        failpoint("purge.recorded")
        return files

    @staticmethod
    def _give_up_files(connection: Connection, uid: str, predecessors: Sequence[Predecessor], now: datetime) -> int:
        items = select(work_items.c.id).where(work_items.c.study_instance_uid == uid)
        here = (
            select(instances.c.path).where(instances.c.study_instance_uid == uid, instances.c.purged_at.is_(None)),
            select(results.c.path).where(results.c.work_item_id.in_(items), results.c.purged_at.is_(None)),
            select(work_items.c.analysis_path).where(work_items.c.study_instance_uid == uid, work_items.c.analysis_path.is_not(None)),
        )
        paths = [path for query in here for path in connection.execute(query).scalars()]
        if paths:
            connection.execute(insert(removals), [{"path": path, "study_instance_uid": uid, "at": now} for path in paths])
        for known in predecessors:
            connection.execute(
                update(results)
                .where(results.c.sop_instance_uid == known.sop_instance_uid)
                .values(series_instance_uid=known.series_instance_uid, instance_number=known.instance_number)
            )
        gone = {"purged_at": now}
        connection.execute(update(instances).where(instances.c.study_instance_uid == uid, instances.c.purged_at.is_(None)).values(gone))
        connection.execute(update(results).where(results.c.work_item_id.in_(items), results.c.purged_at.is_(None)).values(gone))
        connection.execute(update(work_items).where(work_items.c.study_instance_uid == uid).values(analysis_path=None))
        return len(paths)

    def due_removals(self, limit: int = 200) -> tuple[Path, ...]:
        """Return files that are to be removed."""
        with self._read() as connection:
            return tuple(map(Path, connection.execute(select(removals.c.path).order_by(removals.c.path).limit(limit)).scalars()))

    def remove(self, paths: Sequence[Path], unlink: Callable[[Sequence[Path]], None]) -> int:
        """Have `unlink` remove those of `paths` that are still due, durably, and take them off the list; return how many.

        The write lock is held meanwhile: an instance that comes back cannot find a file that is about to go.
        """
        with self._write() as connection:
            names = [path.as_posix() for path in paths]
            due = connection.execute(select(removals.c.path).where(removals.c.path.in_(names))).scalars().all()
            unlink([Path(path) for path in due])
            failpoint("purge.removed")
            connection.execute(delete(removals).where(removals.c.path.in_(due)))
        failpoint("purge.done")
        return len(due)

    def hold(self, study_instance_uid: str, *, why: str, now: datetime) -> bool:
        """Keep a study from being purged until it is released; False if it never arrived."""
        return self._set_hold(study_instance_uid, why, name="held", now=now)

    def release(self, study_instance_uid: str, *, why: str, now: datetime) -> bool:
        """Let a held study be purged when its time has come; False if it never arrived."""
        return self._set_hold(study_instance_uid, None, name="released", detail=why, now=now)

    def _set_hold(self, uid: str, because: str | None, *, name: str, now: datetime, detail: str | None = None) -> bool:
        with self._write() as connection:
            of_study = studies.c.study_instance_uid == uid
            if connection.execute(update(studies).where(of_study).values(held_because=because)).rowcount == 0:
                return False
            self._log(connection, at=now, study=uid, name=name, detail=because or detail or "")
            return True

    def kept_counts(self) -> dict[str, int]:
        """Return how many settled studies cannot be purged whatever their age, by why not."""
        settled = studies.c.state == StudyState.SETTLED
        reasons: dict[str, ColumnElement[bool]] = {
            "held by an operator": studies.c.held_because.is_not(None),
            "a report could not be made or delivered": or_(
                _has_item(work_items.c.state == WorkItemState.FAILED), _has_delivery(deliveries.c.state == DeliveryState.FAILED)
            ),
            "a report went nowhere": _has_item(_sent_nowhere()),
        }
        with self._read() as connection:
            return {
                why: int(connection.execute(select(func.count()).select_from(studies).where(settled, condition)).scalar_one())
                for why, condition in reasons.items()
            }


def _has_item(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(work_items.c.study_instance_uid == studies.c.study_instance_uid, condition)


def _has_delivery(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(
        work_items.c.study_instance_uid == studies.c.study_instance_uid, deliveries.c.work_item_id == work_items.c.id, condition
    )


def _sent_nowhere() -> ColumnElement[bool]:
    return and_(work_items.c.state == WorkItemState.DELIVERED, ~exists().where(deliveries.c.work_item_id == work_items.c.id))


def _may_go(before: datetime, committing: Sequence[str]) -> ColumnElement[bool]:
    """Settled, routed, not held; every report made, sent, accepted, and committed where that is asked for; all before `before`."""
    uncommitted = and_(deliveries.c.state == DeliveryState.ACCEPTED, deliveries.c.destination.in_(committing))
    return and_(
        studies.c.state == StudyState.SETTLED,
        studies.c.last_arrival < before,
        studies.c.held_because.is_(None),
        studies.c.routed_revision >= studies.c.revision,
        ~_has_item(or_(work_items.c.state.not_in(_DONE), work_items.c.updated_at >= before, _sent_nowhere())),
        ~_has_delivery(or_(deliveries.c.state.not_in(_TAKEN), uncommitted)),
    )


def _purgeable(connection: Connection, uid: str, last_arrival: datetime) -> PurgeableStudy:
    here = and_(instances.c.study_instance_uid == uid, instances.c.purged_at.is_(None))
    number, size = connection.execute(select(func.count(), func.coalesce(func.sum(instances.c.size_bytes), 0)).where(here)).one()
    return PurgeableStudy(study_instance_uid=uid, last_arrival=last_arrival, instances=int(number), received_bytes=int(size))
