"""Storage commitment: what archives were asked to keep, and what they said."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from dicom_node.ledger.rows import Rows
from dicom_node.ledger.tables import commitment_transactions, deliveries, work_items
from dicom_node.lifecycle import DELIVERY, DeliveryEvent, DeliveryState, after

REMEMBERED_DAYS = 400
"""A report on a transaction older than this is of one that nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentRequest:
    """One SOP Instance, as the destination has it, that it is to commit itself to keeping. `requests` counts this one."""

    delivery_id: int
    study_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentVerdict:
    """What a report means for one SOP Instance: `event`, or None where the archive is asked again at `ask_at` (None: no more).

    `reason` says it in words, with the Failure Reason as the archive gave it.
    """

    sop_instance_uid: str
    event: DeliveryEvent | None
    reason: str
    ask_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentChange:
    """What a report changed: the state that one delivery is in now."""

    study_instance_uid: str
    sop_instance_uid: str
    state: DeliveryState
    reason: str


class Commitments(Rows):
    """Transactions of storage commitment (PS3.4 Annex J)."""

    def begin_commitment(
        self, transaction_uid: str, *, destination: str, limit: int, maximum_requests: int, now: datetime, again_at: datetime
    ) -> tuple[CommitmentRequest, ...]:
        """Make up to `limit` accepted deliveries that are due one transaction, which is durable before the archive hears of it.

        If no report comes they are due again at `again_at`.
        """
        due = (
            select(deliveries, work_items.c.study_instance_uid)
            .join(work_items, work_items.c.id == deliveries.c.work_item_id)
            .where(
                deliveries.c.destination == destination,
                deliveries.c.state == DeliveryState.ACCEPTED,
                deliveries.c.commit_at <= now,
                deliveries.c.commit_requests < maximum_requests,
            )
            .order_by(deliveries.c.commit_at, deliveries.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True, of=deliveries)
        )
        with self._read() as connection:
            if connection.execute(due).first() is None:
                return ()
        with self._write() as connection:
            rows = connection.execute(due).all()
            if not rows:
                return ()
            old = commitment_transactions.c.requested_at < now - timedelta(days=REMEMBERED_DAYS)
            connection.execute(delete(commitment_transactions).where(old))
            connection.execute(
                insert(commitment_transactions).values(transaction_uid=transaction_uid, destination=destination, requested_at=now)
            )
            connection.execute(
                update(deliveries)
                .where(deliveries.c.id.in_([row.id for row in rows]))
                .values(commit_at=again_at, commit_requests=deliveries.c.commit_requests + 1, updated_at=now)
            )
        return tuple(
            CommitmentRequest(
                delivery_id=row.id,
                study_instance_uid=row.study_instance_uid,
                sop_class_uid=row.sent_sop_class_uid,
                sop_instance_uid=row.sent_sop_instance_uid,
                requests=row.commit_requests + 1,
            )
            for row in rows
        )

    def postpone_commitment(self, requested: Sequence[CommitmentRequest], *, ask_at: datetime, counted: bool, reason: str) -> None:
        """Ask for these again at `ask_at` unless a report came meanwhile. A request that is not `counted` never reached the archive."""
        waiting = deliveries.c.id.in_([one.delivery_id for one in requested]) & (deliveries.c.state == DeliveryState.ACCEPTED)
        requests = deliveries.c.commit_requests if counted else deliveries.c.commit_requests - 1
        with self._write() as connection:
            connection.execute(update(deliveries).where(waiting).values(commit_at=ask_at, commit_requests=requests, error=reason or None))

    def commitment_destination(self, transaction_uid: str) -> str | None:
        """Return the destination that a transaction was begun with, None if it is not known."""
        wanted = select(commitment_transactions.c.destination).where(commitment_transactions.c.transaction_uid == transaction_uid)
        with self._read() as connection:
            return connection.execute(wanted).scalar_one_or_none()

    def record_commitment_report(
        self, transaction_uid: str, verdicts: Sequence[CommitmentVerdict], *, now: datetime
    ) -> tuple[CommitmentChange, ...]:
        """Record what an archive said of the SOP Instances of a transaction. Recording it twice changes nothing."""
        destination = self.commitment_destination(transaction_uid)
        if destination is None:
            return ()
        with self._write() as connection:
            connection.execute(
                update(commitment_transactions).where(commitment_transactions.c.transaction_uid == transaction_uid).values(reported_at=now)
            )
            return tuple(change for verdict in verdicts for change in self._record_verdict(connection, destination, verdict, now))

    def _record_verdict(
        self, connection: Connection, destination: str, verdict: CommitmentVerdict, now: datetime
    ) -> tuple[CommitmentChange, ...]:
        row = connection.execute(
            select(deliveries, work_items.c.study_instance_uid)
            .join(work_items, work_items.c.id == deliveries.c.work_item_id)
            .where(
                deliveries.c.destination == destination,
                deliveries.c.sent_sop_instance_uid == verdict.sop_instance_uid,
                deliveries.c.state == DeliveryState.ACCEPTED,
            )
        ).one_or_none()
        if row is None:
            return ()
        state = after(DELIVERY, DeliveryState.ACCEPTED, verdict.event) if verdict.event else DeliveryState.ACCEPTED
        committed = state is DeliveryState.COMMITTED
        connection.execute(
            update(deliveries)
            .where(deliveries.c.id == row.id)
            .values(
                state=state,
                commit_at=verdict.ask_at,
                committed_at=now if committed else None,
                error=None if committed else verdict.reason,
                not_before=now,
                updated_at=now,
            )
        )
        self._told(
            connection,
            row,
            f"{destination}: {verdict.sop_instance_uid} {verdict.reason}",
            now,
            "committed" if committed else "not committed",
        )
        return (
            CommitmentChange(
                study_instance_uid=row.study_instance_uid, sop_instance_uid=verdict.sop_instance_uid, state=state, reason=verdict.reason
            ),
        )

    def give_up_commitment(self, *, destination: str, maximum_requests: int, now: datetime) -> tuple[CommitmentRequest, ...]:
        """Ask no more for what was asked for too often without a report; return what that is, for an operator."""
        exhausted = (
            select(deliveries, work_items.c.study_instance_uid)
            .join(work_items, work_items.c.id == deliveries.c.work_item_id)
            .where(
                deliveries.c.destination == destination,
                deliveries.c.state == DeliveryState.ACCEPTED,
                deliveries.c.commit_at <= now,
                deliveries.c.commit_requests >= maximum_requests,
            )
            .with_for_update(skip_locked=True, of=deliveries)
        )
        with self._read() as connection:
            if connection.execute(exhausted.limit(1)).first() is None:
                return ()
        with self._write() as connection:
            rows = connection.execute(exhausted).all()
            for row in rows:
                reason = f"no storage commitment report after {row.commit_requests} requests"
                connection.execute(update(deliveries).where(deliveries.c.id == row.id).values(commit_at=None, error=reason, updated_at=now))
                self._told(connection, row, f"{destination}: {row.sent_sop_instance_uid} {reason}", now, "not committed")
        return tuple(
            CommitmentRequest(
                delivery_id=row.id,
                study_instance_uid=row.study_instance_uid,
                sop_class_uid=row.sent_sop_class_uid,
                sop_instance_uid=row.sent_sop_instance_uid,
                requests=row.commit_requests,
            )
            for row in rows
        )

    def _told(self, connection: Connection, row: Row[Any], detail: str, now: datetime, name: str) -> None:
        self._log(connection, at=now, study=row.study_instance_uid, name=name, detail=detail, work_item_id=row.work_item_id)
