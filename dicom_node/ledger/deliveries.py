"""Deliveries: one result object and one destination, each destination a lane of its own."""

from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, and_, exists, or_, select, update

from dicom_node.delivery import ClaimedDelivery, Receipt
from dicom_node.ledger.rows import Rows
from dicom_node.ledger.tables import deliveries, results, work_items
from dicom_node.lifecycle import DELIVERY, WORK_ITEM, DeliveryEvent, DeliveryState, WorkItemEvent, WorkItemState, after


class Deliveries(Rows):
    """Claiming deliveries and recording what the destinations answered."""

    def claim_delivery(self, *, destination: str, owner: str, now: datetime, lease_s: float) -> ClaimedDelivery | None:
        """Lease the next result for `destination`, urgent studies first, then in the order in which they were encoded."""
        due = (
            select(deliveries.c.id)
            .join(work_items, work_items.c.id == deliveries.c.work_item_id)
            .where(
                deliveries.c.destination == destination,
                deliveries.c.state == DeliveryState.PENDING,
                deliveries.c.not_before <= now,
                or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until < now),
            )
            .order_by(work_items.c.urgent.desc(), deliveries.c.id)
            .limit(1)
            .with_for_update(skip_locked=True, of=deliveries)
        )
        if not self._any(due):
            return None
        with self._write() as connection:
            key = connection.execute(due).scalar_one_or_none()
            if key is None:
                return None
            connection.execute(
                update(deliveries)
                .where(deliveries.c.id == key)
                .values(lease_owner=owner, lease_until=now + timedelta(seconds=lease_s), attempts=deliveries.c.attempts + 1, updated_at=now)
            )
            row = connection.execute(
                select(deliveries, results.c.sop_class_uid, results.c.path, results.c.digest, work_items.c.study_instance_uid)
                .join(results, results.c.sop_instance_uid == deliveries.c.sop_instance_uid)
                .join(work_items, work_items.c.id == deliveries.c.work_item_id)
                .where(deliveries.c.id == key)
            ).one()
            return ClaimedDelivery(
                id=row.id,
                destination=row.destination,
                sop_class_uid=row.sop_class_uid,
                sop_instance_uid=row.sop_instance_uid,
                path=Path(row.path),
                study_instance_uid=row.study_instance_uid,
                work_item_id=row.work_item_id,
                attempts=row.attempts,
                digest=row.digest,
            )

    def record_receipt(self, claimed: ClaimedDelivery, receipt: Receipt, *, now: datetime) -> None:
        """The destination took the result; with the last one the work item is DELIVERED. Recording it twice changes nothing."""
        with self._write() as connection:
            state = connection.execute(select(deliveries.c.state).where(deliveries.c.id == claimed.id)).scalar_one()
            if state == DeliveryState.ACCEPTED:
                return
            connection.execute(
                update(deliveries)
                .where(deliveries.c.id == claimed.id)
                .values(
                    state=after(DELIVERY, DeliveryState(state), DeliveryEvent.ACCEPTED),
                    status=receipt.status,
                    error=None,
                    accepted_at=receipt.at,
                    lease_owner=None,
                    lease_until=None,
                    updated_at=now,
                )
            )
            self._log(
                connection,
                at=now,
                study=claimed.study_instance_uid,
                name="accepted",
                detail=f"{claimed.destination} answered {receipt.status} for {claimed.sop_instance_uid}",
                work_item_id=claimed.work_item_id,
            )
            self._finish(connection, claimed.work_item_id, now)

    @staticmethod
    def _finish(connection: Connection, work_item_id: int, now: datetime) -> None:
        waiting = and_(
            deliveries.c.work_item_id == work_item_id, deliveries.c.state.not_in([DeliveryState.ACCEPTED, DeliveryState.COMMITTED])
        )
        if connection.execute(select(exists().where(waiting))).scalar():
            return
        delivered = after(WORK_ITEM, WorkItemState.ENCODED, WorkItemEvent.ALL_ACCEPTED)
        connection.execute(
            update(work_items)
            .where(work_items.c.id == work_item_id, work_items.c.state == WorkItemState.ENCODED)
            .values(state=delivered, updated_at=now)
        )

    def record_delivery_failure(
        self, claimed: ClaimedDelivery, *, reason: str, status: str, retry_at: datetime | None, now: datetime
    ) -> None:
        """The attempt failed: due again at `retry_at`, or FAILED for an operator if that is None."""
        with self._write() as connection:
            state = connection.execute(select(deliveries.c.state).where(deliveries.c.id == claimed.id)).scalar_one()
            if retry_at is None:
                state = after(DELIVERY, DeliveryState(state), DeliveryEvent.ATTEMPTS_EXHAUSTED)
                self._log(
                    connection,
                    at=now,
                    study=claimed.study_instance_uid,
                    name="delivery failed",
                    detail=f"{claimed.destination}: {reason}",
                    work_item_id=claimed.work_item_id,
                )
            connection.execute(
                update(deliveries)
                .where(deliveries.c.id == claimed.id)
                .values(
                    state=state,
                    status=status,
                    error=reason,
                    not_before=retry_at or now,
                    lease_owner=None,
                    lease_until=None,
                    updated_at=now,
                )
            )
