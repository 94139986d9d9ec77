"""Work items: leases, and the steps from ROUTED to DELIVERED."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, Row, and_, exists, insert, or_, select, update

from dicom_node.ledger.rows import Rows
from dicom_node.ledger.tables import deliveries, results, work_items
from dicom_node.lifecycle import WORK_ITEM, DeliveryState, WorkItemEvent, WorkItemState, after


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem:
    """One study revision under one route, leased to whoever holds this value. `attempts` counts this one."""

    id: int
    study_instance_uid: str
    revision: int
    route: str
    state: WorkItemState
    urgent: bool
    selection: bytes
    analysis_path: Path | None
    attempts: int
    lease_owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewResult:
    """An encoded result that lies in the object store."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    path: Path
    digest: str


class LeaseLostError(Exception):
    """Another worker took over the item while this one was silent; what was computed stays in the store for it."""


def _work_item(row: Row[tuple[object, ...]]) -> WorkItem:
    values = row._mapping  # noqa: SLF001 - SQLAlchemy's public name
    return WorkItem(
        **{name: values[name] for name in ("id", "study_instance_uid", "revision", "route", "selection", "attempts", "lease_owner")},
        state=WorkItemState(values["state"]),
        urgent=bool(values["urgent"]),
        analysis_path=Path(values["analysis_path"]) if values["analysis_path"] else None,
    )


class WorkItems(Rows):
    """Claiming and advancing work items."""

    def claim_work(self, *, owner: str, now: datetime, lease_s: float) -> WorkItem | None:
        """Lease the next work item, urgent first, then oldest first; the claim counts as an attempt.

        An item waits while an older revision under the same route is unfinished, so that reports follow each other.
        """
        older = work_items.alias("older")
        unfinished = exists().where(
            older.c.study_instance_uid == work_items.c.study_instance_uid,
            older.c.route == work_items.c.route,
            older.c.revision < work_items.c.revision,
            older.c.state.in_([WorkItemState.ROUTED, WorkItemState.ANALYSED]),
        )
        free = or_(work_items.c.lease_until.is_(None), work_items.c.lease_until < now)
        due = (
            select(work_items.c.id)
            .where(
                work_items.c.state.in_([WorkItemState.ROUTED, WorkItemState.ANALYSED]), work_items.c.not_before <= now, free, ~unfinished
            )
            .order_by(work_items.c.urgent.desc(), work_items.c.created_at, work_items.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        if not self._any(due):
            return None
        with self._write() as connection:
            key = connection.execute(due).scalar_one_or_none()
            if key is None:
                return None
            row = connection.execute(
                update(work_items)
                .where(work_items.c.id == key)
                .values(lease_owner=owner, lease_until=now + timedelta(seconds=lease_s), attempts=work_items.c.attempts + 1, updated_at=now)
                .returning(*work_items.c)
            ).one()
            return _work_item(row)

    def renew_leases(self, *, owner: str, now: datetime, lease_s: float) -> None:
        """Keep what `owner` holds."""
        until = now + timedelta(seconds=lease_s)
        with self._write() as connection:
            for table in (work_items, deliveries):
                connection.execute(update(table).where(table.c.lease_owner == owner).values(lease_until=until))

    def release_leases(self, *, owner: str, now: datetime) -> int:
        """Make what a process that is known to be dead held claimable at once; the attempt stays counted."""
        with self._write() as connection:
            return sum(
                connection.execute(
                    update(table).where(table.c.lease_owner == owner).values(lease_owner=None, lease_until=None, updated_at=now)
                ).rowcount
                for table in (work_items, deliveries)
            )

    def record_analysis(self, item: WorkItem, *, path: Path, now: datetime) -> None:
        """The findings are durable at `path`."""
        with self._write() as connection:
            self._advance(connection, item, WorkItemEvent.FINDINGS_RECORDED, now, analysis_path=path.as_posix())

    def record_results(self, item: WorkItem, encoded: Sequence[NewResult], destinations: Sequence[str], *, now: datetime) -> None:
        """The results are durable; each is now due at each destination. Without destinations there is nothing left to do."""
        with self._write() as connection:
            self._advance(connection, item, WorkItemEvent.RESULTS_ENCODED, now)
            for result in encoded:
                connection.execute(
                    insert(results).values(
                        sop_instance_uid=result.sop_instance_uid,
                        work_item_id=item.id,
                        kind=result.kind,
                        sop_class_uid=result.sop_class_uid,
                        path=result.path.as_posix(),
                        digest=result.digest,
                        created_at=now,
                    )
                )
                for destination in destinations:
                    connection.execute(
                        insert(deliveries).values(
                            sop_instance_uid=result.sop_instance_uid,
                            work_item_id=item.id,
                            destination=destination,
                            state=DeliveryState.PENDING,
                            attempts=0,
                            not_before=now,
                            updated_at=now,
                        )
                    )
            if not destinations:
                done = after(WORK_ITEM, WorkItemState.ENCODED, WorkItemEvent.ALL_ACCEPTED)
                connection.execute(update(work_items).where(work_items.c.id == item.id).values(state=done))

    def record_work_failure(self, item: WorkItem, *, error: str, attempts: int, retry_at: datetime | None, now: datetime) -> None:
        """The attempt failed, after `attempts` that count: claimable again at `retry_at`, or FAILED for an operator if that is None."""
        with self._write() as connection:
            if retry_at is None:
                self._advance(connection, item, WorkItemEvent.ATTEMPTS_EXHAUSTED, now, error=error)
                return
            held = and_(work_items.c.id == item.id, work_items.c.lease_owner == item.lease_owner)
            connection.execute(
                update(work_items)
                .where(held)
                .values(attempts=attempts, lease_owner=None, lease_until=None, not_before=retry_at, error=error, updated_at=now)
            )

    def _advance(self, connection: Connection, item: WorkItem, event: WorkItemEvent, now: datetime, **values: str) -> None:
        state = after(WORK_ITEM, item.state, event)
        held = and_(work_items.c.id == item.id, work_items.c.state == item.state, work_items.c.lease_owner == item.lease_owner)
        changed = connection.execute(
            update(work_items)
            .where(held)
            .values(
                **({"error": None} | values), state=state, attempts=0, not_before=now, lease_owner=None, lease_until=None, updated_at=now
            )
        )
        if changed.rowcount != 1:
            raise LeaseLostError(f"work item {item.id} of study {item.study_instance_uid} is no longer held by {item.lease_owner}")
        self._log(connection, at=now, study=item.study_instance_uid, name=event.value, detail=values.get("error", ""), work_item_id=item.id)

    def previous_result(self, item: WorkItem, kind: str) -> Path | None:
        """Return the newest result of this kind under this route of an older revision."""
        with self._read() as connection:
            path = connection.execute(
                select(results.c.path)
                .join(work_items, work_items.c.id == results.c.work_item_id)
                .where(
                    work_items.c.study_instance_uid == item.study_instance_uid,
                    work_items.c.route == item.route,
                    work_items.c.revision < item.revision,
                    results.c.kind == kind,
                )
                .order_by(work_items.c.revision.desc())
                .limit(1)
            ).scalar_one_or_none()
        return None if path is None else Path(path)
