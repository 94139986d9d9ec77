"""Deliveries: one result and one destination, each destination a lane of its own."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, and_, exists, or_, select, update

from dicom_node.delivery import ClaimedDelivery, Receipt
from dicom_node.ledger.destinations import Destinations
from dicom_node.ledger.flags import is_a_suspended_order
from dicom_node.ledger.tables import deliveries, destination_capabilities, results, work_items
from dicom_node.lifecycle import DELIVERY, WORK_ITEM, DeliveryEvent, DeliveryState, WorkItemEvent, WorkItemState, after

SETTLED_STATES = (DeliveryState.ACCEPTED, DeliveryState.COMMITTED, DeliveryState.DROPPED)
"""Nothing is left to send."""
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Deliveries(Destinations):
    """Claiming deliveries and recording what the destinations answered."""

    def claim_delivery(
        self, *, destination: str, owner: str, now: datetime, lease_s: float, learnt_since: datetime = LONG_AGO
    ) -> ClaimedDelivery | None:
        """Lease the next result for `destination`, urgent studies first, then in the order in which they were encoded.

        A lane has one result in hand: what its owner still leases when it asks for the next was claimed by an attempt that broke off.
        What the destination was found to take before `learnt_since` is not told: it may have learnt more.
        """
        due = (
            select(deliveries.c.id)
            .join(work_items, work_items.c.id == deliveries.c.work_item_id)
            .where(
                deliveries.c.destination == destination,
                deliveries.c.state == DeliveryState.PENDING,
                deliveries.c.not_before <= now,
                or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until < now, deliveries.c.lease_owner == owner),
                ~is_a_suspended_order(),
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
            return self._claimed(connection, key, learnt_since)

    @staticmethod
    def _claimed(connection: Connection, key: int, learnt_since: datetime) -> ClaimedDelivery:
        known = and_(
            destination_capabilities.c.destination == deliveries.c.destination,
            destination_capabilities.c.kind == results.c.kind,
            destination_capabilities.c.learnt_at >= learnt_since,
        )
        row = connection.execute(
            select(
                deliveries,
                results.c.kind,
                results.c.sop_class_uid,
                results.c.path,
                results.c.digest,
                work_items.c.study_instance_uid,
                destination_capabilities.c.sop_class_uid.label("accepted_as"),
            )
            .join(results, results.c.sop_instance_uid == deliveries.c.sop_instance_uid)
            .join(work_items, work_items.c.id == deliveries.c.work_item_id)
            .outerjoin(destination_capabilities, known)
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
            kind=row.kind,
            accepted_as=row.accepted_as or "",
        )

    def hand_back_delivery(self, claimed: ClaimedDelivery, *, now: datetime) -> None:
        """Let somebody else have what was claimed and not sent; it was no attempt."""
        with self._write() as connection:
            connection.execute(
                update(deliveries)
                .where(deliveries.c.id == claimed.id, deliveries.c.state == DeliveryState.PENDING)
                .values(attempts=claimed.attempts - 1, lease_owner=None, lease_until=None, updated_at=now)
            )

    def record_receipt(self, claimed: ClaimedDelivery, receipt: Receipt, *, now: datetime, commit_at: datetime | None = None) -> None:
        """The destination took the result; with the last one the work item is DELIVERED. Recording it twice changes nothing.

        At `commit_at` the destination is to be asked to commit itself to keeping it.
        """
        with self._write() as connection:
            state = connection.execute(select(deliveries.c.state).where(deliveries.c.id == claimed.id)).scalar_one()
            if state not in {DeliveryState.PENDING, DeliveryState.FAILED}:
                return  # another sender, to whom the lease went over, was faster
            connection.execute(
                update(deliveries)
                .where(deliveries.c.id == claimed.id)
                .values(
                    state=after(DELIVERY, DeliveryState(state), DeliveryEvent.ACCEPTED),
                    status=receipt.status,
                    error=None,
                    accepted_at=receipt.at,
                    sent_sop_class_uid=receipt.sop_class_uid or claimed.sop_class_uid,
                    sent_sop_instance_uid=receipt.sop_instance_uid or claimed.sop_instance_uid,
                    commit_at=commit_at,
                    lease_owner=None,
                    lease_until=None,
                    updated_at=now,
                )
            )
            if receipt.sop_class_uid not in {"", claimed.accepted_as}:
                self._learn(connection, destination=claimed.destination, kind=claimed.kind, sop_class_uid=receipt.sop_class_uid, now=now)
            variant = f" (sent as {receipt.sop_instance_uid})" if receipt.sop_instance_uid not in {"", claimed.sop_instance_uid} else ""
            self._log(
                connection,
                at=now,
                study=claimed.study_instance_uid,
                name="accepted",
                detail=f"{claimed.destination} answered {receipt.status} for {claimed.sop_instance_uid}{variant}",
                work_item_id=claimed.work_item_id,
            )
            self._finish(connection, claimed.work_item_id, now)

    @staticmethod
    def _finish(connection: Connection, work_item_id: int, now: datetime) -> None:
        waiting = and_(deliveries.c.work_item_id == work_item_id, deliveries.c.state.not_in(SETTLED_STATES))
        if connection.execute(select(exists().where(waiting))).scalar():
            return
        delivered = after(WORK_ITEM, WorkItemState.ENCODED, WorkItemEvent.ALL_ACCEPTED)
        connection.execute(
            update(work_items)
            .where(work_items.c.id == work_item_id, work_items.c.state == WorkItemState.ENCODED)
            .values(state=delivered, updated_at=now)
        )

    def record_delivery_failure(
        self, claimed: ClaimedDelivery, *, reason: str, status: str, retry_at: datetime | None, now: datetime, counted: bool = True
    ) -> None:
        """The attempt failed: due again at `retry_at`, or FAILED for an operator if that is None. One that is not `counted` was none."""
        with self._write() as connection:
            state = connection.execute(select(deliveries.c.state).where(deliveries.c.id == claimed.id)).scalar_one()
            if state != DeliveryState.PENDING:
                return  # another sender, to whom the lease went over, was faster
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
                    attempts=claimed.attempts if counted else claimed.attempts - 1,
                    not_before=retry_at or now,
                    lease_owner=None,
                    lease_until=None,
                    updated_at=now,
                )
            )
