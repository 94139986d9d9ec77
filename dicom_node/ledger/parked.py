"""What an operator sees of deliveries and may do with them: list, retry, drop."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select, true, update

from dicom_node.ledger.deliveries import Deliveries
from dicom_node.ledger.tables import deliveries, destination_circuits, results, work_items
from dicom_node.lifecycle import DELIVERY, DeliveryEvent, DeliveryState, after

LONGEST_LIST = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    """One delivery with everything that is known of it. Of a message `sop_class_uid` is empty."""

    id: int
    destination: str
    kind: str
    state: str
    status: str | None
    error: str | None
    attempts: int
    study_instance_uid: str
    route: str
    revision: int
    sop_class_uid: str
    sop_instance_uid: str
    sent_sop_class_uid: str | None
    sent_sop_instance_uid: str | None
    created_at: datetime
    not_before: datetime
    accepted_at: datetime | None
    commit_requests: int
    committed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """Which deliveries are meant: all that meet every condition that is given."""

    ids: tuple[int, ...] = ()
    destination: str | None = None
    states: tuple[DeliveryState, ...] = ()
    study_instance_uid: str | None = None

    def condition(self) -> ColumnElement[bool]:
        """Return it for the database; `deliveries` and `work_items` are joined."""
        given: list[ColumnElement[bool]] = [true()]
        if self.ids:
            given.append(deliveries.c.id.in_(self.ids))
        if self.destination is not None:
            given.append(deliveries.c.destination == self.destination)
        if self.states:
            given.append(deliveries.c.state.in_(self.states))
        if self.study_instance_uid is not None:
            given.append(work_items.c.study_instance_uid == self.study_instance_uid)
        return and_(*given)


class Parked(Deliveries):
    """Questions and decisions of an operator about deliveries."""

    def delivery_records(self, wanted: DeliveryFilter, *, limit: int = LONGEST_LIST) -> tuple[DeliveryRecord, ...]:
        """Return the deliveries that are meant, oldest first."""
        with self._read() as connection:
            rows = connection.execute(
                select(
                    deliveries,
                    results.c.kind,
                    results.c.sop_class_uid,
                    results.c.created_at,
                    work_items.c.study_instance_uid,
                    work_items.c.route,
                    work_items.c.revision,
                )
                .join(results, results.c.sop_instance_uid == deliveries.c.sop_instance_uid)
                .join(work_items, work_items.c.id == deliveries.c.work_item_id)
                .where(wanted.condition())
                .order_by(deliveries.c.id)
                .limit(limit)
            ).mappings()
            return tuple(DeliveryRecord(**{name: row[name] for name in DeliveryRecord.__dataclass_fields__}) for row in rows)

    def retry_deliveries(self, wanted: DeliveryFilter, *, who: str, now: datetime) -> int:
        """Make parked and waiting deliveries due now, and ask anew for commitment where that was given up; return how many."""
        changed = 0
        fresh = {"not_before": now, "updated_at": now}
        with self._write() as connection:
            for row in self._unleased(connection, wanted, now):
                if row.state == DeliveryState.FAILED:
                    requeued = after(DELIVERY, DeliveryState.FAILED, DeliveryEvent.REQUEUED)
                    values = {**fresh, "state": requeued, "attempts": 0, "error": None, "commit_requests": 0}
                elif row.state == DeliveryState.PENDING:
                    values = dict(fresh)
                elif row.state == DeliveryState.ACCEPTED and row.commit_at is None and row.commit_requests > 0:
                    values = {"commit_at": now, "commit_requests": 0, "error": None, "updated_at": now}
                else:
                    continue
                connection.execute(update(deliveries).where(deliveries.c.id == row.id).values(**values))
                self._decided(connection, row, "delivery retried", f"by {who}", now)
                changed += 1
                connection.execute(
                    update(destination_circuits).where(destination_circuits.c.destination == row.destination).values(not_before=now)
                )
        return changed

    def drop_deliveries(self, wanted: DeliveryFilter, *, why: str, who: str, now: datetime) -> int:
        """Decide that parked and waiting deliveries are not to be sent, for good; return how many. One that is being sent stays."""
        with self._write() as connection:
            rows = [row for row in self._unleased(connection, wanted, now) if row.state in {DeliveryState.PENDING, DeliveryState.FAILED}]
            for row in rows:
                dropped = after(DELIVERY, DeliveryState(row.state), DeliveryEvent.DROPPED)
                connection.execute(update(deliveries).where(deliveries.c.id == row.id).values(state=dropped, error=why, updated_at=now))
                self._decided(connection, row, "delivery dropped", f"by {who}: {why}", now)
            for work_item_id in {row.work_item_id for row in rows}:
                self._finish(connection, work_item_id, now)
        return len(rows)

    @staticmethod
    def _unleased(connection: Connection, wanted: DeliveryFilter, now: datetime) -> Sequence[Row[Any]]:
        free = or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until < now)
        return connection.execute(
            select(deliveries, work_items.c.study_instance_uid)
            .join(work_items, work_items.c.id == deliveries.c.work_item_id)
            .where(wanted.condition(), free)
            .with_for_update(of=deliveries)
        ).all()

    def _decided(self, connection: Connection, row: Row[Any], name: str, detail: str, now: datetime) -> None:
        self._log(
            connection,
            at=now,
            study=row.study_instance_uid,
            name=name,
            detail=f"{row.destination}: {row.sop_instance_uid} {detail}",
            work_item_id=row.work_item_id,
        )
